"""Measures learning from streams through the HTTP interface of the real server.

usage: streams.py BINARY WHAT... [--no-label-lags] [--seeds 1,2,3] [--draws 3] [--order 3,1,4,…] [--rows N] [--shuffle]

WHAT is one or more of
  speed           durable rows/s of Elec2 as one NDJSON body, and single rows one after the other
  beside          how long predictions and observations take alone and at the same time
  elec2 weather phishing segments airlines covertype spam spam500
                  prequential accuracy, rows in their order, covertype shuffled; spam500 has the 500 most frequent words;
                  with --shuffle in random orders, one a seed, and with the numbers of alarms, all of which are false
  mnist fashion_mnist                      one pass over the 60,000, then the test set
  split_mnist split_fashion                the same, five steps of two classes, no task identity
  few             MNIST, 1/5/10/50 labelled rows a class, the other rows observed without a label
  shots           MNIST: nine classes observed, then 1, 5 and 20 rows of the tenth; each class in turn
  million         1,000,000 rows: memory, disk and speed at the end against those at 10,000

Data come from KENYON_SHARED_DATA (default ../shared/data). Standard library only.
"""

import json
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time

from server import Client, Server
from stream_data import TABLES, WORDS, read, spam, table


def lines_of(name):
    """Kinds of the inputs, and each row as a line of JSON whose class is `target`."""
    kinds, rows = table(name)
    return kinds, [json.dumps({**inputs, "target": label}) for inputs, label in rows]


def spam_lines():
    """Indices from 0 to 39,916, each row with all of its zeros."""
    lines = []
    for label, words in spam():
        values = ["0"] * WORDS
        for index, value in words.items():
            values[index] = value
        lines.append(f'{{"words":[{",".join(values)}],"target":"{label}"}}')
    return lines


def digits(name, part):
    images = read(f"{name}/{part}-images-idx3-ubyte.gz")[16:]
    labels = read(f"{name}/{part}-labels-idx1-ubyte.gz")[8:]
    return [f'"image":{list(images[i * 784:(i + 1) * 784])}'.replace(" ", "") for i in range(len(labels))], labels


class Stream:
    """An empty model on a fresh server."""

    def __init__(self, features, seed=7, lags=True, classes=()):
        self.server = Server(OPTIONS["binary"])
        self.client = Client(self.server.port)
        config = {"seed": seed, "recent_labels": lags}
        empty = {"family": "hybrid", "target": "target", "features": features, "config": config, "classes": list(classes)}
        self.client.call("PUT", "/api/v1/models/s", empty)

    def observe(self, lines, headers=None):
        body = ("\n".join(lines) + "\n").encode()
        return self.client.call("POST", "/api/v1/models/s/observe", body, "ndjson", headers)

    def copy(self):
        """The same model in another data folder, on a server of its own."""
        self.server.kill()
        folder = tempfile.mkdtemp(prefix="kenyon-")
        shutil.copytree(self.server.folder, folder, dirs_exist_ok=True)
        self.server.start()
        self.client = Client(self.server.port)
        twin = object.__new__(Stream)
        twin.server = Server(OPTIONS["binary"], folder=folder)
        twin.client = Client(twin.server.port)
        return twin

    def right(self, images, labels):
        """Share of right answers."""
        right = 0
        for at in range(0, len(images), 500):
            rows = ",".join(f"{{{i}}}" for i in images[at:at + 500])
            answer = self.client.call("POST", "/api/v1/models/s/predict", f'{{"rows":[{rows}],"top_k":1}}'.encode())
            right += sum(p["label"] == str(y) for p, y in zip(answer["predictions"], labels[at:at + 500]))
        return right / len(images)

    def end(self):
        self.server.remove()


def prequential(name):
    for lags in [False] if OPTIONS["no_lags"] else [True, False]:
        if name == "spam":
            features, lines = {"words": {"kind": "vector", "shape": [WORDS]}}, spam_lines()
        else:
            features, lines = lines_of(name)
        found = []
        for seed in OPTIONS["seeds"]:
            stream = Stream(features, seed, lags)
            if OPTIONS["shuffle"]:
                random.Random(seed).shuffle(lines)
            # The body's lines are learned in portions of 1,000; the encoder's scales see a portion first.
            answer = stream.observe(lines)
            figures, drift = answer["prequential"], answer["drift"]
            found.append(figures["accuracy"])
            if OPTIONS["shuffle"]:
                print(f"{name}, order {seed}: {drift['count']} alarms on errors, {drift['inputs']['count']} on inputs", flush=True)
            stream.end()
        using = "with the last labels as inputs" if lags else "without labels as inputs"
        print(f"{name}: {len(lines)} rows, {using}: {' '.join(f'{a:.4f}' for a in found)}, mean {statistics.mean(found):.4f}"
              f" (same as last: {figures['last_label']:.4f}, kappa against it {figures['kappa_last']:.3f})", flush=True)


IMAGE = {"image": {"kind": "vector", "shape": [28, 28]}}


def pictures(name, split):
    images, labels = digits(name, "train")
    tests, wanted = digits(name, "t10k")
    found = []
    for seed in OPTIONS["seeds"]:
        stream = Stream(IMAGE, seed, False)
        order = list(range(len(images)))
        random.Random(seed).shuffle(order)
        classes = OPTIONS["order"] or list(range(10))
        if split:
            order.sort(key=lambda i: classes.index(labels[i]) // 2)
        started = time.time()
        for at in range(0, len(order), 2_000):
            stream.observe([f'{{{images[i]},"target":"{labels[i]}"}}' for i in order[at:at + 2_000]])
        spent = time.time() - started
        found.append(stream.right(tests, wanted))
        print(f"  {name}, split {split}, order {classes}, seed {seed}: {found[-1]:.4f}, {spent:.0f} s", flush=True)
        stream.end()
    print(f"{name}, {'five steps of two classes' if split else 'shuffled'}: mean {statistics.mean(found):.4f}", flush=True)


def few():
    images, labels = digits("mnist", "train")
    tests, wanted = digits("mnist", "t10k")
    for k in OPTIONS["k"]:
        found = []
        for draw in range(OPTIONS["draws"]):
            chance = random.Random(1000 * k + draw)
            order = list(range(len(images)))
            chance.shuffle(order)
            left, labelled = [k] * 10, []
            for i in order:
                if left[labels[i]]:
                    left[labels[i]] -= 1
                    labelled.append(i)
            known = set(labelled)
            stream = Stream(IMAGE, draw, False, [str(c) for c in range(10)])
            # Labelled rows come first, as they would of a user who names a few; the rest only passes by.
            stream.observe([f'{{{images[i]},"target":"{labels[i]}"}}' for i in labelled])
            rest = [i for i in order if i not in known][:OPTIONS["rows"] or None]
            for at in range(0, len(rest), 2_000):
                stream.observe([f"{{{images[i]}}}" for i in rest[at:at + 2_000]])
            found.append(stream.right(tests, wanted))
            print(f"  k={k} draw {draw}: {found[-1]:.4f}", flush=True)
            stream.end()
        print(f"few: k={k}: mean of {len(found)} draws {statistics.mean(found):.4f}", flush=True)


def shots():
    images, labels = digits("mnist", "train")
    tests, wanted = digits("mnist", "t10k")
    recalls, lost = {1: [], 5: [], 20: []}, {1: [], 5: [], 20: []}
    for new in range(10):
        stream = Stream(IMAGE, new, False)
        known = [i for i in range(len(images)) if labels[i] != new][:OPTIONS["rows"] or None]
        for at in range(0, len(known), 2_000):
            stream.observe([f'{{{images[i]},"target":"{labels[i]}"}}' for i in known[at:at + 2_000]])
        fresh = [i for i in range(len(tests)) if wanted[i] == new]
        old = [i for i in range(len(tests)) if wanted[i] != new][::4]
        right = lambda model, rows: model.right([tests[i] for i in rows], [wanted[i] for i in rows])
        before = right(stream, old)
        candidates = [i for i in range(len(images)) if labels[i] == new]
        for draw in range(OPTIONS["draws"]):
            twin, shown = stream.copy(), 0
            drawn = random.Random(100 * new + draw).sample(candidates, 20)
            for count in recalls:
                twin.observe([f'{{{images[i]},"target":"{new}"}}' for i in drawn[shown:count]])
                shown = count
                recalls[count].append(right(twin, fresh))
                lost[count].append(before - right(twin, old))
            twin.end()
        stream.end()
        last = lambda figures: statistics.mean(figures[-OPTIONS["draws"]:])
        summary = ", ".join(f"{n} shots {last(recalls[n]):.3f} (old ones lose {100 * last(lost[n]):.2f} points)" for n in recalls)
        print(f"  new class {new}: old ones {before:.4f}; recall after {summary}", flush=True)
    for count in recalls:
        print(f"shots: {count}: recall {statistics.mean(recalls[count]):.3f}, old classes lose {100 * statistics.mean(lost[count]):.2f} points"
              f" (mean of {len(recalls[count])})", flush=True)


def speed():
    names, lines = lines_of("elec2")
    features = {n: "number" for n in names}
    found = []
    for _ in range(3):
        stream = Stream(features)
        body = ("\n".join(lines) + "\n").encode()
        cpu, started = stream.server.cpu(), time.time()
        stream.client.call("POST", "/api/v1/models/s/observe", body, "ndjson")
        spent = time.time() - started
        found.append((len(lines) / spent, len(lines) / (stream.server.cpu() - cpu)))
        singles = []
        for line in lines[:1_000]:
            started = time.perf_counter()
            stream.client.call("POST", "/api/v1/models/s/observe", f'{{"rows":[{line}]}}'.encode())
            singles.append(time.perf_counter() - started)
        stream.end()
    rate, cpu = (statistics.median(f[i] for f in found) for i in range(2))
    singles.sort()
    print(f"elec2, one NDJSON body, durable: {rate:.0f} rows/s, {cpu:.0f} rows per CPU second (median of 3)")
    print(f"single rows, durable: p50 {singles[500] * 1e3:.2f} ms, p99 {singles[990] * 1e3:.2f} ms", flush=True)


def beside():
    names, lines = lines_of("elec2")
    stream = Stream({n: "number" for n in names})
    stream.observe(lines[:5_000])
    probe = json.dumps({"rows": [{n: 0.5 for n in names}]}).encode()
    row = f'{{"rows":[{lines[5_000]}]}}'.encode()

    def timed(path, body, seconds, stop=None):
        client, spent, until = Client(stream.server.port), [], time.time() + seconds
        while time.time() < until and not (stop and stop.is_set()):
            started = time.perf_counter()
            client.call("POST", f"/api/v1/models/s/{path}", body)
            spent.append((time.perf_counter() - started) * 1e3)
            time.sleep(0.001)
        return sorted(spent)

    def report(what, spent):
        p = lambda share: spent[int(len(spent) * share)]
        print(f"{what}: p50 {p(.5):.2f} ms, p99 {p(.99):.2f} ms, largest {spent[-1]:.2f} ms of {len(spent)}", flush=True)

    report("predict alone", timed("predict", probe, 5))
    report("observe alone", timed("observe", row, 5))
    found, stop = {}, threading.Event()
    other = threading.Thread(target=lambda: found.update(observe=timed("observe", row, 60, stop)))
    other.start()
    report("predict with single observed rows", timed("predict", probe, 5))
    stop.set()
    other.join()
    report("observe with predictions", found["observe"])
    stop = threading.Event()

    def flood():
        client = Client(stream.server.port)
        while not stop.is_set():
            client.call("POST", "/api/v1/models/s/observe", ("\n".join(lines) + "\n").encode(), "ndjson")

    other = threading.Thread(target=flood)
    other.start()
    report("predict with an NDJSON body", timed("predict", probe, 5))
    stop.set()
    other.join()
    stream.end()


def million():
    names, lines = lines_of("elec2")
    stream = Stream({n: "number" for n in names})
    probe = json.dumps({"rows": [{n: 0.5 for n in names}]}).encode()
    body = ("\n".join(lines[:10_000]) + "\n").encode()
    observed, largest = 0, 0
    while observed < 1_000_000:
        cpu, started = stream.server.cpu(), time.time()
        observed += stream.client.call("POST", "/api/v1/models/s/observe", body, "ndjson")["observed"]
        spent, cpu = time.time() - started, stream.server.cpu() - cpu
        largest = max(largest, stream.server.disk())
        if observed in (10_000, 20_000, 50_000, 100_000) or observed % 200_000 == 0:
            times = []
            for _ in range(200):
                begun = time.perf_counter()
                stream.client.call("POST", "/api/v1/models/s/predict", probe)
                times.append(time.perf_counter() - begun)
            print(f"{observed} rows: {10_000 / spent:.0f} rows/s, {10_000 / cpu:.0f} per CPU second, predict p50"
                  f" {statistics.median(times) * 1e3:.2f} ms, memory {stream.server.resident() / 2**20:.0f} MiB,"
                  f" disk {stream.server.disk() / 2**20:.1f} MiB (largest {largest / 2**20:.1f})", flush=True)
    stream.end()


OPTIONS = {"no_lags": "--no-label-lags" in sys.argv, "shuffle": "--shuffle" in sys.argv, "seeds": [1, 2, 3], "draws": 3,
           "order": None, "rows": 0, "k": [1, 5, 10, 50]}
NAMED = []
ARGUMENTS = iter(sys.argv[1:])
for word in ARGUMENTS:
    if word in ("--seeds", "--order", "--k"):
        OPTIONS[word[2:]] = [int(s) for s in next(ARGUMENTS).split(",")]
    elif word in ("--draws", "--rows"):
        OPTIONS[word[2:]] = int(next(ARGUMENTS))
    elif not word.startswith("--"):
        NAMED.append(word)
OPTIONS["binary"] = NAMED[0]
for what in NAMED[1:]:
    if what in TABLES or what in ("spam", "spam500"):
        prequential(what)
    elif what in ("mnist", "fashion_mnist", "split_mnist", "split_fashion"):
        pictures(what.replace("split_mnist", "mnist").replace("split_fashion", "fashion_mnist"), what.startswith("split"))
    else:
        {"speed": speed, "beside": beside, "few": few, "shots": shots, "million": million}[what]()
