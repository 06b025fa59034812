"""Requests that must be sent again, and those that must not; by a server of a few lines."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kenyon.events import job_events
from kenyon.errors import ConnectionFailedError, OverloadedError, UnavailableError
from kenyon.transport import Transport, encoded


class Fake(BaseHTTPRequestHandler):
    """Answers what the test has put into ``script``, an entry a request; ``None`` is a connection that breaks."""

    protocol_version = "HTTP/1.1"
    script: list[tuple[int, dict[str, str], Any] | None] = []
    seen: list[str] = []

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.seen.append(self.command)
        reply = self.script.pop(0)
        if reply is None:
            self.close_connection = True
            return
        status, headers, body = reply
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def fake() -> Iterator[Transport]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Fake.script, Fake.seen = [], []
    with Transport(f"http://127.0.0.1:{server.server_port}", timeout=5) as transport:
        yield transport
    server.shutdown()
    server.server_close()


GOOD: tuple[int, dict[str, str], Any] = (200, {}, {"ok": True})


def test_what_may_be_repeated_is_sent_again(fake: Transport) -> None:
    Fake.script = [None, (503, {"Retry-After": "0"}, {"code": "starting"}), GOOD]
    assert fake.request("GET", "/").json() == {"ok": True}
    Fake.script = [None, GOOD]
    assert fake.request("POST", "/", body=b"{}", repeatable=True).json() == {"ok": True}
    assert len(Fake.seen) == 5


def test_what_may_not_be_repeated_is_sent_once(fake: Transport) -> None:
    Fake.script = [None]
    with pytest.raises(ConnectionFailedError):
        fake.request("POST", "/", body=b"{}")
    Fake.script = [(429, {"Retry-After": "0"}, {"code": "queue_full", "detail": "full"})]
    with pytest.raises(OverloadedError) as caught:
        fake.request("POST", "/")
    assert caught.value.retry_after == 0 and len(Fake.seen) == 2


def test_nobody_waits_for_a_version_that_nobody_makes(fake: Transport) -> None:
    Fake.script = [(503, {"Retry-After": "1"}, {"code": "no_version", "detail": "none"})]
    with pytest.raises(UnavailableError):
        fake.request("GET", "/")


def test_connections_are_kept_and_a_dead_one_is_noticed(fake: Transport) -> None:
    Fake.script = [GOOD, (200, {"Connection": "close"}, {}), GOOD]
    for _ in range(3):
        fake.request("POST", "/").read()
    assert len(Fake.seen) == 3


def test_an_answer_that_is_no_problem_document_is_still_an_error(fake: Transport) -> None:
    Fake.script = [(502, {}, "bad gateway")]
    with pytest.raises(Exception, match="bad gateway"):
        fake.request("GET", "/")


def test_queries_are_written_as_the_server_reads_them() -> None:
    assert encoded({"a": True, "b": None, "c": ["x", 1], "d": "ä b"}) == "?a=true&c=x%2C1&d=%C3%A4+b"
    assert encoded({"a": None}) == encoded(None) == ""


def test_events_are_read() -> None:
    lines = [": alive", "", "id: 1", "event: status", 'data: {"status":', 'data: "running"}', "", "data: {}", ""]
    assert list(job_events(iter(lines))) == [
        {"id": "1", "event": "status", "data": {"status": "running"}},
        {"id": "", "event": "message", "data": {}},
    ]
