"""What the container tests share: the engine's commands, a certificate, and a client that trusts it."""

import json
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KEY = "a-master-key-for-this-test"


def run(*command, **more):
    """Runs a command; what it wrote, or an error with its output."""
    done = subprocess.run(command, capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout.strip()


def docker(*arguments):
    return run("docker", *arguments)


AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def last_stages():
    """The stages of the Dockerfile after the first, which take from the context what that one would have built."""
    with open(f"{PROJECT}/Dockerfile") as f:
        text = f.read()
    stages = text[text.index("\nFROM ", text.index("\nFROM ") + 1) :]
    for built in (AUTHORITIES, "/build/target/release/kenyon"):
        assert f"COPY --from=build {built} " in stages, built
        stages = stages.replace(f"COPY --from=build {built} ", f"COPY {os.path.basename(built)} ")
    return stages


def certificate(folder):
    """Writes cert.pem and key.pem for localhost, readable by the container's user."""
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", f"{folder}/key.pem",
        "-out", f"{folder}/cert.pem")
    os.chmod(folder, 0o755)
    os.chmod(f"{folder}/key.pem", 0o644)
    with open(f"{folder}/both.pem", "w") as both:
        for name in ("cert.pem", "key.pem"):
            with open(f"{folder}/{name}") as part:
                both.write(part.read())
    os.chmod(f"{folder}/both.pem", 0o644)


class Client:
    """Calls a server. An answer is (status, JSON or text)."""

    def __init__(self, url, trusted=None, key=KEY):
        self.url, self.key = url, key
        self.context = ssl.create_default_context(cafile=trusted) if trusted else None

    def once(self, method, path, body=None, key=..., timeout=30):
        headers = {}
        key = self.key if key is ... else key
        if key:
            headers["authorization"] = f"Bearer {key}"
        if isinstance(body, (dict, list)):
            body, headers["content-type"] = json.dumps(body).encode(), "application/json"
        elif body is not None:
            headers["content-type"] = "application/octet-stream"
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=self.context) as answer:
                status, data = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, data = error.code, error.read()
        try:
            return status, json.loads(data)
        except ValueError:
            return status, data.decode(errors="replace")

    def call(self, method, path, body=None):
        """The answer's content; an answer that is no success is an error."""
        status, answer = self.once(method, path, body)
        assert 200 <= status < 300, f"{method} {path}: {status} {answer}"
        return answer

    def ended(self, job, patience=120):
        """The job once it has ended."""
        until = time.monotonic() + patience
        while job["status"] in ("queued", "running"):
            assert time.monotonic() < until, job
            time.sleep(0.1)
            job = self.call("GET", f"/api/v1/jobs/{job['id']}")
        return job


def clouds(rows=200):
    """A dataset that every family learns."""
    lines = [f"{i % 40},{'a' if i % 40 < 20 else 'b'}" for i in range(rows)]
    return ("x,label\n" + "\n".join(lines) + "\n").encode()


def until(what, true, patience=60, pause=0.1):
    """Waits until `true()`; errors of the network count as not yet."""
    end = time.monotonic() + patience
    while True:
        try:
            if true():
                return
        except OSError:
            pass
        assert time.monotonic() < end, f"not within {patience} s: {what}"
        time.sleep(pause)
