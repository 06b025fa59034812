"""The OpenAPI document against the server, by schemathesis with all of its checks, and the metrics
after that by promtool, where it is installed.

usage: described.py BINARY [EXAMPLES] [SEED]. Starts a server with a key in a temporary folder, on which there are the dataset and the
model that the document's examples name. A long run is `described.py BINARY 30 1`: 5,802 cases.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
KEY = "a-key-for-this-test-alone"


class Server:
    """The program as a process."""

    def __init__(self, binary, folder, workers, timeout):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.address = "127.0.0.1:%d" % s.getsockname()[1]
        command = [binary, "serve", "--listen", self.address, "--grpc-listen", "off", "--data-dir", f"{folder}/data"]
        # Whether keys are required is tested with many wrong ones, which are slowed down otherwise; an evaluation, which no worker
        # does, is answered 202 a little before the time of a request has passed.
        settings = {"KENYON_LOG": "error", "KENYON_MASTER_KEY": KEY, "KENYON_WRONG_KEY_LIMIT": "0"}
        settings |= {"KENYON_REQUEST_TIMEOUT": str(timeout)}
        self.process = subprocess.Popen([*command, "--workers", str(workers)], env={**os.environ, **settings})
        for _ in range(400):
            try:
                return self.call("GET", "/readyz") and None
            except OSError:
                time.sleep(0.05)

    def call(self, method, path, body=None, kind="application/json"):
        headers = {"authorization": f"Bearer {KEY}", "content-type": kind}
        request = urllib.request.Request(f"http://{self.address}{path}", body, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.read()

    def end(self):
        """Its exit status."""
        self.process.terminate()
        return self.process.wait(30)


def prepare(binary, folder):
    """What the examples name."""
    server = Server(binary, folder, workers=1, timeout=120)
    with open(f"{HERE}/../../examples/iris.csv", "rb") as file:
        server.call("PUT", "/api/v1/datasets/iris", file.read(), "text/csv")
    training = {"dataset": "iris", "target": "species", "family": "hybrid"}
    server.call("POST", "/api/v1/models/iris/train?wait=100", json.dumps(training).encode())
    return server.end()


def main():
    binary, examples = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "20"
    with tempfile.TemporaryDirectory() as folder:
        ended = prepare(binary, folder)
        server = Server(binary, folder, workers=0, timeout=4)
        try:
            program = os.path.join(os.path.dirname(sys.executable), "schemathesis")
            run = [program, "--config-file", f"{HERE}/schemathesis.toml", "run", f"http://{server.address}/openapi.json"]
            run += ["-H", f"Authorization: Bearer {KEY}", "--checks", "all", "--max-examples", examples, "--continue-on-failure"]
            run += ["--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all"]
            run += ["--seed", sys.argv[3]] if len(sys.argv) > 3 else []
            hooks = {"PYTHONPATH": HERE, "SCHEMATHESIS_HOOKS": "schemathesis_hooks"}
            code = subprocess.run(run, cwd=folder, env={**os.environ, **hooks}).returncode
            text = server.call("GET", "/metrics")
            if shutil.which("promtool"):
                code = code or subprocess.run(["promtool", "check", "metrics"], input=text).returncode
            server.call("GET", "/readyz")
        finally:
            ended = server.end() or ended
    return code or ended


if __name__ == "__main__":
    sys.exit(main())
