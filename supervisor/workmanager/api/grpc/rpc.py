"""What an rpc is here: a function from a request to work in the trio loop, and what it takes.

    @calls.unary(keyed=True)
    def start_worker(request: StartWorkerRequest) -> Work[Worker]:
        return lambda service: service.start_worker(request.worker)

The function runs in the asyncio thread and does all conversion; what it returns is called in the
trio loop with the service. Its name is the rpc's, so a function without an rpc, or an rpc without a
function, is an error when the module is imported or the server built.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from google.protobuf.message_factory import GetMessageClass

from workmanager.api.protocol import Service

if TYPE_CHECKING:
    from google._upb import _message as fast
    from google.protobuf import descriptor as plain
    from google.protobuf.message import Message

    from workmanager.api.grpc.outlet import Outlet

    Methods = plain.ServiceDescriptor | fast.ServiceDescriptor

R = TypeVar("R", bound="Message")
T = TypeVar("T")

Work = Callable[[Service], Awaitable[T]]
"""Runs in the trio loop; its result is a resource, a message of the rpc's own, or None."""

Stream = Callable[[Service, "Outlet"], Awaitable[None]]
"""Runs in the trio loop and writes messages to the outlet, until it is cancelled or returns."""

Kind = Literal["small", "manifest", "code", "events"]
"""How large a request may be: a kind of body of the REST API."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """One rpc.

    Attributes:
        prepare: Makes the work of a request; of a stream, the work writes to an `Outlet` instead.
        kind: How large a request may be, a field of REST's `Limits`.
        keyed: Whether it takes an idempotency key: as the POST and PATCH of REST.
        is_stream: Whether it answers with a stream.
        is_public: Tells of a request whether it needs no credentials; None: it does.
    """

    name: str
    request: type[Message]
    answer: type[Message]
    prepare: Callable[[Any], Any]
    kind: Kind
    keyed: bool
    is_stream: bool
    is_public: Callable[[Any], bool] | None


class Calls:
    """The rpcs of one service of the proto files."""

    def __init__(self, service: Methods) -> None:
        self.name: str = service.full_name
        self._methods = {method.name: method for method in service.methods}
        self.rpcs: dict[str, Rpc] = {}

    def unary(
        self,
        *,
        kind: Kind = "small",
        keyed: bool = False,
        is_public: Callable[[Any], bool] | None = None,
    ) -> Callable[[Callable[[R], Work[Any]]], Callable[[R], Work[Any]]]:
        """Register a function as the rpc of its name."""

        def register(prepare: Callable[[R], Work[Any]]) -> Callable[[R], Work[Any]]:
            self._add(prepare, kind=kind, keyed=keyed, is_public=is_public)
            return prepare

        return register

    def stream(
        self, *, is_public: Callable[[Any], bool] | None = None
    ) -> Callable[[Callable[[R], Stream]], Callable[[R], Stream]]:
        """Register a function as the rpc of its name that answers with a stream."""

        def register(prepare: Callable[[R], Stream]) -> Callable[[R], Stream]:
            self._add(prepare, is_stream=True, is_public=is_public)
            return prepare

        return register

    def missing(self) -> list[str]:
        """List the rpcs of the service that no function serves."""
        return sorted(self._methods.keys() - self.rpcs.keys())

    def _add(
        self,
        prepare: Callable[[Any], Any],
        *,
        kind: Kind = "small",
        keyed: bool = False,
        is_stream: bool = False,
        is_public: Callable[[Any], bool] | None = None,
    ) -> None:
        name = "".join(word.capitalize() for word in prepare.__name__.split("_"))
        method = self._methods[name]  # KeyError: the function is called like no rpc
        self.rpcs[name] = Rpc(
            name=f"/{self.name}/{name}",
            request=_message_class(method.input_type),
            answer=_message_class(method.output_type),
            prepare=prepare,
            kind=kind,
            keyed=keyed,
            is_stream=is_stream,
            is_public=is_public,
        )


def _message_class(descriptor: plain.Descriptor | fast.Descriptor) -> type[Message]:
    return GetMessageClass(cast("plain.Descriptor", descriptor))  # its stub knows one of the two
