"""HTTP/1.1 by the standard library: connections that are kept, streamed bodies, errors as exceptions."""

from __future__ import annotations

import http.client
import io
import json
import os
import select
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import IO, Any, Union

from .errors import ApiError, ConnectionFailedError, error_from

Body = Union[bytes, IO[bytes], Iterable[bytes]]

#: Bytes that are read at once from a streamed answer.
CHUNK = 1 << 16
#: Tries of a request that may be sent again.
TRIES = 4
#: Connections that are kept for later requests.
KEPT = 8


class Reply:
    """An answer with a good status, whose body is read at once or in parts."""

    def __init__(self, transport: Transport, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._transport = transport
        self._connection: http.client.HTTPConnection | None = connection
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.getheaders()}

    def read(self) -> bytes:
        """The whole body."""
        try:
            body = self._response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConnectionFailedError(f"the connection broke in the middle of an answer: {error}") from error
        self._release()
        return body

    def json(self) -> Any:
        """The whole body, read as JSON."""
        body = self.read()
        return json.loads(body) if body else None

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """The body in parts as they arrive; the connection is closed when the reader stops early."""
        try:
            while part := self._response.read1(size):
                yield part
            self._release()
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionFailedError(f"the connection broke in the middle of an answer: {error}") from error
        finally:
            self.close()

    def lines(self) -> Iterator[str]:
        """The body in lines as they arrive, without their ends."""
        rest = b""
        for part in self.chunks():
            *whole, rest = (rest + part).split(b"\n")
            for line in whole:
                yield line.rstrip(b"\r").decode()
        if rest:
            yield rest.decode()

    def _release(self) -> None:
        # Reading in parts leaves it open at its end, and an open answer keeps the connection from the next request.
        self._response.close()
        if self._connection is not None and not self._response.will_close:
            self._transport.keep(self._connection)
            self._connection = None
        self.close()

    def close(self) -> None:
        """Ends the connection unless it was given back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Transport:
    """Sends requests to one server. May be used by several threads, and after a fork."""

    def __init__(
        self, url: str, *, key: str | None = None, timeout: float = 60.0, context: ssl.SSLContext | None = None
    ) -> None:
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an address such as http://127.0.0.1:8080")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._parts = parts
        self._prefix = parts.path.rstrip("/")
        self._key = key
        self._timeout = timeout
        self._context = context
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._owner = os.getpid()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Sends one request; an answer of 400 or above becomes an :class:`ApiError`.

        A request that is ``repeatable`` (by default every ``GET``, ``PUT`` and ``DELETE``) is sent again, a few times, when
        the connection breaks or the server requests it (429 and 503 with ``Retry-After``).
        """
        target = self._prefix + path + encoded(query)
        sent = self._headers(headers, body)
        whole = body is None or isinstance(body, bytes)
        again = (method != "POST" if repeatable is None else repeatable) and whole
        for attempt in range(1, TRIES + 1):
            last = attempt == TRIES or not again
            try:
                return self._once(method, target, body, sent, timeout or self._timeout)
            except ConnectionFailedError:
                if last:
                    raise
                pause = 0.05 * 2**attempt
            except ApiError as error:
                if last or error.status not in (429, 503) or error.retry_after is None or error.retry_after > 10:
                    raise
                # Waiting does not make a version; whoever needs one has to train it.
                if error.code == "no_version":
                    raise
                pause = error.retry_after
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _once(self, method: str, target: str, body: Body | None, headers: Mapping[str, str], timeout: float) -> Reply:
        connection = self._connection(timeout)
        try:
            try:
                connection.request(method, target, body=body, headers=dict(headers), encode_chunked="Transfer-Encoding" in headers)
            except (BrokenPipeError, ConnectionResetError):
                # A server that refuses a body answers before it has read all of it: the answer says why.
                if body is None or connection.sock is None:
                    raise
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            # The messages of http.client are unclear without the name of what went wrong.
            reason = str(error) if isinstance(error, OSError) and str(error) else f"{type(error).__name__} {error}"
            raise ConnectionFailedError(f"{self.url} cannot be reached: {reason}") from error
        except BaseException:
            connection.close()
            raise
        reply = Reply(self, connection, response)
        if reply.status < 400:
            return reply
        wait = reply.headers.get("retry-after", "")
        raise error_from(reply.status, _problem(reply.read()), float(wait) if wait.isdigit() else None)

    def _headers(self, headers: Mapping[str, str] | None, body: Body | None) -> dict[str, str]:
        sent = {"Accept": "application/json", "User-Agent": "kenyon-python"}
        if self._key:
            sent["Authorization"] = f"Bearer {self._key}"
        if body is not None and not isinstance(body, bytes):
            length = _length(body)
            sent.update({"Content-Length": str(length)} if length is not None else {"Transfer-Encoding": "chunked"})
        sent.update(headers or {})
        return sent

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        with self._lock:
            if self._owner != os.getpid():
                # Sockets of the process that this one was forked from are in use there.
                self._idle, self._owner = [], os.getpid()
            while self._idle:
                connection = self._idle.pop()
                if connection.sock is not None and not _readable(connection.sock):
                    connection.sock.settimeout(timeout)
                    return connection
                connection.close()
        host, port = str(self._parts.hostname), self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=timeout, context=self._context)
        return http.client.HTTPConnection(host, port, timeout=timeout)

    def keep(self, connection: http.client.HTTPConnection) -> None:
        """Keeps a connection whose answer was read to its end."""
        with self._lock:
            if len(self._idle) < KEPT and self._owner == os.getpid() and connection.sock is not None:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Closes the connections that are kept."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def encoded(query: Mapping[str, Any] | None) -> str:
    """A query as it stands in an address; what is ``None`` is left out."""
    pairs = [(name, _word(value)) for name, value in (query or {}).items() if value is not None]
    return "?" + urllib.parse.urlencode(pairs) if pairs else ""


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(map(_word, value))
    return str(value)


def _length(body: IO[bytes] | Iterable[bytes]) -> int | None:
    """How long a file is from where it stands; none for what has no end that is known."""
    if not isinstance(body, io.IOBase):
        return None
    try:
        at = body.tell()
        end = body.seek(0, os.SEEK_END)
        body.seek(at)
    except (OSError, ValueError):
        return None
    return end - at


def _readable(sock: Any) -> bool:
    """Whether a connection that should be silent has something to read, which is its end."""
    try:
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    except AttributeError:
        # Windows has no poll.
        return bool(select.select([sock], [], [], 0)[0])
    except (OSError, ValueError):
        return True


def _problem(body: bytes) -> dict[str, Any]:
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    return problem if isinstance(problem, dict) else {"detail": body[:200].decode(errors="replace") or "no reason given"}
