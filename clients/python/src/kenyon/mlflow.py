"""MLflow flavour: a model's bundle as a ``pyfunc``, answered by an embedded server wherever it is loaded.

    kenyon.mlflow.log_model(estimator, name="model")
    mlflow.pyfunc.load_model("runs:/…/model").predict(frame)

What is saved is the exported bundle and nothing else: no code, no pickle. Whoever loads it needs this package.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from . import frames
from .client import Client
from .errors import MissingDependencyError
from .served_model import Place, ServedModel, new_name

if TYPE_CHECKING:
    import pandas as pd

    from .estimators import KenyonClassifier, KenyonRegressor

#: An estimator, a bundle's path, or a client with the name of a model.
Source = Union["KenyonClassifier", "KenyonRegressor", str, os.PathLike[str], tuple[Client, str]]

FLAVOR = "kenyon"
BUNDLE = "model.kenyon"


def save_model(
    model: Source,
    path: str | os.PathLike[str],
    *,
    mlflow_model: Any = None,
    signature: Any = None,
    pip_requirements: list[str] | None = None,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Saves a model in MLflow's format.

    Args:
        model: A fitted estimator, the path of an exported bundle, or ``(client, "name")`` for a model that is served.
        path: Folder to make.
        mlflow_model: MLflow's description to fill, as ``Model.log`` gives it.
        signature: Signature of inputs and outputs, from ``mlflow.models.infer_signature``.
        pip_requirements: What loading needs; without them this package with pandas.
        metadata: Further entries of MLflow's description.
    """
    mlflow = _mlflow()
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / BUNDLE).write_bytes(_bundle(model))
    requirements = pip_requirements or [f"kenyon[pandas]=={version('kenyon')}"]
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n")
    environment = f"python: {platform.python_version()}\nbuild_dependencies:\n- pip\ndependencies:\n- -r requirements.txt\n"
    (folder / "python_env.yaml").write_text(environment)
    description = mlflow_model if mlflow_model is not None else mlflow.models.Model()
    if signature is not None:
        description.signature = signature
    if metadata is not None:
        description.metadata = metadata
    mlflow.pyfunc.add_to_model(description, loader_module=__name__, data=BUNDLE, python_env="python_env.yaml")
    description.add_flavor(FLAVOR, kenyon_version=version("kenyon"), data=BUNDLE)
    description.save(str(folder / "MLmodel"))


def log_model(model: Source, name: str = "model", **options: Any) -> Any:
    """Logs a model to the run that is active; ``options`` are those of :func:`save_model` and ``registered_model_name``."""
    import kenyon.mlflow

    return _mlflow().models.Model.log(artifact_path=None, name=name, flavor=kenyon.mlflow, model=model, **options)


def load_model(path: str | os.PathLike[str]) -> LoadedModel:
    """A saved model from its folder, without MLflow."""
    return _load_pyfunc(str(Path(path) / BUNDLE))


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> LoadedModel:
    """What MLflow calls with the bundle's path, or the folder that holds it."""
    file = Path(path)
    return LoadedModel((file / BUNDLE if file.is_dir() else file).read_bytes())


class LoadedModel:
    """A bundle in an embedded server."""

    def __init__(self, bundle: bytes) -> None:
        place = Place(os.environ.get("KENYON_SERVER"), os.environ.get("KENYON_KEY"))
        client, name = place.client(), new_name()
        client.import_model(name, bundle)
        self._served = ServedModel(place, client, name, None, owned=True)

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Answers as :meth:`kenyon.Client.predict` gives them; ``params`` may hold ``coverage``, ``probabilities`` and the like."""
        if not frames.is_frame(model_input) and getattr(model_input, "ndim", 0) == 2:
            model_input = {f"x{index}": model_input[:, index] for index in range(model_input.shape[1])}
        answers = self._served.client.predict(self._served.name, model_input, **(params or {}))
        return answers.drop(columns="prediction_id", errors="ignore")


def _bundle(model: Source) -> bytes:
    if isinstance(model, tuple):
        client, name = model
        return client.export_bytes(name)
    if isinstance(model, (str, os.PathLike)):
        return Path(model).read_bytes()
    return model.served_model_.bundle()


def _mlflow() -> Any:
    try:
        import mlflow
        import mlflow.models
        import mlflow.pyfunc
    except ImportError as error:
        raise MissingDependencyError("this needs mlflow or mlflow-skinny: pip install 'kenyon[mlflow]'") from error
    return mlflow
