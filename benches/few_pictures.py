"""Pictures with few rows a class: a training with the defaults beside a small augmented network of convolutions on the same rows.

    python3 benches/few_pictures.py BINARY [--sets mnist fashion_mnist] [--counts 1 5 10 50] [--draws 3] [--validation 2000] [--peer]

Each draw takes COUNT rows a class of the training part of a set in IDX format (KENYON_SHARED_DATA, default ../shared/data). Accuracy is on the
official test part, with `--validation` on so many other rows of the training part. `--peer` (numpy, torch) trains two layers of 32 and 64 filters of
3 × 3 with pooling and 128 units, dropout 0.5, 1,200 steps of 64 pictures that are shifted, rotated and scaled anew each time, AdamW with a cosine;
Fashion-MNIST is mirrored as well. Standard library only without it.
"""

import argparse
import gzip
import json
import os
import random
import statistics
import subprocess
import tempfile
import time

DATA = os.environ.get("KENYON_SHARED_DATA") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../shared/data")
SIZE = 784


def part(name, which):
    with gzip.open(f"{DATA}/{name}/{which}-images-idx3-ubyte.gz") as images, gzip.open(f"{DATA}/{name}/{which}-labels-idx1-ubyte.gz") as labels:
        pixels, classes = images.read()[16:], labels.read()[8:]
    return [(pixels[at * SIZE : (at + 1) * SIZE], label) for at, label in enumerate(classes)]


def draw(rows, count, seed):
    order = list(range(len(rows)))
    random.Random(1000 * count + seed).shuffle(order)
    seen, taken, left = [0] * 10, [], []
    for at in order:
        label = rows[at][1]
        seen[label] += 1
        (taken if seen[label] <= count else left).append(rows[at])
    return taken, left


def write(path, rows):
    with open(path, "w") as file:
        file.write(",".join([f"p{i}" for i in range(SIZE)] + ["label"]) + "\n")
        file.writelines(",".join(map(str, pixels)) + f",{label}\n" for pixels, label in rows)


def ours(binary, taken, tested, seed):
    with tempfile.TemporaryDirectory() as folder:
        write(f"{folder}/train.csv", taken)
        write(f"{folder}/test.csv", tested)
        command = [binary, "train", "train.csv", "--target", "label", "--task", "classification", "--model", "m", "--seed", str(seed)]
        began = time.time()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        seconds = time.time() - began
        answer = subprocess.run([binary, "evaluate", "m.kenyon", "test.csv", "--json"], cwd=folder, check=True, capture_output=True)
        return json.loads(answer.stdout)["metrics"]["accuracy"], seconds


def peer(name, taken, tested, seed):
    import numpy as np
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(seed)

    def tensors(rows):
        pixels = np.frombuffer(b"".join(pixels for pixels, _ in rows), dtype=np.uint8).reshape(-1, 1, 28, 28)
        return torch.tensor(pixels / 255.0, dtype=torch.float32), torch.tensor([label for _, label in rows])

    def changed(batch):
        count = len(batch)
        angle, scale = (torch.rand(count) - 0.5) * 0.5, 1 + (torch.rand(count) - 0.5) * 0.3
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0) if name == "fashion_mnist" else torch.ones(count)
        shift = (torch.rand(2, count) - 0.5) * 0.3
        matrix = torch.stack([torch.stack([cos * mirror, -sin, shift[0]], 1), torch.stack([sin * mirror, cos, shift[1]], 1)], 1)
        return functional.grid_sample(batch, functional.affine_grid(matrix, batch.shape, align_corners=False), align_corners=False)

    pictures, labels = tensors(taken)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
    )
    began, steps = time.time(), 1200
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(labels), (64,))
        loss = functional.cross_entropy(model(changed(pictures[rows])), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    seconds = time.time() - began
    model.eval()
    wanted, right = tensors(tested), 0
    with torch.no_grad():
        for at in range(0, len(tested), 500):
            right += (model(wanted[0][at : at + 500]).argmax(1) == wanted[1][at : at + 500]).sum().item()
    return right / len(tested), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=os.path.abspath)
    parser.add_argument("--sets", nargs="+", default=["mnist", "fashion_mnist"])
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 5, 10, 50])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--validation", type=int)
    parser.add_argument("--peer", action="store_true")
    options = parser.parse_args()
    for name in options.sets:
        rows, test = part(name, "train"), part(name, "t10k")
        for count in options.counts:
            found = {"kenyon": [], **({"network of convolutions": []} if options.peer else {})}
            for seed in range(1, options.draws + 1):
                taken, left = draw(rows, count, seed)
                tested = left[: options.validation] if options.validation else test
                found["kenyon"].append(ours(options.binary, taken, tested, seed))
                if options.peer:
                    found["network of convolutions"].append(peer(name, taken, tested, seed))
            for who, runs in found.items():
                shown = " ".join(f"{accuracy:.4f}" for accuracy, _ in runs)
                seconds = statistics.mean(run[1] for run in runs)
                print(f"{name}, {count} a class, {who}: mean {statistics.mean(run[0] for run in runs):.4f} ({shown}), {seconds:.1f} s", flush=True)


main()
