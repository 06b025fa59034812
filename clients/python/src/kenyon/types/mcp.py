# Generated from the server's OpenAPI document by generate.py. Do not edit.
"""Types that only ``kenyon.api.mcp`` uses."""

from typing import Any, NotRequired, TypedDict


#: An id of JSON-RPC.
RpcId = int | str


class RpcError(TypedDict):
    """An error of the protocol; that of a call is a result with ``isError``."""

    #: A code of JSON-RPC.
    code: int
    #: What is wrong.
    message: str
    #: More about it.
    data: NotRequired[Any]


class RpcAnswer(TypedDict):
    """The answer to a request of JSON-RPC 2.0."""

    #: ``2.0``.
    jsonrpc: str
    #: That of the request.
    id: NotRequired[RpcId | None]
    #: As the protocol defines it for the method.
    result: NotRequired[dict[str, Any] | None]
    #: Why there is no result.
    error: NotRequired[RpcError | None]


class RpcRequest(TypedDict):
    """A message of JSON-RPC 2.0 (a request, or a notification, which has no ``id``)."""

    #: ``2.0``.
    jsonrpc: str
    #: Names the request in the answer.
    id: NotRequired[RpcId | None]
    #: ``initialize``, ``tools/list``, ``tools/call``, …
    method: str
    #: As the protocol defines it for the method.
    params: NotRequired[dict[str, Any] | None]
