"""Kills the real server at random moments while it observes, and counts what it lost.

usage: crash.py BINARY [KILLS] [--postgres] [--replicas] [--consolidate]

Three writers observe single rows and NDJSON bodies, each call under an `Idempotency-Key`, and repeat a
call under its key until it is acknowledged. The server gets SIGKILL at random moments and starts
again on the same data. Checked after every start: no acknowledged row is missing and none counts twice.
Checked at the end: every row was learned exactly once, and a fresh server that is given the records of
the log in their order has the same state, figure for figure, and gives the same answers.

--postgres keeps the data in a private Postgres server. --replicas lets two servers on it observe and kills
either; at the end both agree within a second. --consolidate lets consolidations and snapshots run
between the kills, which compact the log: then the rows are counted, and there is nothing to replay.
"""

import http.client
import json
import random
import sqlite3
import subprocess
import sys
import threading
import time

from server import Client, Postgres, Refused, Server

MODEL = "/api/v1/models/s"
EMPTY = {"family": "hybrid", "target": "label", "features": {"x": "number", "id": "number"}}


def row(number, chance):
    x = chance.gauss(1.0 if number % 2 else -1.0, 1.0)
    return json.dumps({"x": x, "id": number, "label": "odd" if number % 2 else "even"})


class Writer(threading.Thread):
    """Observes under keys until stopped; every call ends acknowledged."""

    def __init__(self, number, ports, largest):
        super().__init__(daemon=True)
        self.number, self.chance, self.ports, self.largest = number, random.Random(number), ports, largest
        self.sent, self.acknowledged, self.calls, self.refused = 0, 0, 0, None
        self.stop = threading.Event()

    def run(self):
        while not self.stop.is_set():
            many = self.chance.random() < 0.2
            count = self.chance.randrange(1, self.largest) if many else 1
            numbers = [self.number * 10_000_000 + self.sent + i for i in range(count)]
            rows = [row(n, self.chance) for n in numbers]
            body = "\n".join(rows) if many else '{"rows":[' + ",".join(rows) + "]}"
            self.sent += count
            self.until_acknowledged(body.encode(), "ndjson" if many else "json", count)
            self.acknowledged += count
            self.calls += 1

    def until_acknowledged(self, body, kind, count):
        headers = {"idempotency-key": f"{self.number}-{self.calls}"}
        while True:
            port = self.chance.choice(self.ports)
            try:
                answer = Client(port).call("POST", f"{MODEL}/observe", body, kind, headers)
                assert answer["observed"] == count, answer
                return
            except (OSError, http.client.HTTPException):
                time.sleep(0.003)
            except Refused as error:
                # 503 while it starts or ends is no loss; anything else is.
                if " 503 " not in str(error):
                    self.refused = error
                    return
                time.sleep(0.003)


def state(client):
    figures = client.call("GET", f"{MODEL}/stream")
    for changing in ("version", "model"):
        figures.pop(changing)
    probes = [{"x": x / 10, "id": x * 1000} for x in range(-30, 31)]
    answers = client.call("POST", f"{MODEL}/predict", {"rows": probes})["predictions"]
    for answer in answers:
        answer.pop("prediction_id", None)
    memory = client.call("GET", f"{MODEL}/memory?limit=1000")["items"]
    return {"figures": figures, "answers": answers, "memory": memory}


def records(folder, url):
    """The log as it lies: (rows as lines, number of rows), in order."""
    if url is None:
        read = sqlite3.connect(f"file:{folder}/kenyon.db?mode=ro", uri=True)
        return [bytes(p) for (p,) in read.execute("SELECT payload FROM observations WHERE kind = 'rows' ORDER BY seq")]
    query = "SELECT encode(payload, 'hex') FROM observations WHERE kind = 'rows' ORDER BY seq"
    out = subprocess.run(["psql", url, "-At", "-c", query], capture_output=True, text=True, check=True).stdout
    return [bytes.fromhex(line) for line in out.split()]


def main():
    flags = [a for a in sys.argv[1:] if a.startswith("--")]
    words = [a for a in sys.argv[1:] if not a.startswith("--")]
    binary, kills = words[0], int(words[1]) if len(words) > 1 else 1000
    postgres = Postgres() if "--postgres" in flags or "--replicas" in flags else None
    consolidate = "--consolidate" in flags
    arguments = ["--workers", "1" if consolidate else "0"]
    if postgres:
        arguments += ["--database-url", postgres.url]
    servers = [Server(binary, *arguments)]
    if "--replicas" in flags:
        objects = ["--objects", f"file://{servers[0].folder}/objects"]
        servers[0].remove()
        servers = [Server(binary, *arguments, *objects, folder=servers[0].folder), Server(binary, *arguments, *objects)]
    client = Client(servers[0].port)
    client.call("PUT", MODEL, EMPTY)
    # Below 50,000 rows in all the log is whole, so that it can be replayed; a single call is one record.
    largest = 400 if consolidate else max(3, min(60, 60_000 // kills))
    writers = [Writer(i, [s.port for s in servers], largest) for i in range(3)]
    [w.start() for w in writers]
    chance, started = random.Random(7), time.time()
    for kill in range(kills):
        time.sleep(chance.random() * 0.06)
        server = chance.choice(servers)
        known = sum(w.acknowledged for w in writers)
        server.kill()
        server.start()
        if len(servers) == 1:
            observed = Client(server.port).call("GET", f"{MODEL}/stream")["observed"]
            sent = sum(w.sent for w in writers)
            assert known <= observed <= sent, f"kill {kill}: {known} acknowledged, {observed} learned, {sent} sent"
        for w in writers:
            assert w.refused is None, w.refused
        if kill % 100 == 99:
            print(f"{kill + 1} kills, {known} rows acknowledged, {time.time() - started:.0f} s", flush=True)
    for w in writers:
        w.stop.set()
    [w.join() for w in writers]
    assert all(w.refused is None for w in writers)
    settled, acknowledged = time.time(), sum(w.acknowledged for w in writers)
    clients = [Client(s.port) for s in servers]
    states = [state(c) for c in clients]
    while any(s != states[0] for s in states) and time.time() - settled < 10:
        states = [state(c) for c in clients]
    agreed = time.time() - settled
    for s in states:
        assert s["figures"]["observed"] == acknowledged, (s["figures"]["observed"], acknowledged)
    assert all(s == states[0] for s in states), "the replicas disagree"
    calls = sum(w.calls for w in writers)
    print(f"{kills} kills, {calls} calls, {acknowledged} rows acknowledged, {acknowledged} learned, 0 lost, 0 twice")
    if len(servers) > 1:
        print(f"both replicas agree {agreed:.2f} s after the last row")
    if consolidate:
        print(f"consolidations: {len(states[0]['figures']['consolidations'])}, version {clients[0].call('GET', MODEL)['version']}")
    else:
        log = records(servers[0].folder, postgres and postgres.url)
        ids = [json.loads(line)["id"] for payload in log for line in payload.splitlines() if line.strip()]
        wanted = sorted(w.number * 10_000_000 + i for w in writers for i in range(w.sent))
        assert sorted(ids) == wanted, "the log does not hold every row once"
        fresh = Server(binary, "--workers", "0")
        replay = Client(fresh.port)
        replay.call("PUT", MODEL, EMPTY)
        for payload in log:
            replay.call("POST", f"{MODEL}/observe", payload, "ndjson")
        again = state(replay)
        for part in again:
            assert again[part] == states[0][part], f"{part} differ from a replay"
        print(f"{len(log)} records replayed from scratch on a fresh server: same figures, memory and answers")
        fresh.remove()
    [s.remove() for s in servers]
    if postgres:
        postgres.stop()


main()
