"""scikit-learn estimators: fit, predict and score by a Kenyon server, an embedded one unless an address is given."""

from __future__ import annotations

import contextlib
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

from .errors import MissingDependencyError

try:
    import numpy as np
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_consistent_length, column_or_1d
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, assert_all_finite, check_is_fitted, validate_data
except ImportError as error:
    raise MissingDependencyError("the estimators need scikit-learn 1.6 or newer: pip install 'kenyon[sklearn]'") from error

from . import frames
from .client import Client
from .columns import Columns
from .errors import JobFailedError, NotFoundError
from .labels import Labels
from .served_model import Place, ServedModel, new_name
from .types import Job

#: Rows without which nothing can be learned.
LEAST_ROWS = 2


class KenyonEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types.
    """What classifier and regressor share. Parameters are described there."""

    _task: str

    def __init__(
        self,
        family: str | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
        validation: float | Mapping[str, Any] | None = None,
        search: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = 0,
        server: str | None = None,
        key: str | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        model: str | None = None,
        verbose: bool = False,
    ) -> None:
        self.family = family
        self.config = config
        self.features = features
        self.validation = validation
        self.search = search
        self.random_state = random_state
        self.server = server
        self.key = key
        self.data_dir = data_dir
        self.model = model
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # What real tables hold: missing values, categories, texts.
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.target_tags.required = True
        return tags

    # What scikit-learn checks of rows and targets.

    def _checked(self, X: Any, *, reset: bool, least: int = 1) -> Any:
        """Rows as a DataFrame, as they are, or as an array."""
        if frames.is_frame(X):
            validate_data(self, X, skip_check_array=True, reset=reset)
            if len(X) < least:
                raise ValueError(f"Found array with {len(X)} sample(s) while a minimum of {least} is required.")
            return X
        return validate_data(
            self, X, dtype=None, ensure_all_finite="allow-nan", ensure_min_samples=least, reset=reset
        )

    def _checked_to_fit(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
        """Rows, targets and weights that go together. A row without weight is no row."""
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        X = self._checked(X, reset=True, least=LEAST_ROWS)
        y = self._target(y)
        check_consistent_length(X, y)
        if sample_weight is None:
            return X, y, None
        weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        counts = weight > 0
        if counts.all():
            return X, y, weight
        return X[counts], y[counts], weight[counts]

    @abstractmethod
    def _target(self, y: Any) -> Any:
        """The target as an array that can be learned."""

    def _columns(self, X: Any) -> Columns:
        return Columns(self.n_features_in_, getattr(self, "feature_names_in_", None) if frames.is_frame(X) else None)

    # Learning.

    def _train(self, X: Any, y: Any, weight: Any, **request: Any) -> None:
        """Uploads the rows, trains, and keeps what serves the answers; the uploaded rows are removed again."""
        columns = self._columns(X)
        table = columns.table(X, y, weight)
        place = Place(self.server, self.key, self.data_dir)
        client = place.client()
        name = self.model or new_name()
        client.upload(name, table)
        try:
            job = self._trained(client, name, columns, weight is not None, **request)
        except BaseException:
            if self.model is None:
                with contextlib.suppress(NotFoundError):
                    client.delete_model(name)
            raise
        finally:
            if self.model is None:
                client.delete_dataset(name)
        self._columns_in = columns
        self._served = ServedModel(place, client, name, job["version"], owned=self.model is None)

    def _trained(self, client: Client, name: str, columns: Columns, weighted: bool, **request: Any) -> Job:
        """The training's job once it has succeeded; a job that nobody waits for any more is cancelled."""
        job = client.train(
            name,
            columns.target,
            wait=False,
            task=self._task,
            family=self.family,
            features=self.features,
            validation=self.validation,
            search=self.search,
            config=self.config,
            weight=columns.weight if weighted else None,
            seed=_seed(self.random_state),
            schema_change=True if self.model is not None else None,
            **request,
        )
        try:
            return client.wait(job, progress=bool(self.verbose))
        except JobFailedError as error:
            raise ValueError(f"Kenyon cannot learn from these rows: {error.detail} [{error.code}]") from error
        except BaseException:
            client.cancel(job)
            client.wait(job, progress=False, check=False)
            raise

    def _begin(self, X: Any, **request: Any) -> None:
        """Makes an empty model that learns by observing."""
        columns = self._columns(X)
        place = Place(self.server, self.key, self.data_dir)
        client = place.client()
        name = self.model or new_name()
        config = {"seed": _seed(self.random_state), **(self.config or {})}
        kinds = {**columns.kinds(X), **(self.features or {})}
        client.create_stream(name, columns.target, kinds, task=self._task, config=config, family=self.family, **request)
        self._columns_in = columns
        self._served = ServedModel(place, client, name, None, owned=self.model is None)

    def _observe(self, X: Any, y: Any) -> None:
        served = self._served
        served.client.observe(served.name, self._columns_in.table(X, y, None))
        # The stream goes on from the version, and answers as the model.
        served.version = None

    # Answers.

    def _answers(self, X: Any, **options: Any) -> list[Any]:
        check_is_fitted(self)
        served = self._served
        table = self._columns_in.table(self._checked(X, reset=False), None, None)
        return served.client.predict_rows(served.name, table, version=served.version, **options)

    @property
    def served_model_(self) -> ServedModel:
        """The model on its server: its ``client`` and ``name`` are for what scikit-learn has no word for."""
        check_is_fitted(self)
        return self._served

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_served")

    def export(self, path: str | os.PathLike[str]) -> None:
        """Writes the model as a bundle, for ``kenyon import``, ``kenyon predict`` and :mod:`kenyon.mlflow`."""
        check_is_fitted(self)
        with open(path, "wb") as file:
            file.write(self._served.bundle())


class KenyonClassifier(ClassifierMixin, KenyonEstimator):  # type: ignore[misc]
    """A classifier trained and served by Kenyon.

    Args:
        family: ``sparse_mlp``, ``attention``, ``memory`` or ``hybrid``; without one Kenyon chooses.
        config: Settings of the family, such as ``{"epochs": 20}``; ``Client.api.families()`` lists them.
        features: How columns are read, by name: a kind (``number``, ``category``, ``text``, …), ``ignore`` or a group.
            The columns of an array are ``x0``, ``x1``, ….
        validation: Rows to hold out, see :meth:`kenyon.api.Api.train`.
        search: Search for settings, such as ``{"trials": 20}``.
        class_weight: ``balanced``, or a weight for each class.
        random_state: Everything random follows from it.
        server: Address of a server; without one an embedded server is started, which ends with the program.
        key: Its API key, which is pickled with the estimator; ``KENYON_KEY`` in the environment is not.
        data_dir: Folder of the embedded server; without one a temporary folder.
        model: Name of the model on the server, whose versions stay there; without one a name is made, and the model is
            removed when the estimator is.
        verbose: Whether to draw a progress bar.

    Attributes:
        classes_: The classes, sorted.
        n_features_in_: Number of columns.
        feature_names_in_: Their names, for a DataFrame.
    """

    _task = "classification"

    def __init__(
        self,
        family: str | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
        validation: float | Mapping[str, Any] | None = None,
        search: Mapping[str, Any] | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        random_state: int | np.random.RandomState | None = 0,
        server: str | None = None,
        key: str | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        model: str | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            family, config=config, features=features, validation=validation, search=search, random_state=random_state,
            server=server, key=key, data_dir=data_dir, model=model, verbose=verbose,
        )  # fmt: skip
        self.class_weight = class_weight

    def _target(self, y: Any) -> Any:
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        assert_all_finite(y, input_name="y")
        return y

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Trains on rows (a DataFrame or an array) and their classes; ``sample_weight`` weighs the rows."""
        X, y, weight = self._checked_to_fit(X, y, sample_weight)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"KenyonClassifier needs at least two classes; the data has one class: {self.classes_[0]!r}")
        self._labels = Labels(self.classes_)
        if self.class_weight is not None:
            # As everywhere in scikit-learn a class's weight is one of its rows. The server's own `class_weights` count in the
            # loss alone, and probabilities are calibrated without them.
            by_class = compute_sample_weight(self.class_weight, y)
            weight = by_class if weight is None else weight * by_class
        self._train(X, self._labels.sent(codes), weight)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Sequence[Any] | None = None) -> Self:
        """Learns from rows at once, each after it was predicted: what Kenyon calls to observe.

        The first call makes an empty model, and needs all ``classes`` unless ``y`` has them; after ``fit`` the trained model
        goes on learning.
        """
        begins = not hasattr(self, "_served")
        X = self._checked(X, reset=begins)
        y = self._target(y)
        check_consistent_length(X, y)
        if begins:
            self.classes_ = np.unique(y if classes is None else np.asarray(classes))
            self._labels = Labels(self.classes_)
            self._begin(X, classes=self._labels.sent(np.arange(len(self.classes_))))
        self._observe(X, self._labels.sent(self._codes(y)))
        return self

    def _codes(self, y: Any) -> Any:
        codes = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        unknown = y[self.classes_[codes] != y]
        if len(unknown):
            raise ValueError(f"y has classes that are not in classes_: {np.unique(unknown)}")
        return codes

    def predict(self, X: Any) -> Any:
        """The likeliest class of each row."""
        answers = self._answers(X, top_k=1)
        return self.classes_[[self._labels.code_of(answer["label"]) for answer in answers]]

    def predict_proba(self, X: Any) -> Any:
        """The probability of each class (a column, in the order of ``classes_``) for each row."""
        check_is_fitted(self)
        answers = self._answers(X, top_k=len(self.classes_))
        found = np.zeros((len(answers), len(self.classes_)))
        codes = self._labels.codes_by_key
        for row, answer in zip(found, answers, strict=True):
            for key, probability in answer["probabilities"].items():
                row[codes[key]] = probability
        return found / found.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> Any:
        """Logarithms of :meth:`predict_proba`."""
        return np.log(self.predict_proba(X))

    def predict_set(self, X: Any, coverage: float = 0.9) -> list[Any]:
        """For each row an array of classes that holds the truth that often (conformal)."""
        answers = self._answers(X, top_k=1, coverage=coverage)
        return [self.classes_[sorted(self._labels.code_of(label) for label in answer["set"])] for answer in answers]


class KenyonRegressor(RegressorMixin, KenyonEstimator):  # type: ignore[misc]
    """A regressor trained and served by Kenyon. Its parameters are those of :class:`KenyonClassifier`."""

    _task = "regression"

    def _target(self, y: Any) -> Any:
        y = column_or_1d(y, warn=True)
        if getattr(y, "dtype", None) is not None and y.dtype.kind not in "fiub":
            y = y.astype(float)
        assert_all_finite(y, input_name="y")
        return y

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Trains on rows (a DataFrame or an array) and their numbers; ``sample_weight`` weighs the rows."""
        X, y, weight = self._checked_to_fit(X, y, sample_weight)
        self._train(X, y.astype(float), weight)
        return self

    def partial_fit(self, X: Any, y: Any) -> Self:
        """Learns from rows at once, each after it was predicted: what Kenyon calls to observe."""
        begins = not hasattr(self, "_served")
        X = self._checked(X, reset=begins)
        y = self._target(y).astype(float)
        check_consistent_length(X, y)
        if begins:
            self._begin(X)
        self._observe(X, y)
        return self

    def predict(self, X: Any) -> Any:
        """The number of each row."""
        return np.array([answer["value"] for answer in self._answers(X)], dtype=float)

    def predict_interval(self, X: Any, coverage: float = 0.9) -> Any:
        """For each row a lower and an upper bound that hold the truth that often (conformal); ``[rows, 2]``."""
        return np.array([answer["interval"] for answer in self._answers(X, coverage=coverage)], dtype=float)


def _seed(random_state: Any) -> int:
    if random_state is None:
        return int(np.random.randint(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    return int(random_state)
