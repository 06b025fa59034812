"""A dense network on MNIST with noise: what `mnist_race --noise` is compared with.

usage: noise_peer.py MNIST_FOLDER [SHARE] [WIDTH] [EPOCHS] [SEEDS]. Needs numpy and torch. The network of
the race (784-WIDTH-WIDTH-10, Adam 1e-3, batch 128), read on the clean test images and with SHARE of the
pixels replaced by any value in [0, 1].
"""

import gzip
import sys

import numpy as np
import torch
from torch import nn


def idx(folder, name):
    with gzip.open(f"{folder}/{name}-images-idx3-ubyte.gz") as f:
        images = np.frombuffer(f.read(), np.uint8, offset=16).reshape(-1, 784)
    with gzip.open(f"{folder}/{name}-labels-idx1-ubyte.gz") as f:
        return torch.tensor(images / np.float32(255)), torch.tensor(np.frombuffer(f.read(), np.uint8, offset=8).astype(np.int64))


def main(folder, share=0.2, width=512, epochs=10, seeds=3):
    (x, y), (a, b) = idx(folder, "train"), idx(folder, "t10k")
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand(a.shape, generator=generator) < share
    noisy = torch.where(mask, torch.rand(a.shape, generator=generator), a)
    for seed in range(1, seeds + 1):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))
        optimiser = torch.optim.Adam(net.parameters(), 1e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(128):
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
                optimiser.step()
        with torch.no_grad():
            clean, noise = ((net(images).argmax(1) == b).float().mean().item() for images in (a, noisy))
        print(f"seed {seed}: clean {clean:.4f}  noise {noise:.4f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *(type_(text) for type_, text in zip((float, int, int, int), sys.argv[2:])))
