"""One call of the API as a value, and how a client's methods are made from the table of calls.

A call is the same whichever way it travels: its fields have the names of the protobuf request, and
of the REST API's JSON, in camelCase. `rest_form` turns it into an HTTP request, `grpc_messages`
into a protobuf message. The methods are written once, in `calls`; what a method returns depends on
the client that it is called on: the typed resource, an awaitable of it, or a plain dictionary.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

if TYPE_CHECKING:
    from workmanager.client.aio import AsyncWorkManagerClient
    from workmanager.client.light import LightClient
    from workmanager.client.typed import WorkManagerClient

P = ParamSpec("P")
T = TypeVar("T")
Json = dict[str, Any]
Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call; what comes back stands for a T.

    Attributes:
        rpc: The gRPC method, whose name no other service has.
        method: The HTTP method.
        path: The HTTP path; `{name}` stands for the field *name*.
        fields: What is asked; None and empty texts are left out.
        body: The field that is the HTTP body; `*`: all that are not in the path; empty: none is.
        content_type: Media type of the body.
        key: Lets the service know a repeated call for the same one; empty where none is needed.
        may_repeat: Whether it can be sent again when the answer to it was lost.
        timeout_s: Seconds to wait for an answer; None: as long as the client usually does.
        pick: Takes what is asked for out of the answer.
    """

    rpc: str
    method: str
    path: str
    fields: Fields = field(default_factory=dict)
    body: str = ""
    content_type: str = "application/json"
    key: str = ""
    may_repeat: bool = True
    timeout_s: float | None = None
    pick: Callable[[Json], object] | None = None


def get(rpc: str, path: str, /, **fields: object) -> Call[Any]:
    """Make a call that changes nothing."""
    return Call(rpc, "GET", path, _camel(fields))


def post(rpc: str, path: str, body: str = "", /, **fields: object) -> Call[Any]:
    """Make a call that changes something, with a key that makes it safe to repeat."""
    return Call(rpc, "POST", path, _camel(fields), body=body, key=os.urandom(16).hex())


def _camel(fields: Fields) -> Json:
    """Name fields as the wire does: `error_type` becomes `errorType`."""
    parts = ((name.split("_"), value) for name, value in fields.items())
    return {head + "".join(map(str.title, rest)): value for (head, *rest), value in parts}


class Method(Generic[P, T]):
    """A method of every client, made from the function that makes its call."""

    def __init__(self, make: Callable[Concatenate[Any, P], Call[T]]) -> None:
        self.make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: WorkManagerClient, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: AsyncWorkManagerClient, owner: type) -> Callable[P, Awaitable[T]]: ...
    @overload
    def __get__(self, client: LightClient, owner: type) -> Callable[P, Any]: ...

    def __get__(self, client: Any, owner: type) -> Any:
        """Return the method bound to *client*, which says how to run it."""
        if client is None:
            return self

        def call(*args: P.args, **kwargs: P.kwargs) -> object:
            return client.run(self, self.make(client, *args, **kwargs))

        return update_wrapper(call, self.make)
