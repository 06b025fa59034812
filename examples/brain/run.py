"""Which networks order 92 images as human and monkey inferotemporal cortex do? Only HTTP and the standard library.

    python examples/brain/run.py http://127.0.0.1:8080 FOLDER [--pictures FOLDER] [--encoder NAME] [--samples 1000]

FOLDER has the 92 images of Kriegeskorte et al. (Neuron 2008) and their published dissimilarities: `stimuli.csv`,
`stimuli_28px_gray.csv.gz`, `rdms_upper.csv.gz`. `--pictures` is a folder with Fashion-MNIST's training files, from which two
networks learn that have never seen the 92 images; `--encoder` is a text encoder of the server, which reads the names of
the images' categories. Prints tables, and the addresses of the comparisons on the dashboard.
"""

import argparse
import csv
import gzip
import io
import json
import os
import time
import urllib.error
import urllib.request


def call(method, path, body=None, kind="application/json"):
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    headers = {"content-type": kind}
    if key := os.environ.get("KENYON_KEY"):
        headers["authorization"] = f"Bearer {key}"
    request = urllib.request.Request(f"{options.server}/api/v1{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{method} {path}: {error.read().decode()}") from None


def upload(name, header, rows):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    call("PUT", f"/datasets/{name}", text.getvalue().encode(), "text/csv")


def ended(job):
    while job["status"] in ("queued", "running"):
        time.sleep(0.2)
        job = call("GET", f"/jobs/{job['id']}")
    if job["status"] != "succeeded":
        raise SystemExit(f"{job['kind']}: {job['error']}")
    return job


def train(model, **request):
    begun = time.monotonic()
    ended(call("POST", f"/models/{model}/train", {"seed": 1, **request}))
    print(f"trained {model} in {time.monotonic() - begun:.0f} s")


def layers(model):
    """Names of the model's layers, from the input on."""
    return [layer["name"] for layer in call("GET", f"/models/{model}/activity")["layers"]]


def read(name):
    opened = gzip.open if name.endswith(".gz") else open
    with opened(os.path.join(options.folder, name), "rt", newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


def upload_images():
    """A row for each image: its category as a text and as two classes, and 28 × 28 pixels."""
    header, about = read("stimuli.csv")
    pixels_header, pixels = read("stimuli_28px_gray.csv.gz")
    place = header.index
    words = {"1": ("animate", "face"), "0": ("inanimate", "no face")}
    known = lambda row: [row[place("category")], words[row[place("animal")]][0], words[row[place("face")]][1]]
    rows = [known(row) + numbers for row, numbers in zip(about, pixels)]
    upload("images92", ["category", "animacy", "face"] + pixels_header, rows)


def upload_recordings():
    """Monkey IT as one matrix; human IT as one for each of four subjects, the mean of two sessions."""
    header, rows = read("rdms_upper.csv.gz")
    place = header.index
    for name, column in [("monkey_it", "mIT_674neurons"), ("v1_model", "model_V1"), ("hmax", "model_HMAX")]:
        upload(name, ["i", "j", "value"], ([r[0], r[1], r[place(column)]] for r in rows))
    subjects = []
    for subject in range(1, 5):
        one, two = (place(f"hIT_subj{subject}_sess{session}") for session in (1, 2))
        subjects += [[r[0], r[1], (float(r[one]) + float(r[two])) / 2, f"subject {subject}"] for r in rows]
    upload("human_it", ["i", "j", "value", "subject"], subjects)


def upload_pictures():
    """The first 10,000 pictures of Fashion-MNIST, 28 × 28 pixels as the 92 images have."""
    read_all = lambda name: gzip.open(os.path.join(options.pictures, name)).read()
    images, labels = read_all("train-images-idx3-ubyte.gz")[16:], read_all("train-labels-idx1-ubyte.gz")[8:]
    picture = lambda i: images[i * 784 : (i + 1) * 784]
    upload("fashion", [f"p{i}" for i in range(784)] + ["kind"], ([*picture(i), f"k{labels[i]}"] for i in range(10_000)))


def compare(systems, reference, dataset, others=()):
    request = {
        "stimuli": "images92",
        "systems": systems + [{"name": reference, "rdm": dataset}, *others],
        "distance": "correlation",
        "compare": "rho-a",
        "reference": reference,
        "bootstrap": {"samples": options.samples, "over": ["stimuli", "subjects"], "seed": 1},
    }
    begun = time.monotonic()
    job = ended(call("POST", "/comparisons", request))
    found = call("GET", f"/comparisons/{job['id']}?rdms=false")
    print(f"\n{reference}, rho-a, {options.samples} samples, {time.monotonic() - begun:.0f} s: {options.server}/#/comparisons/{job['id']}")
    if ceiling := found["noise_ceiling"]:
        print(f"noise ceiling {ceiling['lower']:.3f} to {ceiling['upper']:.3f}")
    print("| system | similarity | 95 % interval | q above zero | q from ceiling |\n| --- | --- | --- | --- | --- |")
    fits = sorted((one for one in found["similarity"] if one["b"] == reference), key=lambda one: -one["value"])
    shown = lambda value: "–" if value is None else f"{value:.3f}"
    for one in fits:
        low, high = one["interval"]
        print(f"| {one['a']} | {one['value']:.3f} | {low:.3f} to {high:.3f} | {shown(one['q_zero'])} | {shown(one['q_ceiling'])} |")
    best = fits[0]["a"]
    for pair in found["pairwise"]:
        if best in (pair["a"], pair["b"]) and pair["q"] < 0.05:
            other = pair["b"] if pair["a"] == best else pair["a"]
            print(f"{best} fits better than {other} (q {pair['q']:.3f})")
    return found


def main():
    upload_images()
    upload_recordings()
    pixels = {"name": "pixels", "dataset": "images92", "channels": "p*"}
    # The labels reach the readout of this one alone: its code is competitive learning on the pixels.
    ignored = {"category": "ignore", "face": "ignore"}
    train("local92", dataset="images92", target="animacy", family="hybrid", features=ignored)
    train("supervised92", dataset="images92", target="animacy", family="sparse_mlp", features=ignored, config={"hidden": [512, 256]})
    models = [("local92", "k-winners, the 92 images, no labels"), ("supervised92", "supervised, animacy of the 92 images")]
    if options.pictures:
        upload_pictures()
        train("local-fashion", dataset="fashion", target="kind", family="hybrid")
        train("supervised-fashion", dataset="fashion", target="kind", family="sparse_mlp", config={"hidden": [512, 256], "epochs": 20})
        models += [("local-fashion", "k-winners, Fashion-MNIST, no labels"), ("supervised-fashion", "supervised, Fashion-MNIST")]
    systems = [pixels]
    for model, name in models:
        found = layers(model)
        ends = [""] if len(found) == 1 else [f", {layer}" for layer in found]
        systems += [{"name": name + end, "model": model, "layer": layer} for layer, end in zip(found, ends)]
    if options.encoder:
        systems.append({"name": f"{options.encoder} of the category's name", "encoder": options.encoder, "column": "category"})
    published = [{"name": "published V1 model", "rdm": "v1_model"}, {"name": "published HMAX", "rdm": "hmax"}]
    compare(systems, "human IT", "human_it", [{"name": "monkey IT", "rdm": "monkey_it"}, *published])
    compare(systems, "monkey IT", "monkey_it", [{"name": "human IT", "rdm": "human_it"}, *published])
    print("\nsparse coding of the layers, on rows of their own data")
    print("| layer | active share | lifetime | population | selectivity | dimensions |\n| --- | --- | --- | --- | --- | --- |")
    for model, _ in models:
        for layer in call("GET", f"/models/{model}/activity")["layers"]:
            code = layer["sparse_coding"]
            mean = lambda name: "–" if not code[name] else f"{code[name]['mean']:.2f}"
            row = [f"{model} {layer['name']}", f"{code['active_share']:.3f}", *map(mean, ("lifetime", "population", "selectivity"))]
            print(f"| {' | '.join(row)} | {code['participation_ratio'] or 0:.1f} |")


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("server")
parser.add_argument("folder")
parser.add_argument("--pictures")
parser.add_argument("--encoder")
parser.add_argument("--samples", type=int, default=1000)
options = parser.parse_args()
main()
