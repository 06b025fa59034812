"""One epoch of `attention` compared with PyTorch's on the same network, rows and mini-batches.

usage: attention_peer.py BINARY [--rows 10000] [--rounds 3]

MNIST digits as 49 patches of 4 by 4: width 64, 4 heads, 2 blocks, 128 feed-forward units of which 32 stay
active, three reads, dropout 0.1, AdamW, mini-batches of 64, two threads. Both in turn; ours is the time of
`kenyon train` for five epochs less that for one, by four, and includes answering the validation rows.
Data come from KENYON_SHARED_DATA (default ../shared/data). Needs torch and numpy.
"""

import argparse
import gzip
import os
import statistics
import subprocess
import tempfile
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

DATA = os.environ.get("KENYON_SHARED_DATA") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../shared/data")
WIDTH, HEADS, HIDDEN, WINNERS, READS, DROP = 64, 4, 128, 32, 2, 0.1


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down, self.drop = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH), nn.Dropout(DROP)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, WIDTH)
        x = x + self.drop(self.out(mixed))
        h = functional.relu(self.up(self.norm2(x)))
        best, at = h.topk(WINNERS, sorted=False)
        return x + self.drop(self.down(torch.zeros_like(h).scatter(-1, at, best)))


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.places = nn.Linear(16, WIDTH), nn.Parameter(torch.randn(49, WIDTH) * 0.02)
        self.blocks, self.norm = nn.ModuleList(Block() for _ in range(2)), nn.RMSNorm(WIDTH)
        self.queries = nn.Parameter(torch.randn(READS, WIDTH) * 0.1)
        self.drop, self.readout = nn.Dropout(DROP), nn.Linear((READS + 1) * WIDTH, 10)

    def forward(self, x):
        x = self.embed(x) + self.places
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        read = torch.softmax(x @ self.queries.T, dim=1).transpose(1, 2) @ x
        return self.readout(self.drop(torch.cat([read.flatten(1), x.amax(dim=1)], dim=1)))


def peer(images, labels):
    torch.set_num_threads(2)
    x = torch.tensor(images.reshape(-1, 7, 4, 7, 4).transpose(0, 1, 3, 2, 4).reshape(-1, 49, 16) / 255, dtype=torch.float32)
    y, net = torch.tensor(labels.astype(np.int64)), Network()
    optimiser, spent = torch.optim.AdamW(net.parameters(), 2e-3), []
    for _ in range(3):
        started, order = time.time(), torch.randperm(len(x))
        for at in order.split(64):
            optimiser.zero_grad()
            functional.cross_entropy(net(x[at]), y[at], label_smoothing=0.05).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
        spent.append(time.time() - started)
    return statistics.median(spent)


def ours(binary, folder):
    spent = {}
    for epochs in (1, 5):
        command = f"{binary} train digits.csv --target label --family attention --model e{epochs} --set epochs={epochs} --set early_stopping=0"
        started = time.time()
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
        spent[epochs] = time.time() - started
    return (spent[5] - spent[1]) / 4


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    read = lambda name, skip: np.frombuffer(gzip.open(f"{DATA}/mnist/train-{name}-ubyte.gz").read(), np.uint8, offset=skip)
    images, labels = read("images-idx3", 16).reshape(-1, 784)[: args.rows], read("labels-idx1", 8)[: args.rows]
    trained = round(0.8 * args.rows)
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/digits.csv", "w") as f:
            f.write(",".join(f"p{i}" for i in range(784)) + ",label\n")
            f.writelines(",".join(map(str, image)) + f",{label}\n" for image, label in zip(images, labels))
        rounds = [(ours(os.path.abspath(args.binary), folder), peer(images[:trained], labels[:trained])) for _ in range(args.rounds)]
    for own, torch_ in rounds:
        print(f"an epoch of {trained} rows: ours {own:.2f} s, PyTorch {torch_:.2f} s: {own / torch_:.2f}")
    print(f"median {statistics.median(o / t for o, t in rounds):.2f} of PyTorch's time")


main()
