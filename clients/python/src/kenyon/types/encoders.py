# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Types that only ``kenyon.api.encoders`` uses."""

from typing import Literal, NotRequired, TypedDict

from .common import DatasetName, EncoderName


class DistillRequest(TypedDict):
    """A static encoder to make."""

    #: The dataset that has the texts; of a large one the first 200,000 rows.
    dataset: DatasetName
    #: Its column of texts.
    column: str
    #: The name of the new encoder.
    into: EncoderName


class EmbedRequest(TypedDict):
    """Texts to encode."""

    #: The texts, 1024 at most.
    inputs: list[str]


#: What an encoder reads.
Reads = Literal["text", "image"]


class EncoderInfo(TypedDict):
    """What is known about an encoder."""

    #: ``static``, ``bert``, ``distilbert`` …
    architecture: str
    #: What it reads.
    reads: NotRequired[Reads]
    #: Length of a vector.
    width: int
    #: Tokens of a text that are read; 0 for one of pictures.
    max_tokens: int
    #: Height and width that a picture is brought to.
    image_size: NotRequired[list[int] | None]
    #: SHA-256 over its files.
    digest: str
    #: Bytes in memory, about.
    bytes: int
    #: The file of its licence, where the folder has one.
    license: NotRequired[str | None]
    #: The files that it is read from.
    files: list[str]


class Encoder(EncoderInfo):
    """An encoder."""

    #: Its name.
    name: EncoderName
    #: Sentences a second, measured here when it was added.
    rows_per_second: float
    #: When it was added.
    created_at: str


class EncoderEmbeddings(TypedDict):
    """The vectors of some texts."""

    #: The encoder.
    encoder: EncoderName
    #: Length of a vector.
    width: int
    #: A vector for each text, in their order.
    embeddings: list[list[float]]


class EncoderPage(TypedDict):
    """Encoders by name."""

    #: All of them.
    items: list[Encoder]
    #: Always null: all encoders are listed.
    next_cursor: NotRequired[str | None]
