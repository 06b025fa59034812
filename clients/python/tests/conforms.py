"""Whether an answer has its type."""

from __future__ import annotations

import types as builtin_types
import warnings
from typing import Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints, is_typeddict


def differences(value: Any, kind: Any, at: str = "answer") -> list[str]:
    """What in ``value`` is not as ``kind``, a typed dictionary or a part of one, has it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return []
    if is_typeddict(kind):
        return _fields(value, kind, at)
    if origin in (NotRequired, Required):
        return differences(value, arguments[0], at)
    if origin in (Union, builtin_types.UnionType):
        found = [differences(value, option, at) for option in arguments]
        return [] if any(not one for one in found) else min(found, key=len)
    if origin is Literal:
        return [] if value in arguments else [f"{at}: {value!r} is none of {arguments}"]
    if origin is list:
        if not isinstance(value, list):
            return [f"{at}: {value!r} is no list"]
        return [d for index, one in enumerate(value) for d in differences(one, arguments[0], f"{at}[{index}]")]
    if origin is dict:
        if not isinstance(value, dict):
            return [f"{at}: {value!r} is no object"]
        return [d for key, one in value.items() for d in differences(one, arguments[1], f"{at}.{key}")]
    if origin is tuple:
        return [d for index, (one, of) in enumerate(zip(value, arguments)) for d in differences(one, of, f"{at}[{index}]")]
    wanted: Any = {float: (float, int), type(None): type(None)}.get(kind, kind)
    right = isinstance(value, wanted) and not (isinstance(value, bool) and kind is not bool)
    return [] if right else [f"{at}: {value!r} is no {getattr(kind, '__name__', kind)}"]


def _fields(value: Any, kind: Any, at: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at}: {value!r} is no object"]
    hints = get_type_hints(kind, include_extras=True)
    found = [f"{at}.{name} is missing" for name in kind.__required_keys__ if name not in value]
    for name in value:
        if name not in hints:
            # A newer server: no mistake, and not to be missed.
            warnings.warn(f"{at}.{name} is not in {kind.__name__}", stacklevel=2)
    for name, hint in hints.items():
        if name in value:
            found += differences(value[name], hint, f"{at}.{name}")
    return found
