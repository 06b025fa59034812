"""A file with the server's defaults: upload, train, evaluate, through HTTP.

usage: defaults.py BINARY FILE TARGET [--test FILE] [--seeds 5] [--family NAME]. FILE is CSV or CSV.gz with a
line of names. Without --test a fifth of the rows, another with each seed, is held back. Standard library only.
"""

import argparse
import gzip
import json
import random
import statistics
import time

from server import Client, Server


def read(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt") as f:
        lines = [line for line in f.read().split("\n") if line]
    return lines[0], lines[1:]


def main():
    parser = argparse.ArgumentParser()
    for name in ("binary", "file", "target"):
        parser.add_argument(name)
    parser.add_argument("--test")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--family")
    arguments = parser.parse_args()
    head, rows = read(arguments.file)
    client = Client(Server(arguments.binary, "--workers", "1").port)
    put = lambda name, lines: client.call("PUT", f"/api/v1/datasets/{name}", "\n".join([head, *lines]).encode(), kind="csv")
    figures = []
    for seed in range(1, arguments.seeds + 1):
        train, test = rows, arguments.test and read(arguments.test)[1]
        if not test:
            mixed = random.Random(seed).sample(rows, len(rows))
            test, train = mixed[: len(rows) // 5], mixed[len(rows) // 5 :]
        put("train", train), put("test", test)
        request = {"dataset": "train", "target": arguments.target, "seed": seed}
        request |= {"family": arguments.family} if arguments.family else {}
        started = time.time()
        job = client.call("POST", "/api/v1/models/m/train", request)
        while job["status"] in ("queued", "running"):
            time.sleep(0.1)
            job = client.call("GET", f"/api/v1/jobs/{job['id']}")
        assert job["status"] == "succeeded", job
        spent = time.time() - started
        answer = client.call("POST", "/api/v1/models/m/evaluate", {"dataset": "test"})
        metrics = {k: round(v, 4) for k, v in answer["metrics"].items() if isinstance(v, float)}
        figures.append(metrics)
        print(f"seed {seed}: {client.call('GET', '/api/v1/models/m')['family']}, {spent:.1f} s, {json.dumps(metrics)}", flush=True)
    print("mean", json.dumps({name: round(statistics.mean(f[name] for f in figures), 4) for name in figures[0]}))


if __name__ == "__main__":
    main()
