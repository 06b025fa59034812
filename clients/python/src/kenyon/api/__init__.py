"""The low-level client: a method for each call of the server's interface, typed, with nothing added."""

from __future__ import annotations

from .base import CONTENT_TYPES
from .datasets import Datasets, ReadOptions
from .inference import Inference
from .jobs import Jobs
from .models import Models
from .streams import Streams
from .system import Comparisons, Encoders, SystemRoutes

__all__ = ["CONTENT_TYPES", "Api", "ReadOptions"]


class Api(Datasets, Models, Streams, Jobs, SystemRoutes, Encoders, Comparisons, Inference):
    """Every call of the interface. :class:`kenyon.Client` is the comfortable form of it."""
