"""A table of a million rows answered by a batch and as a stream, beside LightGBM and scikit-learn. Linux.

usage: batches.py BINARY TABLE.csv TARGET [--train 50000] [--epochs N] [--serve "FLAGS"] [--only kenyon|peers] [--explain]
TABLE is for example what ../shared/peers/make_table.py writes. A model is trained on its first rows; then a job answers all of it (CSV),
a second one is killed half-way together with the server (SIGKILL) and must end with the same bytes, and the file is sent as the body of
a predict call. Printed are rows a second (of the job from its start to its end, of the call with sending and receiving) and the server's
memory (RssAnon) in each quarter of the job. The peers learn the same rows and answer the same table: from arrays in memory, and with
reading the CSV and writing one of label and probability. The server and its programs are standard library only; the peers need pandas,
scikit-learn and lightgbm.
"""

import argparse
import csv
import io
import itertools
import os
import tempfile
import threading
import time
from datetime import datetime

from server import Client, Server, status

POLL = 0.05


class Memory(threading.Thread):
    """MiB that a process has for itself, again and again."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.seen, self.stopped = pid, [], threading.Event()
        self.start()

    def run(self):
        while not self.stopped.wait(POLL):
            self.seen.append(status(self.pid, "RssAnon"))

    def quarters(self):
        """The most in each quarter of the time."""
        self.stopped.set()
        self.join()
        size = max(1, len(self.seen) // 4)
        return " ".join(f"{max(self.seen[at : at + size]):.0f}" for at in range(0, 4 * size, size) if self.seen[at:])


def ended(client, job, until=1.0):
    """The job when it has ended, or has come to a share of its rows."""
    while job["status"] in ("queued", "running") and not (until < 1 and job["progress"].get("fraction", 0) >= until):
        time.sleep(POLL)
        job = client.call("GET", f"/api/v1/jobs/{job['id']}")
    return job


def answered(client, explain):
    request = {"dataset": "table", "format": "csv", "explain": explain}
    return client.call("POST", "/api/v1/models/m/predict/batch", request)


def seconds(client, job):
    """From the start of a job to its end."""
    begun, end = (datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at"))
    return (end - begun).total_seconds()


def same_rows(path, output):
    """Rows of an output, which must be those of the file in its order, each with an answer."""
    with open(path, newline="") as file:
        given, got = csv.reader(file), csv.reader(io.TextIOWrapper(io.BytesIO(output), newline=""))
        names, rows = next(given), 0
        assert next(got)[: len(names)] == names
        for row, answer in itertools.zip_longest(given, got):
            assert [number(cell) for cell in row] == [number(cell) for cell in answer[: len(names)]], (row, answer)
            assert answer[len(names)], answer
            rows += 1
    return rows


def number(cell):
    try:
        return float(cell)
    except ValueError:
        return cell


def kenyon(arguments):
    server = Server(arguments.binary, "--workers", "1", *arguments.serve.split())
    client = Client(server.port)
    with open(arguments.table, "rb") as file:
        head = b"".join(itertools.islice(file, arguments.train + 1))
    client.call("PUT", "/api/v1/datasets/few", head, kind="csv")
    config = {"epochs": arguments.epochs} if arguments.epochs else {}
    training = {"dataset": "few", "target": arguments.target, "config": config}
    job = ended(client, client.call("POST", "/api/v1/models/m/train", training))
    assert job["status"] == "succeeded", job
    with open(arguments.table, "rb") as file:
        begun = time.perf_counter()
        rows = client.call("PUT", "/api/v1/datasets/table", file, kind="csv")["rows"]
    metrics = {name: round(value, 4) for name, value in job["metrics"].items() if name in ("accuracy", "log_loss", "auc", "r2")}
    print(f"{job['metrics'].get('family', '')} {metrics} learned from {arguments.train} rows; {rows} rows uploaded in {time.perf_counter() - begun:.1f} s", flush=True)

    cpu, memory = server.cpu(), Memory(server.process.pid)
    job = ended(client, answered(client, arguments.explain))
    assert job["status"] == "succeeded", job
    took = seconds(client, job)
    print(f"batch: {rows / took:,.0f} rows/s ({took:.1f} s, {server.cpu() - cpu:.1f} CPU s), memory by quarter {memory.quarters()} MiB", flush=True)
    output = client.raw("GET", f"/api/v1/jobs/{job['id']}/output")
    print(f"  {same_rows(arguments.table, output)} rows of output in the order of the table, {len(output)} bytes", flush=True)

    # The server closes a connection that was idle for long.
    client = Client(server.port)
    halfway = ended(client, answered(client, arguments.explain), until=0.5)
    server.kill()
    server.start()
    client = Client(server.port)
    job = ended(client, halfway)
    assert job["status"] == "succeeded", job
    same = client.raw("GET", f"/api/v1/jobs/{job['id']}/output") == output
    print(
        f"killed at {halfway['progress']['fraction']:.0%}: attempt {job['attempt']}, resumed from row {job['resumed_from_step']}, "
        f"the output is {'the same' if same else 'NOT THE SAME'}", flush=True,
    )
    assert same and job["attempt"] > 1

    cpu, memory, begun = server.cpu(), Memory(server.process.pid), time.perf_counter()
    headers = {"content-type": "text/csv", "accept": "text/csv", "content-length": str(os.path.getsize(arguments.table))}
    with open(arguments.table, "rb") as file:
        lines = client.raw("POST", f"/api/v1/models/m/predict?explain={str(arguments.explain).lower()}", file, headers)
    took = time.perf_counter() - begun
    assert lines.count(b"\n") == rows + 1
    print(f"stream: {rows / took:,.0f} rows/s ({took:.1f} s, {server.cpu() - cpu:.1f} CPU s), memory by quarter {memory.quarters()} MiB", flush=True)
    server.remove()


def peers(arguments):
    import lightgbm
    import pandas
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import log_loss

    def read():
        table = pandas.read_csv(arguments.table)
        names = table.select_dtypes(exclude="number").columns.drop(arguments.target, errors="ignore")
        return table.astype({name: pandas.CategoricalDtype(sorted(table[name].unique())) for name in names})

    table = read()
    few, target = table.head(arguments.train), arguments.target
    # scikit-learn takes at most 255 categories a column; the columns with more are numbers to it.
    many = [name for name in table.columns if isinstance(table[name].dtype, pandas.CategoricalDtype) and len(table[name].cat.categories) > 255]

    def coded(rows):
        return rows.assign(**{name: rows[name].cat.codes for name in many})

    for name, model, shown in [
        ("LightGBM", lightgbm.LGBMClassifier(verbose=-1), lambda rows: rows),
        ("HistGradientBoosting", HistGradientBoostingClassifier(categorical_features="from_dtype"), coded),
    ]:
        model.fit(shown(few.drop(columns=target)), few[target])
        rows = shown(table.drop(columns=target))
        begun, cpu = time.perf_counter(), time.process_time()
        probabilities = model.predict_proba(rows)
        alone, alone_cpu = time.perf_counter() - begun, time.process_time() - cpu
        begun, cpu = time.perf_counter(), time.process_time()
        fresh = shown(read().drop(columns=target))
        probabilities = model.predict_proba(fresh)
        best = probabilities.argmax(1)
        fresh = fresh.assign(predicted=model.classes_[best], probability=probabilities.max(1))
        with tempfile.NamedTemporaryFile("w") as file:
            fresh.to_csv(file.name, index=False)
        whole, whole_cpu = time.perf_counter() - begun, time.process_time() - cpu
        loss = log_loss(table[target][arguments.train :], probabilities[arguments.train :])
        print(
            f"{name}: {len(rows) / alone:,.0f} rows/s from memory ({alone:.1f} s, {alone_cpu:.1f} CPU s), {len(rows) / whole:,.0f} from CSV to CSV "
            f"({whole:.1f} s, {whole_cpu:.1f} CPU s), log loss {loss:.4f}", flush=True,
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("table")
    parser.add_argument("target")
    parser.add_argument("--train", type=int, default=50_000)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--serve", default="")
    parser.add_argument("--only", choices=["kenyon", "peers"])
    parser.add_argument("--explain", action="store_true")
    arguments = parser.parse_args()
    if arguments.only != "peers":
        kenyon(arguments)
    if arguments.only != "kenyon":
        peers(arguments)


main()
