"""Series: accuracy of `attention` (or another family) through HTTP, compared with MiniRocket.

usage: series.py BINARY [--data FOLDER] [--seeds N] [--family NAME] [--config JSON] [--numbered] [--peers] [--hydra] WHAT…
WHAT is `ucr` (all sets with official parts), `multivariate`, `watch`, `mnist1d` (PyPI mnist1d)
or the name of one UCR set. With --numbered a UCR set is a CSV of columns t0, t1, … without a hint that they
are a series. Needs numpy; --peers needs aeon and scikit-learn, --hydra (MultiROCKET with Hydra) aeon and torch. Test rows are predicted once a
seed, after training with the server's defaults.
"""

import argparse
import gzip
import json
import statistics
import sys
import time

import numpy as np

from server import Client, Server

UCR = """GunPoint ECG200 ECGFiveDays TwoLeadECG ItalyPowerDemand SyntheticControl Adiac Coffee Trace OSULeaf
MelbournePedestrian MoteStrain CricketX FiftyWords InsectEPGRegularTrain SonyAIBORobotSurface1
PhalangesOutlinesCorrect ArrowHead""".split()


def ucr(folder, name):
    def part(which):
        with gzip.open(f"{folder}/ucr/{name}_{which}.csv.gz", "rt") as f:
            next(f)
            rows = [line.rstrip("\n").split(",") for line in f]
        # A step that is missing is as the one before it.
        series = []
        for row in rows:
            values, last = [], 0.0
            for cell in row[1:]:
                last = float(cell) if cell else last
                values.append([last])
            series.append(values)
        return series, [row[0] for row in rows]

    return part("train"), part("test")


def lines(path):
    with gzip.open(path, "rt") as f:
        return [json.loads(line) for line in f]


def multivariate(folder, name):
    def part(which):
        rows = lines(f"{folder}/multivariate_series/{name}_{which}.jsonl.gz")
        return [r["x"] for r in rows], [r["y"] for r in rows]

    return part("train"), part("test")


def watch(folder):
    """Windows of four seconds, two seconds apart; the last quarter of the subjects is held back."""
    rows = lines(f"{folder}/watch_imu/watch.jsonl.gz")
    subjects = sorted({r["subject"] for r in rows})
    held = set(subjects[-(len(subjects) // 4):])
    parts = ([], []), ([], [])
    for r in rows:
        series, labels = parts[r["subject"] in held]
        for start in range(0, len(r["x"]) - 99, 50):
            series.append(r["x"][start:start + 100])
            labels.append(r["y"])
    return parts


def mnist1d(_):
    from mnist1d.data import get_dataset_args, make_dataset

    data = make_dataset(get_dataset_args())
    def part(x, y):
        return [[[float(v)] for v in row] for row in x], [str(v) for v in y]

    return part(data["x"], data["y"]), part(data["x_test"], data["y_test"])


def declared(series):
    """A row whose one column is the series."""
    return {"x": series if len(series[0]) > 1 else [step[0] for step in series]}


def numbered(series):
    """A row with a column for each step."""
    return {f"t{i}": step[0] for i, step in enumerate(series)}


def ours(client, name, parts, row, family, config, seed):
    """Accuracy on the test rows, seconds of training, the family."""
    (x, y), (a, b) = parts
    name = name.lower()
    rows = [row(series) | {"label": label} for series, label in zip(x, y)]
    request = {"dataset": name, "target": "label", "task": "classification", "seed": seed}
    if row is declared:
        client.call("PUT", f"/api/v1/datasets/{name}", "".join(json.dumps(r) + "\n" for r in rows).encode(), kind="ndjson")
        request["features"] = {"x": "sequence"}
    else:
        lines = [",".join(rows[0]), *(",".join(str(cell) for cell in r.values()) for r in rows)]
        client.call("PUT", f"/api/v1/datasets/{name}", ("\n".join(lines) + "\n").encode(), kind="csv")
    request |= {"family": family} if family else {}
    request |= {"config": config} if config else {}
    started = time.time()
    job = client.call("POST", f"/api/v1/models/{name}/train", request)
    while job["status"] in ("queued", "running"):
        time.sleep(0.2)
        job = client.call("GET", f"/api/v1/jobs/{job['id']}")
    if job["status"] != "succeeded":
        raise SystemExit(f"{name}: {job['error']}")
    spent = time.time() - started
    right = 0
    for at in range(0, len(a), 250):
        rows = [row(series) for series in a[at:at + 250]]
        answer = client.call("POST", f"/api/v1/models/{name}/predict", {"rows": rows})
        right += sum(str(p["label"]) == l for p, l in zip(answer["predictions"], b[at:at + 250]))
    used = client.call("GET", f"/api/v1/models/{name}")["family"]
    return right / len(a), spent, used


def arrays(parts):
    """Series of one length, channels first, and their classes."""
    (x, y), (a, b) = parts
    length = max(len(s) for s in x + a)
    def padded(series):
        return np.stack([np.pad(np.array(s).T, ((0, 0), (0, length - len(s))), mode="edge") for s in series])

    return padded(x), np.array(y), padded(a), np.array(b)


def hydra(parts):
    """MultiROCKET with Hydra, mean of two seeds."""
    from aeon.classification.convolution_based import MultiRocketHydraClassifier

    x, y, a, b = arrays(parts)
    models = (MultiRocketHydraClassifier(n_jobs=1, random_state=seed) for seed in (0, 1))
    return statistics.mean(float((model.fit(x, y).predict(a) == b).mean()) for model in models)


def peers(parts):
    """MiniRocket with ridge (mean of two seeds), ridge on the raw values."""
    from aeon.classification.convolution_based import MiniRocketClassifier
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, a, b = arrays(parts)
    rocket = [float((MiniRocketClassifier(n_jobs=1, random_state=s).fit(x, y).predict(a) == b).mean()) for s in (0, 1)]
    ridge = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-3, 3, 10))).fit(x.reshape(len(x), -1), y)
    return statistics.mean(rocket), float((ridge.predict(a.reshape(len(a), -1)) == b).mean())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("what", nargs="+")
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--family")
    parser.add_argument("--config", type=json.loads)
    parser.add_argument("--numbered", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--hydra", action="store_true")
    arguments = parser.parse_args()
    names = []
    for what in arguments.what:
        names += {"ucr": UCR, "multivariate": ["BasicMotions", "JapaneseVowels"]}.get(what, [what])
    server = Server(arguments.binary, "--workers", "1")
    figures = []
    for name in names:
        # The peers take so long that a connection kept meanwhile is closed.
        client = Client(server.port)
        load = {"watch": watch, "mnist1d": mnist1d}.get(name)
        if load:
            parts = load(arguments.data)
        elif name in ("BasicMotions", "JapaneseVowels"):
            parts = multivariate(arguments.data, name)
        else:
            parts = ucr(arguments.data, name)
        row = numbered if arguments.numbered and name in UCR else declared
        runs = [ours(client, name, parts, row, arguments.family, arguments.config, seed + 1) for seed in range(arguments.seeds)]
        mine = [run[0] for run in runs]
        line = f"{name:26} {len(parts[0][1]):5} / {len(parts[1][1]):5}  {runs[0][2]:10} {statistics.mean(mine):.4f}"
        line += f" ({' '.join(f'{m:.4f}' for m in mine)})  {statistics.mean(run[1] for run in runs):6.1f} s"
        figures.append([statistics.mean(mine)])
        if arguments.peers:
            theirs = peers(parts)
            line += f"   MiniRocket {theirs[0]:.4f}  ridge {theirs[1]:.4f}"
            figures[-1] += theirs
        if arguments.hydra:
            figures[-1].append(hydra(parts))
            line += f"   MultiROCKET-Hydra {figures[-1][-1]:.4f}"
        print(line, flush=True)
    print("mean", *(f"{statistics.mean(column):.4f}" for column in zip(*figures)))


if __name__ == "__main__":
    sys.exit(main())
