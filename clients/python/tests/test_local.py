"""The embedded server: it starts anywhere, keeps its folder, and never outlives its program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kenyon import Client, LocalServer
from kenyon.errors import ServerStartError


def answers(url: str) -> bool:
    try:
        Client(url, timeout=2).api.livez()
    except ConnectionError:
        return False
    return True


def gone(url: str, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not answers(url):
            return True
        time.sleep(0.05)
    return False


def test_a_folder_is_kept_and_a_temporary_one_is_not(tmp_path: Path) -> None:
    with LocalServer(tmp_path / "data") as server:
        Client(server.url).upload("d", [{"a": 1}, {"a": 2}])
        assert LocalServer.shared(tmp_path / "other") is LocalServer.shared(tmp_path / "other")
        LocalServer.shared(tmp_path / "other").stop()
    assert not server.alive() and gone(server.url)
    with LocalServer(tmp_path / "data") as server:
        assert Client(server.url).dataset("d")["rows"] == 2
    with LocalServer() as temporary:
        assert temporary.data_dir.exists()
    assert not temporary.data_dir.exists()


def test_it_does_not_outlive_a_program_that_is_killed() -> None:
    code = "import kenyon, time; s = kenyon.LocalServer(); print(s.url, s.data_dir, flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    url, folder = child.stdout.readline().split()
    assert answers(url)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert gone(url)
    end = time.monotonic() + 10
    while os.path.exists(folder) and time.monotonic() < end:
        time.sleep(0.05)
    assert not os.path.exists(folder)


def test_it_ends_with_its_program() -> None:
    code = "import kenyon; print(kenyon.Client.local().url)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert gone(run.stdout.strip())


FORK = """
import os, kenyon
client = kenyon.Client.local()
server = kenyon.LocalServer.shared()
client.models()
child = os.fork()
if child == 0:
    server.stop()
    os._exit(0 if client.models() == [] and server.alive() else 1)
status = os.waitpid(child, 0)[1]
print(status, client.models() == [], server.alive())
"""


def test_a_fork_uses_the_server_and_does_not_end_it() -> None:
    run = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["0", "True", "True"]


def test_a_server_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServerStartError, match="--workers"):
        LocalServer(tmp_path, settings={"workers": "many"})
    monkeypatch.setenv("KENYON_BINARY", str(tmp_path / "nothing"))
    with pytest.raises(ServerStartError, match="no program"):
        LocalServer(tmp_path)
