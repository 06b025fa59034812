"""A client generated from the OpenAPI document: it is made, type-checked and used from end to end (typed.py). The document
itself is checked against the OpenAPI specification.

usage: generated.py BINARY. Needs openapi-python-client, openapi-spec-validator and mypy in the environment of this Python.
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

from openapi_spec_validator import validate

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLS = os.path.dirname(os.path.abspath(sys.executable))
KEY = "a-key-for-this-test-alone"


def for_generator(document):
    """What openapi-python-client cannot make code of: a parameter called `quote` hides a function that its code calls,
    and of several bodies one that is a list is distinguished by `isinstance(body, list[…])`, which Python refuses."""
    for item in document["paths"].values():
        for operation in item.values():
            parameters = operation.get("parameters", [])
            operation["parameters"] = [p for p in parameters if p["name"] != "quote"]
            bodies = operation.get("requestBody", {}).get("content", {})
            if bodies.get("application/json", {}).get("schema", {}).get("type") == "array":
                del bodies["application/json"]
    return document


def checked(folder):
    """The errors of mypy --strict, but for those in the generator's own client.py, which no document can mend."""
    run = subprocess.run([f"{TOOLS}/mypy", "--strict", "typed.py", "kenyon_client"], cwd=folder, capture_output=True, text=True)
    errors = [line for line in run.stdout.splitlines() if ": error:" in line]
    return [line for line in errors if not line.startswith("kenyon_client/client.py:")]


def main():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        url = "http://127.0.0.1:%d" % s.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.argv[1], "serve", "--listen", url[7:], "--grpc-listen", "off", "--data-dir", f"{folder}/data"]
        server = subprocess.Popen(command, env={**os.environ, "KENYON_LOG": "warn", "KENYON_MASTER_KEY": KEY})
        try:
            for _ in range(400):
                try:
                    text = urllib.request.urlopen(f"{url}/openapi.json", timeout=2).read()
                    break
                except OSError:
                    time.sleep(0.05)
            validate(json.loads(text))
            with open(f"{folder}/openapi.json", "w") as file:
                json.dump(for_generator(json.loads(text)), file)
            environment = {**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}"}
            generate = ["generate", "--path", "openapi.json", "--meta", "none", "--output-path", "kenyon_client"]
            made = subprocess.run([f"{TOOLS}/openapi-python-client", *generate], cwd=folder, env=environment, capture_output=True, text=True)
            assert os.path.exists(f"{folder}/kenyon_client/client.py"), made.stdout + made.stderr
            shutil.copy(f"{HERE}/typed.py", folder)
            errors = checked(folder)
            print(f"mypy --strict: {len(errors)} errors", *errors, sep="\n")
            used = subprocess.run([sys.executable, "typed.py", url, KEY], cwd=folder).returncode
        finally:
            server.terminate()
            ended = server.wait(30)
    return int(bool(errors or used or ended))


if __name__ == "__main__":
    sys.exit(main())
