"""Few labels: texts that an encoder reads, taught by observing rows one by one and by a training on the same rows.

    python3 benches/few_labels.py BINARY ENCODER_FOLDER TRAIN.jsonl.gz TEST.jsonl.gz [--counts 1 5 10] [--draws 3]
        [--ways observe train] [--leave-out oos] [--validation 1000] [--in-order domain]

Rows are objects with `text` and `label`. Each draw takes COUNT rows a class of the training file, 0 takes all. With
`--validation` the answers are for so many other rows of the training file, without it for the test file. `--in-order`
observes the classes group by group, groups by that field. Prints accuracy, log loss and seconds. Standard library only.
"""

import argparse
import gzip
import io
import json
import math
import os
import random
import tarfile
import time

from server import Client, Server

CHUNK = 50


def read(path, leave_out):
    with gzip.open(path, "rt") as file:
        rows = [json.loads(line) for line in file]
    return [row for row in rows if row["label"] not in leave_out]


def lines(rows):
    return "".join(json.dumps({"text": row["text"], "label": row["label"]}) + "\n" for row in rows).encode()


def add_encoder(client, folder):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(folder, ".")
    client.raw("PUT", "/api/v1/encoders/encoder", archive.getvalue(), {"content-type": "application/x-tar"})


def draw(rows, count, seed, group):
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    taken, left, seen = [], [], {}
    for row in shuffled:
        seen[row["label"]] = seen.get(row["label"], 0) + 1
        (taken if not count or seen[row["label"]] <= count else left).append(row)
    if group:
        taken.sort(key=lambda row: row[group])
    return taken, left


def score(client, model, rows):
    right, loss = 0, 0.0
    for at in range(0, len(rows), CHUNK):
        part = rows[at : at + CHUNK]
        answer = client.call("POST", f"/api/v1/models/{model}/predict", {"rows": [{"text": row["text"]} for row in part]})
        for row, found in zip(part, answer["predictions"]):
            right += found["label"] == row["label"]
            loss -= math.log(max(found["probabilities"].get(row["label"], 0.0), 1e-6))
    return right / len(rows), loss / len(rows)


def learn(client, model, way, rows, seed):
    features = {"text": {"kind": "text", "encoder": "encoder"}}
    named = {"target": "label", "task": "classification", "features": features}
    if way == "observe":
        client.call("PUT", f"/api/v1/models/{model}", named)
        for row in rows:
            body = {"rows": [{"text": row["text"], "label": row["label"]}]}
            client.call("POST", f"/api/v1/models/{model}/observe", body)
        return
    client.call("PUT", f"/api/v1/datasets/{model}", lines(rows), kind="ndjson")
    job = client.call("POST", f"/api/v1/models/{model}/train", {"dataset": model, "seed": seed, **named})
    while job["status"] in ("queued", "running"):
        time.sleep(0.2)
        job = client.call("GET", f"/api/v1/jobs/{job['id']}")
    if job["status"] != "succeeded":
        raise SystemExit(json.dumps(job["error"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("binary", "encoder", "train", "test"):
        parser.add_argument(name, type=os.path.abspath)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=["observe", "train"])
    parser.add_argument("--leave-out", nargs="*", default=[])
    parser.add_argument("--validation", type=int)
    parser.add_argument("--in-order")
    options = parser.parse_args()
    server = Server(options.binary)
    client = Client(server.port)
    add_encoder(client, options.encoder)
    train, test = read(options.train, options.leave_out), read(options.test, options.leave_out)
    for count in options.counts:
        for way in options.ways:
            found = []
            for seed in range(1, options.draws + 1):
                rows, left = draw(train, count, seed, options.in_order)
                began = time.time()
                model = f"{way}-{count}-{seed}"
                learn(client, model, way, rows, seed)
                seconds = time.time() - began
                found.append((*score(client, model, left[: options.validation] if options.validation else test), seconds))
            shown = ", ".join(f"{accuracy:.4f} ({loss:.3f}; {seconds:.0f} s)" for accuracy, loss, seconds in found)
            print(f"{count or 'all'} a class, {way}: mean {sum(f[0] for f in found) / len(found):.4f}: {shown}", flush=True)


if __name__ == "__main__":
    main()
