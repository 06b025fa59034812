"""The processes under test: Kenyon's servers and workers, Postgres, an object store, a disk, and connections that can be cut."""

import glob
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

# Time by the faked clock is read again from its file this often, in seconds.
CLOCK_CACHE = 1


def free_port():
    """Below those that outgoing connections get: one of these would take it while its process is down."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
            return port
        except OSError:
            continue


class Line:
    """A port that passes connections on to another, until it is cut; while cut, it takes none and drops those it has. A connection
    that is lost stays open and passes nothing on any more, as where a firewall has dropped its state: neither side gets an error. A line that
    is stalled keeps what it gets until it goes on; one with a delay passes each piece on after it."""

    def __init__(self, target):
        self.target, self.cut, self.open, self.lost, self.delay = target, False, set(), set(), 0
        self.flowing = threading.Event()
        self.flowing.set()
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
                self.flowing.wait()
                if self.delay:
                    time.sleep(self.delay)
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

    def set_stalled(self, stalled):
        if stalled:
            self.flowing.clear()
        else:
            self.flowing.set()

    def set_cut(self, cut):
        self.cut = cut
        if cut:
            for one in list(self.open):
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.set_stalled(False)
        self.set_cut(True)
        self.listener.close()


class Packets:
    """The network of this run: its own where root may make one, so that a part of its packets can be lost and no other program's."""

    OWN = "KENYON_HISTORIES_OWN_NETWORK"

    @classmethod
    def enter(cls):
        """Starts this program again in a network of its own, where that is possible."""
        if cls.OWN in os.environ or not shutil.which("iptables"):
            return
        prepare = "ip link set lo up && iptables -I INPUT -p tcp --dport 1 -m statistic --mode random --probability 0.5 -j DROP"
        if subprocess.run(["unshare", "-n", "sh", "-c", prepare], capture_output=True).returncode == 0:
            os.environ[cls.OWN] = "1"
            os.execvp("unshare", ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, *sys.argv])

    @classmethod
    def can_be_lost(cls):
        return cls.OWN in os.environ

    @staticmethod
    def lose(share, ports):
        """Loses this share of the packets to and from the ports; 0 ends it."""
        subprocess.run(["iptables", "-F", "INPUT"], check=True)
        for port in ports if share else []:
            for side in ("--dport", "--sport"):
                rule = ["-A", "INPUT", "-p", "tcp", side, str(port), "-m", "statistic", "--mode", "random", "--probability", str(share)]
                subprocess.run(["iptables", *rule, "-j", "DROP"], check=True)


def clock_library():
    """The library that turns clocks, where there is one."""
    return next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)


class Process:
    """`kenyon serve` or `kenyon worker`, started again at the same port after a kill. `logs` is the folder of its output."""

    def __init__(self, binary, data, logs, name, arguments, serves=True, environment=None):
        self.name, self.serves, self.port = name, serves, free_port()
        self.metrics, self.environment = free_port(), dict(environment or {})
        self.command = [binary, "serve" if serves else "worker", "--data-dir", data, *arguments]
        self.command += ["--metrics-listen", f"127.0.0.1:{self.metrics}", "--grpc-listen", "off", "--checkpoint-seconds", "1"]
        if serves:
            self.command += ["--listen", f"127.0.0.1:{self.port}"]
        self.log = open(f"{logs}/{name}.log", "ab")
        self.child, self.line, self.clock = None, None, f"{logs}/{name}.clock"
        self.set_clock(0)
        if library := clock_library():
            self.environment |= {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": self.clock,
                                 "FAKETIME_CACHE_DURATION": str(CLOCK_CACHE), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def set_clock(self, seconds):
        """Moves the clock by so many seconds from the true time. The file is replaced, so that no reader finds it empty."""
        with open(self.clock + ".new", "w") as file:
            file.write(f"{seconds:+d}")
        os.replace(self.clock + ".new", self.clock)

    def start(self, patience=120):
        """Starts it, and again where it ends by itself because the database is out of reach, as an orchestrator does."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("KENYON_")} | self.environment
        until = time.monotonic() + patience
        while True:
            if self.child is None or self.child.poll() is not None:
                self.forget_clock()
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

    def forget_clock(self):
        """The library leaves shared memory behind when its process is killed."""
        for file in glob.glob(f"/dev/shm/*faketime_*_{self.child.pid}") if self.child else []:
            os.unlink(file)

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

    def end(self):
        if self.child and self.child.poll() is None:
            self.go_on()
            self.kill()
        self.forget_clock()
        self.log.close()


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


class ObjectStore:
    """moto's S3 server with one bucket, behind a line that can be cut."""

    def __init__(self, program):
        port = free_port()
        command = [program, "-H", "127.0.0.1", "-p", str(port)]
        self.child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/kenyon", method="PUT"), timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < until, "the object store does not start"
                time.sleep(0.1)
        self.line = Line(port)

    @staticmethod
    def program():
        """moto's program, where there is one."""
        cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
        named = [os.environ.get("KENYON_TEST_S3"), f"{cache}/kenyon-moto/bin/moto_server", shutil.which("moto_server")]
        return next((name for name in named if name and os.path.exists(name)), None)

    @property
    def environment(self):
        return {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.line.port}", "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

    def stop(self):
        self.line.close()
        self.child.kill()
        self.child.wait()


class SmallDisk:
    """A file system in memory that a file fills; only root may mount one."""

    def __init__(self, megabytes):
        self.folder = tempfile.mkdtemp(prefix="kenyon-histories-disk-")
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", self.folder]
        self.mounted = subprocess.run(mount, stderr=subprocess.DEVNULL).returncode == 0

    def fill(self):
        try:
            with open(f"{self.folder}/ballast", "wb", buffering=0) as file:
                while file.write(bytes(1 << 16)):
                    pass
        except OSError:
            pass

    def empty(self):
        os.unlink(f"{self.folder}/ballast")

    def remove(self):
        if self.mounted:
            subprocess.run(["umount", "-l", self.folder])
        shutil.rmtree(self.folder, ignore_errors=True)
