"""The processes under test: Kenyon's servers and workers, Postgres, and connections that can be cut."""

import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Line:
    """A port that passes connections on to another, until it is cut; while cut, it takes none and drops those it has. A connection
    that is lost stays open and passes nothing on any more, as where a firewall has forgotten it: neither side is told."""

    def __init__(self, target):
        self.target, self.cut, self.open, self.lost = target, False, set(), set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                if self.cut:
                    raise OSError("cut")
                far = socket.create_connection(("127.0.0.1", self.target), timeout=5)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            self.open |= {near, far}
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one, other):
        try:
            while data := one.recv(65536):
                if self.cut:
                    break
                if one not in self.lost:
                    other.sendall(data)
        except OSError:
            pass
        if one in self.lost and not self.cut:
            one.close()
            return
        for side in (one, other):
            self.open.discard(side)
            # Closing alone would not wake the thread that reads from it, and the other end would learn nothing.
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            side.close()

    def lose(self):
        self.lost |= self.open

    def set_cut(self, cut):
        self.cut = cut
        if cut:
            for one in list(self.open):
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.set_cut(True)
        self.listener.close()


class Process:
    """`kenyon serve` or `kenyon worker`, started again at the same port after a kill."""

    def __init__(self, binary, folder, name, arguments, serves=True):
        self.name, self.serves, self.port = name, serves, free_port()
        self.metrics = free_port()
        self.command = [binary, "serve" if serves else "worker", "--data-dir", folder, *arguments]
        self.command += ["--metrics-listen", f"127.0.0.1:{self.metrics}", "--grpc-listen", "off", "--checkpoint-seconds", "1"]
        if serves:
            self.command += ["--listen", f"127.0.0.1:{self.port}"]
        self.log = open(f"{folder}/{name}.log", "ab")
        self.child = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, patience=60):
        """Starts it, and again where it ends by itself because the database is out of reach, as an orchestrator does."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("KENYON_")}
        until = time.monotonic() + patience
        while True:
            if self.child is None or self.child.poll() is not None:
                self.child = subprocess.Popen(self.command, env=environment, stderr=self.log, stdout=self.log)
            if self.ready():
                return
            assert time.monotonic() < until, f"{self.name} is not ready after {patience} s: see {self.log.name}"
            time.sleep(0.1)

    def ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/readyz", timeout=3) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self):
        self.child.kill()
        self.child.wait()

    def pause(self):
        self.child.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.child.send_signal(signal.SIGCONT)

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(40)
        except subprocess.TimeoutExpired:
            self.kill()
            return -9


class Postgres:
    """A database server of its own, without the durability that only a power cut needs."""

    def __init__(self, programs):
        self.programs, self.port = programs, free_port()
        self.folder = tempfile.mkdtemp(prefix="kenyon-histories-pg-")
        subprocess.run(["chown", "postgres", self.folder], check=True)
        self._as_postgres("initdb", "-A", "trust", "-U", "kenyon", "-D", f"{self.folder}/data")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder} -c fsync=off -c max_connections=200"
        self._as_postgres("pg_ctl", "-w", "-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-o", options, "start")
        self._as_postgres("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "kenyon", "kenyon")

    def _as_postgres(self, program, *arguments):
        command = ["runuser", "-u", "postgres", "--", f"{self.programs}/{program}", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    def rows(self, query):
        """Answer of a query, as lines of tab-separated text."""
        command = [f"{self.programs}/psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "kenyon", "-At", "-F", "\t",
                   "-c", query, "kenyon"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return [line.split("\t") for line in done.stdout.splitlines()]

    def stop(self):
        self._as_postgres("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "stop")
        subprocess.run(["rm", "-rf", self.folder])
