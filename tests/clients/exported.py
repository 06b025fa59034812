"""A model's ONNX file over the columns of a row, run by onnxruntime on rows as a client has them."""

import json

import numpy as np
import onnxruntime
import requests


def load(url, model, inputs="columns"):
    """The session of the model's first version."""
    path = f"{url}/api/v1/models/{model}/versions/1/export?format=onnx&inputs={inputs}"
    exported = requests.get(path)
    assert exported.ok, exported.text
    return onnxruntime.InferenceSession(exported.content, providers=["CPUExecutionProvider"])


def run(session, rows, number=lambda cell: cell):
    """The outputs by name; `number` is how a cell becomes a number."""
    feed = {}
    for column in json.loads(session.get_modelmeta().custom_metadata_map["columns"]):
        cells = [cell(row, column) for row in rows]
        if -1 in column["shape"]:
            feed[column["name"]] = series(cells, column["shape"])
        elif column["type"] == "string":
            feed[column["name"]] = np.array([[text(cell)] for cell in cells], dtype=object)
        elif column["type"] == "double":
            feed[column["name"]] = np.array([[np.nan if cell is None else float(number(cell))] for cell in cells])
        else:
            feed[column["name"]] = np.array(cells, np.float32).reshape(len(rows), -1)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed)))


def cell(row, column):
    """A row's value of an input; a list where the data's own columns are read as one."""
    if column["name"] in row or "members" not in column:
        return row.get(column["name"])
    return [row.get(member) for member in column["members"]]


def series(cells, shape):
    """Series of any length, shorter ones with NaN at their end."""
    cells = [np.array([] if cell is None else cell, np.float32).reshape(shape) for cell in cells]
    out = np.full((len(cells), max(map(len, cells)), *shape[1:]), np.nan, np.float32)
    for row, steps in zip(out, cells):
        row[: len(steps)] = steps
    return out


def text(cell):
    """A name as the server has it; empty where there is none."""
    return "" if cell is None else str(cell).lower() if isinstance(cell, bool) else str(cell)
