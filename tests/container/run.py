"""Runs the last stage of the Dockerfile without a container engine: its steps in a clean Debian root, its
program as its user on a read-only root file system, its health check; then a model is trained through it.

usage: python3 tests/container/run.py BINARY [ROOT]. Needs root and debootstrap; ROOT is a fresh
`debootstrap --variant=minbase bookworm`, made in a temporary folder when missing.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
URL = "http://127.0.0.1:8080"


def stage():
    """Instructions of the last stage, as (name, rest)."""
    with open(f"{PROJECT}/Dockerfile") as f:
        lines = [line.rstrip("\n") for line in f if not line.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    steps = [line.split(None, 1) for line in text.split("\n") if line.strip()]
    last = max(i for i, step in enumerate(steps) if step[0] == "FROM")
    return steps[last + 1 :]


def run(*command, **more):
    return subprocess.run(command, check=True, **more)


def call(method, path, body=None):
    request = urllib.request.Request(URL + path, body, {"authorization": "Bearer a-key-for-this-test"}, method=method)
    if body and body.startswith(b"{"):
        request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def main(binary, root=None):
    work = tempfile.mkdtemp(prefix="kenyon-image-")
    if root is None:
        root = f"{work}/root"
        run("debootstrap", "--variant=minbase", "bookworm", root, stdout=subprocess.DEVNULL)
    environment, user, command, entry, health = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}, "0", [], [], []
    mounted, process = [], None
    try:
        for name, rest in stage():
            if name == "RUN":
                run("chroot", root, "sh", "-c", rest, stdout=subprocess.DEVNULL)
            elif name == "COPY":
                source, target = rest.split()[-2:]
                target = f"{root}{target}"
                os.makedirs(os.path.dirname(target), exist_ok=True)
                built = rest.startswith("--from=")
                shutil.copy(binary if built else f"{PROJECT}/{source}", target)
            elif name == "ENV":
                environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
            elif name == "USER":
                user = rest
            elif name == "ENTRYPOINT":
                entry = json.loads(rest)
            elif name == "CMD":
                command = json.loads(rest)
            elif name == "HEALTHCHECK":
                health = json.loads(rest[rest.index("CMD") + 3 :])
        # Read-only, but for the volume.
        sealed = f"{work}/sealed"
        os.makedirs(sealed)
        for arguments, place in (
            (["--bind", root], sealed),
            (["-o", "remount,bind,ro"], sealed),
            (["--bind", f"{root}/data"], f"{sealed}/data"),
            (["-t", "proc", "proc"], f"{sealed}/proc"),
            (["--bind", "/dev"], f"{sealed}/dev"),
        ):
            run("mount", *arguments, place)
            mounted += [place] if "remount,bind,ro" not in arguments else []
        inside = ["chroot", f"--userspec={user}", sealed]
        environment["KENYON_MASTER_KEY"] = "a-key-for-this-test"
        process = subprocess.Popen(inside + entry + command, env=environment, stderr=subprocess.DEVNULL)
        for _ in range(200):
            if subprocess.run(inside + health, env=environment, capture_output=True).returncode == 0:
                break
            time.sleep(0.05)
        run(*inside, *health, env=environment)
        call("PUT", "/api/v1/datasets/d", b"x,label\n" + b"".join(b"%d,%s\n" % (i % 40, b"a" if i % 40 < 20 else b"b") for i in range(200)))
        job = call("POST", "/api/v1/models/m/train", b'{"dataset":"d","target":"label"}')
        while job["status"] in ("queued", "running"):
            time.sleep(0.1)
            job = call("GET", f"/api/v1/jobs/{job['id']}")
        assert job["status"] == "succeeded", job
        answer = call("POST", "/api/v1/models/m/predict", b'{"rows":[{"x":3},{"x":38}]}')
        assert [p["label"] for p in answer["predictions"]] == ["a", "b"], answer
        with open(f"/proc/{process.pid}/status") as f:
            uid = next(line.split()[1] for line in f if line.startswith("Uid"))
        assert uid == user, uid
        assert subprocess.run(inside + ["touch", "/tmp/x"], capture_output=True).returncode != 0, "the root can be written"
        process.terminate()
        assert process.wait(30) == 0
        print("the image's steps work: user", uid, "on a read-only root, healthy, trained, answered, ended well")
    finally:
        if process and process.poll() is None:
            process.kill()
        for place in reversed(mounted):
            subprocess.run(["umount", "-l", place])
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
