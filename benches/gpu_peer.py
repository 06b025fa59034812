"""PyTorch on a GPU beside Kenyon on it; called by gpu.sh, which says what it needs.

usage: gpu_peer.py prepare DATA WORK | mnist WORK | clinc WORK | minilm WORK FOLDER | million WORK
On a machine without a GPU it runs on the CPU.
"""

import gzip
import json
import sys
import time

import numpy as np


def idx(path):
    raw = gzip.open(path).read()
    dims = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * len(dims)).reshape(dims)


def prepare(data, work):
    header = ",".join(f"p{i}" for i in range(784)) + ",label\n"
    for name, part in [("train", "train"), ("test", "t10k")]:
        images = idx(f"{data}/mnist/{part}-images-idx3-ubyte.gz").reshape(-1, 784)
        labels = idx(f"{data}/mnist/{part}-labels-idx1-ubyte.gz")
        np.savez(f"{work}/mnist_{name}.npz", images=images, labels=labels)
        rows = [",".join(map(str, image)) + f",digit{label}\n" for image, label in zip(images, labels)]
        with open(f"{work}/mnist_{name}.csv", "w") as out:
            out.write(header)
            out.writelines(rows)
        if name == "test":
            with open(f"{work}/million.csv", "w") as out:
                out.write(header)
                for _ in range(100):
                    out.writelines(rows)
        with gzip.open(f"{data}/clinc150/{name}.jsonl.gz", "rt") as lines, open(f"{work}/clinc_{name}.ndjson", "w") as out:
            for line in lines:
                row = json.loads(line)
                out.write(json.dumps({"text": row["text"], "label": row["label"]}) + "\n")


def timed(device, work):
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    result = work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun, result


def mlp():
    from torch import nn

    return nn.Sequential(nn.Linear(784, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 10))


def mnist(work, device):
    import torch

    read = np.load(f"{work}/mnist_train.npz")
    x = torch.tensor(read["images"] / 255.0, dtype=torch.float32, device=device)
    y = torch.tensor(read["labels"].astype(np.int64), device=device)
    net = mlp().to(device)
    adam = torch.optim.AdamW(net.parameters(), 0.001)

    def epoch(rows):
        for part in torch.randperm(rows, device=device).split(32):
            adam.zero_grad()
            torch.nn.functional.cross_entropy(net(x[part]), y[part]).backward()
            adam.step()

    epoch(640)
    seconds, _ = timed(device, lambda: epoch(len(x)))
    print(f"{device}: {seconds:.1f} s an epoch, {len(x) / seconds:.0f} rows/s")


def clinc(work, device):
    import torch
    from torch import nn

    rows = [json.loads(line) for line in open(f"{work}/clinc_train.ndjson")]
    labels = {label: i for i, label in enumerate(sorted({row["label"] for row in rows}))}
    words = {}
    ids = [[words.setdefault(w, len(words) + 1) for w in row["text"].lower().split()][:32] for row in rows]
    x = torch.tensor([text + [0] * (32 - len(text)) for text in ids], device=device)
    y = torch.tensor([labels[row["label"]] for row in rows], device=device)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(len(words) + 1, 64, padding_idx=0)
            layer = nn.TransformerEncoderLayer(64, 4, 128, 0.1, batch_first=True, norm_first=True)
            self.blocks, self.readout = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(64, len(labels))

        def forward(self, x):
            pad = x == 0
            z = self.blocks(self.embed(x), src_key_padding_mask=pad).masked_fill(pad.unsqueeze(-1), -1e9)
            return self.readout(z.amax(1))

    net = Net().to(device)
    adam = torch.optim.AdamW(net.parameters(), 0.002)

    def epoch(rows):
        for part in torch.randperm(rows, device=device).split(64):
            adam.zero_grad()
            nn.functional.cross_entropy(net(x[part]), y[part]).backward()
            adam.step()

    epoch(640)
    seconds, _ = timed(device, lambda: epoch(len(x)))
    print(f"{device}: {seconds:.1f} s an epoch, {len(x) / seconds:.0f} rows/s")


def minilm(work, device, folder):
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, net = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).to(device).eval()
    texts = [json.loads(line)["text"] for line in open(f"{work}/clinc_train.ndjson")][:2048]
    texts.sort(key=len)

    @torch.no_grad()
    def embed(texts):
        for at in range(0, len(texts), 32):
            batch = tokenizer(texts[at : at + 32], padding=True, truncation=True, return_tensors="pt").to(device)
            mask = batch["attention_mask"].unsqueeze(-1)
            tokens = net(**batch).last_hidden_state
            ((tokens * mask).sum(1) / mask.sum(1)).cpu()

    embed(texts[:64])
    seconds, _ = timed(device, lambda: embed(texts))
    print(f"{device}: {len(texts) / seconds:.0f} sentences/s in batches of 32")


def million(work, device):
    import torch

    x = torch.tensor(np.load(f"{work}/mnist_test.npz")["images"] / 255.0, dtype=torch.float32)
    net = mlp().to(device).eval()

    @torch.no_grad()
    def run():
        for _ in range(100):
            for part in x.split(4096):
                net(part.to(device)).argmax(1).cpu()

    seconds, _ = timed(device, run)
    print(f"{device}: {seconds:.1f} s for {100 * len(x)} rows")


def main():
    what, arguments = sys.argv[1], sys.argv[2:]
    if what == "prepare":
        return prepare(*arguments)
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    {"mnist": mnist, "clinc": clinc, "million": million}.get(what, lambda *_: None)(arguments[0], device)
    if what == "minilm":
        minilm(arguments[0], device, arguments[1])


if __name__ == "__main__":
    main()
