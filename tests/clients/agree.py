"""One model, every way to query it: agree.py BINARY.

Trains five mixed tables and predicts 1,000 rows of each by HTTP as JSON, with every cell as the text of the file, by
`/v2` as JSON and as binary tensors, by gRPC, by the command line with and without the server, and by the exported ONNX
file in onnxruntime. All must give the same labels and the same probabilities or values: of tensors to the precision of their 32 bits, else to the last digit.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from datetime import datetime, timezone

import numpy as np
import requests
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http

import exported
from clients import Server
from tables import mixed

ROWS = 1000


def text(value):
    """A cell as files write it."""
    return "" if value is None else str(value)


def number(cell):
    """A cell as a tensor of numbers holds it: moments and durations are seconds."""
    if not isinstance(cell, str):
        return cell
    if cell.count("-") == 2:
        return datetime.fromisoformat(cell).replace(tzinfo=timezone.utc).timestamp()
    hours, minutes, seconds = map(int, cell.split(":"))
    return 3600.0 * hours + 60 * minutes + seconds


def answers(predictions):
    return [(p.get("label"), p.get("probability"), p.get("value")) for p in predictions]


def command_line(binary, arguments, folder):
    run = subprocess.run([binary, "--json", *arguments], capture_output=True, text=True, cwd=folder)
    assert run.returncode == 0, run.stderr
    return answers(json.loads(line) for line in run.stdout.splitlines())


def tensors(kind, columns, rows):
    out = []
    for name, datatype in columns:
        cells = [row.get(name) for row in rows]
        if datatype == "BYTES":
            cells = np.array([text(cell).encode() for cell in cells], dtype=np.object_)
        elif datatype == "BOOL":
            cells = np.array(cells, dtype=np.bool_)
        else:
            cells = np.array([np.nan if cell is None else number(cell) for cell in cells], dtype=np.float64)
            datatype = "FP64"
        tensor = kind.InferInput(name, [len(rows)], datatype)
        tensor.set_data_from_numpy(cells)
        out.append(tensor)
    return out


def inferred(result):
    labels, values = result.as_numpy("label"), result.as_numpy("value")
    if values is not None:
        return [(None, None, value) for value in values.ravel().tolist()]
    best = result.as_numpy("probabilities").max(axis=1).tolist()
    labels = [label.decode() if isinstance(label, bytes) else label for label in labels.ravel().tolist()]
    return list(zip(labels, best, [None] * len(labels)))


def compare(way, found, expected, exact, labels_as_text=False, ties=0):
    """`ties` rows may differ by a thousandth: where two units are as strong to the last bit, another sum has another winner."""
    assert len(found) == len(expected), (way, len(found))
    tied = 0
    for row, (a, b) in enumerate(zip(found, expected)):
        label = str(b[0]) if labels_as_text and not isinstance(b[0], (str, type(None))) else b[0]
        assert a[0] == label and (labels_as_text or type(a[0]) is type(b[0])), (way, row, a, b)
        for x, y in zip(a[1:], b[1:]):
            close = x == y if exact else (x is None) == (y is None) and (x is None or abs(x - y) <= 1e-6 * max(1, abs(y)))
            tied += not close and ties > 0 and abs(x - y) <= 1e-3 * max(1, abs(y))
            assert close or 0 < tied <= ties, (way, row, a, b)


def agree(server, binary, folder, seed):
    name = f"mixed{seed}"
    rows = mixed(seed, 400)
    server.train(name, rows, "target", config={"epochs": 3})
    unlabelled = [{k: v for k, v in row.items() if k != "target"} for row in mixed(seed, ROWS + 400)[400:]]
    expected = answers(server.predict(name, unlabelled))
    written = [{k: text(v) for k, v in row.items()} for row in unlabelled]
    compare("cells as text", answers(server.predict(name, written)), expected, exact=True)
    path = os.path.join(folder, name + ".csv")
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(unlabelled[0]))
        writer.writeheader()
        writer.writerows(written)
    compare("command line", command_line(binary, ["--server", server.url, "predict", name, path], folder), expected, exact=True)
    bundle = requests.get(f"{server.url}/api/v1/models/{name}/versions/1/export")
    assert bundle.ok, bundle.text
    with open(os.path.join(folder, name + ".kenyon"), "wb") as file:
        file.write(bundle.content)
    alone = command_line(binary, ["predict", name + ".kenyon", path], folder)
    compare("command line alone", alone, expected, exact=True)
    metadata = requests.get(f"{server.url}/v2/models/{name}").json()
    columns = [(tensor["name"], tensor["datatype"]) for tensor in metadata["inputs"] if tensor["name"] != "input"]
    # A tensor of truth values has no word for "missing": such rows go by the other ways only.
    flags = [column for column, datatype in columns if datatype == "BOOL"]
    whole = [i for i, row in enumerate(unlabelled) if all(row.get(flag) is not None for flag in flags)]
    some, wanted = [unlabelled[i] for i in whole], [expected[i] for i in whole]
    is_text = any(isinstance(label, str) for label, _, _ in expected)
    with over_http.InferenceServerClient(server.http) as client:
        inputs = tensors(over_http, columns, some)
        compare("/v2 binary", inferred(client.infer(name, inputs)), wanted, exact=False, labels_as_text=is_text)
    with over_grpc.InferenceServerClient(server.grpc) as client:
        inputs = tensors(over_grpc, columns, some)
        compare("gRPC", inferred(client.infer(name, inputs)), wanted, exact=False, labels_as_text=is_text)
    data = [
        {"name": column, "datatype": datatype, "shape": [ROWS], "data": [cell(row.get(column)) for row in unlabelled]}
        for column, datatype in columns
        for cell in [number if datatype == "FP64" else text if datatype == "BYTES" else lambda cell: cell]
    ]
    answer = requests.post(f"{server.url}/v2/models/{name}/infer", json={"inputs": data})
    assert answer.ok, answer.text
    outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
    if "value" in outputs:
        found = [(None, None, value) for value in outputs["value"]]
    else:
        found = list(zip(outputs["label"], np.array(outputs["probabilities"]).reshape(ROWS, -1).max(axis=1).tolist(), [None] * ROWS))
    compare("/v2 JSON", found, expected, exact=False, labels_as_text=is_text)
    found = exported.run(exported.load(server.url, name), unlabelled, number)
    if "value" in found:
        found = [(None, None, value) for value in found["value"].tolist()]
    else:
        found = list(zip(found["label"].tolist(), found["probabilities"].max(axis=1).tolist(), [None] * ROWS))
    compare("ONNX", found, expected, exact=False, ties=2)
    print(f"{name}: {ROWS} rows agree in eight ways")


def main(binary):
    server = Server(binary)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(5):
                agree(server, binary, folder, seed)
    finally:
        server.stop()


main(os.path.abspath(sys.argv[1]))
