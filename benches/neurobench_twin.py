"""What `/activity` counts against PyPI `neurobench` on a twin of the same network.

usage: neurobench_twin.py BINARY MNIST_FOLDER [HIDDEN] [ROWS]. Needs numpy, onnx, onnxruntime, torch and neurobench. ROWS rows
of MNIST are trained as `sparse_mlp` over HTTP, exported as ONNX, rebuilt in PyTorch from its weights, and run
on the rows that the server counted: the first 256 of the training data.
"""

import json
import sys
import time

import numpy as np
import onnx
import onnxruntime
import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics.static import ConnectionSparsity, Footprint
from neurobench.metrics.workload import SynapticOperations
from neurobench.models import TorchModel
from noise_peer import idx
from onnx import numpy_helper
from server import Client, Server
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SAMPLE = 256


class Twin(nn.Module):
    """The exported network with its layers as `nn.Linear`."""

    def __init__(self, weights, winners):
        super().__init__()

        def linear(name):
            weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
            layer = nn.Linear(*weight.shape)
            layer.weight.data, layer.bias.data = torch.tensor(weight.T.copy()), torch.tensor(bias.reshape(-1))
            return layer

        self.hidden = nn.ModuleList(linear(f"hidden.{i}") for i in range(len(winners)))
        self.readout, self.skip, self.winners = linear("readout"), linear("skip"), winners

    def forward(self, x):
        code = x
        for layer, k in zip(self.hidden, self.winners):
            z = layer(code)
            top = z.topk(k, 1)
            code = torch.zeros_like(z).scatter(1, top.indices, top.values.relu())
        return self.readout(code) + self.skip(x)


def main(binary, folder, hidden="1024", rows="10000"):
    x, y = idx(folder, "train")
    pixels = (x.numpy()[: int(rows)] * 255).round().astype(int)
    server = Server(binary)
    client = Client(server.port)
    lines = [",".join(f"p{i}" for i in range(784)) + ",label"]
    lines += [",".join(map(str, row)) + f",{label}" for row, label in zip(pixels, y.tolist())]
    client.call("PUT", "/api/v1/datasets/mnist", "\n".join(lines).encode(), "csv")
    config = {"hidden": [int(units) for units in hidden.split(",")], "epochs": 3}
    body = {"dataset": "mnist", "target": "label", "family": "sparse_mlp", "config": config}
    job = client.call("POST", "/api/v1/models/mnist/train", body)
    while (state := client.call("GET", f"/api/v1/jobs/{job['id']}"))["status"] not in ("succeeded", "failed"):
        time.sleep(0.2)
    assert state["status"] == "succeeded", state
    counted = client.call("GET", "/api/v1/models/mnist/activity")
    client.connection.request("GET", "/api/v1/models/mnist/versions/1/export?format=onnx")
    model = onnx.load_from_string(client.connection.getresponse().read())
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    encoder = json.loads(next(entry.value for entry in model.metadata_props if entry.key == "encoder.json"))
    largest = encoder["fitted"][0]["scaling"]["largest"]
    features = torch.tensor((pixels[:SAMPLE] / largest).astype(np.float32))
    twin = Twin(weights, [int(weights[f"hidden.{i}.k"][0]) for i in range(len(config["hidden"]))])
    with torch.no_grad():
        own = torch.softmax(twin(features) / float(weights["temperature"]), 1).numpy()
    session = onnxruntime.InferenceSession(model.SerializeToString())
    apart = np.abs(own - session.run(["probabilities"], {"features": features.numpy()})[0]).max()
    metrics = [[Footprint, ConnectionSparsity], [SynapticOperations]]
    loader = DataLoader(TensorDataset(features, y[:SAMPLE]), batch_size=SAMPLE)
    found = Benchmark(TorchModel(twin), loader, [], [], metrics).run(quiet=True)
    operations = found["SynapticOperations"]
    print(f"twin and exported network are {apart:.1e} apart; connection sparsity {found['ConnectionSparsity']}")
    print(f"dense: activity {counted['macs']['dense']:.1f}, NeuroBench {operations['Dense']:.1f}")
    print(f"effective: activity {counted['macs']['effective']:.3f}, NeuroBench {operations['Effective_MACs']:.3f}")
    print(f"bytes: activity {counted['bytes']}, NeuroBench's footprint {found['Footprint']}")
    assert apart < 1e-4 and operations["Effective_ACs"] == 0 and counted["rows"] == SAMPLE
    for name, other in (("dense", "Dense"), ("effective", "Effective_MACs")):
        assert abs(counted["macs"][name] / operations[other] - 1) < 1e-3, name


if __name__ == "__main__":
    main(*sys.argv[1:])
