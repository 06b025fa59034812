"""Builds the image's last stages around a program that was built before, and tries it: the same layers when it is built again, size,
start, user, read-only root, health check with and without TLS and keys, signals, volumes, models of an earlier version.

usage: python3 tests/container/image.py BINARY IMAGE. Needs a container engine, openssl, and the base image of the Dockerfile's
last stage (tests/container/base-images).
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

from support import AUTHORITIES, KEY, PROJECT, Client, certificate, clouds, docker, last_stages, run, until

# Compressed, as a registry stores it.
MOST_BYTES = 60_000_000


def layers(image):
    return json.loads(docker("inspect", "-f", "{{json .RootFS.Layers}}", image))


def build(binary, image):
    """Builds it twice, at different times and from files of different times: the layers must be the same. Its size."""
    built = []
    for number in range(2):
        with tempfile.TemporaryDirectory() as context:
            run("strip", "-o", f"{context}/kenyon", binary)
            for file in (f"{PROJECT}/LICENSE", AUTHORITIES):
                shutil.copy(file, context)
            with open(f"{context}/Dockerfile", "w") as f:
                f.write(last_stages())
            for file in os.listdir(context):
                os.utime(f"{context}/{file}", (number * 1000, number * 1000))
            docker("build", "-q", "--no-cache", "-t", image, context)
        built.append(layers(image))
    assert built[0] == built[1], f"built again it has other layers: {built}"
    packed = subprocess.run(f"docker save {image} | gzip -6 | wc -c", shell=True, capture_output=True, check=True)
    return int(packed.stdout)


class Container:
    """A container of the image; removed at the end."""

    def __init__(self, image, *arguments, command=()):
        self.id = docker("run", "-d", *arguments, image, *command)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["docker", "rm", "-fv", self.id], capture_output=True)

    def inspect(self, what):
        return docker("inspect", "-f", "{{" + what + "}}", self.id)

    def port(self):
        return docker("port", self.id, "8080/tcp").splitlines()[0].rsplit(":", 1)[1]

    def log(self):
        done = subprocess.run(["docker", "logs", self.id], capture_output=True, text=True)
        return done.stdout + done.stderr

    def health(self):
        return subprocess.run(["docker", "exec", self.id, "kenyon", "health"], capture_output=True, text=True)

    def healthy(self):
        until("the health check", lambda: self.health().returncode == 0, patience=30)


def learns(client, model):
    client.call("PUT", "/api/v1/datasets/d", clouds())
    request = {"dataset": "d", "target": "label", "family": "sparse_mlp", "config": {"epochs": 5}}
    job = client.ended(client.call("POST", f"/api/v1/models/{model}/train", request))
    assert job["status"] == "succeeded", job
    return predicts(client, model)


def predicts(client, model):
    answer = client.call("POST", f"/api/v1/models/{model}/predict", {"rows": [{"x": 3}, {"x": 38}]})
    assert [p["label"] for p in answer["predictions"]] == ["a", "b"], answer
    return [p["probability"] for p in answer["predictions"]]


def sealed(*more):
    """As a careful operator runs it."""
    return ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "-p", "127.0.0.1::8080",
            "-e", f"KENYON_MASTER_KEY={KEY}", *more]


def keys_and_volume(image, volume):
    with Container(image, *sealed("-v", f"{volume}:/data")) as server:
        begun = time.monotonic()
        server.healthy()
        start = time.monotonic() - begun
        client = Client(f"http://127.0.0.1:{server.port()}")
        assert client.once("GET", "/metrics", key=None)[0] == 401, "metrics need a key at the address that is published"
        assert docker("exec", server.id, "id", "-u") == "10001"
        written = subprocess.run(["docker", "exec", server.id, "touch", "/tmp/x"], capture_output=True)
        assert written.returncode != 0, "the root can be written"
        known = learns(client, "m")
        until("docker's own health check", lambda: server.inspect(".State.Health.Status") == "healthy")
        begun = time.monotonic()
        docker("stop", "-t", "30", server.id)
        assert server.inspect(".State.ExitCode") == "0", server.log()
        stop = time.monotonic() - begun
    with Container(image, *sealed("-v", f"{volume}:/data")) as server:
        server.healthy()
        assert predicts(Client(f"http://127.0.0.1:{server.port()}"), "m") == known, "the volume keeps the model"
        docker("kill", server.id)
    print(f"keys, read-only root, volume: ready {start:.1f} s after the start, ended {stop:.1f} s after SIGTERM")


def tls(image, folder):
    certificate(folder)
    files = ["-v", f"{folder}:/tls:ro", "-e", "KENYON_TLS_CERT=/tls/cert.pem", "-e", "KENYON_TLS_KEY=/tls/key.pem"]
    for listen in ("127.0.0.1:8082", "off"):
        arguments = sealed("-e", f"KENYON_METRICS_LISTEN={listen}", *files)
        with Container(image, *arguments) as server:
            server.healthy()
            client = Client(f"https://localhost:{server.port()}", f"{folder}/cert.pem")
            assert client.once("GET", "/readyz", key=None)[0] == 200
            assert client.once("GET", "/api/v1/models", key=None)[0] == 401
    print("TLS: healthy through the metrics address, and through HTTPS where that is off")


def worker(image, volume):
    with Container(image, *sealed("-v", f"{volume}:/data"), command=["worker"]) as process:
        process.healthy()
        docker("stop", "-t", "30", process.id)
        assert process.inspect(".State.ExitCode") == "0", process.log()
    print("worker: healthy, ended well")


def refuses_to_be_open(image):
    with Container(image, "--read-only") as server:
        until("its end", lambda: server.inspect(".State.Running") == "false")
        assert server.inspect(".State.ExitCode") != "0" and "master-key" in server.log(), server.log()
    print("without a key: does not start, and says why")


def earlier(image):
    """Bundles that version 0.1 wrote answer as they did."""
    folder = f"{PROJECT}/tests/api/earlier"
    with Container(image, *sealed()) as server:
        server.healthy()
        client = Client(f"http://127.0.0.1:{server.port()}")
        names = sorted(name.removesuffix(".json") for name in os.listdir(folder) if name.endswith(".json"))
        for name in names:
            with gzip.open(f"{folder}/{name}.kenyon.gz") as bundle, open(f"{folder}/{name}.json") as known:
                client.call("POST", f"/api/v1/models/{name}/import", bundle.read())
                known = json.load(known)
            request = {"rows": known["rows"], "coverage": 0.8, "allow_empty": True}
            found = client.call("POST", f"/api/v1/models/{name}/predict", request)["predictions"]
            for one, expected in zip(found, known["answers"], strict=True):
                assert one.get("label") == expected.get("label"), (name, one, expected)
    print(f"models of 0.1: {len(names)} imported, same labels")


def main(binary, image):
    size = build(binary, image)
    print(f"image: {size / 1e6:.1f} MB compressed")
    assert size < MOST_BYTES, "larger than the goal"
    labels = json.loads(docker("inspect", "-f", "{{json .Config.Labels}}", image))
    assert labels["org.opencontainers.image.licenses"], labels
    volume = docker("volume", "create")
    folder = tempfile.mkdtemp(prefix="kenyon-image-")
    try:
        keys_and_volume(image, volume)
        worker(image, volume)
        tls(image, folder)
        refuses_to_be_open(image)
        earlier(image)
    finally:
        docker("volume", "rm", "-f", volume)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
