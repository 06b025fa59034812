"""Starts compose.yaml (Postgres, an S3 server, two servers, two workers, a proxy with TLS) and uses it through the proxy
with keys; replaces every server and worker by those of a newer image while clients send requests, of which none may fail;
stops Postgres for a while; removes everything.

usage: python3 tests/container/compose.py IMAGE. Needs docker-compose, openssl, and the images of base-images and image.py.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

from support import KEY, PROJECT, Client, certificate, clouds, docker, run, until

FILES = ["-f", f"{PROJECT}/compose.yaml", "-f", f"{PROJECT}/tests/container/compose.yaml"]
AWAY_SECONDS = 10


class Stack:
    """All containers of one `docker-compose up`."""

    def __init__(self, image, folder):
        self.project = f"kenyon-test-{os.getpid()}"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        more = {"KENYON_MASTER_KEY": KEY, "KENYON_TLS_FOLDER": folder, "KENYON_PORT": str(self.port)}
        self.environment = os.environ | more | {"KENYON_IMAGE": image}

    def compose(self, *arguments):
        return run("docker-compose", "--ansi", "never", "-p", self.project, *FILES, *arguments, env=self.environment)

    def up(self):
        self.compose("up", "-d", "--no-build", "--no-recreate", "--scale", "serve=2", "--scale", "worker=2")

    def containers(self, service):
        found = docker("ps", "-q", "--filter", f"label=com.docker.compose.project={self.project}",
                       "--filter", f"label=com.docker.compose.service={service}")
        return found.split()

    def healthy(self, service):
        state = "{{.State.Health.Status}}"
        return all(docker("inspect", "-f", state, one) == "healthy" for one in self.containers(service))

    def down(self):
        self.compose("down", "-v", "--remove-orphans", "-t", "5")
        left = docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={self.project}")
        assert left == "", f"containers are left: {left}"


class Load:
    """Clients that send requests until they are stopped."""

    def __init__(self, client):
        self.client, self.stopping, self.answered, self.failed, self.seconds = client, False, 0, [], []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.send, args=(i,), daemon=True) for i in range(4)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        for thread in self.threads:
            thread.join()

    def send(self, i):
        while not self.stopping:
            begun = time.monotonic()
            try:
                if i == 0:
                    status, answer = self.client.once("GET", "/api/v1/models")
                else:
                    rows = {"rows": [{"x": 3}, {"x": 38}]}
                    status, answer = self.client.once("POST", "/api/v1/models/m0/predict", rows)
                    if status == 200 and [p["label"] for p in answer["predictions"]] != ["a", "b"]:
                        status = "wrong"
            except OSError as error:
                status, answer = "cut", str(error)
            with self.lock:
                self.seconds.append(time.monotonic() - begun)
                if status == 200:
                    self.answered += 1
                else:
                    self.failed.append((i, status, answer))
            time.sleep(0.005)

    def figures(self):
        times = sorted(self.seconds)
        return f"{self.answered} answered, {len(self.failed)} failed, p99 {times[len(times) * 99 // 100] * 1000:.0f} ms"


def end_to_end(client, stack):
    client.call("PUT", "/api/v1/datasets/d", clouds())
    request = {"dataset": "d", "target": "label", "family": "sparse_mlp", "config": {"epochs": 5}}
    jobs = [client.call("POST", f"/api/v1/models/m{i}/train", request) for i in range(6)]
    jobs = [client.ended(job) for job in jobs]
    assert all(job["status"] == "succeeded" for job in jobs), jobs
    assert len({job["worker"] for job in jobs}) == 2, "both workers train"
    made = client.call("POST", "/api/v1/keys", {"name": "shop", "scopes": ["predict"], "models": ["m0"]})
    shop = Client(client.url, key=made["key"])
    shop.context = client.context
    rows = {"rows": [{"x": 3}]}
    assert shop.once("POST", "/api/v1/models/m0/predict", rows)[0] == 200
    assert shop.once("POST", "/api/v1/models/m1/predict", rows)[0] == 403
    assert shop.once("POST", "/api/v1/models/m0/train", request)[0] == 403
    assert client.once("GET", "/metrics", key=None)[0] == 401
    client.call("DELETE", f"/api/v1/keys/{made['id']}")
    until("the end of a revoked key", lambda: all(
        shop.once("POST", "/api/v1/models/m0/predict", rows)[0] == 401 for _ in range(4)), patience=10)
    stream = {"family": "hybrid", "target": "y", "task": "classification", "features": {"x": "number"}}
    client.call("PUT", "/api/v1/models/s", stream)
    for i in range(20):
        rows = [{"x": j, "y": "up" if j > 4 else "down"} for j in range(10)]
        client.call("POST", "/api/v1/models/s/observe", {"rows": rows})
    # Asked of both replicas: the log is one.
    until("the same stream on both replicas", lambda: all(
        client.call("GET", "/api/v1/models/s/stream")["observed"] == 200 for _ in range(4)), patience=20)
    for service in ("serve", "worker"):
        until(f"healthy: {service}", lambda: stack.healthy(service))
    print("through the proxy, with TLS and keys: trained on two workers, predicted, observed, a key revoked")


def upgrade(client, stack, image):
    """Every server and worker, one after the other, as an operator does it."""
    stack.environment["KENYON_IMAGE"] = image
    with Load(client) as load:
        for service in ("serve", "worker"):
            for old in stack.containers(service):
                docker("stop", "-t", "40", old)
                assert docker("inspect", "-f", "{{.State.ExitCode}}", old) == "0", docker("logs", old)
                docker("rm", "-v", old)
                stack.up()
                until(f"healthy: {service}", lambda: len(stack.containers(service)) == 2 and stack.healthy(service))
                time.sleep(2)
    for service in ("serve", "worker"):
        used = {docker("inspect", "-f", "{{.Config.Image}}", one) for one in stack.containers(service)}
        assert used == {image}, used
    print(f"rolling upgrade: {load.figures()}")
    assert load.answered > 100 and not load.failed, load.failed[:5]


def without_postgres(client, stack):
    (postgres,) = stack.containers("postgres")
    with Load(client) as load:
        docker("pause", postgres)
        time.sleep(AWAY_SECONDS)
        docker("unpause", postgres)
        until("ready again", lambda: client.once("GET", "/readyz", timeout=3)[0] == 200, patience=30)
    predictions = [one for one in load.failed if one[0] != 0]
    print(f"Postgres away for {AWAY_SECONDS} s: {load.figures()}, of them predictions {len(predictions)}")
    assert not predictions, predictions[:3]
    allowed = (503, 504, "cut")
    assert all(status in allowed for _, status, _ in load.failed), [f for f in load.failed if f[1] not in allowed][:3]


def main(image):
    folder = tempfile.mkdtemp(prefix="kenyon-compose-")
    certificate(folder)
    newer = f"{image}-newer"
    run("docker", "build", "-q", "-t", newer, "-", input=f"FROM {image}\nLABEL newer=1\n")
    stack = Stack(image, folder)
    client = Client(f"https://localhost:{stack.port}", f"{folder}/cert.pem")
    try:
        begun = time.monotonic()
        stack.up()
        until("the proxy answers", lambda: client.once("GET", "/readyz")[0] == 200)
        print(f"compose up: ready after {time.monotonic() - begun:.0f} s")
        end_to_end(client, stack)
        upgrade(client, stack, newer)
        without_postgres(client, stack)
    except BaseException:
        print(stack.compose("logs", "--tail", "20", "serve", "worker", "proxy"), file=sys.stderr)
        raise
    finally:
        stack.down()
        subprocess.run(["docker", "rmi", newer], capture_output=True)
    print("all torn down")


if __name__ == "__main__":
    main(*sys.argv[1:])
