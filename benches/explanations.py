"""Explanations beside those of the package `shap` for the same models, over HTTP.

    python benches/explanations.py BINARY DATA_FOLDER [--only adult,titanic] [--seeds 0] [--rows 30] [--orders 10]

A model learns three fifths of at most 6,000 rows. For rows of the rest, weights of columns (pixels, words) are compared with what
replacing each by its baseline does to the answer: the mean over 300 training rows that shap's background of 100 rows has not; a word
is left out. shap's are those of `PermutationExplainer` with ORDERS orders and their reverses, on the answers of the server: log-odds of the
named class, or the value. Printed are the mean rank correlation of sizes, the share of rows whose largest weight belongs to the
largest effect, how far the weights are from their sum, and the time of an explained row on one connection. Needs numpy and shap.
"""

import argparse
import csv
import gzip
import http.client
import io
import json
import math
import os
import random
import statistics
import time

import numpy
import shap

from server import Client, Server

# File, target, columns that give it away.
SETS = {
    "adult": ("adult/train.csv.gz", "income", []),
    "titanic": ("seaborn_small/titanic.csv", "survived", ["alive"]),
    "california": ("california_housing/housing.csv.gz", "median_house_value", []),
    "diamonds": ("seaborn_small/diamonds.csv.gz", "price", []),
    "covertype": ("covertype_20k/covtype20k.csv.gz", "Cover_Type", []),
    "cancer": ("sklearn_small/breast_cancer.csv", "target", []),
    "digits": ("sklearn_small/digits_8x8.csv.gz", "target", []),
    "banking77": ("banking77/train.jsonl.gz", "label", []),
}
NUMBERS = {"california", "diamonds"}
MOST_ROWS = 6_000
BACKGROUND, OTHERS, CALL = 100, 300, 2_000


def read(data, name):
    """Rows as objects, without what gives the target away."""
    file, target, dropped = SETS[name]
    path = os.path.join(data, file)
    with gzip.open(path, "rt") if path.endswith(".gz") else open(path) as lines:
        if ".jsonl" in path:
            return [json.loads(line) for line in lines], target
        rows = list(csv.DictReader(lines))
    for row in rows:
        for column in dropped:
            row.pop(column)
    return rows, target


def learn(client, name, rows, target, seed):
    text = io.StringIO()
    if name == "banking77":
        text.write("".join(json.dumps(row) + "\n" for row in rows))
    else:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    model = f"{name}-{seed}"
    client.call("PUT", f"/api/v1/datasets/{model}", text.getvalue().encode(), kind="ndjson" if name == "banking77" else "csv")
    task = "regression" if name in NUMBERS else "classification"
    job = client.call("POST", f"/api/v1/models/{model}/train", {"dataset": model, "target": target, "task": task, "seed": seed})
    while job["status"] in ("queued", "running"):
        time.sleep(0.2)
        job = client.call("GET", f"/api/v1/jobs/{job['id']}")
    if job["status"] != "succeeded":
        raise SystemExit(json.dumps(job["error"]))
    return model


class Answers:
    """The answers of a model, in the unit of its explanations."""

    def __init__(self, client, model):
        self.client, self.path, self.classes = client, f"/api/v1/models/{model}/predict", 1_000

    def predict(self, rows, **more):
        request = {"rows": rows, **more}
        try:
            return self.client.call("POST", self.path, request)["predictions"]
        except (OSError, http.client.HTTPException):
            # The server has closed an idle connection.
            return self.client.call("POST", self.path, request)["predictions"]

    def of(self, rows, label):
        found = []
        for at in range(0, len(rows), CALL):
            for answer in self.predict(rows[at : at + CALL], top_k=self.classes):
                if label is None:
                    found.append(answer["value"])
                    continue
                shares = answer["probabilities"]
                others = sum(share for name, share in shares.items() if name != label)
                found.append(math.log(max(shares.get(label, 0.0), 1e-30) / max(others, 1e-30)))
        return numpy.array(found)


class Cells:
    """Rows as numbers for shap, and back: names are numbered."""

    def __init__(self, rows, columns):
        self.columns, self.names = columns, {}
        for column in columns:
            cells = {row[column] for row in rows} - {""}
            try:
                [float(cell) for cell in cells]
            except ValueError:
                self.names[column] = sorted(cells)

    def numbers(self, rows):
        def one(row, column):
            cell = row[column]
            if cell == "":
                return math.nan
            return float(self.names[column].index(cell)) if column in self.names else float(cell)

        return numpy.array([[one(row, column) for column in self.columns] for row in rows])

    def rows(self, numbers):
        columns = []
        for column, values in zip(self.columns, numpy.asarray(numbers, dtype=float).T):
            names = self.names.get(column)
            columns.append([None if math.isnan(v) else names[int(v)] if names else v for v in values.tolist()])
        return [dict(zip(self.columns, row)) for row in zip(*columns)]


def sampled(answer, background, x, orders):
    """shap's weights of the numbers `x`."""
    explainer = shap.PermutationExplainer(answer, shap.maskers.Independent(background, max_samples=len(background)), seed=0)
    return explainer(x.reshape(1, -1), max_evals=orders * (2 * len(x) + 1), silent=True).values[0]


def of_columns(answers, cells, known, row, label, orders):
    """Ours, shap's, and the effects, one a column; by how much ours do not sum up."""
    found = answers.predict(cells.rows(row.reshape(1, -1)), explain=True)[0]["explanation"]
    background, others = known[:BACKGROUND], known[BACKGROUND : BACKGROUND + OTHERS]
    ours = numpy.zeros(len(cells.columns))
    for feature in found["features"]:
        if "map" in feature:
            ours[:] = numpy.array(feature["map"]).ravel()
        else:
            ours[cells.columns.index(feature["name"])] += feature["weight"]
    theirs = sampled(lambda numbers: answers.of(cells.rows(numbers), label), background, row, orders)
    replaced = numpy.repeat(row.reshape(1, -1), len(row) * len(others), 0)
    for column in range(len(row)):
        replaced[column * len(others) : (column + 1) * len(others), column] = others[:, column]
    own = answers.of(cells.rows(row.reshape(1, -1)), label)[0]
    effects = own - answers.of(cells.rows(replaced), label).reshape(len(row), -1).mean(1)
    return ours, theirs, effects, abs(ours.sum() - (found["output"] - found["baseline"]))


def of_words(answers, text, label, orders):
    """The same of the words of a text; none where there are few."""
    found = answers.predict([{"text": text}], explain=True)[0]["explanation"]
    words = [feature for feature in found["features"] if "start" in feature]
    if len(words) < 3:
        return None
    words.sort(key=lambda word: word["start"])

    def kept(mask):
        parts, last = [], 0
        for keep, word in zip(mask, words):
            parts.append(text[last : word["end"] if keep else word["start"]])
            last = word["end"]
        return {"text": "".join(parts) + text[last:]}

    answer = lambda masks: answers.of([kept(mask) for mask in masks > 0.5], label)
    ours = numpy.array([word["weight"] for word in words])
    theirs = sampled(answer, numpy.zeros((1, len(words))), numpy.ones(len(words)), orders)
    all_words = numpy.ones((1, len(words)))
    effects = answer(all_words)[0] - answer(1.0 - numpy.eye(len(words)))
    total = sum(feature["weight"] for feature in found["features"])
    return ours, theirs, effects, abs(total - (found["output"] - found["baseline"]))


def ranks(values):
    return numpy.argsort(numpy.argsort(numpy.abs(values), kind="stable"), kind="stable")


def agreement(weights, effects):
    correlation = numpy.corrcoef(ranks(weights), ranks(effects))[0, 1]
    return correlation, float(numpy.argmax(numpy.abs(weights)) == numpy.argmax(numpy.abs(effects)))


def measure(client, name, data, seed, count, orders):
    rows, target = read(data, name)
    random.Random(seed).shuffle(rows)
    rows = rows[:MOST_ROWS]
    split = len(rows) * 3 // 5
    model = learn(client, name, rows[:split], target, seed)
    answers, found, times = Answers(client, model), [], []
    inputs = [{column: cell for column, cell in row.items() if column != target} for row in rows]
    cells = None if name == "banking77" else Cells(inputs, list(inputs[0]))
    known = None if cells is None else cells.numbers(inputs[:split])
    for row in inputs[split : split + count]:
        sent = row if cells is None else cells.rows(cells.numbers([row]))[0]
        label = None if name in NUMBERS else str(answers.predict([sent])[0]["label"])
        if cells is None:
            one = of_words(answers, row["text"], label, orders)
        else:
            one = of_columns(answers, cells, known, cells.numbers([row])[0], label, orders)
        for _ in range(5):
            begun = time.perf_counter()
            answers.predict([sent], explain=True)
            times.append(time.perf_counter() - begun)
        if one:
            found.append((*agreement(one[0], one[2]), *agreement(one[1], one[2]), one[3]))
    return [*numpy.nanmean(found, 0)[:4], max(one[4] for one in found), 1e3 * statistics.median(times), 1e3 * sorted(times)[int(len(times) * 0.99)]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=os.path.abspath)
    parser.add_argument("data")
    parser.add_argument("--only", default=",".join(SETS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--orders", type=int, default=10)
    options = parser.parse_args()
    client = Client(Server(options.binary, "--workers", "1", "--job-threads", "1").port)
    print("| set (splits) | rank corr., shap's | top right, shap's | off the sum | ms, p50 and p99 |\n|---|---|---|---|---|")
    for name in options.only.split(","):
        seeds = options.seeds.split(",")
        ours, top, theirs, their_top, off, middle, most = numpy.mean(
            [measure(client, name, options.data, int(seed), options.rows, options.orders) for seed in seeds], 0
        )
        print(f"| {name} ({len(seeds)}) | {ours:.3f}, {theirs:.3f} | {top:.3f}, {their_top:.3f} | {off:.1e} | {middle:.1f}, {most:.1f} |", flush=True)


if __name__ == "__main__":
    main()
