"""The OpenAPI document against the server, by schemathesis with all of its checks, and the metrics
after that by promtool, where it is installed.

usage: described.py BINARY [EXAMPLES]. Starts a server with a key in a temporary folder.
"""

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


def main():
    binary, examples = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "20"
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % s.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [binary, "serve", "--listen", address, "--grpc-listen", "off", "--data-dir", f"{folder}/data", "--workers", "0"]
        server = subprocess.Popen(command, env={**os.environ, "KENYON_LOG": "error", "KENYON_MASTER_KEY": KEY})
        try:
            for _ in range(400):
                try:
                    urllib.request.urlopen(f"http://{address}/readyz", timeout=2).read()
                    break
                except OSError:
                    time.sleep(0.05)
            program = os.path.join(os.path.dirname(sys.executable), "schemathesis")
            run = [program, "--config-file", f"{HERE}/schemathesis.toml", "run", f"http://{address}/openapi.json"]
            run += ["-H", f"Authorization: Bearer {KEY}", "--checks", "all", "--max-examples", examples, "--continue-on-failure"]
            code = subprocess.run([*run, "--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all"], cwd=folder).returncode
            metrics = urllib.request.Request(f"http://{address}/metrics", headers={"authorization": f"Bearer {KEY}"})
            text = urllib.request.urlopen(metrics, timeout=5).read()
            if shutil.which("promtool"):
                code = code or subprocess.run(["promtool", "check", "metrics"], input=text).returncode
            alive = urllib.request.urlopen(f"http://{address}/readyz", timeout=5).status == 200
        finally:
            server.terminate()
            ended = server.wait(30)
    return code or int(not alive or ended != 0)


if __name__ == "__main__":
    sys.exit(main())
