"""Comparisons with recordings against rsatoolbox, through HTTP: recordings.py BINARY [FOLDER of brain_92images].

Distances, similarities, noise ceilings must be those of rsatoolbox to 1e-6, standard errors and intervals of the
bootstrap within Monte-Carlo error. Data are simulated; with the folder, also the 34 matrices of the 92 images.
"""

import gzip
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import requests

warnings.filterwarnings("ignore")
import rsatoolbox as rsa
from rsatoolbox.data import Dataset
from rsatoolbox.data.noise import prec_from_unbalanced
from rsatoolbox.inference.evaluate import eval_dual_bootstrap
from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling
from rsatoolbox.rdm import RDMs, compare
from rsatoolbox.rdm.calc import calc_rdm

COMPARISONS = {"rho-a": "rho-a", "spearman": "spearman", "kendall": "tau-a", "cosine": "cosine", "whitened_cosine": "cosine_cov"}


class Server:
    def __init__(self, binary):
        self.folder = tempfile.TemporaryDirectory()
        ports = []
        for _ in range(2):
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                ports.append(f"127.0.0.1:{s.getsockname()[1]}")
        self.url = f"http://{ports[0]}/api/v1"
        command = [binary, "serve", "--listen", ports[0], "--grpc-listen", ports[1], "--data-dir", self.folder.name]
        self.process = subprocess.Popen(command, env={**os.environ, "KENYON_LOG": "warn"})
        for _ in range(400):
            try:
                if requests.get(f"http://{ports[0]}/readyz", timeout=2).ok:
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.05)
        raise SystemExit("the server did not start")

    def upload(self, name, columns):
        rows = zip(*[column.tolist() for column in columns.values()])
        lines = "\n".join([",".join(columns), *(",".join(map(repr_of, row)) for row in rows)])
        answer = requests.put(f"{self.url}/datasets/{name}", lines, headers={"content-type": "text/csv"})
        assert answer.ok, answer.text

    def compare(self, **request):
        job = requests.post(f"{self.url}/comparisons", json=request).json()
        assert "id" in job, job
        while True:
            found = requests.get(f"{self.url}/comparisons/{job['id']}").json()
            if found["status"] not in ("queued", "running"):
                assert found["status"] == "succeeded", found["error"]
                return found
            time.sleep(0.1)


def repr_of(value):
    return value if isinstance(value, str) else repr(value)


def close(what, found, expected, tolerance=1e-6):
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    gap = np.abs(found - expected).max() / max(1.0, np.abs(expected).max())
    print(f"{what}: largest difference {gap:.1e}")
    assert found.shape == expected.shape and gap <= tolerance, what


def distances(server):
    """Responses with noise that is correlated between channels, in runs."""
    rng = np.random.default_rng(1)
    conditions, runs, channels = 12, 5, 20
    mix = np.eye(channels) + 0.3 * rng.normal(size=(channels, channels))
    pattern = np.repeat(rng.normal(size=(conditions, channels)), runs, 0)
    values = pattern + rng.normal(size=pattern.shape) @ mix
    condition, run = np.repeat(np.arange(conditions), runs), np.tile(np.arange(runs), conditions)
    server.upload("responses", {"c": condition, "r": run, **{f"v{i}": values[:, i] for i in range(channels)}})
    data = Dataset(values, obs_descriptors={"c": condition, "r": run})
    noise = prec_from_unbalanced(data, "c", method="shrinkage_diag")
    expected = {
        "euclidean": calc_rdm(data, "euclidean", "c"),
        "correlation": calc_rdm(data, "correlation", "c"),
        "mahalanobis": calc_rdm(data, "mahalanobis", "c", noise),
        "crossnobis": calc_rdm(data, "crossnobis", "c", noise, "r"),
    }
    system = {"dataset": "responses", "channels": "v*", "condition": "c", "run": "r"}
    systems = [{"name": distance, "distance": distance, **system} for distance in expected]
    found = server.compare(systems=systems, compare="cosine", bootstrap={"samples": 10})
    assert found["conditions"] == [str(i) for i in range(conditions)]
    for rdm in found["rdms"]:
        close(f"distance {rdm['system']}", rdm["values"], expected[rdm["system"]].dissimilarities[0])


def judged(server, name, systems, subjects):
    """Similarities and ceilings of some matrices; `systems` and `subjects` are `[matrices, pairs]`."""
    n = int((1 + np.sqrt(1 + 8 * systems.shape[1])) / 2)
    i, j = np.triu_indices(n, 1)
    for at, values in enumerate(systems):
        server.upload(f"{name}_{at}", {"i": i, "j": j, "value": values})
    tiled = {"i": np.tile(i, len(subjects)), "j": np.tile(j, len(subjects)), "value": subjects.ravel()}
    server.upload(f"{name}_subjects", {**tiled, "subject": np.repeat([f"s{k}" for k in range(len(subjects))], len(i))})
    requested = [{"name": f"m{at}", "rdm": f"{name}_{at}"} for at in range(len(systems))]
    requested.append({"name": "brain", "rdm": f"{name}_subjects"})
    # Matrices are kept in single precision; rsatoolbox computes in that of its input.
    single = lambda values: RDMs(values.astype(np.float32).astype(float))
    models, brain = single(systems), single(subjects)
    for comparison, method in COMPARISONS.items():
        found = server.compare(systems=requested, compare=comparison, reference="brain", bootstrap={"samples": 10})
        expected = compare(models, brain, method=method)
        fits = [one for one in found["similarity"] if one["b"] == "brain"]
        close(f"{name} {comparison}", [one["per_subject"] for one in fits], expected)
        close(f"{name} {comparison} mean", [one["value"] for one in fits], expected.mean(1))
        low, high = boot_noise_ceiling(brain, method=method, rdm_descriptor="index")
        ceiling = found["noise_ceiling"]
        close(f"{name} {comparison} ceiling", [ceiling["lower"], ceiling["upper"]], [low, high])
    return requested, models, brain


def bootstrap(server, name, requested, models, brain, samples):
    fixed = [rsa.model.ModelFixed(f"m{at}", models.subset("index", at)) for at in range(models.n_rdm)]
    np.random.seed(0)
    expected = eval_dual_bootstrap(fixed, brain, method="cosine", N=samples, k_pattern=1, k_rdm=1)
    request = {"systems": requested, "compare": "cosine", "reference": "brain"}
    found = server.compare(**request, bootstrap={"samples": samples, "over": ["stimuli", "subjects"], "seed": 1})
    error = [one["standard_error"] for one in found["similarity"] if one["b"] == "brain"]
    ratio = np.array(error) / np.sqrt(expected.model_var)
    # A standard error from B samples is uncertain by 1 / sqrt(2 B), and the two have samples of their own.
    print(f"{name} dual bootstrap: standard errors are", np.round(ratio, 3), "of rsatoolbox's")
    assert np.all(np.abs(ratio - 1) < 6 / np.sqrt(samples)), "standard errors"
    again = server.compare(**request, bootstrap={"samples": samples, "over": ["stimuli", "subjects"], "seed": 1})
    assert again["similarity"] == found["similarity"], "the same seed gives the same result"


def main():
    server = Server(sys.argv[1])
    try:
        distances(server)
        rng = np.random.default_rng(2)
        truth = rng.random(30 * 29 // 2)
        subjects = np.round(truth + 0.5 * rng.random((6, len(truth))), 2)
        systems = np.round(np.stack([truth + share * rng.random(len(truth)) for share in (0.5, 2.0, 8.0)]), 1)
        bootstrap(server, "simulated", *judged(server, "simulated", systems, subjects), samples=500)
        if len(sys.argv) > 2:
            with gzip.open(os.path.join(sys.argv[2], "rdms_upper.csv.gz"), "rt") as file:
                names = file.readline().strip().split(",")
                table = np.loadtxt(file, delimiter=",")
            order = np.lexsort((table[:, 1], table[:, 0]))
            column = lambda name: table[order, names.index(name)]
            human = np.stack([column(name) for name in names if name.startswith("hIT_subj")])
            judged(server, "images", np.stack([column(n) for n in ("mIT_674neurons", names[-1], names[-4])]), human)
        else:
            print("the 92 images are skipped: no folder is named")
    finally:
        server.process.terminate()
        assert server.process.wait(30) == 0
    print(json.dumps({"recordings": "ok"}))


main()
