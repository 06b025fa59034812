"""Many models in one server: imports copies of one bundle, predicts at random by 16 clients, and starts again.

    python3 benches/many_models.py BINARY FILE.csv TARGET MODELS [--seconds 60] [--cache-bytes N] [--import-clients 4] [--request JSON]
        [--rows-a-second 10]

Then one model after the other observes a row, so many a second in all, and the server starts once more. Prints the bundle's size, imports a
second, lists, memory, latency of predictions, of observed rows and of /metrics, and the time to ready.
Standard library only.
"""

import argparse
import csv
import json
import multiprocessing
import random
import threading
import time

from server import Client, Server, status

CLIENTS, PROCESSES = 16, 4


def name(number):
    return f"device-{number:05d}"


def percentile(times, share):
    return times[min(int(len(times) * share), len(times) - 1)] * 1e3


def timed(client, path):
    began = time.perf_counter()
    answer = client.raw("GET", path)
    return (time.perf_counter() - began) * 1e3, answer


def import_some(port, archive, numbers):
    client = Client(port)
    for number in numbers:
        client.raw("POST", f"/api/v1/models/{name(number)}/import", archive, {"Content-Type": "application/x-tar"})


def predict(port, rows, models, until, seed, out):
    """Some clients of one process: each sends the next request as soon as one is answered."""
    times = []

    def one(client_seed):
        client, chosen, own = Client(port), random.Random(client_seed), []
        while time.time() < until:
            row = json.dumps({"rows": [chosen.choice(rows)]}).encode()
            path = f"/api/v1/models/{name(chosen.randrange(models))}/predict"
            began = time.perf_counter()
            client.raw("POST", path, row, {"Content-Type": "application/json"})
            own.append(time.perf_counter() - began)
        times.extend(own)

    threads = [threading.Thread(target=one, args=(seed * 100 + i,)) for i in range(CLIENTS // PROCESSES)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    out.put(times)


def measure(port, rows, models, seconds):
    out, until = multiprocessing.Queue(), time.time() + seconds
    workers = [
        multiprocessing.Process(target=predict, args=(port, rows, models, until, seed, out)) for seed in range(PROCESSES)
    ]
    [worker.start() for worker in workers]
    times = sorted(t for _ in workers for t in out.get())
    [worker.join() for worker in workers]
    return times


def observe(port, rows, models, seconds, rate):
    """One row each of one model after the other, at a steady rate; times of the calls."""
    client, times, began = Client(port), [], time.time()
    for number in range(int(seconds * rate)):
        time.sleep(max(0.0, began + number / rate - time.time()))
        path, called = f"/api/v1/models/{name(number * 7919 % models)}/observe", time.perf_counter()
        client.call("POST", path, {"rows": [rows[number % len(rows)]]})
        times.append(time.perf_counter() - called)
    return sorted(times)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary"), parser.add_argument("file"), parser.add_argument("target")
    parser.add_argument("models", type=int), parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--cache-bytes", type=int, default=2 << 30)
    parser.add_argument("--import-clients", type=int, default=4)
    parser.add_argument("--rows-a-second", type=float, default=10)
    parser.add_argument("--request", type=json.loads, default={}, help="further fields of the training, as JSON")
    at = parser.parse_args()
    limits = ["--max-models", str(at.models + 10), "--model-cache-bytes", str(at.cache_bytes)]
    server = Server(at.binary, *limits)
    client = Client(server.port)
    with open(at.file, "rb") as file:
        client.raw("PUT", "/api/v1/datasets/d", file.read(), {"Content-Type": "text/csv"})
    job = client.call("POST", "/api/v1/models/origin/train?wait=25", {"dataset": "d", "target": at.target, **at.request})
    while job["status"] in ("queued", "running"):
        time.sleep(0.2)
        job = client.call("GET", f"/api/v1/jobs/{job['id']}")
    if job["status"] != "succeeded":
        raise SystemExit(f"the training: {job}")
    archive = client.raw("GET", "/api/v1/models/origin/versions/1/export?format=bundle")
    with open(at.file, newline="") as file:
        labelled = list(csv.DictReader(file))[::-1][:200]
    for row in labelled:
        for key, value in row.items():
            try:
                row[key] = float(value)
            except ValueError:
                pass
    rows = [{k: v for k, v in row.items() if k != at.target} for row in labelled]
    print(f"a bundle of {len(archive) / 1e3:.0f} kB; {at.models} models")

    began = time.time()
    parts = [range(part, at.models, at.import_clients) for part in range(at.import_clients)]
    threads = [threading.Thread(target=import_some, args=(server.port, archive, part)) for part in parts]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print(f"imports: {at.models / (time.time() - began):.0f}/s; memory {status(server.process.pid, 'VmRSS'):.0f} MiB")

    def report(when):
        # A connection of its own: one that was idle meanwhile is closed by the server.
        client = Client(server.port)
        rows = [("first page of 100", "/api/v1/models?limit=100"), ("one model", f"/api/v1/models/{name(at.models // 2)}")]
        rows += [("metrics", "/metrics"), ("system", "/api/v1/system")]
        found = [(what, *timed(client, path)) for what, path in rows]
        text = ", ".join(f"{what} {ms:.1f} ms ({len(answer) / 1e3:.0f} kB)" for what, ms, answer in found)
        print(f"{when}: {text}; memory {status(server.process.pid, 'VmRSS'):.0f} MiB")

    report("after the imports")
    for when in ["first", "again, all that fits loaded"]:
        times = measure(server.port, rows, at.models, at.seconds)
        shares = ", ".join(f"{label} {percentile(times, share):.2f}" for label, share in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)])
        print(f"predictions, {when}: {len(times) / at.seconds:.0f}/s, {shares} ms")
        report("after them")

    def start_again():
        server.kill()
        began = time.time()
        server.start()
        print(f"killed and started again: ready after {(time.time() - began) * 1e3:.0f} ms; memory {status(server.process.pid, 'VmRSS'):.0f} MiB")

    start_again()
    report("after the start")
    times = observe(server.port, labelled, at.models, at.seconds, at.rows_a_second)
    print(f"{len(times)} rows observed, one model after the other: p50 {percentile(times, 0.5):.2f}, p99 {percentile(times, 0.99):.2f} ms")
    report("after them")
    start_again()


if __name__ == "__main__":
    main()
