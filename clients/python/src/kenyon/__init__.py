"""Kenyon from Python: a client of its server, and scikit-learn estimators that bring a server with them.

    >>> from kenyon import KenyonClassifier  # doctest: +SKIP
    >>> model = KenyonClassifier().fit(frame, labels)  # doctest: +SKIP
    >>> model.predict_proba(new_frame)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

from . import errors, types
from .client import Client
from .errors import ApiError, JobFailedError, KenyonError
from .local import LocalServer, find_binary

if TYPE_CHECKING:
    from .estimators import KenyonClassifier, KenyonRegressor

__all__ = [
    "ApiError",
    "Client",
    "JobFailedError",
    "KenyonClassifier",
    "KenyonError",
    "KenyonRegressor",
    "LocalServer",
    "errors",
    "find_binary",
    "types",
]


def __getattr__(name: str) -> Any:
    # The estimators need scikit-learn, which the client does not.
    if name in ("KenyonClassifier", "KenyonRegressor"):
        from . import estimators

        return getattr(estimators, name)
    if name == "__version__":
        return metadata.version("kenyon")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
