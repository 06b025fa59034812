"""Latency of predictions while something is away: two servers and two workers on Postgres and an object store, one fault after the other.

    python3 benches/outages.py BINARY [--seconds 60] [--clients 4]

Needs Postgres's programs and root. Each client sends to one server, and to the other where a connection breaks, as a proxy does; every answer is compared
with the one from before the faults. Prints a line a phase: predictions, median, p99, longest, refused by status, connections that broke, wrong answers.
"""

import argparse
import glob
import http.client
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "histories"))
from servers import Line, ObjectStore, Postgres, Process  # noqa: E402

ROWS = [{"x": x} for x in range(40)]


def csv(rows):
    return "x,label\n" + "".join(f"{i % 40},{'a' if i % 40 < 20 else 'b'}\n" for i in range(rows))


def call(port, method, path, body=None, kind="application/json", timeout=60):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.request(method, path, body, {"content-type": kind})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read() or b"null")


class Client(threading.Thread):
    """Sends the next request as soon as one is answered, until it is stopped."""

    def __init__(self, ports, expected, seed):
        super().__init__(daemon=True)
        self.ports, self.expected, self.random, self.stopping = ports, expected, random.Random(seed), False
        self.times, self.statuses, self.broken, self.wrong, self.connection = [], Counter(), 0, 0, None

    def run(self):
        while not self.stopping:
            row = self.random.randrange(len(ROWS))
            begun = time.monotonic()
            while not self.stopping and not self.predict(row):
                self.broken += 1
                self.ports.reverse()
            self.times.append(time.monotonic() - begun)
            time.sleep(0.005)

    def predict(self, row):
        try:
            self.connection = self.connection or http.client.HTTPConnection("127.0.0.1", self.ports[0], timeout=10)
            body = json.dumps({"rows": [ROWS[row]]})
            self.connection.request("POST", "/api/v1/models/m/predict", body, {"content-type": "application/json"})
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self.connection = None
            return False
        self.statuses[answer.status] += 1
        if answer.status == 200:
            self.wrong += json.loads(text)["predictions"][0]["label"] != self.expected[row]
        return True


class Servers:
    def __init__(self, binary):
        self.folder, self.lines = tempfile.mkdtemp(prefix="kenyon-outages-"), []
        self.postgres = Postgres(sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1])
        self.store = ObjectStore(ObjectStore.program())
        names = [("serve-a", True), ("serve-b", True), ("worker-a", False), ("worker-b", False)]
        self.processes = [self.start(binary, *name) for name in names]
        self.ports = [process.port for process in self.processes if process.serves]

    def start(self, binary, name, serves):
        line = Line(self.postgres.port)
        self.lines.append(line)
        arguments = ["--database-url", f"postgres://kenyon@127.0.0.1:{line.port}/kenyon", "--objects", "s3://kenyon/o",
                     "--workers", "0" if serves else "1", "--job-threads", "1", "--train-memory", "80000000"]
        process = Process(binary, f"{self.folder}/{name}", self.folder, name, arguments, serves, self.store.environment)
        process.start()
        return process

    def train(self, model, **config):
        body = {"dataset": "d", "target": "label", "family": "sparse_mlp", "config": config}
        status, job = call(self.ports[0], "POST", f"/api/v1/models/{model}/train", json.dumps(body))
        assert status < 300, job
        return job["id"]

    def ended(self, job):
        while (found := call(self.ports[0], "GET", f"/api/v1/jobs/{job}")[1])["status"] in ("queued", "running"):
            time.sleep(0.2)
        return found

    def end(self):
        for process in self.processes:
            process.end()
        for line in self.lines:
            line.close()
        self.store.stop()
        self.postgres.stop()


def phase(what, servers, expected, count, fault):
    clients = [Client(servers.ports[i % 2:] + servers.ports[: i % 2], expected, i) for i in range(count)]
    for client in clients:
        client.start()
    fault()
    for client in clients:
        client.stopping = True
    for client in clients:
        client.join()
    times = sorted(t for client in clients for t in client.times)
    at = lambda share: times[min(int(len(times) * share), len(times) - 1)] * 1e3  # noqa: E731
    refused = sum((client.statuses for client in clients), Counter())
    refused.pop(200, None)
    print(f"{what}: {len(times)} predictions, p50 {at(0.5):.1f}, p99 {at(0.99):.1f}, longest {at(1):.0f} ms; refused {dict(refused)}, "
          f"connections broken {sum(c.broken for c in clients)}, wrong {sum(c.wrong for c in clients)}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=4)
    at = parser.parse_args()
    servers = Servers(at.binary)
    try:
        call(servers.ports[0], "PUT", "/api/v1/datasets/d", csv(400), "text/csv")
        assert servers.ended(servers.train("m", epochs=10))["status"] == "succeeded"
        body = json.dumps({"rows": ROWS})
        expected = [p["label"] for p in call(servers.ports[1], "POST", "/api/v1/models/m/predict", body)[1]["predictions"]]

        def away(lines):
            for line in lines:
                line.set_cut(True)
            time.sleep(at.seconds)
            for line in lines:
                line.set_cut(False)
            time.sleep(at.seconds / 4)

        def dies():
            servers.processes[0].kill()
            time.sleep(at.seconds / 2)
            servers.processes[0].start()
            time.sleep(at.seconds / 2)

        def too_large():
            job = servers.ended(servers.train("large", hidden=[40_000], members=4))
            print(f"  the training: {job['status']}, {job['error'] and job['error']['code']}")

        run = lambda what, fault: phase(what, servers, expected, at.clients, fault)  # noqa: E731
        run("nothing is away", lambda: time.sleep(at.seconds / 2))
        run("a replica is killed and starts again", dies)
        run("Postgres is away", lambda: away(servers.lines))
        run("the object store is away", lambda: away([servers.store.line]))
        run("a training exceeds its memory", too_large)
    finally:
        servers.end()


if __name__ == "__main__":
    main()
