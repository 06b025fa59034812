"""How far novelty, sets, probabilities and explanations can be trusted: `measure_uncertainty` over the development data.

    python benches/uncertainty.py TARGET_FOLDER/release/examples/measure_uncertainty DATA_FOLDER OUT.jsonl
        [--seeds 0,1,2,3,4] [--only adult,elec2] [--most-rows 6000] [--forest]

Each line of OUT.jsonl is one split of one set, or one stream; runs whose line is there already are left out. Then the table
is printed from all lines: means over splits. With `--forest`, which needs scikit-learn, the share of foreign rows that an
isolation forest finds at 1 % false alarms is added; with `--mapie`, which also needs pandas, lightgbm and mapie, coverage and
size of MAPIE's RAPS and CQR on the same rows. Streams are followed in their order; those called shuffled have no change.
"""

import argparse
import csv
import gzip
import json
import pathlib
import statistics
import subprocess
import tempfile

# File (several are put together), target, further arguments, another file with the same columns for foreign rows.
SETS = {
    "adult": (["adult/train.csv.gz"], "income", [], None),
    "california": (["california_housing/housing.csv.gz"], "median_house_value", ["--task", "regression"], None),
    "covertype": (["covertype_20k/covtype20k.csv.gz"], "Cover_Type", [], None),
    "diamonds": (["seaborn_small/diamonds.csv.gz"], "price", ["--task", "regression"], None),
    "satellite": (["mlbench_uci/satellite.csv.gz"], "class", [], None),
    "titanic": (["seaborn_small/titanic.csv"], "survived", ["--drop", "alive"], None),
    "sms": (["sms_spam/sms.jsonl.gz"], "label", [], "trec/train.jsonl.gz"),
    "subj": (["sst2_mr_subj/subj.jsonl.gz"], "label", [], "banking77/train.jsonl.gz"),
    "trec": (["trec/train.jsonl.gz"], "label", ["--drop", "fine"], "sms_spam/sms.jsonl.gz"),
    "banking77": (["banking77/train.jsonl.gz"], "label", [], "trec/train.jsonl.gz"),
    "optdigits": (["optdigits/optdigits.csv.gz"], "label", [], None),
    "digits": (["sklearn_small/digits_8x8.csv.gz"], "target", [], None),
    "mnist": (["mnist"], "label", [], "fashion_mnist"),
    "fashion": (["fashion_mnist"], "label", [], "mnist"),
    "crop": (["ucr/Crop_train.csv.gz"], "label", [], None),
    "phalanges": (["ucr/PhalangesOutlinesCorrect_train.csv.gz", "ucr/PhalangesOutlinesCorrect_test.csv.gz"], "label", [], None),
    "control": (["ucr/SyntheticControl_train.csv.gz", "ucr/SyntheticControl_test.csv.gz"], "label", [], None),
}
# File, target, rows a call, further arguments.
STREAMS = {
    "elec2": ("elec2/elec2.csv.gz", "class", [1, 100], []),
    "weather": ("weather_noaa/weather.csv.gz", "target", [1, 100], []),
    "covertype-stream": ("covertype_20k/covtype20k.csv.gz", "Cover_Type", [1, 100], []),
    "covertype-shuffled": ("covertype_20k/covtype20k.csv.gz", "Cover_Type", [1, 100], ["--shuffle", 0]),
    "elec2-shuffled": ("elec2/elec2.csv.gz", "class", [100], ["--shuffle", 0]),
    "diamonds-shuffled": ("seaborn_small/diamonds.csv.gz", "price", [1, 100], ["--task", "regression", "--shuffle", 0]),
    "california-stream": ("california_housing/housing.csv.gz", "median_house_value", [1, 100], ["--task", "regression"]),
    "demand": ("elec2/elec2.csv.gz", "nswdemand", [1, 100], ["--task", "regression"]),
}
# Blocks of 100 rows before and after a place, and how far their means must be apart.
WINDOW = 20
DEVIATIONS = 5
IMAGES = 6_000


def pictures(folder):
    """The first images of a set in IDX format, as rows."""
    with gzip.open(folder / "train-images-idx3-ubyte.gz") as images, gzip.open(folder / "train-labels-idx1-ubyte.gz") as labels:
        images.read(16), labels.read(8)
        yield ["label", *(f"p{i}" for i in range(784))]
        for label in labels.read(IMAGES):
            yield [f"class {label}", *images.read(784)]


def prepared(data, files, drop, out):
    """One file of several, without columns that give the target away."""
    paths = [data / file for file in files]
    if paths[0].is_dir():
        rows = pictures(paths[0])
    elif ".jsonl" in paths[0].name or (len(paths) == 1 and not drop):
        if not drop:
            return paths[0]
        with gzip.open(paths[0], "rt") as lines, open(out.with_suffix(".jsonl"), "w") as kept:
            for line in lines:
                row = json.loads(line)
                row.pop(drop)
                kept.write(json.dumps(row) + "\n")
        return out.with_suffix(".jsonl")
    else:
        rows = joined(paths, drop)
    with open(out, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return out


def joined(paths, drop):
    for number, path in enumerate(paths):
        with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as file:
            reader = csv.reader(file)
            header = next(reader)
            kept = [i for i, name in enumerate(header) if name != drop]
            if number == 0:
                yield [header[i] for i in kept]
            yield from ([row[i] for i in kept] for row in reader)


def changes(blocks):
    """Where a plain two-window test sees a change: the means of WINDOW blocks before and after differ by DEVIATIONS of Welch's t, the largest
    within a window on either side."""
    def welch(at):
        parts = blocks[at - WINDOW : at], blocks[at : at + WINDOW]
        error = sum(statistics.variance(part) / WINDOW for part in parts) ** 0.5
        return abs(statistics.mean(parts[0]) - statistics.mean(parts[1])) / max(error, 1e-12)

    found = {at: welch(at) for at in range(WINDOW, len(blocks) - WINDOW + 1)}
    near = lambda at: [found[other] for other in range(at - WINDOW, at + WINDOW + 1) if other in found]
    return [at for at, size in found.items() if size > DEVIATIONS and size == max(near(at))]


def run(args):
    data, done = pathlib.Path(args.data), set()
    out = pathlib.Path(args.out)
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = {(line["set"], line["seed"]) for line in lines}
    wanted = args.only.split(",") if args.only else [*SETS, *STREAMS]
    work = pathlib.Path(tempfile.mkdtemp())

    def call(name, seed, command, folder=None, peers=None):
        if (name, seed) in done:
            return
        answer = subprocess.run([args.binary, *map(str, command)], capture_output=True, text=True)
        if answer.returncode != 0:
            print(name, seed, answer.stderr.strip()[-500:])
            return
        line = {"set": name, "seed": seed} | json.loads(answer.stdout.splitlines()[-1])
        if folder is not None:
            path, target, regression = peers
            import uncertainty_peers

            if args.forest:
                line["forest"] = uncertainty_peers.forest(folder)
            if args.mapie:
                try:
                    line["mapie"] = uncertainty_peers.mapie(path, target, folder, regression)
                except ValueError as error:
                    print(name, seed, "MAPIE:", error)
        line = json.loads(json.dumps(line))
        lines.append(line)
        with open(out, "a") as file:
            file.write(json.dumps(line) + "\n")
        print(name, seed, "done", flush=True)

    for seed in map(int, args.seeds.split(",")):
        for name, (files, target, more, foreign) in SETS.items():
            if name not in wanted or (name, seed) in done:
                continue
            drop = more[1] if more[:1] == ["--drop"] else None
            path = prepared(data, files, drop, work / f"{name}.csv")
            command = [path, target, "--seed", seed, "--most-rows", args.most_rows, "--explain", args.explain, "--reference", args.reference]
            command += [] if drop else more
            if foreign:
                command += ["--foreign", prepared(data, [foreign], None, work / f"{name}-foreign.csv")]
            folder = None
            if args.forest or args.mapie:
                folder = pathlib.Path(tempfile.mkdtemp())
                command += ["--write", folder]
            call(name, seed, command, folder, (path, target, "regression" in more))
    for name, (file, target, sizes, more) in STREAMS.items():
        for each in sizes if name in wanted else []:
            call(f"{name} by {each}", 0, [data / file, target, "--stream", args.stream_rows, "--each", each, *more])
    return lines


def mean(values):
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


def show(value):
    return "-" if value is None else f"{value:.3f}"


def table(lines):
    sets = {}
    for line in lines:
        sets.setdefault(line["set"], []).append(line)
    print("\n| set (splits) | abstain | exact 80, 90, 95 | default 90 | quarters off | class off | size 90 | ECE | rank corr. (sampled as shap) | top right (as shap) | CPU-ms |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, runs in sets.items():
        if "stream" in runs[0]:
            continue
        levels = (0.8, 0.9, 0.95)
        covers = " ".join(show(mean(r[f"coverage {level}"]["exact"] for r in runs)) for level in levels)
        nine = [r["coverage 0.9"] for r in runs]
        quarters = max(abs(mean(n["quarters"][at] for n in nine) - 0.9) for at in range(4))
        classes = [mean(n["by_class"][at] for n in nine if len(n["by_class"]) > at) for at in range(max(len(n["by_class"]) for n in nine))]
        worst = max((abs(c - 0.9) for c in classes), default=None)
        why = [r["explanations"] for r in runs]
        cells = [
            f"{name} ({len(runs)})", show(mean(r["novelty"]["abstain"] for r in runs)), covers, show(mean(n["default"] for n in nine)),
            show(quarters), show(worst), show(mean(n["mean_size"] for n in nine)), show(mean(r.get("ece") for r in runs)),
            *(f"{show(mean(w[figure] for w in why))} ({show(mean(w['shap'][figure] for w in why))})" for figure in ("rank_correlation", "top_right")),
            show(mean(w["milliseconds"] for w in why)),
        ]
        print("| " + " | ".join(cells) + " |")
    print("\n| set, foreign rows | found | kNN | forest | abstain |")
    print("|---|---|---|---|---|")
    for name, runs in sets.items():
        for what in [f["what"] for f in runs[0].get("novelty", {}).get("foreign", [])]:
            of = [next(f for f in r["novelty"]["foreign"] if f["what"] == what) for r in runs]
            trees = mean(r.get("forest", {}).get(what) for r in runs)
            print(f"| {name}, {what} | {show(mean(f['found'] for f in of))} | {show(mean(f['nearest'] for f in of))} | {show(trees)} | {show(mean(f['abstain'] for f in of))} |")
    print("\n| set (splits) | coverage 80, 90, 95 of MAPIE | its size at 80, 90, 95 | size here |")
    print("|---|---|---|---|")
    for name, runs in sets.items():
        runs = [r for r in runs if "mapie" in r]
        if runs:
            of = lambda figure: " ".join(f"{mean(r['mapie'][str(level)][figure] for r in runs):.4g}" for level in (0.8, 0.9, 0.95))
            here = " ".join(f"{mean(r[f'coverage {level}']['mean_size'] for r in runs):.4g}" for level in (0.8, 0.9, 0.95))
            print(f"| {name} ({len(runs)}) | {of('coverage')} | {of('mean_size')} | {here} |")
    print("\n| stream by rows a call | accuracy | abstain | exact 90, windows | default, windows | ECE | alarms: error (changes by two windows), inputs, columns | horizon | µs a row |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, runs in sets.items():
        if "stream" not in runs[0]:
            continue
        s = runs[0]["stream"]
        spans = {kind: f"{show(s[kind])}, {show(s[kind + '_windows'][0])} to {show(s[kind + '_windows'][1])}" for kind in ("exact", "default")}
        alarms = s["alarms"]
        horizon = " ".join(show(h.get("accuracy", h.get("mae"))) for h in s["horizon"])
        print(f"| {name} | {show(s['accuracy'])} | {show(s['abstain'])} | {spans['exact']} | {spans['default']} | {show(s['ece'])} | "
              f"{len(alarms['error'])} ({len(changes(s['errors'][:-1]))}), {len(alarms['inputs'])}, {alarms['columns']} | {horizon} | {s['microseconds']:.0f} |")


parser = argparse.ArgumentParser()
parser.add_argument("binary")
parser.add_argument("data")
parser.add_argument("out")
parser.add_argument("--seeds", default="0")
parser.add_argument("--only")
parser.add_argument("--most-rows", default=6_000, type=int)
parser.add_argument("--stream-rows", default=50_000, type=int)
parser.add_argument("--explain", default=50, type=int)
parser.add_argument("--reference", default=30, type=int, help="rows explained as shap does")
parser.add_argument("--forest", action="store_true")
parser.add_argument("--mapie", action="store_true")
table(run(parser.parse_args()))
