"""Prequential accuracy of River's and CapyMOA's forests on the streams of `streams.py`, with their defaults.

usage: stream_peers.py [river] [capymoa] -- STREAM...        STREAM as in `streams.py` (elec2, weather, …, spam500)

River: adaptive random forest and streaming random patches of ten trees, classes and numbers as they are. CapyMOA: the same two with their
defaults; it needs Java. Prints a line for each. Needs river, capymoa (with torch) where they are requested.
"""

import sys
import time

from stream_data import table


def river(name, kinds, rows):
    from river import ensemble, forest

    models = {"ARF": forest.ARFClassifier(n_models=10, seed=1), "SRP": ensemble.SRPClassifier(n_models=10, seed=1)}
    for model_name, model in models.items():
        begun, right = time.process_time(), 0
        for inputs, label in rows:
            known = {column: value for column, value in inputs.items() if value is not None}
            right += model.predict_one(known) == label
            model.learn_one(known, label)
        show(name, f"river {model_name}", right / len(rows), len(rows), time.process_time() - begun)


def capymoa(name, kinds, rows):
    import numpy as np
    from capymoa.classifier import AdaptiveRandomForestClassifier, StreamingRandomPatches
    from capymoa.evaluation import prequential_evaluation
    from capymoa.stream import NumpyStream

    # Names are numbered: this reader of arrays has no nominal columns.
    numbers = {column: {} for column, kind in kinds.items() if kind == "category"}

    def number(column, value):
        if column in numbers:
            return numbers[column].setdefault(value, len(numbers[column]))
        return np.nan if value is None else value

    inputs = np.array([[number(column, value) for column, value in row.items()] for row, _ in rows], dtype=float)
    classes = {label: index for index, label in enumerate(sorted({label for _, label in rows}))}
    targets = np.array([classes[label] for _, label in rows])
    for model_name, kind in {"ARF": AdaptiveRandomForestClassifier, "SRP": StreamingRandomPatches}.items():
        stream = NumpyStream(inputs, targets, target_type="categorical")
        begun = time.process_time()
        results = prequential_evaluation(stream=stream, learner=kind(schema=stream.get_schema()), window_size=1000)
        show(name, f"capymoa {model_name}", results.cumulative.accuracy() / 100, len(rows), time.process_time() - begun)


def show(name, model, accuracy, count, seconds):
    print(f"{name}: {model} {accuracy:.4f}, {count / seconds:.0f} rows per CPU second", flush=True)


def main():
    split = sys.argv.index("--")
    for name in sys.argv[split + 1 :]:
        kinds, rows = table(name)
        for library in sys.argv[1:split]:
            {"river": river, "capymoa": capymoa}[library](name, kinds, rows)


main()
