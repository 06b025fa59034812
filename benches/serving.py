"""Throughput and latency of serving: one 784-float MNIST row a request, wrk on the same cores.

usage: serving.py BINARY MNIST_FOLDER [SECONDS] [--data FOLDER] [--peers FOLDER NAME…]. Needs wrk and numpy.
Trains sparse_mlp on MNIST through the HTTP interface (the accuracy on the test images is printed),
then loads it at 1, 16 and 64 connections: OIP JSON, OIP binary tensors, and Kenyon's own predict.
The median of three runs. With --data the model is kept there for the next time. With --peers the
servers NAME of FOLDER/c_serve.py get the same load right after, and ratios are printed.
"""

import argparse
import gzip
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ADDRESS = "127.0.0.1:8980"
URL = f"http://{ADDRESS}"


def call(method, path, body=None, kind="application/json"):
    request = urllib.request.Request(URL + path, body, {"content-type": kind}, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def idx(folder, name):
    with gzip.open(f"{folder}/{name}-images-idx3-ubyte.gz") as f:
        images = np.frombuffer(f.read(), np.uint8, offset=16).reshape(-1, 784)
    with gzip.open(f"{folder}/{name}-labels-idx1-ubyte.gz") as f:
        return images, np.frombuffer(f.read(), np.uint8, offset=8)


def microseconds(text):
    value, unit = re.match(r"([\d.]+)(us|ms|s)", text).groups()
    return float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def wrk(path, connections, seconds, body, header_length=None):
    runs = []
    environment = {**os.environ, "BODY": body, **({"HEADER_LENGTH": str(header_length)} if header_length else {})}
    for _ in range(3):
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", f"{HERE}/infer.lua", URL + path]
        out = subprocess.run(command, capture_output=True, text=True, env=environment).stdout
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        assert not bad, out
        find = lambda pattern: re.search(pattern, out).group(1)
        runs.append((float(find(r"Requests/sec:\s+([\d.]+)")), microseconds(find(r"\n\s+50%\s+(\S+)")), microseconds(find(r"\n\s+99%\s+(\S+)"))))
    return [statistics.median(run[i] for run in runs) for i in range(3)]


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) // 1024


def train(folder):
    images, labels = idx(folder, "train")
    pixels = ",".join(f"p{i}" for i in range(784))
    rows = "\n".join(f"{label},{','.join(map(str, image))}" for image, label in zip(images.tolist(), labels.tolist()))
    call("PUT", "/api/v1/datasets/mnist", f"label,{pixels}\n{rows}\n".encode(), "text/csv")
    request = {"dataset": "mnist", "target": "label", "task": "classification", "family": "sparse_mlp", "seed": 1}
    request["features"] = {"image": {"kind": "vector", "columns": "p*", "shape": [28, 28]}}
    job = call("POST", "/api/v1/models/mlp/train", json.dumps(request).encode())
    while job["status"] in ("queued", "running"):
        time.sleep(0.5)
        job = call("GET", f"/api/v1/jobs/{job['id']}")
    assert job["status"] == "succeeded", job


def main():
    options = argparse.ArgumentParser()
    options.add_argument("binary")
    options.add_argument("folder")
    options.add_argument("seconds", type=int, nargs="?", default=4)
    options.add_argument("--data")
    options.add_argument("--peers", nargs="+", default=[])
    options = options.parse_args()
    binary, folder, seconds = options.binary, options.folder, options.seconds
    rates = {}
    with tempfile.TemporaryDirectory() as scratch:
        data = options.data or scratch
        start = lambda: subprocess.Popen(
            [binary, "serve", "--listen", ADDRESS, "--grpc-listen", "127.0.0.1:8981", "--data-dir", f"{data}/kenyon"],
            env={**os.environ, "KENYON_LOG": "warn"},
        )
        server = start()
        wait()
        try:
            if not call("GET", "/api/v1/models")["items"]:
                train(folder)
            images, labels = idx(folder, "t10k")
            right = 0
            for at in range(0, 10000, 500):
                tensor = {"name": "image", "shape": [500, 784], "datatype": "UINT8", "data": images[at : at + 500].ravel().tolist()}
                answer = call("POST", "/v2/models/mlp/infer", json.dumps({"inputs": [tensor], "outputs": [{"name": "label"}]}).encode())
                right += int((np.array(answer["outputs"][0]["data"]).astype(int) == labels[at : at + 500]).sum())
            print(f"accuracy on 10,000 test images {right / 10000:.4f}", flush=True)
            # What is measured is a server that serves, not one that has just trained.
            server.terminate()
            server.wait()
            server = start()
            wait()
            row = images[0].astype(np.float32)
            # The peers' servers get numbers like 0.3294117748737335: pixels between 0 and 1.
            values = [float(str(v)) for v in row / np.float32(255)]
            tensor = {"name": "input", "datatype": "FP32", "shape": [1, 784], "data": values}
            bodies = {"json": json.dumps({"inputs": [tensor]}).encode()}
            head = {"inputs": [{**{k: tensor[k] for k in ("name", "datatype", "shape")}, "parameters": {"binary_data_size": 3136}}], "parameters": {"binary_data_output": True}}
            head = json.dumps(head).encode()
            bodies["binary"] = head + (row / np.float32(255)).tobytes()
            bodies["predict"] = json.dumps({"rows": [{"image": values}]}).encode()
            for name, body in bodies.items():
                with open(f"{data}/{name}", "wb") as f:
                    f.write(body)
            for name, path, length in (
                ("json", "/v2/models/mlp/infer", None),
                ("binary", "/v2/models/mlp/infer", len(head)),
                ("predict", "/api/v1/models/mlp/predict", None),
            ):
                wrk(path, 16, 1, f"{data}/{name}", length)
                for connections in (1, 16, 64):
                    rate, p50, p99 = wrk(path, connections, seconds, f"{data}/{name}", length)
                    rates[name, connections] = rate
                    print(f"{name:8} {connections:3} connections {rate:9.0f}/s  p50 {p50:7.0f} us  p99 {p99:7.0f} us", flush=True)
            print(f"resident memory {resident(server.pid)} MB; body {len(bodies['json'])} bytes")
        finally:
            server.terminate()
            server.wait()
    if options.peers:
        peers(options.peers[0], options.peers[1:], rates)


def peers(folder, names, rates):
    """The same load on other servers, by their own program."""
    out = subprocess.run([sys.executable, "c_serve.py", *names], cwd=folder, capture_output=True, text=True).stdout
    best = {}
    for line in out.splitlines():
        if not line.startswith("{"):
            print(line)
            continue
        peer = json.loads(line)
        for load in peer["load"]:
            best[load["conns"]] = max(best.get(load["conns"], 0), load["rps"])
            print(f"{peer['server']:10} {load['conns']:3} connections {load['rps']:9.0f}/s  p50 {1000 * load['p50_ms']:7.0f} us  p99 {1000 * load['p99_ms']:7.0f} us")
        print(f"{peer['server']:10} resident memory {peer['rss_mb']} MB (proportional {peer['pss_mb']} MB)")
    for (name, connections), rate in rates.items():
        if connections in best:
            print(f"{name:8} {connections:3} connections: {rate / best[connections]:.1f} times the best of them")


def wait():
    for _ in range(400):
        try:
            return urllib.request.urlopen(URL + "/readyz", timeout=2).read()
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise SystemExit("the server did not start")


if __name__ == "__main__":
    main()
