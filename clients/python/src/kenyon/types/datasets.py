# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Types that only ``kenyon.api.datasets`` uses."""

from typing import Any, Literal, NotRequired, TypedDict

from .common import ColumnKind, DatasetName, Row, Spelling, Warning


class Appended(TypedDict):
    """Rows that were appended."""

    #: Rows of this call.
    appended: int
    #: Rows now.
    rows: int
    #: Warnings about the dataset with its new rows.
    warnings: NotRequired[list[Warning]]


#: Why a column is left out of a training.
Unused = Literal["unreadable", "index"]


#: Half of a pair of a name and a count; client generators do not support tuples.
NameOrCount = str | int


class ColumnInfo(TypedDict):
    """One column of a dataset with its statistics over the whole file."""

    #: Column name; for a group of numbered columns, their stem.
    name: str
    #: How it is read unless a training call overrides it.
    kind: ColumnKind
    #: Rows without a value.
    missing: int
    #: Different values, counted exactly up to a bound and estimated above.
    distinct: int
    #: Smallest number (or Unix second).
    min: NotRequired[float | None]
    #: Largest number (or Unix second).
    max: NotRequired[float | None]
    #: Mean of the numbers.
    mean: NotRequired[float | None]
    #: Whether all its numbers are whole.
    whole: NotRequired[bool]
    #: A few values as written in the data.
    examples: list[Any]
    #: Shape of a vector or image (``[28, 28]``), channels of a sequence (``[6]``).
    shape: NotRequired[list[int] | None]
    #: The file's own columns where this one groups several.
    members: NotRequired[list[str] | None]
    #: Why a training leaves it out, unless it is named or always.
    unused: NotRequired[Unused | None]
    #: Whether the members of this group are the steps of a series.
    series: NotRequired[bool]
    #: Words that were read as "no value", with the number of occurrences.
    words: NotRequired[list[list[NameOrCount]]]
    #: How its cells are spelled; none for columns from before this was stored.
    spelling: NotRequired[Spelling | None]
    #: Counts in equal bins between ``min`` and ``max``, or of the most frequent categories.
    histogram: NotRequired[list[list[NameOrCount]]]


#: How a file is compressed.
Compression = Literal["none", "gzip", "zstd"]


#: What encloses a field.
Quote = Literal["\"", "'", "none"]


#: Whether the first record names the columns.
Header = Literal["present", "absent"]


#: What separates a number's whole part from its decimals.
DecimalMark = Literal[".", ","]


class ReadOptions(TypedDict):
    """How the text of a file is read. A field that is not set is inferred from the content; the options stored with a part
    have every field that matters for its format set.
    """

    #: What separates the fields of a record.
    delimiter: NotRequired[str | None]
    #: What encloses a field that holds delimiters or line ends.
    quote: NotRequired[Quote | None]
    #: What makes a quote inside quotes literal, besides doubling it.
    escape: NotRequired[str | None]
    #: Whether the first record names the columns.
    header: NotRequired[Header | None]
    #: Label of the character encoding (WHATWG), such as ``utf-8`` or ``windows-1252``.
    encoding: NotRequired[str | None]
    #: The decimal mark of every number column; without it, each column's own.
    decimal: NotRequired[DecimalMark | None]
    #: Words that mean "no value" in every column; without it, each column's own.
    missing: NotRequired[list[str] | None]
    #: Whether ``03/04/2024`` is the third of April; without it, each date column's own order.
    day_first: NotRequired[bool | None]
    #: Whether a cell that does not fit its column's kind is refused. Default: false.
    strict: NotRequired[bool]
    #: Where the file does not name its columns: their names.
    names: NotRequired[list[str] | None]
    #: Records before the header (or the first row) that are no data. Default: 0.
    skip_records: NotRequired[int]
    #: Lines that begin with it are comments.
    comment: NotRequired[str | None]
    #: Whether every record ends with a delimiter that begins no further field. Default: false.
    trailing_delimiter: NotRequired[bool]
    #: Whether records begin with a row name for which the header has no field (R's ``write.table``). Default: false.
    row_names: NotRequired[bool]
    #: Whether a carriage return alone ends a record. Default: false.
    carriage_return: NotRequired[bool]


#: A format of rows.
Format = Literal["csv", "tsv", "ndjson", "json", "parquet", "babi"]


class ReadAs(ReadOptions):
    """How a file was read."""

    #: Its format.
    format: Format
    #: How it is compressed.
    compression: Compression


class Dataset(TypedDict):
    """A dataset."""

    #: Its name.
    name: DatasetName
    #: Whether nothing was stored.
    dry_run: NotRequired[bool]
    #: Its rows.
    rows: int
    #: Bytes as stored.
    bytes: int
    #: SHA-256 over what is stored, hexadecimal.
    digest: str
    #: Counts up with every change; null where nothing was stored.
    revision: NotRequired[int | None]
    #: Its columns; in a list without histograms, examples and the members of groups.
    columns: list[ColumnInfo]
    #: What was noticed and not refused.
    warnings: list[Warning]
    #: How its first file was read.
    read_as: NotRequired[ReadAs | None]
    #: Its first rows; only for a single dataset.
    preview: NotRequired[list[Row] | None]
    #: When it was first made; null where nothing was stored.
    created_at: NotRequired[str | None]
    #: When it last changed; null where nothing was stored.
    updated_at: NotRequired[str | None]


class DatasetPage(TypedDict):
    """A page of datasets."""

    #: The datasets, by name.
    items: list[Dataset]
    #: Where the next page starts; null after the last.
    next_cursor: NotRequired[str | None]


class DatasetRows(TypedDict):
    """Rows of a dataset."""

    #: The requested rows, as far as they exist.
    rows: list[Row]
    #: Rows before them.
    offset: int
    #: Rows of the dataset.
    total: int
