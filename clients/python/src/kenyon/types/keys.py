# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Types that only ``kenyon.api.keys`` uses."""

from typing import Literal, NotRequired, TypedDict


#: What a key allows.
Scope = Literal["predict", "observe", "train", "datasets", "admin", "read"]


class ApiKey(TypedDict):
    """A key as it is listed; the secret is not known."""

    #: Its id.
    id: str
    #: The name given by its creator.
    name: str
    #: What it allows.
    scopes: list[Scope]
    #: Names of the models it may use, or ``*``.
    models: list[str]
    #: When it was made.
    created_at: str
    #: When it ends, if it does.
    expires_at: NotRequired[str | None]


class AuditEntry(TypedDict):
    """A change that was made through the interface."""

    #: Its id; later entries have later ones.
    id: str
    #: When the call was answered.
    at: str
    #: The id of the key, ``master``, or nothing for a server without keys.
    caller: str
    #: The name of the key.
    caller_name: NotRequired[str | None]
    #: The method of the request.
    method: str
    #: The path of the request.
    path: str
    #: The status of the answer.
    status: int
    #: The id of the request, which the log and the answer have too.
    request_id: str


class AuditPage(TypedDict):
    """A page of entries."""

    #: The entries, the oldest first.
    items: list[AuditEntry]
    #: Where the next page starts; null after the last.
    next_cursor: NotRequired[str | None]


class KeyPage(TypedDict):
    """All keys."""

    #: The keys, without their secrets.
    items: list[ApiKey]
    #: Always null: all keys are listed.
    next_cursor: NotRequired[str | None]


class KeyRequest(TypedDict):
    """A key to make."""

    #: Its name.
    name: str
    #: What it allows: ``predict``, ``observe``, ``train``, ``datasets``, ``read``, or ``admin`` for everything.
    scopes: list[Scope]
    #: Names of models it is for; ``*``, as when missing, is all.
    models: NotRequired[list[str] | None]
    #: When it ends.
    expires_at: NotRequired[str | None]


class MadeKey(ApiKey):
    """A key in the answer to its creation; the secret is not shown again."""

    #: The secret.
    key: str
