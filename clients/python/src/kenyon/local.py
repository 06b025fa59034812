"""A Kenyon server as a child process: on a free port, ended with the program that started it."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from .errors import ServerStartError

#: Seconds that a server may take to start, and to end.
START_SECONDS = 60.0
STOP_SECONDS = 20.0

# The shell waits beside the server for the end of a pipe that the parent holds: it ends however the parent ends, by a
# signal, too, which no handler in the parent could do. Signals of a terminal do not reach it, since it has its own session.
_SUPERVISOR = """
remove=$1; shift
exec 3<&0
"$@" 3<&- </dev/null & server=$!
(cat <&3 >/dev/null; kill $server 2>/dev/null) &
wait $server; code=$?
if [ -n "$remove" ]; then rm -rf -- "$remove"; fi
exit $code
"""


def find_binary() -> str:
    """The ``kenyon`` program: ``KENYON_BINARY``, else the one that came with this package, else the first on the path."""
    named = os.environ.get("KENYON_BINARY")
    if named:
        if not os.access(named, os.X_OK):
            raise ServerStartError(f"KENYON_BINARY names {named}, which is no program")
        return named
    for folder in (sysconfig.get_path("scripts"), sysconfig.get_path("scripts", _user_scheme()), Path(sys.executable).parent):
        beside = Path(folder) / "kenyon"
        if os.access(beside, os.X_OK):
            return str(beside)
    found = shutil.which("kenyon")
    if found is None:
        raise ServerStartError("there is no kenyon program: install the kenyon wheel, or name one in KENYON_BINARY")
    return found


def _user_scheme() -> str:
    return sysconfig.get_preferred_scheme("user")


class LocalServer:
    """A server of this program's own. Nobody else is served: it listens on the loopback address.

    Args:
        data_dir: Folder that it keeps its data in; without one a temporary folder, which is removed in the end.
        binary: The program; see :func:`find_binary`.
        settings: Settings of ``kenyon serve`` by name, such as ``{"workers": 2}``.

    May be used as a context manager. :meth:`shared` is the usual way to get one.
    """

    _shared: dict[str, LocalServer] = {}
    _lock = threading.Lock()

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        binary: str | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        program = binary or find_binary()
        self._temporary = tempfile.mkdtemp(prefix="kenyon-") if data_dir is None else ""
        self.data_dir = Path(self._temporary or os.fspath(data_dir or "")).absolute()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.log = self.data_dir / "server.log"
        command = [program, "serve", "--listen", "127.0.0.1:0", "--grpc-listen", "off", "--data-dir", str(self.data_dir)]
        for name, value in (settings or {}).items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        # What the environment has for another server is not meant for this one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KENYON_")}
        environment.update(KENYON_LOG="info", KENYON_LOG_FORMAT="json")
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _SUPERVISOR, "kenyon", self._temporary, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.data_dir,
                env=environment,
                start_new_session=True,
            )
        self._owner = os.getpid()
        atexit.register(self.stop)
        try:
            self.url = f"http://{self._address()}"
        except BaseException:
            self.stop()
            raise

    @classmethod
    def shared(cls, data_dir: str | os.PathLike[str] | None = None) -> LocalServer:
        """The running server of this folder, or a new one; without a folder one temporary server for the whole program."""
        key = "" if data_dir is None else str(Path(data_dir).absolute())
        with cls._lock:
            server = cls._shared.get(key)
            if server is None or not server.alive():
                server = cls._shared[key] = cls(data_dir)
            return server

    def alive(self) -> bool:
        """Whether the server has not ended."""
        if os.getpid() != self._owner:
            # A fork is no parent, and cannot wait for it.
            with contextlib.suppress(OSError):
                os.kill(self._process.pid, 0)
                return True
            return False
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends the server, and removes its folder if that is temporary. Running jobs go on at the next start in the folder."""
        if os.getpid() != self._owner:
            return
        atexit.unregister(self.stop)
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _address(self) -> str:
        """The address that the server's log names; whatever port was free."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            ended = not self.alive()
            for line in self.log.read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    if isinstance(entry, dict) and "address" in entry and "serves" in str(entry.get("message")):
                        return str(entry["address"])
            if ended:
                break
            time.sleep(0.01)
        last = self.log.read_text(errors="replace").strip().splitlines()[-5:] if self.log.exists() else []
        raise ServerStartError("the embedded server did not start: " + ("\n".join(last) or "it printed nothing"))

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
