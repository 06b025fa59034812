"""The server, keys, families, encoders."""

from typing import Any, NotRequired, TypedDict

from .names import Scope


class FamilyInfo(TypedDict):
    """A family of networks with its settings as JSON Schema."""

    name: str
    description: str
    schema: dict[str, Any]


class Families(TypedDict):
    """All families."""

    items: list[FamilyInfo]
    next_cursor: str | None


class Key(TypedDict):
    """An API key; ``key`` is the secret, in the answer that made it and never again."""

    id: str
    name: str
    scopes: list[Scope]
    models: list[str]
    created_at: str
    expires_at: str | None
    key: NotRequired[str]


class Keys(TypedDict):
    """All keys."""

    items: list[Key]
    next_cursor: str | None


class AuditEntry(TypedDict):
    """A change that was made through the interface."""

    id: str
    at: str
    caller: str
    caller_name: str | None
    method: str
    path: str
    status: int
    request_id: str


class AuditPage(TypedDict):
    """A page of entries of the audit log."""

    items: list[AuditEntry]
    next_cursor: str | None


class Memory(TypedDict):
    """Memory of the server's process."""

    resident_bytes: int | None


class System(TypedDict):
    """The server and how it does."""

    name: str
    version: str
    cores: int
    device: str
    database: str
    workers: int
    queue_depth: int
    uptime: float
    memory: Memory
    keys_required: bool


class Health(TypedDict):
    """Whether the server lives or is ready."""

    status: str
    version: str


class Snapshot(TypedDict):
    """A snapshot that was made."""

    name: str
    bytes: int
    rows: Any
    objects: int
    created_at: str


class Encoder(TypedDict, total=False):
    """A pretrained encoder."""

    name: str
    architecture: str
    reads: str
    width: int
    max_tokens: int
    image_size: list[int]
    digest: str
    bytes: int
    license: str | None
    files: list[str]
    rows_per_second: float
    created_at: str


class Encoders(TypedDict):
    """All encoders."""

    items: list[Encoder]
    next_cursor: str | None


class EncoderEmbeddings(TypedDict):
    """Vectors of some texts or images."""

    encoder: str
    width: int
    embeddings: list[list[float]]
