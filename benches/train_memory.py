"""Peak memory of trainings, and predictions meanwhile. Standard library only, Linux.

usage: train_memory.py BINARY FILE:TARGET ... [--epochs N] [--serve "FLAGS"]
For each file a server is started anew, a small model is served and the file is uploaded. Predictions of one row are
requested one after the other, first at rest, then while a model is trained on the file. Printed are how the training
ended, its seconds, the most memory that the process that trains had for itself (RssAnon) and with pages of files
(VmHWM), the most of the server, and p50 and p99 of the predictions, with how many failed.
"""

import argparse
import threading
import time

from server import Client, Server, children, status

ROW = {"rows": [{"x": 0.3, "z": 1.0}]}


class Repeated(threading.Thread):
    """Does something again and again until it is stopped."""

    def __init__(self, work, pause):
        super().__init__(daemon=True)
        self.work, self.pause, self.stopped = work, pause, threading.Event()
        self.start()

    def run(self):
        while not self.stopped.is_set():
            self.work()
            time.sleep(self.pause)

    def end(self):
        self.stopped.set()
        self.join()


class Predicting:
    """Requests predictions of one row, one after the other."""

    def __init__(self, port):
        self.client, self.times, self.failed = Client(port), [], 0
        self.repeated = Repeated(self.predict, 0.005)

    def predict(self):
        begun = time.perf_counter()
        try:
            self.client.call("POST", "/api/v1/models/served/predict", ROW)
        except Exception:
            self.failed += 1
        self.times.append(time.perf_counter() - begun)

    def end(self):
        self.repeated.end()
        times = sorted(self.times)
        p50, p99 = (1e3 * times[int(len(times) * share)] for share in (0.5, 0.99))
        return f"{p50:.2f}/{p99:.2f} ms of {len(times)}, {self.failed} failed"


def trained(client, model, request):
    job = client.call("POST", f"/api/v1/models/{model}/train", request)
    while job["status"] in ("queued", "running"):
        time.sleep(0.1)
        job = client.call("GET", f"/api/v1/jobs/{job['id']}")
    return job


def measure(binary, path, target, config, flags):
    server = Server(binary, "--workers", "1", *flags)
    client, pid = Client(server.port), server.process.pid
    few = "x,z,y\n" + "".join(f"{i % 97 / 97},{i % 7},{'ab'[i % 97 > 48]}\n" for i in range(500))
    client.call("PUT", "/api/v1/datasets/few", few.encode(), kind="csv")
    trained(client, "served", {"dataset": "few", "target": "y", "family": "sparse_mlp", "config": {"epochs": 3}})
    begun = time.perf_counter()
    with open(path, "rb") as file:
        rows = client.call("PUT", "/api/v1/datasets/table", file, kind="csv")["rows"]
    uploaded = time.perf_counter() - begun
    at_rest = Predicting(server.port)
    time.sleep(5)
    at_rest = at_rest.end()
    peak = {"RssAnon": 0, "VmHWM": 0, "server": 0}

    def watch():
        for child in children(pid):
            for name in ("RssAnon", "VmHWM"):
                peak[name] = max(peak[name], status(child, name))
        peak["server"] = max(peak["server"], status(pid, "RssAnon"))

    watching, meanwhile, begun = Repeated(watch, 0.05), Predicting(server.port), time.perf_counter()
    job = trained(client, "trained", {"dataset": "table", "target": target, "config": config})
    seconds = time.perf_counter() - begun
    watching.end()
    figures = {name: round(job["metrics"][name], 4) for name in ("log_loss", "accuracy", "r2") if name in job["metrics"]}
    how = job["status"] if job["status"] == "succeeded" else job["error"]["code"]
    print(
        f"{rows} rows, uploaded in {uploaded:.1f} s: {how} in {seconds:.1f} s, attempt {job['attempt']}, "
        f"{peak['RssAnon']:.0f} MiB (with files {peak['VmHWM']:.0f}), server {peak['server']:.0f} MiB; "
        f"at rest {at_rest}; meanwhile {meanwhile.end()}; {figures}",
        flush=True,
    )
    server.remove()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--serve", default="")
    arguments = parser.parse_args()
    config = {"epochs": arguments.epochs} if arguments.epochs else {}
    for each in arguments.files:
        path, target = each.rsplit(":", 1)
        measure(arguments.binary, path, target, config, arguments.serve.split())


main()
