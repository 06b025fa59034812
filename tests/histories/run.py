"""Many clients call Kenyon while its processes are killed, paused and cut off; then everything that was acknowledged is looked for.

usage: python3 tests/histories/run.py BINARY [--seconds 60] [--seed 1] [--clients 6] [--postgres] [--plant FAULT]

With --postgres two servers and two workers share a Postgres of the run's own, each by a connection that can be cut; without, one
server has SQLite. --plant puts a fault between clients and server; the run then fails unless the checks find it. The
same seed makes the same choices; when calls end depends on the machine.
"""

import argparse
import glob
import json
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time

from check import violations
from clients import FAULTS, Client, History
from servers import Line, Postgres, Process

# A snapshot deletes the log before it, so each record is kept in the transaction that writes it.
ARCHIVE = "CREATE TABLE archived AS SELECT * FROM observations WHERE false;"
ARCHIVE_SQLITE = ARCHIVE + """CREATE TRIGGER archive AFTER INSERT ON observations BEGIN
    INSERT INTO archived VALUES (NEW.model_id, NEW.seq, NEW.row_count, NEW.kind, NEW.payload, NEW.created_at, NEW.key_id); END;"""
ARCHIVE_POSTGRES = ARCHIVE + """CREATE FUNCTION archive() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO archived SELECT NEW.*; RETURN NEW; END$$;
    CREATE TRIGGER archive AFTER INSERT ON observations FOR EACH ROW EXECUTE FUNCTION archive();"""
PROBES = {"rows": [{"id": i, "x": i % 7} for i in range(0, 200, 11)]}


class Run:
    def __init__(self, binary, options):
        self.binary, self.options, self.random = binary, options, random.Random(options.seed)
        self.folder = tempfile.mkdtemp(prefix="kenyon-histories-")
        self.history = History(open(f"{self.folder}/history.ndjson", "w"))
        self.faults = {"kill": 0, "pause": 0, "cut": 0, "lose": 0, "stop": 0}
        self.lines, self.postgres, self.error = [], None, None
        if options.postgres:
            self.postgres = Postgres(sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1])
            names = [("serve-a", True), ("serve-b", True), ("worker-a", False), ("worker-b", False)]
            self.processes = [self.on_postgres(*name) for name in names]
        else:
            self.processes = [Process(binary, self.folder, "serve", ["--workers", "1", "--job-threads", "1"])]
        self.servers = [process for process in self.processes if process.serves]

    def on_postgres(self, name, serves):
        line = Line(self.postgres.port)
        self.lines.append(line)
        workers = "0" if serves else "1"
        arguments = ["--database-url", f"postgres://kenyon@127.0.0.1:{line.port}/kenyon", "--objects", f"file://{self.folder}/objects",
                     "--workers", workers, "--job-threads", "1"]
        process = Process(self.binary, self.folder, name, arguments, serves)
        process.line = line
        return process

    def trouble(self, until):
        """One fault after the other, on a process by chance; what goes wrong meanwhile is for the main thread."""
        try:
            self.faults_until(until)
        except Exception as error:  # noqa: BLE001
            self.error = error

    def faults_until(self, until):
        while time.monotonic() < until:
            time.sleep(self.random.uniform(0.3, 2.0))
            process = self.random.choice(self.processes)
            kinds = ["kill", "kill", "pause", "stop"] + (["cut", "cut", "lose"] if self.postgres else [])
            kind = self.random.choice(kinds)
            self.faults[kind] += 1
            if kind == "kill":
                process.kill()
                time.sleep(self.random.uniform(0, 0.5))
                process.start()
            elif kind == "pause":
                process.pause()
                time.sleep(self.random.uniform(0.1, 4.0))
                process.go_on()
            elif kind == "cut":
                process.line.set_cut(True)
                time.sleep(self.random.uniform(0.1, 5.0))
                process.line.set_cut(False)
            elif kind == "lose":
                process.line.lose()
            else:
                code = process.stop()
                assert code in (0, -9), f"{process.name} ended with {code}"
                process.start()

    # -- what is there at the end

    def archive(self):
        if self.postgres:
            self.postgres.rows(ARCHIVE_POSTGRES)
        else:
            with sqlite3.connect(f"{self.folder}/kenyon.db", timeout=30) as database:
                database.executescript(ARCHIVE_SQLITE)

    def query(self, text):
        if self.postgres:
            return self.postgres.rows(text)
        with sqlite3.connect(f"{self.folder}/kenyon.db", timeout=30) as database:
            return [[column if isinstance(column, str) else str(column) for column in row] for row in database.execute(text)]

    def logged(self):
        hexed = "encode(o.payload, 'hex')" if self.postgres else "hex(o.payload)"
        rows = self.query(f"SELECT m.name, {hexed} FROM archived o JOIN models m ON m.id = o.model_id WHERE o.kind = 'rows' ORDER BY o.seq")
        log = {client.stream: [] for client in self.clients}
        for name, payload in rows:
            log[name] += [json.loads(line)["id"] for line in bytes.fromhex(payload).decode().splitlines() if line]
        return log

    def asked(self, server):
        """Streams and predictions of a server."""
        ask = lambda method, path, body=None: self.clients[0].send(server, method, path, body, timeout=60)
        streams, predictions = {}, {}
        for client in self.clients:
            _, stream = ask("GET", f"/api/v1/models/{client.stream}/stream")
            streams[client.stream] = {key: stream[key] for key in ("observed", "prequential", "drift", "classes", "memory") if key in stream}
            _, answer = ask("POST", f"/api/v1/models/{client.stream}/predict", PROBES)
            predictions[client.stream] = [{k: v for k, v in p.items() if k != "prediction_id"} for p in answer["predictions"]]
        return streams, predictions

    def items(self, path):
        items, cursor = [], ""
        while cursor is not None:
            status, page = self.clients[0].send(self.servers[0], "GET", f"{path}{'&' if '?' in path else '?'}limit=100{cursor}", timeout=60)
            assert status == 200, page
            items += page["items"]
            cursor = f"&cursor={page['next_cursor']}" if page.get("next_cursor") else None
        return items

    def settled(self):
        """Waits until every job has ended and every server has applied the whole log."""
        end = time.monotonic() + 300
        while True:
            waiting = [job for job in self.items("/api/v1/jobs") if job["status"] in ("queued", "running")]
            counts = [self.asked(server)[0] for server in self.servers]
            if not waiting and all(count == counts[0] for count in counts):
                return
            assert time.monotonic() < end, f"not at rest after 300 s: {len(waiting)} jobs, rows {counts}"
            time.sleep(0.5)

    def state(self):
        state = {"streams": {}, "predictions": {}, "rows": {}}
        self.settled()
        for server in self.servers:
            state["streams"][server.name], state["predictions"][server.name] = self.asked(server)
        state["jobs"] = {job["id"]: job for job in self.items("/api/v1/jobs") if job["kind"] == "train"}
        state["keys"] = [key["id"] for key in self.items("/api/v1/keys")]
        state["versions"] = {}
        for client in self.clients:
            _, versions = client.send(self.servers[0], "GET", f"/api/v1/models/{client.model}/versions")
            state["versions"][client.model] = [v for v in (versions or {}).get("items", []) if v.get("job_id")]
            rows, offset = [], 0
            while True:
                _, page = client.send(self.servers[0], "GET", f"/api/v1/datasets/{client.data}/rows?offset={offset}&limit=1000")
                page = page["rows"] if "rows" in page else page["items"]
                rows += [int(row["id"]) for row in page]
                offset += len(page)
                if len(page) < 1000:
                    break
            state["rows"][client.data] = [i for i in rows if i >= 0]
        # Killed, so that what follows is replayed from the log.
        for process in self.servers:
            process.kill()
        state["log"] = self.logged()
        for process in self.servers:
            process.start()
            name = f"{process.name} after a replay"
            state["streams"][name], state["predictions"][name] = self.asked(process)
        return state

    def run(self):
        for process in self.processes:
            process.start()
        self.archive()
        options = self.options
        self.clients = [Client(i, self.servers, self.history, options.seed, options.plant) for i in range(options.clients)]
        for client in self.clients:
            client.start()
        until = time.monotonic() + options.seconds
        trouble = threading.Thread(target=self.trouble, args=(until,))
        trouble.start()
        trouble.join()
        assert self.error is None, f"the faults failed: {self.error!r}"
        for client in self.clients:
            client.stopping = True
        for client in self.clients:
            client.join()
            assert client.error is None, f"a client failed: {client.error!r}"
        state = self.state()
        self.history.file.flush()
        with open(f"{self.folder}/state.json", "w") as file:
            json.dump(state, file)
        return violations(self.history.calls, state)

    def end(self):
        for process in self.processes:
            if process.child and process.child.poll() is None:
                process.go_on()
                process.kill()
        for line in self.lines:
            line.close()
        if self.postgres:
            self.postgres.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--plant", choices=FAULTS)
    options = parser.parse_args()
    run = Run(options.binary, options)
    try:
        found = run.run()
    finally:
        run.end()
    calls = run.history.calls
    outcomes = {o: sum(call["outcome"] == o for call in calls) for o in ("ok", "refused", "unknown")}
    rows = sum(len(call["ids"]) for call in calls if call["op"] in ("observe", "append") and call["outcome"] == "ok")
    print(f"{'Postgres' if options.postgres else 'SQLite'}, seed {options.seed}, {options.seconds:.0f} s: {len(calls)} calls {outcomes}, "
          f"{rows} acknowledged rows, faults {run.faults}, planted {options.plant}, violations {len(found)}")
    for one in found[:20]:
        print(" ", one)
    if bool(found) == bool(options.plant):
        shutil.rmtree(run.folder)
    else:
        print(f"history and state: {run.folder}")
        sys.exit(1)


if __name__ == "__main__":
    main()
