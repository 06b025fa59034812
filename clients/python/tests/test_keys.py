"""Keys, on a server that requires them."""

from __future__ import annotations

from collections.abc import Iterator

import kenyon.types as t
import pytest
from conforms import differences
from kenyon import Client, LocalServer
from kenyon.errors import ForbiddenError, UnauthorizedError

MASTER = "a-master-key-of-the-tests"


@pytest.fixture(scope="module")
def guarded() -> Iterator[LocalServer]:
    with LocalServer(settings={"master_key": MASTER, "workers": 0}) as server:
        yield server


def test_keys_are_made_used_and_revoked(guarded: LocalServer) -> None:
    with pytest.raises(UnauthorizedError):
        Client(guarded.url).models()
    master = Client(guarded.url, key=MASTER)
    made = master.api.create_key("reader", scopes=["read"])
    assert differences(made, t.MadeKey) == []
    assert differences(master.api.list_keys(), t.KeyPage) == []
    entries = master.api.list_audit()
    assert differences(entries, t.AuditPage) == []
    assert entries["items"][0]["path"] == "/api/v1/keys"
    reader = Client(guarded.url, key=made["key"])
    assert reader.models() == []
    with pytest.raises(ForbiddenError) as caught:
        reader.upload("d", [{"a": 1}])
    assert caught.value.status == 403 and caught.value.request_id
    master.api.delete_key(made["id"])
    with pytest.raises(UnauthorizedError):
        reader.models()


def test_the_key_comes_from_the_environment(guarded: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KENYON_SERVER", guarded.url)
    monkeypatch.setenv("KENYON_KEY", MASTER)
    assert Client().datasets() == []
