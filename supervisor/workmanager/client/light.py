"""The client of the command line: the same calls, with plain dictionaries as what comes back.

They have the shape of `workmanager.model.resources`; importing pydantic for those would cost a
command more than all of its other work. A page is `{"items": [...], "nextPageToken": ""}`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from workmanager.client.calls import Calls
from workmanager.client.problems import ClientError
from workmanager.client.session import Session
from workmanager.client.target import Target, default_target, load_token, parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from workmanager.client.call import Call, Json, Method
    from workmanager.client.retries import Attempts
    from workmanager.client.streams import Follow, Link, Stream
    from workmanager.client.tls import Tls

DEFAULT_TIMEOUT_S = 30.0


def locate(
    target: str | Target | None, token: str | None, tls: Tls | None = None
) -> tuple[Target, str]:
    """Return where the service is, and the token for it."""
    where = parse_target(target) if isinstance(target, str) else target or default_target()
    if tls is not None:
        where = replace(where, tls=tls)
    return where, load_token(where) if token is None else token


def open_link(where: Target, *, token: str, timeout_s: float) -> Link:
    """Return the way to a service, going by its target."""
    if not where.is_grpc:
        return Session(where, token=token, timeout_s=timeout_s)
    from workmanager.client.grpc_link import GrpcLink

    return GrpcLink(where, token=token, timeout_s=timeout_s)


def ask(link: Link, call: Call[Any], *, patience_s: float = 0.0) -> object:
    """Return what *call* asks for, sent as often as it takes and may be sent."""
    began_at_s = time.monotonic()
    attempts: Attempts | None = None
    while True:
        try:
            answer = link.ask(call)
        except ClientError as error:
            from workmanager.client.retries import Attempts  # most calls need none

            attempts = attempts or Attempts(call, patience_s, began_at_s)
            delay_s = attempts.delay_s(error)
            if delay_s is None:
                raise
            time.sleep(delay_s)
        else:
            return call.pick(answer) if call.pick is not None else answer


class LightClient(Calls):
    """Calls a WorkManager service; a context manager that closes its connection.

    Args:
        target: As for `WorkManagerClient`.
        token: Bearer token; by default the one of this machine's state folder, if readable.
        timeout_s: The longest silence of the service, in seconds, before a call gives up.
    """

    def __init__(
        self,
        target: str | Target | None = None,
        *,
        token: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self.target, token = locate(target, token)
        self._link = open_link(self.target, token=token, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self._link.close()

    def run(self, method: Method[..., Any], call: Call[Any]) -> object:  # noqa: ARG002 - as elsewhere
        """Run a call of the table; what `Method` binds to."""
        return ask(self._link, call)

    def tail_logs(self, ref: str = "", *, since_seq: int = 0, tail: int = 100) -> Stream[Json]:
        """Follow the last lines of one worker, or of all, then each as it comes."""
        from workmanager.client.streams import follow_logs

        return self._stream(follow_logs(ref, since_seq, tail))

    def watch(
        self,
        kinds: Sequence[str] | str = ("workers",),
        *,
        worker: str = "",
        resume_token: str = "",
    ) -> Stream[Json]:
        """Follow changes, see `WorkManagerClient.watch`."""
        from workmanager.client.streams import follow_changes

        return self._stream(follow_changes(kinds, worker, resume_token))

    def _stream(self, follow: Follow) -> Stream[Json]:
        from workmanager.client.streams import Stream

        return Stream(self._link, follow, lambda item: item)
