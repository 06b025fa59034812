"""How the classes of an estimator are called on the server."""

from __future__ import annotations

import re
from typing import Any

#: Texts that nobody could take for a number, a truth value or a missing value.
_PLAIN = re.compile(r"[^\W\d_]\w*( \w+)*")
_WORDS = {"true", "false", "yes", "no", "none", "null", "nan", "na", "inf", "infinity", "nil", "missing", "unknown", "t", "f", "y", "n"}


class Labels:
    """Classes as the server has them: as they are where that is sure to come back the same, else ``class_0``, ``class_1``, …."""

    def __init__(self, classes: Any) -> None:
        values = [value.item() if hasattr(value, "item") else value for value in classes]
        if all(isinstance(value, bool) for value in values) or all(type(value) is int for value in values):
            self.names: list[Any] = values
        elif all(isinstance(value, str) and _is_plain(value) for value in values) and _distinct(values):
            self.names = values
        else:
            self.names = [f"class_{index}" for index in range(len(values))]
        #: Number of the class by its name in ``probabilities``.
        self.codes_by_key = {key(name): code for code, name in enumerate(self.names)}

    def sent(self, codes: Any) -> list[Any]:
        """The names of classes by number."""
        return [self.names[code] for code in codes]

    def code_of(self, label: Any) -> int:
        """The number of the class that the server answers."""
        return self.codes_by_key[key(label)]


def key(name: Any) -> str:
    """A label as it stands as a key of JSON."""
    return str(name).lower() if isinstance(name, bool) else str(name)


def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS and len(text) <= 64


def _distinct(texts: list[str]) -> bool:
    return len({text.casefold() for text in texts}) == len(texts)
