"""Other detectors and conformal methods on the rows that `measure_uncertainty --write FOLDER` set aside, for `uncertainty.py`.

Needs scikit-learn, and for `mapie` also pandas, lightgbm and mapie.
"""

import collections
import json
import logging
import pathlib
import warnings

LEVELS = (0.8, 0.9, 0.95)
TREES = {"n_estimators": 200, "n_jobs": 1, "verbosity": -1}


def forest(folder):
    """The share of each kind of foreign rows that an isolation forest finds at 1 % false alarms."""
    import numpy
    from sklearn.ensemble import IsolationForest

    def rows(path):
        lines = [line for line in path.read_text().split("\n") if line]
        return numpy.array([[float(cell) for cell in line.split(",")] for line in lines])

    known = rows(folder / "known.csv")
    if known.size == 0:
        return {}
    model = IsolationForest(n_estimators=200, random_state=0).fit(known)
    limit = numpy.quantile(-model.score_samples(rows(folder / "ordinary.csv")), 0.99)
    found = {}
    for path in folder.glob("*.csv"):
        if path.stem not in ("known", "ordinary"):
            found[path.stem.replace("_", " ")] = float((-model.score_samples(rows(path)) > limit).mean())
    return found


def read(path):
    """A table as numbers: codes for names, TF-IDF for one text."""
    import pandas

    path = pathlib.Path(path)
    return pandas.read_json(path, lines=True) if ".jsonl" in path.name else pandas.read_csv(path)


def mapie(path, target, folder, regression):
    """Coverage and mean size of MAPIE's sets (RAPS) or intervals (CQR, also by quarter of the middle of the interval) at each level, with a
    fifth of the training rows for calibration. Below them LightGBM; of texts logistic regression over TF-IDF, of many numbers a random forest."""
    import numpy
    import pandas
    from lightgbm import LGBMClassifier, LGBMRegressor
    from mapie.classification import SplitConformalClassifier
    from mapie.conformity_scores import RAPSConformityScore
    from mapie.regression import ConformalizedQuantileRegressor
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    warnings.simplefilter("ignore")
    logging.getLogger().setLevel(logging.WARNING)
    table, rows = read(path), json.loads((pathlib.Path(folder) / "rows.json").read_text())
    truths = table.pop(target)
    fitted, held = rows["train"][: len(rows["train"]) * 4 // 5], rows["train"][len(rows["train"]) * 4 // 5 :]
    if list(table.columns) == ["text"]:
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(table["text"].iloc[fitted])
        inputs = words.transform(table["text"])
        model = LogisticRegression(C=10, max_iter=1000)
    else:
        for name in table.columns:
            if not pandas.api.types.is_numeric_dtype(table[name]):
                table[name] = table[name].astype("category").cat.codes
        inputs = table.to_numpy(dtype=float)
        pictures = inputs.shape[1] >= 64
        model = RandomForestClassifier(300, random_state=0) if pictures else LGBMClassifier(random_state=0, **TREES)
    tested = rows["test"]
    found = {}
    if regression:
        truth = truths.to_numpy(dtype=float)
        for level in LEVELS:
            model = LGBMRegressor(objective="quantile", alpha=0.5, random_state=0, **TREES)
            cqr = ConformalizedQuantileRegressor(estimator=model, confidence_level=level)
            cqr.fit(inputs[fitted], truth[fitted]).conformalize(inputs[held], truth[held])
            values, ends = cqr.predict_interval(inputs[tested])
            low, high = ends[:, 0, 0], ends[:, 1, 0]
            inside = (low <= truth[tested]) & (truth[tested] <= high)
            order = numpy.array_split(numpy.argsort(values), 4)
            found[level] = {
                "coverage": float(inside.mean()), "mean_size": float((high - low).mean()),
                "quarters": [float(inside[part].mean()) for part in order],
            }
        return found
    truth = truths.astype("category").cat.codes.to_numpy()
    model.fit(inputs[fitted], truth[fitted])
    # Classes that the model has not seen are in no set; RAPS wants two rows of each class.
    known = {name: at for at, name in enumerate(model.classes_)}
    counts = collections.Counter(truth[held])
    held = [row for row in held if truth[row] in known and counts[truth[row]] > 1]

    class Raps(RAPSConformityScore):
        """With the documented fifth of the rows to choose its settings by; MAPIE 1.6 takes a tenth, too few for 77 classes."""

        def split_data(self, *args, **kwargs):
            self.size_raps = 0.2
            return super().split_data(*args, **kwargs)

    for level in LEVELS:
        # MAPIE has no RAPS for two classes.
        score = Raps() if len(known) > 2 else "lac"
        raps = SplitConformalClassifier(model, confidence_level=level, conformity_score=score, prefit=True, random_state=0)
        sets = raps.conformalize(inputs[held], truth[held]).predict_set(inputs[tested])[1][:, :, 0]
        inside = [sets[row, known[truth[index]]] if truth[index] in known else False for row, index in enumerate(tested)]
        found[level] = {"coverage": float(numpy.mean(inside)), "mean_size": float(sets.sum(1).mean())}
    found["accuracy"] = float((model.predict(inputs[tested]) == truth[tested]).mean())
    return found
