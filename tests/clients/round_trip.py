"""One table, every usual way to write it: round_trip.py BINARY [FOLDER …].

Each table is written by pandas as CSV (comma; semicolon with decimal comma; with an index), as lines of JSON, and as
Parquet by pyarrow and by polars, and trained from each file with the same seed. The weights must be the same, bit for
bit; where a column's kind is read differently the script ends with 1 and names the column. Tables are those made here
and every CSV in the folders named.
"""

import glob
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile

import pandas as pd
import polars as pl

from tables import mixed

# So many rows of a table: what is compared is how they are read.
ROWS = 1500


def writers(table, folder):
    """Every way to write `table`: a name and a path."""
    path = lambda name: os.path.join(folder, name)
    table.to_csv(path("comma.csv"), index=False)
    table.to_csv(path("semicolon.csv"), index=False, sep=";", decimal=",")
    table.to_csv(path("index.csv"))
    table.to_json(path("lines.ndjson"), orient="records", lines=True, double_precision=15, date_format="iso")
    table.to_parquet(path("pyarrow.parquet"), index=False)
    pl.from_pandas(table).write_parquet(path("polars.parquet"))
    return ["comma.csv", "semicolon.csv", "index.csv", "lines.ndjson", "pyarrow.parquet", "polars.parquet"]


def trained(binary, folder, file, target):
    """Hash of the weights, and the plan of each column."""
    out = os.path.join(folder, "model")
    arguments = ["train", file, "--target", target, "--model", out, "--family", "sparse_mlp", "--seed", "3"]
    run = subprocess.run(
        [binary, "--json", *arguments, "--set", "epochs=1", "--validation", "0.2"], capture_output=True, text=True, cwd=folder
    )
    if run.returncode != 0:
        return run.stderr.strip().splitlines()[-1], {}
    with tarfile.open(out + ".kenyon") as archive:
        read = lambda name: archive.extractfile(name).read()
        weights, encoder = read("weights.safetensors"), json.loads(read("encoder.json"))
    return hashlib.sha256(weights).hexdigest(), {plan["name"]: plan["kind"] for plan in encoder["inputs"]}


def check(binary, name, table, target):
    """The number of ways that train another model than the CSV does."""
    with tempfile.TemporaryDirectory() as folder:
        files = writers(table, folder)
        expected, kinds = trained(binary, folder, files[0], target)
        if not kinds:
            print(f"{name}: not trained: {expected.strip()}")
            return int(name.startswith("mixed"))
        different = 0
        for file in files[1:]:
            found, read = trained(binary, folder, file, target)
            if found != expected:
                different += 1
                columns = {c: (kinds.get(c), read.get(c)) for c in {*kinds, *read} if kinds.get(c) != read.get(c)}
                print(f"{name} {file}: {'other kinds ' + str(columns) if columns else found[:80] + ' for ' + expected[:80]}")
        print(f"{name}: {len(files) - different} of {len(files)} ways train the same model")
        return different


def main(binary, folders):
    different = 0
    for seed in range(1, 5):
        table = pd.DataFrame(mixed(seed, 400, names_like_missing=False)).convert_dtypes()
        different += check(binary, f"mixed{seed}", table, "target")
    for path in sorted(path for folder in folders for path in glob.glob(os.path.join(folder, "*.csv*"))):
        table = pd.read_csv(path, nrows=ROWS)
        different += check(binary, os.path.basename(path).split(".")[0], table, table.columns[-1])
    sys.exit(min(different, 1))


main(os.path.abspath(sys.argv[1]), sys.argv[2:])
