"""Streams of tables as `streams.py` and `stream_peers.py` read them: names of the columns and rows in their order.

Data come from KENYON_SHARED_DATA (default ../shared/data). Standard library only.
"""

import collections
import csv
import gzip
import io
import os
import random

DATA = os.environ.get("KENYON_SHARED_DATA") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../shared/data")
# File, target, columns that give the target away, columns of names, whether rows are shuffled.
TABLES = {
    "elec2": ("elec2/elec2.csv.gz", "class", [], [], False),
    "weather": ("weather_noaa/weather.csv.gz", "target", [], [], False),
    "phishing": ("phishing/phishing.csv", "is_phishing", [], [], False),
    "segments": ("image_segments/segment.csv.gz", "category", [], [], False),
    "airlines": (
        "airlines_44k/airlines.csv.gz", "IsDepDelayed", ["DepDelay", "ArrDelay", "IsArrDelayed"],
        ["UniqueCarrier", "Origin", "Dest"], False,
    ),
    "covertype": ("covertype_20k/covtype20k.csv.gz", "Cover_Type", [], [], True),
}
WORDS = 39_917
FREQUENT = 500


def read(path):
    with open(f"{DATA}/{path}", "rb") as f:
        return gzip.decompress(f.read()) if path.endswith(".gz") else f.read()


def table(name):
    """Kinds of the inputs by name, and each row as inputs and class."""
    if name == "spam500":
        return frequent_words()
    path, target, dropped, names, shuffled = TABLES[name]
    rows = list(csv.DictReader(io.StringIO(read(path).decode())))
    inputs = [column for column in rows[0] if column != target and column not in dropped]
    kinds = {column: "category" if column in names else "number" for column in inputs}

    def cell(row, column):
        if kinds[column] == "category":
            return row[column]
        return float(row[column]) if row[column] not in ("", "NA") else None

    found = [({column: cell(row, column) for column in inputs}, row[target]) for row in rows]
    if shuffled:
        random.Random(1).shuffle(found)
    return kinds, found


def spam():
    """Each message's class and how often it has which word."""
    for line in read("spam_stream_sparse/spam.libsvm.gz").decode().splitlines():
        label, *parts = line.split()
        yield label, {int(index): value for index, value in (part.split(":") for part in parts)}


def frequent_words():
    """The 500 most frequent words of the stream, a column each."""
    messages = list(spam())
    counts = collections.Counter(word for _, words in messages for word in words)
    chosen = [word for word, _ in counts.most_common(FREQUENT)]
    rows = [({f"w{word}": float(words.get(word, 0)) for word in chosen}, label) for label, words in messages]
    return {f"w{word}": "number" for word in chosen}, rows
