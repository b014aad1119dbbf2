"""What is followed: changes and log lines, and how each goes on after it was cut.

A stream that was cut is opened again behind the last thing it told. Where the service no longer
knows what happened since (it was restarted, or it is too long ago), it refuses with
RESUME_TOKEN_EXPIRED, which ends the stream: what there is must be listed again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from workmanager.client.call import Call, Json, get
from workmanager.client.problems import ClientError
from workmanager.client.retries import Reconnects

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

T = TypeVar("T")

SILENCE_S = 75.0  # the service says something every 15 s (30 s on a watch); who is silent is gone


@dataclass(frozen=True, slots=True)
class Follow:
    """A stream to open.

    Attributes:
        call: How it is opened.
        items: The field of a gRPC or WebSocket message that holds its items.
        advance: Makes the call that goes on after an item.
    """

    call: Call[Any]
    items: str
    advance: Callable[[Call[Any], Json], Call[Any]]


def follow_logs(ref: str, since_seq: int, tail: int) -> Follow:
    """Follow log lines: the last *tail* kept ones first; 0: all that are kept."""
    path = "/v1/workers/{worker}/logs" if ref else "/v1/logs"
    call = get("TailLogs", f"{path}?follow=true", worker=ref, since_seq=since_seq, tail=tail)
    return Follow(replace(call, timeout_s=SILENCE_S), "lines", _after_line)


def follow_changes(kinds: Sequence[str] | str, worker: str, resume_token: str) -> Follow:
    """Follow changes: what there is first, unless a token says after what to go on."""
    wanted = [kinds] if isinstance(kinds, str) else list(kinds)
    is_of_tasks = not {"tasks", "deadLetters"}.isdisjoint(wanted)
    rpc, path = ("WatchTasks", "tasks") if is_of_tasks else ("WatchWorkers", "workers")
    call = get(rpc, f"/v1/{path}:watch", kinds=wanted, worker=worker, resume_token=resume_token)
    return Follow(replace(call, timeout_s=SILENCE_S), "changes", _after_change)


def _after_line(call: Call[Any], line: Json) -> Call[Any]:
    return replace(call, fields={**call.fields, "sinceSeq": line["seq"], "tail": 0})


def _after_change(call: Call[Any], change: Json) -> Call[Any]:
    token = change.get("resumeToken")  # empty while what there is is being told
    return replace(call, fields={**call.fields, "resumeToken": token}) if token else call


class Source(Protocol):
    """An open stream."""

    def receive(self) -> Sequence[Json]:
        """Wait for items and return those that came.

        Raises:
            ClientError: It was cut (not a ProblemError), or the service ended it (a ProblemError).
        """

    def close(self) -> None:
        """End it; may be called from another thread."""


class Link(Protocol):
    """The way to one service."""

    def ask(self, call: Call[Any]) -> Json:
        """Return the answer to *call*, sent once."""

    def open(self, follow: Follow) -> Source:
        """Open a stream."""

    def close(self) -> None:
        """Close what is open; the next call opens it again."""


class Stream(Generic[T]):
    """Iterates over what is followed, for as long as there is a service; close it to end.

    It is a context manager and an iterator. Iterating raises `ClientError` where the service
    refuses, or where it was away for more than *patience_s*, or about ten seconds.
    """

    def __init__(
        self, link: Link, follow: Follow, read: Callable[[Json], T], *, patience_s: float = 0.0
    ) -> None:
        self._link = link
        self._patience_s = patience_s
        self._follow = follow
        self._read = read
        self._call = follow.call
        self._source: Source | None = None
        self._waiting: list[Json] = []
        self._is_closed = False

    def __enter__(self) -> Self:
        self._keep_at(lambda _: ())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        while not self._waiting:
            if self._is_closed:
                raise StopIteration
            self._waiting = list(reversed(self._keep_at(lambda source: source.receive())))
        item = self._waiting.pop()
        self._call = self._follow.advance(self._call, item)
        return self._read(item)

    def close(self) -> None:
        """End the stream."""
        self._is_closed = True
        if self._source is not None:
            self._source.close()

    def _keep_at(self, act: Callable[[Source], Sequence[Json]]) -> Sequence[Json]:
        """Return what *act* gives for the open stream; open it again as long as that may help."""
        reconnects = Reconnects(self._patience_s)
        while True:
            try:
                if self._source is None:
                    self._source = self._link.open(replace(self._follow, call=self._call))
                return act(self._source)
            except ClientError as error:
                self._drop()
                if self._is_closed:  # from another thread: that is why
                    return ()
                delay_s = reconnects.delay_s(error)
                if delay_s is None:
                    self._is_closed = True
                    raise
            time.sleep(delay_s)

    def _drop(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()
