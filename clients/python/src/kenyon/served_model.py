"""A model on a server, as an estimator holds it: it can be pickled, and is removed when nobody holds it any more."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
import weakref
from dataclasses import dataclass
from typing import Any

from .client import Client


@dataclass(frozen=True)
class Place:
    """Where models of an estimator are: a server, or an embedded one with its folder."""

    server: str | None = None
    key: str | None = None
    data_dir: str | os.PathLike[str] | None = None

    def client(self) -> Client:
        """A connection; it starts the embedded server where no address is given."""
        if self.server is not None:
            return Client(self.server, key=self.key)
        return Client.local(self.data_dir)


class ServedModel:
    """One model, answered by one version of it, or by whatever is served once it has observed rows.

    A pickle holds the model's exported bundle. What it is loaded into sends the bundle to its server with the first request.
    """

    def __init__(self, place: Place, client: Client, name: str, version: int | None, *, owned: bool) -> None:
        self.place = place
        #: The version that answers; ``None`` for the served one.
        self.version = version
        self._lock = threading.Lock()
        self._bundle: bytes | None = None
        self._hold(client, name, owned=owned)

    def _hold(self, client: Client, name: str, *, owned: bool) -> None:
        self._client = client
        self._name = name
        if owned:
            weakref.finalize(self, _remove, client, name, os.getpid())

    @property
    def client(self) -> Client:
        """A client of the server that has the model."""
        self._load()
        return self._client

    @property
    def name(self) -> str:
        """The model's name on that server."""
        self._load()
        return self._name

    def bundle(self) -> bytes:
        """The model as an exported bundle."""
        if self._bundle is not None:
            return self._bundle
        return self._client.export_bytes(self._name, version=self.version)

    def _load(self) -> None:
        with self._lock:
            if self._bundle is None:
                return
            client, name = self.place.client(), new_name()
            client.import_model(name, self._bundle)
            self._hold(client, name, owned=True)
            self._bundle = None

    def __getstate__(self) -> dict[str, Any]:
        return {"place": self.place, "bundle": self.bundle()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.place = state["place"]
        self.version = None
        self._lock = threading.Lock()
        self._bundle = state["bundle"]


def new_name() -> str:
    """A name that no other model has."""
    return f"sklearn-{uuid.uuid4().hex}"


def _remove(client: Client, name: str, owner: int) -> None:
    # A fork holds a copy of the object, and the model is still its parent's. A server that has ended has no model.
    if os.getpid() == owner:
        with contextlib.suppress(Exception):
            client.delete_model(name)
