"""What a dry run estimates beside what the training then takes, dataset by dataset.

usage: estimates.py BINARY FILE:TARGET [FILE:TARGET …]. Each file is sent to a server of its own, planned with
`"dry_run":true` and trained with the same request. Time is the job's, from its start to its end; memory is the
peak of the process that trains (Linux). Prints the ratios; a goal is a factor of two.
"""

import argparse
import gzip
import os
import time

from server import Client, Server, children, status


def seconds(job):
    moment = lambda name: time.mktime(time.strptime(job[name][:19], "%Y-%m-%dT%H:%M:%S")) + float("0" + job[name][19:].rstrip("Z"))
    return moment("finished_at") - moment("started_at")


def measure(binary, path, target):
    server = Server(binary, "--workers", "1")
    client = Client(server.port)
    with open(path, "rb") as file:
        client.call("PUT", "/api/v1/datasets/d", gzip.open(path).read() if path.endswith(".gz") else file.read(), kind="ndjson" if "json" in path else "csv")
    request = {"dataset": "d", "target": target}
    plan = client.call("POST", "/api/v1/models/m/train", {**request, "dry_run": True})
    job, needed = client.call("POST", "/api/v1/models/m/train", request), 0
    while job["status"] in ("queued", "running"):
        needed = max([needed, *(status(child, "VmHWM") for child in children(server.process.pid))])
        time.sleep(0.02)
        job = client.call("GET", f"/api/v1/jobs/{job['id']}")
    assert job["status"] == "succeeded", job
    took = seconds(job)
    server.process.terminate()
    name = os.path.basename(path).split(".")[0]
    print(
        f"{name:24} {plan['family']:10} estimated {plan['estimated_seconds']:8.2f} s took {took:8.2f} s ratio "
        f"{plan['estimated_seconds'] / took:5.2f}   estimated {plan['estimated_bytes'] / 2**20:7.1f} MiB took "
        f"{needed:7.1f} MiB",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    for file in arguments.files:
        path, target = file.rsplit(":", 1)
        measure(arguments.binary, path, target)


main()
