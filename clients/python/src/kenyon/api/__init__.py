# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""The low-level client: a method for each call of the server's interface, typed, with nothing added."""

from __future__ import annotations

from .comparisons import Comparisons
from .datasets import Datasets
from .encoders import Encoders
from .families import Families
from .health import Health
from .inference import Inference
from .jobs import Jobs
from .keys import Keys
from .models import Models
from .pages import Pages
from .system import System

__all__ = ["Api"]


class Api(Comparisons, Datasets, Encoders, Families, Health, Inference, Jobs, Keys, Models, Pages, System):
    """Every call of the interface. :class:``kenyon.Client`` is the comfortable form of it.

    Each method takes ``timeout``: seconds that the server may be silent, instead of those of the client.
    """
