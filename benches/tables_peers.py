"""What tree ensembles and scikit-learn's MLP reach with their defaults on the sets of `tables.rs`.

    python benches/tables_peers.py [SET …]

Needs numpy, pandas, scikit-learn, lightgbm, xgboost and catboost. Data as for the Rust program. Adult has its
own test rows; of the others each fifth is held out in turn (large sets: the first fifth only). Categories are
integers for trees, one-hot for the MLP, whose inputs are standardised.
"""

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from catboost import CatBoostClassifier, CatBoostRegressor
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from xgboost import XGBClassifier, XGBRegressor

warnings.filterwarnings("ignore")
DATA = Path(os.environ.get("KENYON_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
SETS = {
    "adult": ("adult/train.csv.gz", "adult/test.csv.gz", "income", False),
    "california": ("california_housing/housing.csv.gz", None, "median_house_value", True),
    "covertype": ("covertype_20k/covtype20k.csv.gz", None, "Cover_Type", False),
    "breast_cancer": ("sklearn_small/breast_cancer.csv", None, "target", False),
    "wine": ("sklearn_small/wine.csv", None, "target", False),
    "digits": ("sklearn_small/digits_8x8.csv.gz", None, "target", False),
    "diabetes": ("sklearn_small/diabetes.csv", None, "target", True),
    "iris": ("sklearn_small/iris.csv", None, "target", False),
}
LEARNERS = {
    "LightGBM": (lambda: LGBMClassifier(verbose=-1, n_jobs=2), lambda: LGBMRegressor(verbose=-1, n_jobs=2)),
    "XGBoost": (lambda: XGBClassifier(n_jobs=2), lambda: XGBRegressor(n_jobs=2)),
    "CatBoost": (
        lambda: CatBoostClassifier(verbose=0, thread_count=2, allow_writing_files=False),
        lambda: CatBoostRegressor(verbose=0, thread_count=2, allow_writing_files=False),
    ),
    "forest": (lambda: RandomForestClassifier(n_jobs=2), lambda: RandomForestRegressor(n_jobs=2)),
    "MLP": (lambda: MLPClassifier(random_state=0), lambda: MLPRegressor(random_state=0)),
}


def prepared(frame, learner):
    """Turns columns into numbers, as `learner` likes them."""
    texts = frame.select_dtypes(exclude="number").columns
    numbers = frame.columns.difference(texts)
    if learner == "MLP":
        return make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts),
            (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        )
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    impute = SimpleImputer() if learner == "forest" else "passthrough"
    return make_column_transformer((ordinal, texts), (impute, numbers))


def main():
    for name in sys.argv[1:] or SETS:
        file, test_file, target, regression = SETS[name]
        train = pd.read_csv(DATA / file)
        folds = [None]
        if not test_file:
            folds = list(KFold(5, shuffle=True, random_state=1).split(train))
            folds = folds[:1] if len(train) > 5_000 else folds
        for learner, makers in LEARNERS.items():
            scores, errors = [], []
            for fold in folds:
                if fold is None:
                    parts = train, pd.read_csv(DATA / test_file)
                else:
                    parts = train.iloc[fold[0]], train.iloc[fold[1]]
                (x, y), (test_x, test_y) = [(part.drop(columns=target), part[target]) for part in parts]
                if not regression:
                    classes = {value: i for i, value in enumerate(sorted(y.unique()))}
                    y, test_y = y.map(classes), test_y.map(classes)
                columns = prepared(x, learner).fit(x)
                model = makers[regression]().fit(columns.transform(x), y)
                answers = np.ravel(model.predict(columns.transform(test_x)))
                if regression:
                    error = np.mean((answers - test_y) ** 2)
                    scores.append(1 - error / np.var(test_y))
                    errors.append(error**0.5)
                else:
                    scores.append(np.mean(answers == test_y))
            rmse = f", rmse {np.mean(errors):.4f}" if errors else ""
            print(f"{name} {learner}: {'r2' if regression else 'accuracy'} {np.mean(scores):.4f}{rmse}", flush=True)


if __name__ == "__main__":
    main()
