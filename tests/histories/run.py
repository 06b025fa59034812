"""Many clients call Kenyon while its processes are killed, paused and cut off; then everything that was acknowledged is searched.

usage: python3 tests/histories/run.py BINARY [--seconds 60] [--seed 1] [--clients 6] [--postgres] [--plant FAULT]
                                      [--without KIND] [--total-seconds S] [--summary FILE]

With --postgres two servers and two workers share a Postgres of the run's own, each by a connection that can be cut, and an object
store; without, one server has SQLite and, where this is run by root, a small disk. Where root runs it, it has a network of its own, in which
packets are lost. --plant puts a fault between clients and server; the run then fails unless the checks find it. With --total-seconds one seed
after the other runs until so much time has been spent under faults. Each run prints a line of JSON at its end, which is appended to the file
of --summary. The same seed makes the same choices; when calls end depends on the machine.
"""

import argparse
import glob
import json
import random
import shutil
import sqlite3
import sys
import tempfile
import time

from check import violations
from clients import FAULTS, Client, History
from faults import PARTITIONS, Faults
from final import ARCHIVE_POSTGRES, ARCHIVE_SQLITE, Final
from servers import Line, ObjectStore, Packets, Postgres, Process, SmallDisk

DISK_MEGABYTES = 192


class Run:
    def __init__(self, binary, options, seed):
        self.binary, self.options, self.seed, self.random = binary, options, seed, random.Random(seed)
        self.folder = self.data = tempfile.mkdtemp(prefix="kenyon-histories-")
        self.history = History(open(f"{self.folder}/history.ndjson", "w"))
        self.lines, self.postgres, self.store, self.disk, self.faults = [], None, None, None, None
        self.processes, self.clients = [], []

    def prepare(self):
        if self.options.postgres:
            self.postgres = Postgres(sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1])
            if program := ObjectStore.program():
                self.store = ObjectStore(program)
            names = [("serve-a", True), ("serve-b", True), ("worker-a", False), ("worker-b", False)]
            self.processes = [self.on_postgres(*name) for name in names]
        else:
            disk = SmallDisk(DISK_MEGABYTES)
            if disk.mounted:
                self.disk, self.data = disk, f"{disk.folder}/data"
            else:
                disk.remove()
            self.processes = [Process(self.binary, self.data, self.folder, "serve", ["--workers", "1", "--job-threads", "1"])]
        self.servers = [process for process in self.processes if process.serves]

    def on_postgres(self, name, serves):
        line = Line(self.postgres.port)
        self.lines.append(line)
        objects, environment = ("s3://kenyon/h", self.store.environment) if self.store else (f"file://{self.folder}/objects", {})
        # Each has a folder of its own, as on machines of their own.
        arguments = ["--database-url", f"postgres://kenyon@127.0.0.1:{line.port}/kenyon", "--objects", objects,
                     "--workers", "0" if serves else "1", "--job-threads", "1"]
        process = Process(self.binary, f"{self.folder}/{name}", self.folder, name, arguments, serves, environment)
        process.line = line
        return process

    def archive(self):
        if self.postgres:
            self.postgres.rows(ARCHIVE_POSTGRES)
        else:
            with sqlite3.connect(f"{self.data}/kenyon.db", timeout=30) as database:
                database.executescript(ARCHIVE_SQLITE)

    def run(self):
        self.prepare()
        for process in self.processes:
            process.start()
        self.archive()
        self.clients = [Client(i, self.servers, self.history, self.seed, self.options.plant) for i in range(self.options.clients)]
        for client in self.clients:
            client.start()
        self.faults = Faults(self, time.monotonic() + self.options.seconds)
        self.faults.start()
        self.faults.join()
        assert self.faults.error is None, f"the faults failed: {self.faults.error!r}"
        for client in self.clients:
            client.stopping = True
        for client in self.clients:
            client.join()
            assert client.error is None, f"a client failed: {client.error!r}"
        state = Final(self).state()
        state["faults"] = self.faults.seen
        self.history.file.flush()
        with open(f"{self.folder}/state.json", "w") as file:
            json.dump(state, file)
        return self.summary(violations(self.history.calls, state), state)

    def summary(self, found, state):
        calls, faults = self.history.calls, self.faults.counts()
        rows = sum(len(call["ids"]) for call in calls if call["op"] in ("observe", "append", "feedback") and call["outcome"] == "ok")
        return {
            "database": "Postgres" if self.postgres else "SQLite", "seed": self.seed, "seconds": self.options.seconds,
            "planted": self.options.plant, "calls": len(calls), "rows": rows,
            "outcomes": {o: sum(call["outcome"] == o for call in calls) for o in ("ok", "refused", "unknown")},
            "faults": faults, "kills": faults.get("kill", 0), "partitions": sum(faults.get(kind, 0) for kind in PARTITIONS),
            "learned_anew": len(state["anew"]), "violations": found,
        }

    def end(self):
        for process in self.processes:
            process.end()
        for line in self.lines:
            line.close()
        for part in (self.store, self.postgres):
            if part:
                part.stop()
        if self.disk:
            self.disk.remove()
        self.history.file.close()


def one(options, seed):
    """A run; whether it went as it should."""
    run = Run(options.binary, options, seed)
    try:
        summary = run.run()
    finally:
        run.end()
    line = json.dumps(summary | {"violations": len(summary["violations"])})
    for violation in summary["violations"][:20]:
        print(" ", violation)
    print(line, flush=True)
    if options.summary:
        with open(options.summary, "a") as file:
            file.write(line + "\n")
    good = bool(summary["violations"]) == bool(options.plant)
    if good:
        shutil.rmtree(run.folder)
    else:
        print(f"history and state: {run.folder}", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--plant", choices=FAULTS)
    parser.add_argument("--without", action="append", default=[], metavar="KIND", help="a kind of fault that is left out")
    parser.add_argument("--total-seconds", type=float, default=0)
    parser.add_argument("--summary")
    options = parser.parse_args()
    Packets.enter()
    seeds = max(1, -int(-options.total_seconds // options.seconds))
    good = [one(options, options.seed + i) for i in range(seeds)]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
