"""Rows in every form that Python has them: DataFrames, Arrow tables, lists of dictionaries, files.

pandas and pyarrow are optional. With pyarrow a table travels as Parquet; without it a DataFrame travels as lines of JSON,
which keep what is a number, a text and a missing value apart, as CSV would not.
"""

from __future__ import annotations

import base64
import datetime
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypedDict, TypeGuard, Union

from .errors import MissingDependencyError
from .types import Row

if TYPE_CHECKING:
    import pandas as pd

#: A DataFrame, an Arrow table or anything that exports one, rows, or the path of a file.
Table = Union["pd.DataFrame", Sequence[Mapping[str, Any]], str, os.PathLike[str], Any]

#: Content types of bodies with rows, by a file's ending.
CONTENT_TYPES = {
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "ndjson": "application/x-ndjson",
    "jsonl": "application/x-ndjson",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}


class ReadOptions(TypedDict, total=False):
    """How a file is read, where its content does not say it well enough: arguments of ``put_dataset`` and ``append_rows``."""

    delimiter: str
    quote: str
    header: Literal["present", "absent"]
    encoding: str
    decimal: Literal[".", ","]
    missing: str | Sequence[str]
    day_first: bool
    strict: bool


class Upload:
    """A body with rows, and what it is."""

    def __init__(self, data: bytes | IO[bytes], content_type: str | None, content_encoding: str | None = None) -> None:
        self.data = data
        self.content_type = content_type
        self.content_encoding = content_encoding

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        if not isinstance(self.data, bytes):
            self.data.close()


def upload(table: Table) -> Upload:
    """A table as a body for the server. A file is read while it is sent."""
    if isinstance(table, (str, os.PathLike)):
        return _file(Path(table))
    if isinstance(table, bytes):
        return Upload(table, None)
    if isinstance(table, Mapping) or is_frame(table) or hasattr(table, "__arrow_c_stream__"):
        parquet = _parquet(table)
        if parquet is not None:
            return Upload(parquet, CONTENT_TYPES["parquet"])
    lines = "\n".join(json.dumps(row, allow_nan=False) for row in rows(table))
    return Upload(lines.encode(), CONTENT_TYPES["ndjson"])


def _file(path: Path) -> Upload:
    endings = [ending.lower().lstrip(".") for ending in path.suffixes]
    encoding = {"zst": "zstd", "zstd": "zstd"}.get(endings[-1]) if endings else None
    if endings and endings[-1] in ("gz", "zst", "zstd"):
        endings.pop()
    # What is not known by its name is found from its content.
    return Upload(path.open("rb"), CONTENT_TYPES.get(endings[-1]) if endings else None, encoding)


def _parquet(table: Any) -> bytes | None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return None
    try:
        if isinstance(table, Mapping):
            arrow = pa.table({name: pa.array(values, from_pandas=True) for name, values in table.items()})
        else:
            arrow = pa.Table.from_pandas(table, preserve_index=False) if is_frame(table) else pa.table(table)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        # A column of several types, which lines of JSON can hold.
        return None
    # Categories travel as the texts and numbers that they stand for.
    for index, field in enumerate(arrow.schema):
        if pa.types.is_dictionary(field.type):
            arrow = arrow.set_column(index, field.name, arrow.column(index).cast(field.type.value_type))
    sink = io.BytesIO()
    pq.write_table(arrow.replace_schema_metadata(None), sink, compression="zstd")
    return sink.getvalue()


def rows(table: Table) -> list[Row]:
    """A table as rows for a JSON body: missing values are ``None``, times are RFC 3339, bytes are base64."""
    if is_frame(table):
        names = [str(name) for name in table.columns]
        columns = [_column(table.iloc[:, index]) for index in range(len(names))]
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)] if columns else []
    if hasattr(table, "__arrow_c_stream__"):
        return rows(_arrow(table).to_pylist())
    if isinstance(table, Mapping):
        columns = [_column(values) if hasattr(values, "dtype") else map(plain, values) for values in table.values()]
        return [dict(zip(table, values, strict=True)) for values in zip(*columns, strict=True)]
    if isinstance(table, (str, bytes, os.PathLike)):
        raise TypeError("rows are wanted here, not a file: read it with pandas, or upload it as a dataset")
    return [{str(name): plain(value) for name, value in row.items()} for row in table]


def _arrow(table: Any) -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingDependencyError("an Arrow table needs pyarrow: pip install 'kenyon[arrow]'") from error
    return pa.table(table)


def _column(series: Any) -> Iterable[Any]:
    # The usual columns of numbers need no check of each value's type; pandas' own kinds of columns have `na_value`.
    kind = "O" if hasattr(series.dtype, "na_value") else series.dtype.kind
    values: list[Any] = series.tolist()
    if kind in "iub":
        return values
    if kind == "f":
        return [None if value != value else value for value in values]
    return map(plain, values)


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if hasattr(value, "tolist"):
        # An array, or one of its values.
        return plain(value.tolist())
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, (list, tuple)):
        return [plain(element) for element in value]
    if isinstance(value, Mapping):
        return {str(name): plain(element) for name, element in value.items()}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    # NaT and NA are what is not even themselves.
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    return str(value)


def is_frame(table: Any) -> TypeGuard[pd.DataFrame]:
    """Whether it is a pandas DataFrame; pandas is not imported to find out."""
    return any(kind.__name__ == "DataFrame" and kind.__module__.startswith("pandas") for kind in type(table).__mro__)


def index_of(table: Any) -> Any:
    """The index of a DataFrame, which answers are given, too."""
    return table.index if is_frame(table) else None


def frame(records: Sequence[Mapping[str, Any]], *, index: Any = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Rows as a DataFrame."""
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingDependencyError("a DataFrame needs pandas: pip install 'kenyon[pandas]'") from error
    return pd.DataFrame(list(records), index=index, columns=list(columns) if columns is not None else None)
