# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Types that only ``kenyon.api.system`` uses."""

from typing import NotRequired, TypedDict


class Memory(TypedDict):
    """Memory of the process."""

    #: Resident bytes, where the system reports them.
    resident_bytes: NotRequired[int | None]


class Snapshot(TypedDict):
    """A snapshot that was made."""

    #: Name of its file.
    name: str
    #: Bytes of the objects in it.
    bytes: int
    #: Rows of the database in it.
    rows: int
    #: Objects in it.
    objects: int
    #: When it was made.
    created_at: str


class System(TypedDict):
    """The server and its state."""

    #: Name of the program.
    name: str
    #: Its version.
    version: str
    #: Cores it may use.
    cores: int
    #: The device that trainings run on: ``cpu``, ``cuda:N`` or ``metal``. Where it is not there they run on the CPU,
    #: with the warning ``device_fallback``.
    device: str
    #: ``sqlite`` or ``postgres``.
    database: str
    #: Jobs it trains at the same time.
    workers: int
    #: Jobs that wait.
    queue_depth: int
    #: Seconds since it started.
    uptime: float
    #: Memory.
    memory: Memory
    #: Whether requests need a key.
    keys_required: bool
