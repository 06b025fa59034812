"""Names for the columns of an estimator's rows, beside which its target and weights find names of their own."""

from __future__ import annotations

from typing import Any

from . import frames

#: How a column of an array is read by a model that starts empty, by the kind of its values.
_KINDS = {"i": "number", "u": "number", "f": "number", "b": "boolean", "M": "timestamp", "m": "duration"}


class Columns:
    """The columns of the rows that an estimator was fitted on."""

    def __init__(self, count: int, names: Any) -> None:
        self.names = [f"x{index}" for index in range(count)] if names is None else [str(name) for name in names]
        self.target = self._free("target")
        self.weight = self._free("sample_weight")

    def _free(self, name: str) -> str:
        while name in self.names:
            name += "_"
        return name

    def table(self, X: Any, y: Any, weight: Any) -> dict[str, Any]:
        """Rows with their target and weight, by column."""
        if frames.is_frame(X):
            columns = {name: X.iloc[:, index] for index, name in enumerate(self.names)}
        else:
            columns = {name: X[:, index] for index, name in enumerate(self.names)}
        if y is not None:
            columns[self.target] = y
        if weight is not None:
            columns[self.weight] = weight
        return columns

    def kinds(self, X: Any) -> dict[str, str]:
        """How each column is to be read where no data are read first: texts are categories."""
        found = {}
        for name, column in self.table(X, None, None).items():
            kind = getattr(column.dtype, "kind", "O")
            if kind == "O" and all(isinstance(value, (int, float)) for value in column):
                kind = "f"
            found[name] = _KINDS.get(kind, "category")
        return found
