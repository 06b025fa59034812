"""A Kenyon server (and a private Postgres) for the programs in this folder. Standard library only."""

import atexit
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

KINDS = {"csv": "text/csv", "json": "application/json", "ndjson": "application/x-ndjson"}


class Refused(Exception):
    """An answer that is not 2xx."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def status(pid, name):
    """A figure of /proc/PID/status in MiB; 0 where the process is gone."""
    try:
        with open(f"/proc/{pid}/status") as file:
            found = re.search(rf"^{name}:\s+(\d+)", file.read(), re.M)
    except OSError:
        return 0
    return int(found.group(1)) / 1024 if found else 0


def children(pid):
    """The processes that a process has started."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[1] == str(pid):
                    found.append(entry)
        except OSError:
            pass
    return found


class Server:
    """The real binary on a data folder of its own, which outlives kills."""

    def __init__(self, binary, *arguments, folder=None, port=None):
        self.binary, self.arguments, self.port = binary, arguments, port or free_port()
        self.folder = folder or tempfile.mkdtemp(prefix="kenyon-")
        self.process = None
        atexit.register(self.remove)
        self.start()

    def start(self):
        command = [self.binary, "serve", "--listen", f"127.0.0.1:{self.port}", "--grpc-listen", "off"]
        command += ["--data-dir", self.folder, "--log", "error", *self.arguments]
        self.process = subprocess.Popen(command)
        client = Client(self.port)
        deadline = time.time() + 60
        while time.time() < deadline:
            try:
                return client.call("GET", "/readyz")
            except (OSError, http.client.HTTPException, Refused):
                time.sleep(0.002)
        raise SystemExit("the server did not become ready")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def remove(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.remove)

    def resident(self):
        """Bytes of memory."""
        with open(f"/proc/{self.process.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def disk(self):
        """Bytes below the data folder."""
        return sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(self.folder) for f in fs)

    def cpu(self):
        """CPU seconds so far."""
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Client:
    """One connection that is kept; a call on a broken one raises."""

    def __init__(self, port):
        self.port, self.connection = port, None

    def call(self, method, path, body=None, kind="json", headers=None):
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        text = self.raw(method, path, body, {"content-type": KINDS[kind], **(headers or {})})
        return json.loads(text) if text else None

    def raw(self, method, path, body=None, headers=None):
        """The bytes of an answer."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
            self.connection.connect()
            self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.connection.request(method, path, body, headers or {})
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection = None
            raise
        if not 200 <= answer.status < 300:
            raise Refused(f"{method} {path}: {answer.status} {text[:500]!r}")
        return text


class Postgres:
    """A private server in a temporary folder, never as root; it ends with this program."""

    def __init__(self):
        versions = "/usr/lib/postgresql"
        found = [f"{versions}/{v}/bin" for v in sorted(os.listdir(versions), key=float)] if os.path.isdir(versions) else []
        folder = os.environ.get("KENYON_POSTGRES_BIN") or (found or [os.path.dirname(shutil.which("initdb") or "")])[-1]
        self.port = free_port()
        script = f"""d=$(mktemp -d) && {folder}/initdb -D $d/data -U kenyon -A trust -E UTF8 --locale=C >$d/log 2>&1 &&
            {{ {folder}/postgres -D $d/data -p {self.port} -h 127.0.0.1 -k $d >>$d/log 2>&1 & }}
            p=$!; cat >/dev/null; kill -INT $p; wait $p; rm -rf $d"""
        command = ["sh", "-c", script] if os.getuid() else ["runuser", "-u", "postgres", "--", "sh", "-c", script]
        self.watch = subprocess.Popen(command, stdin=subprocess.PIPE, cwd="/")
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                time.sleep(0.5)
                break
            except OSError:
                time.sleep(0.05)
        self.url = f"postgres://kenyon@127.0.0.1:{self.port}/postgres"

    def stop(self):
        self.watch.stdin.close()
        self.watch.wait()
