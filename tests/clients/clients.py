"""Kenyon through the clients of other inference servers, with their defaults.

usage: clients.py BINARY. Starts a server in a temporary folder, trains three small models, and
checks every answer against Kenyon's own predict. Prints one line a check.
"""

import asyncio
import gzip
import json
import math
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np
import requests

import exported

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A server with the models of these tests."""

    def __init__(self, binary):
        self.folder = tempfile.TemporaryDirectory()
        self.http, self.grpc = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.http}"
        command = [binary, "serve", "--listen", self.http, "--grpc-listen", self.grpc, "--data-dir", self.folder.name]
        self.process = subprocess.Popen(command, env={**os.environ, "KENYON_LOG": "warn"})
        for _ in range(400):
            try:
                if requests.get(self.url + "/readyz", timeout=2).ok:
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.05)
        raise SystemExit("the server did not start")

    def train(self, name, rows, target, **request):
        lines = "\n".join(json.dumps(row) for row in rows)
        put = requests.put(f"{self.url}/api/v1/datasets/{name}", lines, headers={"content-type": "application/x-ndjson"})
        assert put.ok, put.text
        request = {"dataset": name, "target": target, "family": "sparse_mlp", "seed": 1, **request}
        job = requests.post(f"{self.url}/api/v1/models/{name}/train", json=request).json()
        while job["status"] in ("queued", "running"):
            time.sleep(0.1)
            job = requests.get(f"{self.url}/api/v1/jobs/{job['id']}").json()
        assert job["status"] == "succeeded", job

    def predict(self, name, rows, **more):
        answer = requests.post(f"{self.url}/api/v1/models/{name}/predict", json={"rows": rows, **more})
        assert answer.ok, answer.text
        return answer.json()["predictions"]

    def stop(self):
        self.process.terminate()
        assert self.process.wait(30) == 0


def flowers(rows, rng):
    """Four numbers, three classes."""
    out = []
    for i in range(rows):
        kind = i % 3
        numbers = [round(c + rng.gauss(0, 0.3), 2) for c in ((5, 3.4, 1.5, 0.2), (6, 2.8, 4.3, 1.3), (6.6, 3, 5.5, 2))[kind]]
        names = ("sepal_length", "sepal_width", "petal_length", "petal_width")
        out.append({**dict(zip(names, numbers)), "species": ("setosa", "versicolor", "virginica")[kind]})
    return out


def pictures(rows, rng):
    """A vector of 64 numbers and a label that is a number."""
    out = []
    for i in range(rows):
        image = [round(max(0, rng.gauss(1 if j // 16 == i % 4 else 0, 0.2)), 3) for j in range(64)]
        out.append({"image": image, "digit": i % 4})
    return out


def flats(rows, rng):
    """Mixed columns and a number to predict."""
    out = []
    for _ in range(rows):
        size, city = rng.uniform(20, 150), rng.choice(["Łódź", "Kraków", "Wien"])
        garden = rng.random() < 0.5
        price = size * {"Łódź": 1.0, "Kraków": 1.5, "Wien": 4.0}[city] + 20 * garden
        out.append({"size": round(size, 1), "city": city, "garden": garden, "price": round(price, 2)})
    return out


def waves(rows, rng):
    """Series of three shapes, some of them with a flat part, without a step, or shorter."""
    out = []
    for i in range(rows):
        steps, phase, slow = 60 - 7 * (i % 5 == 4), rng.uniform(0, 6), (0.2, 0.35, 0.5)[i % 3]
        wave = [round(math.sin(slow * t + phase) + rng.gauss(0, 0.2), 3) for t in range(steps)]
        if i % 4 == 1:
            wave[20:40] = [0.7] * 20
        if i % 7 == 3:
            wave[11] = None
        out.append({"wave": wave, "shape": ("slow", "even", "quick")[i % 3]})
    return out


def flower_inputs(kind, rows, datatype="FP64"):
    names = ("sepal_length", "sepal_width", "petal_length", "petal_width")
    dtype = {"FP64": np.float64, "FP32": np.float32}[datatype]
    out = []
    for name in names:
        tensor = kind.InferInput(name, [len(rows)], datatype)
        tensor.set_data_from_numpy(np.array([r[name] for r in rows], dtype))
        out.append(tensor)
    return out


def same(result, expected, classes):
    """An inference result against Kenyon's own predictions."""
    labels = [l.decode() if isinstance(l, bytes) else str(l) for l in result.as_numpy("label").ravel()]
    assert labels == [p["label"] for p in expected], (labels, expected)
    probabilities = result.as_numpy("probabilities")
    assert probabilities.shape == (len(expected), len(classes)), probabilities.shape
    for row, p in zip(probabilities, expected):
        for value, name in zip(row, classes):
            assert abs(value - p["probabilities"][name]) < 1e-5


FLOWERS = ("setosa", "versicolor", "virginica")


@check
def triton_http_defaults(s):
    import tritonclient.http as t

    with t.InferenceServerClient(s.http) as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("flowers")
        assert client.is_model_ready("flowers", "1")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        metadata = client.get_model_metadata("flowers")
        assert metadata["versions"] == ["1"] and [i["name"] for i in metadata["inputs"]][0] == "sepal_length"
        assert {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]} in metadata["outputs"]
        assert client.get_model_metadata("pictures")["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 64]}]
        assert ("flowers", "1", "READY") in [(m["name"], m["version"], m["state"]) for m in client.get_model_repository_index()]
        rows = s.flowers[:5]
        result = client.infer("flowers", flower_inputs(t, rows), request_id="seven")
        assert result.get_response()["id"] == "seven" and result.get_response()["model_version"] == "1"
        same(result, s.predict("flowers", rows), FLOWERS)
        before = client.get_inference_statistics("flowers")["model_stats"][0]["inference_count"]
        client.infer("flowers", flower_inputs(t, rows), model_version="1")
        assert client.get_inference_statistics("flowers")["model_stats"][0]["inference_count"] == before + 5


@check
def triton_http_without_binary_and_compressed(s):
    import tritonclient.http as t

    rows = s.flowers[3:10]
    expected = s.predict("flowers", rows)
    names = ("sepal_length", "sepal_width", "petal_length", "petal_width")
    with t.InferenceServerClient(s.http) as client:
        inputs = []
        for name in names:
            tensor = t.InferInput(name, [len(rows)], "FP64")
            tensor.set_data_from_numpy(np.array([r[name] for r in rows]), binary_data=False)
            inputs.append(tensor)
        outputs = [t.InferRequestedOutput("label", binary_data=False), t.InferRequestedOutput("probabilities", binary_data=True)]
        same(client.infer("flowers", inputs, outputs=outputs), expected, FLOWERS)
        plain = [t.InferRequestedOutput(n, binary_data=False) for n in ("label", "probabilities")]
        same(client.infer("flowers", flower_inputs(t, rows), outputs=plain), expected, FLOWERS)
        for algorithm in ("gzip", "deflate"):
            result = client.infer(
                "flowers", flower_inputs(t, rows), outputs=plain,
                request_compression_algorithm=algorithm, response_compression_algorithm=algorithm,
            )
            same(result, expected, FLOWERS)
            # Large enough that the answer is compressed as well.
            many = s.flowers * 20
            result = client.infer(
                "flowers", flower_inputs(t, many),
                request_compression_algorithm=algorithm, response_compression_algorithm=algorithm,
            )
            assert result.as_numpy("probabilities").shape == (len(many), 3)
        best = t.InferRequestedOutput("probabilities", class_count=2)
        top = client.infer("flowers", flower_inputs(t, rows), outputs=[best]).as_numpy("probabilities")
        assert top.shape == (len(rows), 2)
        assert [x.decode().split(":")[2] for x in top[:, 0]] == [p["label"] for p in expected]


@check
def one_input_for_all_features(s):
    import tritonclient.http as t

    rows = s.flowers[:4]
    with t.InferenceServerClient(s.http) as client:
        tensor = t.InferInput("input", [4, 4], "FP32")
        names = ("sepal_length", "sepal_width", "petal_length", "petal_width")
        tensor.set_data_from_numpy(np.array([[r[n] for n in names] for r in rows], np.float32))
        same(client.infer("flowers", [tensor]), s.predict("flowers", rows), FLOWERS)
        images = np.array([r["image"] for r in s.pictures[:3]])
        expected = [p["label"] for p in s.predict("pictures", [{"image": r["image"]} for r in s.pictures[:3]])]
        for name in ("image", "input"):
            for datatype, dtype in (("FP32", np.float32), ("FP64", np.float64), ("FP16", np.float16)):
                tensor = t.InferInput(name, [3, 64], datatype)
                tensor.set_data_from_numpy(images.astype(dtype))
                label = client.infer("pictures", [tensor]).as_numpy("label")
                assert label.dtype == np.int64 and label.tolist() == expected, (label, expected)


def flat_inputs(kind, rows):
    size = kind.InferInput("size", [len(rows)], "FP32")
    size.set_data_from_numpy(np.array([r["size"] for r in rows], np.float32))
    city = kind.InferInput("city", [len(rows), 1], "BYTES")
    city.set_data_from_numpy(np.array([[r["city"].encode()] for r in rows], np.object_))
    garden = kind.InferInput("garden", [len(rows)], "BOOL")
    garden.set_data_from_numpy(np.array([r["garden"] for r in rows]))
    return [size, city, garden]


@check
def text_truth_and_a_value(s):
    import tritonclient.grpc as g
    import tritonclient.http as t

    rows = [{k: r[k] for k in ("size", "city", "garden")} for r in s.flats[:6]]
    expected = [p["value"] for p in s.predict("flats", rows)]
    with t.InferenceServerClient(s.http) as client:
        value = client.infer("flats", flat_inputs(t, rows)).as_numpy("value")
        assert value.dtype == np.float64 and np.allclose(value, expected, rtol=1e-4), (value, expected)
    with g.InferenceServerClient(s.grpc) as client:
        value = client.infer("flats", flat_inputs(g, rows)).as_numpy("value")
        assert np.allclose(value, expected, rtol=1e-4), (value, expected)


@check
def triton_grpc_defaults(s):
    import tritonclient.grpc as g

    with g.InferenceServerClient(s.grpc) as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("flowers", "1")
        assert client.get_server_metadata().name == "kenyon"
        outputs = [o.name for o in client.get_model_metadata("flowers").outputs]
        assert outputs == ["label", "probabilities", "novelty", "verdict", "embedding"]
        assert "flowers" in [m.name for m in client.get_model_repository_index().models]
        assert client.get_inference_statistics("flowers").model_stats[0].version == "1"
        rows = s.flowers[:6]
        expected = s.predict("flowers", rows)
        same(client.infer("flowers", flower_inputs(g, rows), request_id="x"), expected, FLOWERS)
        assert client.infer("flowers", flower_inputs(g, rows), request_id="x").get_response().id == "x"
        same(client.infer("flowers", flower_inputs(g, rows), model_version="1", compression_algorithm="gzip"), expected, FLOWERS)
        only = client.infer("flowers", flower_inputs(g, rows), outputs=[g.InferRequestedOutput("label")])
        assert only.as_numpy("probabilities") is None
        more = client.infer("flowers", flower_inputs(g, rows), outputs=[g.InferRequestedOutput(name) for name in outputs])
        assert [v.decode() for v in more.as_numpy("verdict")] == [p["verdict"] for p in expected]
        assert np.allclose(more.as_numpy("novelty"), [p["novelty"] for p in expected])
        assert more.as_numpy("embedding").shape[0] == len(rows)
        for name, version, code in (("nothing", "", "NOT_FOUND"), ("flowers", "9", "NOT_FOUND")):
            try:
                client.infer(name, flower_inputs(g, rows), model_version=version)
                raise AssertionError("answered")
            except g.InferenceServerException as error:
                assert code in error.status(), error
        # A column without a tensor is missing in every row; a tensor without a column is a mistake.
        client.infer("flowers", flower_inputs(g, rows)[:2])
        unknown = g.InferInput("petal", [len(rows)], "FP64")
        unknown.set_data_from_numpy(np.zeros(len(rows)))
        try:
            client.infer("flowers", [*flower_inputs(g, rows), unknown])
            raise AssertionError("answered")
        except g.InferenceServerException as error:
            assert "INVALID_ARGUMENT" in error.status() and "petal" in error.message(), error


@check
def health_and_reflection(s):
    import grpc

    # grpc.health.v1.Health/Check by hand: an empty request, and field 1 of the answer is SERVING (1).
    with grpc.insecure_channel(s.grpc) as channel:
        call = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert call(b"") == b"\x08\x01"
        assert call(b"\x0a\x1einference.GRPCInferenceService") == b"\x08\x01"
        reflect = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        assert b"inference.GRPCInferenceService" in next(iter(reflect(iter([b"\x3a\x01*"]))))


@check
def kserve_clients(s):
    # Its messages have the names of tritonclient's, which one process cannot hold twice.
    rows = s.flowers[:3]
    expected = [p["label"] for p in s.predict("flowers", rows)]
    arguments = json.dumps({"url": s.url, "grpc": s.grpc, "rows": rows, "expected": expected})
    run = subprocess.run([sys.executable, __file__, "--kserve"], input=arguments, text=True, capture_output=True)
    assert run.returncode == 0, run.stderr[-2000:]


def kserve_main():
    from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

    given = json.load(sys.stdin)
    rows, url = given["rows"], given["url"]

    def request(binary):
        inputs = []
        for name in ("sepal_length", "sepal_width", "petal_length", "petal_width"):
            tensor = InferInput(name, [len(rows)], "FP64")
            tensor.set_data_from_numpy(np.array([r[name] for r in rows]), binary_data=binary)
            inputs.append(tensor)
        return InferRequest("flowers", inputs)

    def right(answer):
        label = [o for o in answer.outputs if o.name == "label"][0].as_numpy().tolist()
        label = [l.decode() if isinstance(l, bytes) else l for l in label]
        assert label == given["expected"], label

    async def rest():
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        assert await client.is_server_live(url) and await client.is_server_ready(url)
        assert await client.is_model_ready(url, "flowers")
        for binary in (False, True):
            right(await client.infer(url, request(binary), model_name="flowers"))
        await client.close()

    async def over_grpc():
        client = InferenceGRPCClient(given["grpc"])
        assert await client.is_server_live() and await client.is_server_ready()
        assert await client.is_model_ready("flowers")
        for binary in (False, True):
            right(await client.infer(request(binary)))
        await client.close()

    asyncio.run(rest())
    asyncio.run(over_grpc())


@check
def errors_are_said_as_the_protocol_wants(s):
    post = lambda path, body, **more: requests.post(s.url + path, data=body, **more)
    good = {"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [[5, 3, 1.5, 0.2]]}]}
    assert post("/v2/models/flowers/infer", json.dumps(good)).status_code == 200
    nested = {"inputs": [{"name": "input", "shape": [2, 4], "datatype": "INT32", "data": [[5, 3, 1, 0], [6, 3, 5, 2]]}]}
    assert post("/v2/models/flowers/infer", json.dumps(nested)).status_code == 200
    squeezed = post("/v2/models/flowers/infer", gzip.compress(json.dumps(good).encode()), headers={"content-encoding": "gzip"})
    assert squeezed.status_code == 200
    broken = [
        ("flowers", "{", 400), ("flowers", "{}", 400), ("nothing", json.dumps(good), 404),
        ("flowers", json.dumps({"inputs": [{**good["inputs"][0], "shape": [1, 5]}]}), 400),
        ("flowers", json.dumps({"inputs": [{**good["inputs"][0], "datatype": "FP1"}]}), 400),
        ("flowers", json.dumps({"inputs": [{**good["inputs"][0], "name": "height"}]}), 400),
        ("flowers", json.dumps({**good, "outputs": [{"name": "colour"}]}), 400),
    ]
    for model, body, status in broken:
        answer = post(f"/v2/models/{model}/infer", body)
        assert answer.status_code == status and isinstance(answer.json()["error"], str), (body, answer.text)
    header = json.dumps({"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}]}).encode()
    raw = struct.pack("<4f", 5, 3, 1.5, 0.2)
    length = {"Inference-Header-Content-Length": str(len(header))}
    assert post("/v2/models/flowers/infer", header + raw, headers=length).status_code == 200
    assert post("/v2/models/flowers/infer", header + raw[:8], headers=length).status_code == 400
    assert post("/v2/models/flowers/infer", header + raw + b"x", headers=length).status_code == 400
    assert post("/v2/models/flowers/infer", header, headers={"Inference-Header-Content-Length": "99999"}).status_code == 400


@check
def onnx_answers_rows_as_they_are(s):
    for model, target, rows in (("pictures", "digit", s.pictures[:20]), ("flowers", "species", s.flowers[:20]), ("flats", "price", s.flats[:20])):
        in_onnx(s, model, rows, target)
    # The encoder's features are the other input that can be requested.
    session = exported.load(s.url, "flowers", inputs="features")
    width = json.loads(session.get_modelmeta().custom_metadata_map["encoder.json"])["width"]
    [probabilities] = session.run(["probabilities"], {"features": np.zeros((2, width), np.float32)})
    assert probabilities.shape == (2, 3) and np.allclose(probabilities.sum(axis=1), 1), probabilities


@check
def networks_that_answer_together_do_so_in_onnx(s):
    rows = flowers(150, random.Random(9))
    s.train("together", rows, "species", family="sparse_mlp", config={"epochs": 8, "members": 3, "hidden": [40, 20]})
    in_onnx(s, "together", rows[:20], "species")
    activity = requests.get(f"{s.url}/api/v1/models/together/activity").json()
    # Sizes are rounded up to sixteens.
    assert [layer["units"] for layer in activity["layers"]] == [3 * 48, 3 * 32], activity


@check
def a_memory_in_onnx_recalls_the_same(s):
    rows = flowers(150, random.Random(9))
    s.train("recalled", rows, "species", family="memory", config={"epochs": 8})
    first = in_onnx(s, "recalled", rows[:20], "species", explain=True)
    nearest = first["explanation"]["memories"][0]
    assert nearest["similarity"] > 0.99 and nearest["row"].keys() == rows[0].keys() - {"species"}, nearest


@check
def attention_and_a_hybrid_in_onnx_answer_the_same(s):
    flats = [{k: v for k, v in row.items() if k != "price"} | {"dear": row["price"] > 150} for row in s.flats]
    s.train("attended", flats, "dear", family="attention", config={"epochs": 3})
    s.train("grouped", flats, "dear", family="hybrid")
    s.train("seen", s.pictures, "digit", family="hybrid")
    # A column without a value, and a name that no row had.
    odd = [{**flats[0], "city": None}, {**flats[1], "city": "Atlantis"}, {**flats[2], "size": None, "garden": None}]
    for model, rows, target in (("attended", flats[:20] + odd, "dear"), ("grouped", flats[:20] + odd, "dear"), ("seen", s.pictures[:20], "digit")):
        in_onnx(s, model, rows, target)


@check
def series_in_onnx_answer_the_same(s):
    rows = waves(120, random.Random(3))
    # Numbered columns, lists, and steps of three numbers.
    wide = [{"shape": r["shape"], **{f"t{t}": r["wave"][t] if t < len(r["wave"]) else None for t in range(60)}} for r in rows]
    turned = [{"shape": r["shape"], "wave": [[x or 0, -(x or 0), t / 60] for t, x in enumerate(r["wave"])]} for r in rows]
    s.train("waves", wide, "shape", family="attention")
    in_onnx(s, "waves", wide, "shape")
    lists = {"features": {"wave": "sequence"}}
    s.train("listed", rows, "shape", family="attention", **lists)
    s.train("turned", turned, "shape", family="attention", **lists)
    s.train("filtered", rows, "shape", family="attention", **lists, config={"series_features": "filters", "filters": 2000})
    s.train("summed", turned, "shape", family="sparse_mlp", **lists, config={"epochs": 5})
    s.train("summed_up", rows, "shape", family="hybrid", **lists)
    short = [{"wave": [0.5]}, {"wave": [0.5, -0.5, 0.1]}, {"wave": []}]
    for model, rows in (("listed", rows + short), ("turned", turned), ("filtered", rows + short), ("summed", turned), ("summed_up", rows + short)):
        in_onnx(s, model, rows, "shape")
    mixed = {"blocks_share": 0.5, "cross_fit": False, "epochs": 1}
    s.train("mixed", turned, "shape", family="attention", **lists, config=mixed)
    refused = requests.get(f"{s.url}/api/v1/models/mixed/versions/1/export?format=onnx")
    problem = refused.json()
    assert refused.status_code == 422 and problem["code"] == "no_onnx_form" and "blocks_share" in problem["detail"], problem


@check
def a_column_without_an_onnx_form_is_named(s):
    rows = [{"note": f"{word} and {i} more words of it", "size": i, "kind": word} for i in range(40) for word in ("good", "poor")]
    s.train("notes", rows, "kind", features={"note": "text"}, family="sparse_mlp", config={"epochs": 2})
    refused = requests.get(f"{s.url}/api/v1/models/notes/versions/1/export?format=onnx")
    problem = refused.json()
    assert refused.status_code == 422 and problem["code"] == "no_onnx_form", refused.text
    assert problem["details"][0]["column"] == "note" and "inputs=features" in problem["detail"], problem
    exported.load(s.url, "notes", inputs="features")


def in_onnx(s, model, rows, target, **options):
    """A model answers `rows` as its exported form does; returns the first answer."""
    rows = [{k: v for k, v in row.items() if k != target} for row in rows]
    expected = s.predict(model, rows, **options)
    session = exported.load(s.url, model)
    found = exported.run(session, rows)
    if "value" in found:
        ours = np.array([p["value"] for p in expected])
        assert np.allclose(found["value"], ours, rtol=1e-5), (model, found["value"], ours)
        return expected[0]
    classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
    spelled = [json.dumps(c) if isinstance(c, bool) else str(c) for c in classes]
    ours = np.array([[p["probabilities"][c] for c in spelled] for p in expected])
    far = np.abs(ours - found["probabilities"]).max()
    assert far < 1e-4, (model, far)
    labels = found["label"].tolist()
    clear = [i for i, row in enumerate(np.sort(ours)) if row[-1] - row[-2] > 1e-4]
    assert [labels[i] for i in clear] == [expected[i]["label"] for i in clear], (model, labels)
    return expected[0]


@check
def a_bundle_goes_to_another_name_and_answers_the_same(s):
    bundle = requests.get(f"{s.url}/api/v1/models/flowers/versions/1/export")
    assert bundle.ok, bundle.text
    imported = requests.post(f"{s.url}/api/v1/models/copy/import", bundle.content, headers={"content-type": "application/x-tar"})
    assert imported.ok, imported.text
    strip = lambda ps: [{k: v for k, v in p.items() if k != "prediction_id"} for p in ps]
    assert strip(s.predict("copy", s.flowers[:9])) == strip(s.predict("flowers", s.flowers[:9]))
    broken = requests.post(f"{s.url}/api/v1/models/bad/import", bundle.content[:-3000], headers={"content-type": "application/x-tar"})
    assert broken.status_code == 422, broken.text


def main():
    rng = random.Random(5)
    s = Server(sys.argv[1])
    failed = 0
    try:
        s.flowers, s.pictures, s.flats = flowers(150, rng), pictures(200, rng), flats(300, rng)
        s.train("flowers", s.flowers, "species", config={"epochs": 20})
        s.train("pictures", s.pictures, "digit", config={"epochs": 10}, task="classification")
        s.train("flats", s.flats, "price", config={"epochs": 10})
        s.flowers = [{k: v for k, v in r.items() if k != "species"} for r in s.flowers]
        for function in CHECKS:
            try:
                function(s)
                print("ok  ", function.__name__, flush=True)
            except Exception as error:  # each failed check is reported, then the next one runs
                failed += 1
                print("FAIL", function.__name__, type(error).__name__, error, flush=True)
    finally:
        s.stop()
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(kserve_main() if sys.argv[1] == "--kserve" else main())
