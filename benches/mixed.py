"""Mixed load: predicting on five models while they are trained, promoted and rolled back, with
requests that are wrong and clients that hang up. Every answer is checked.

usage: mixed.py BINARY [SECONDS [PAUSE]]; 600 seconds when none are given; each of the four clients that
predict waits PAUSE milliseconds between two requests, none when it is not given. Only Python's standard
library. An answer must be that of the version it names, to 1e-5, whatever was in the same batch; a wrong
request must get its own status; no request may get a 5xx; from the second third to the last, neither
resident memory, nor open descriptors, nor the 99th percentile of the latency may grow. Ends with 1 when
anything of that did not hold.
"""

import collections
import http.client
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ADDRESS = ("127.0.0.1", 8990)
FAMILIES = {"table": "sparse_mlp", "price": "sparse_mlp", "token": "attention", "recall": "memory", "code": "hybrid"}


def rows(count, seed):
    rng, out = random.Random(seed), []
    for i in range(count):
        kind = i % 3
        numbers = [round(c + rng.gauss(0, 0.4), 3) for c in ((5, 3.4, 1.5), (6, 2.8, 4.3), (6.6, 3, 5.5))[kind]]
        out.append({"a": numbers[0], "b": numbers[1], "c": numbers[2], "city": rng.choice(["Wien", "Łódź", "Oslo"]), "kind": "xyz"[kind]})
        out[-1]["price"] = round(sum(numbers) * (1 + 0.5 * kind), 3)
    return out


class Load:
    def __init__(self, binary, seconds, pause):
        self.seconds, self.pause, self.counts, self.faults = seconds, pause, collections.Counter(), collections.Counter()
        self.known, self.lock, self.memory, self.stop = {}, threading.Lock(), [], threading.Event()
        self.times, self.parts = [], []
        self.folder = tempfile.TemporaryDirectory()
        command = [binary, "serve", "--listen", "%s:%d" % ADDRESS, "--grpc-listen", "off", "--data-dir", self.folder.name]
        self.server = subprocess.Popen(command, env={**os.environ, "KENYON_LOG": "warn"})
        self.rows = rows(60, 99)

    # One request on a connection of the calling thread's own.
    def call(self, connection, method, path, body=None, kind="application/json"):
        body = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        for attempt in (1, 2):
            try:
                connection.request(method, path, body, {"content-type": kind} if body else {})
                answer = connection.getresponse()
                data = answer.read()
                return answer.status, json.loads(data) if data[:1] in (b"{", b"[") else data
            except (http.client.HTTPException, ConnectionError):
                # An idle connection may have been closed; a fresh one must work.
                connection.close()
                if attempt == 2:
                    raise

    def connection(self):
        return http.client.HTTPConnection(*ADDRESS, timeout=60)

    def fault(self, what, detail=""):
        with self.lock:
            self.faults[what] += 1
            if self.faults[what] <= 3:
                print("FAULT", what, str(detail)[:300], flush=True)

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def wait_ready(self):
        for _ in range(400):
            try:
                return urllib.request.urlopen("http://%s:%d/readyz" % ADDRESS, timeout=2).read()
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the server did not start")

    def train(self, connection, model, seed):
        target = "price" if model == "price" else "kind"
        other = "kind" if model == "price" else "price"
        request = {"dataset": "rows", "target": target, "family": FAMILIES[model], "seed": seed, "features": {other: "ignore"}, "config": {"epochs": 2}}
        status, job = self.call(connection, "POST", f"/api/v1/models/{model}/train", request)
        assert status == 202, job
        while job["status"] in ("queued", "running"):
            time.sleep(0.1)
            job = self.call(connection, "GET", f"/api/v1/jobs/{job['id']}")[1]
        if job["status"] != "succeeded":
            self.fault("a training failed", job)
        return job["version"]

    def numbers(self, prediction):
        return prediction.get("probabilities") or {"value": prediction["value"]}

    # The predictions of this version for all rows, requested by number on first use.
    def expected(self, connection, model, version):
        with self.lock:
            known = self.known.get((model, version))
        if known is None:
            inputs = [{k: v for k, v in row.items() if k not in ("kind", "price")} for row in self.rows]
            status, answer = self.call(connection, "POST", f"/api/v1/models/{model}/predict", {"rows": inputs, "version": version})
            if status != 200 or answer["version"] != version:
                self.fault("a version by number", answer)
                return None
            known = [self.numbers(p) for p in answer["predictions"]]
            with self.lock:
                self.known[(model, version)] = known
        return known

    def predict(self, seed):
        rng, connection = random.Random(seed), self.connection()
        while not self.stop.wait(self.pause) if self.pause else not self.stop.is_set():
            model = rng.choice(list(FAMILIES))
            chosen = [rng.randrange(len(self.rows)) for _ in range(rng.choice((1, 1, 1, 3, 20)))]
            inputs = [{k: v for k, v in self.rows[i].items() if k not in ("kind", "price")} for i in chosen]
            if rng.random() < 0.3:
                self.infer(connection, model, chosen, inputs)
                continue
            body = {"rows": inputs, **({"coverage": 0.9} if rng.random() < 0.3 else {}), **({"explain": True} if rng.random() < 0.1 else {})}
            begun = time.monotonic()
            status, answer = self.call(connection, "POST", f"/api/v1/models/{model}/predict", body)
            self.times.append(time.monotonic() - begun)
            self.count(f"predict {status}")
            if status != 200:
                self.fault(f"predict answered {status}", answer)
                continue
            self.check(connection, model, answer["version"], chosen, [self.numbers(p) for p in answer["predictions"]])

    def infer(self, connection, model, chosen, inputs):
        tensors = [{"name": n, "shape": [len(inputs)], "datatype": "FP64", "data": [r[n] for r in inputs]} for n in "abc"]
        tensors.append({"name": "city", "shape": [len(inputs)], "datatype": "BYTES", "data": [r["city"] for r in inputs]})
        status, answer = self.call(connection, "POST", f"/v2/models/{model}/infer", {"inputs": tensors})
        self.count(f"infer {status}")
        if status != 200:
            return self.fault(f"infer answered {status}", answer)
        outputs = {o["name"]: o for o in answer["outputs"]}
        version = int(answer["model_version"])
        if model == "price":
            numbers = [{"value": v} for v in outputs["value"]["data"]]
        else:
            names = sorted(self.expected(connection, model, version)[0])
            flat, width = outputs["probabilities"]["data"], outputs["probabilities"]["shape"][1]
            numbers = [dict(zip(names, flat[i * width : (i + 1) * width])) for i in range(len(inputs))]
        self.check(connection, model, version, chosen, numbers)

    def check(self, connection, model, version, chosen, numbers):
        known = self.expected(connection, model, version)
        if known is None:
            return
        if len(numbers) != len(chosen):
            return self.fault("rows are missing", (model, len(numbers), len(chosen)))
        for i, own in zip(chosen, numbers):
            if own.keys() != known[i].keys() or any(abs(own[k] - known[i][k]) > 1e-5 * (1 + abs(known[i][k])) for k in own):
                self.fault("an answer that is not this version's", (model, version, own, known[i]))
        self.count("rows checked")

    def versions(self):
        rng, connection = random.Random(1), self.connection()
        while not self.stop.is_set():
            model = rng.choice(list(FAMILIES))
            newest = self.train(connection, model, rng.randrange(10**6))
            for method, path, body, wanted in (
                ("POST", f"versions/{newest - 1}/promote", None, newest - 1),
                ("POST", f"versions/{newest}/promote", None, newest),
                ("POST", "rollback", None, None),
                ("PUT", "traffic", {"stable": newest, "canary": {"version": newest - 1, "weight": 0.3}, "shadow": newest - 1}, newest),
                ("PUT", "traffic", {"stable": newest}, newest),
            ):
                status, answer = self.call(connection, method, f"/api/v1/models/{model}/{path}", body)
                self.count(f"{path.split('/')[-1]} {status}")
                if status != 200 or (wanted and answer["version"] != wanted):
                    self.fault(f"{path} answered {status}", answer)
                time.sleep(0.05)

    def wrong(self):
        rng, connection = random.Random(2), self.connection()
        predict, good = "/api/v1/models/table/predict", {"a": 1, "b": 1, "c": 1, "city": "Wien"}
        cases = [
            (predict, b'{"rows":[{"a":1', 400),
            (predict, b"", 400),
            (predict, json.dumps({"rows": [good], "colour": 1}).encode(), 400),
            (predict, json.dumps({"rows": [{**good, "a": "much"}]}).encode(), 422),
            (predict, json.dumps({"rows": [{**good, "nothing": 1}]}).encode(), 422),
            (predict, json.dumps({"rows": [good], "coverage": 2}).encode(), 400),
            (predict, json.dumps({"rows": [good], "version": 10**6}).encode(), 404),
            ("/api/v1/models/nobody/predict", json.dumps({"rows": [good]}).encode(), 404),
            ("/v2/models/table/infer", b'{"inputs":[{"name":"a"}]}', 400),
            ("/v2/models/table/infer", b"[" * 10_000, 400),
            ("/api/v1/models/table/train", b'{"dataset":"none","target":"kind"}', 404),
            ("/api/v1/models/table/versions/999999/promote", b"{}", 404),
        ]
        while not self.stop.is_set():
            path, body, wanted = rng.choice(cases)
            status, answer = self.call(connection, "POST", path, body)
            self.count(f"wrong {status}")
            if status != wanted:
                self.fault(f"a wrong request got {status} and not {wanted}", (path, body[:80], answer))
            time.sleep(0.02)

    def hang_up(self):
        rng = random.Random(3)
        while not self.stop.is_set():
            body = json.dumps({"rows": [{k: v for k, v in row.items() if k not in ("kind", "price")} for row in self.rows]}).encode()
            head = f"POST /api/v1/models/{rng.choice(list(FAMILIES))}/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            with socket.create_connection(ADDRESS, timeout=10) as s:
                # Before the body, in its middle, or before the answer.
                s.sendall((head + body)[: rng.choice((10, len(head), len(head) + len(body) // 2, len(head) + len(body)))])
            self.count("hung up")
            time.sleep(0.03)

    def resident(self):
        with open(f"/proc/{self.server.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) / 1024

    # Seconds of processor time: all the machine's that were not idle, and the server's own.
    def busy(self):
        with open("/proc/stat") as f:
            ticks = list(map(int, f.readline().split()[1:9]))
        with open(f"/proc/{self.server.pid}/stat") as f:
            own = f.read().rpartition(")")[2].split()
        hertz = os.sysconf("SC_CLK_TCK")
        return (sum(ticks) - ticks[3] - ticks[4]) / hertz, (int(own[11]) + int(own[12])) / hertz

    # Prints and keeps what the last of ten parts showed.
    def part(self, seconds, before):
        times, self.times = sorted(self.times), []
        (machine, server), cores = (now - then for now, then in zip(self.busy(), before)), os.cpu_count()
        descriptors = len(os.listdir(f"/proc/{self.server.pid}/fd"))
        half, most = (times[int(len(times) * q)] * 1e3 if times else 0.0 for q in (0.5, 0.99))
        self.parts.append((self.memory[-1], descriptors, most))
        print(
            f"part {len(self.parts):2}: {len(times)} predictions, median {half:.1f} ms, p99 {most:.1f} ms; {self.memory[-1]:.0f} MB, {descriptors} descriptors; "
            f"processors {machine / seconds / cores:.0%} busy, by the server {server / seconds / cores:.0%}",
            flush=True,
        )

    def guarded(self, work, *arguments):
        try:
            work(*arguments)
        except Exception as error:
            self.fault("a client failed", f"{work.__name__}: {error!r}")

    def run(self):
        self.wait_ready()
        connection = self.connection()
        lines = "\n".join(map(json.dumps, rows(400, 7))).encode()
        assert self.call(connection, "PUT", "/api/v1/datasets/rows", lines, "application/x-ndjson")[0] == 201
        for model in FAMILIES:
            for seed in (1, 2):
                self.train(connection, model, seed)
        works = [(self.predict, 10 + i) for i in range(4)] + [(self.versions,), (self.wrong,), (self.hang_up,)]
        threads = [threading.Thread(target=self.guarded, args=work) for work in works]
        started = time.monotonic()
        [thread.start() for thread in threads]
        begun, before = started, self.busy()
        while len(self.parts) < 10 and self.server.poll() is None:
            time.sleep(1)
            self.memory.append(self.resident())
            now = time.monotonic()
            if now - started >= self.seconds * (len(self.parts) + 1) / 10:
                self.part(now - begun, before)
                begun, before = now, self.busy()
        self.stop.set()
        [thread.join(60) for thread in threads]
        if self.server.poll() is not None:
            self.fault("the server ended", self.server.returncode)
        metrics = self.call(connection, "GET", "/metrics")[1].decode()
        bad = re.findall(r'kenyon_http_requests_total\{[^}]*status="5\d\d"[^}]*\} [1-9].*', metrics)
        if bad:
            self.fault("the server counted 5xx", bad)
        third = len(self.memory) // 3
        early, late = max(self.memory[third : 2 * third]), max(self.memory[2 * third :])
        if late > early * 1.1 + 4:
            self.fault("memory grew", (early, late))
        descriptors, slowest = ([part[i] for part in self.parts] for i in (1, 2))
        if max(descriptors[7:], default=0) > max(descriptors[3:6], default=0) + 16:
            self.fault("descriptors grew", descriptors)
        if sum(slowest[7:]) > 1.5 * sum(slowest[3:6]):
            self.fault("the latency grew", slowest)
        self.server.terminate()
        if self.server.wait(60) != 0:
            self.fault("the server did not end well", self.server.returncode)
        for what, count in sorted(self.counts.items()):
            print(f"{what:20} {count:9}")
        print(f"memory: {self.memory[0]:.0f} MB at first, at most {early:.0f} MB in the second third and {late:.0f} MB in the last; {len(self.known)} versions answered")
        print("no fault" if not self.faults else f"FAULTS {dict(self.faults)}")
        return 1 if self.faults else 0


if __name__ == "__main__":
    load = Load(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 600, float(sys.argv[3]) / 1e3 if len(sys.argv) > 3 else 0.0)
    try:
        code = load.run()
    finally:
        load.server.kill()
    sys.exit(code)
