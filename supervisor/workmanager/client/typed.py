"""The synchronous client: every call of the service with typed results."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

from workmanager.client.calls import Calls
from workmanager.client.light import DEFAULT_TIMEOUT_S, ask, locate, open_link
from workmanager.client.problems import ClientTimeoutError
from workmanager.client.streams import Stream, follow_changes, follow_logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from workmanager.client.call import Call, Method
    from workmanager.client.target import Target
    from workmanager.client.tls import Tls
    from workmanager.model.resources import Change, LogLine, Operation, Page, PublishResult

T = TypeVar("T")

MAX_PAGE_SIZE = 1000
BATCH = 1000  # events of one publish, which the service commits together
POLL_S = 0.1  # between two looks at an operation


class WorkManagerClient(Calls):
    """Calls a WorkManager service; a context manager that closes its connections.

    Threads may share it. Every method raises `ProblemError` where the service refuses, and the
    other errors of `workmanager.client` where no answer came.

    Args:
        target: `http(s)://host:port`, `unix:path` or a path for REST; `grpc://host:port`,
            `grpcs://host:port` or `grpc+unix:path` for gRPC. By default where the service of this
            machine is found, see `workmanager.client.target.default_target`.
        token: Bearer token; by default the one of this machine's state folder, if readable.
        timeout_s: The longest silence of the service, in seconds, before a call gives up.
        patience_s: For how long to try again while the service is away or refuses for a moment; 0
            only gets over a connection that broke.
        tls: Certificates and whom to trust; by default what the environment names.
    """

    def __init__(
        self,
        target: str | Target | None = None,
        *,
        token: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        patience_s: float = 0.0,
        tls: Tls | None = None,
    ) -> None:
        self.target, token = locate(target, token, tls)
        self._patience_s = patience_s
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
        """Close the connections; the next call opens another."""
        self._link.close()

    def run(self, method: Method[..., Any], call: Call[Any]) -> object:
        """Run a call of the table; what `Method` binds to."""
        from workmanager.client.results import read_result

        return read_result(method, ask(self._link, call, patience_s=self._patience_s))

    def tail_logs(self, ref: str = "", *, since_seq: int = 0, tail: int = 100) -> Stream[LogLine]:
        """Follow the last lines of one worker, or of all, then each as it comes.

        With *tail* 0 these are all lines behind *since_seq* that are kept.
        """
        from workmanager.client.results import read_line

        follow = follow_logs(ref, since_seq, tail)
        return Stream(self._link, follow, read_line, patience_s=self._patience_s)

    def watch(
        self,
        kinds: Sequence[str] | str = ("workers",),
        *,
        worker: str = "",
        resume_token: str = "",
    ) -> Stream[Change]:
        """Follow *kinds* (workers, executors, tasks, deadLetters), of one worker or of all.

        What there is comes first, as ADDED, then a BOOKMARK, then each change. A connection that is
        lost is taken up behind the last change. RESUME_TOKEN_EXPIRED ends it where the service no
        longer knows what happened since: after its restart, for one. Then watch anew.
        """
        from workmanager.client.results import read_change

        follow = follow_changes(kinds, worker, resume_token)
        return Stream(self._link, follow, read_change, patience_s=self._patience_s)

    def publish_all(
        self, topic: str, events: Iterable[Mapping[str, Any]], *, batch: int = BATCH
    ) -> PublishResult:
        """Publish any number of events, *batch* of them in a commit; returns the sums.

        Where it fails, the batches before are in; repeating it all adds nothing twice if the events
        have ids.
        """
        from workmanager.client.batches import Sums, batches

        sums = Sums(topic)
        for some in batches(events, batch):
            sums.add(self.publish(topic, some))
        return sums.result()

    def each(self, fetch: Callable[..., Page[T]], *args: object, **filters: object) -> Iterator[T]:
        """Yield the items of all pages: `client.each(client.list_tasks, worker="orders")`."""
        token = ""
        while True:
            page = fetch(*args, page_size=MAX_PAGE_SIZE, page_token=token, **filters)
            yield from page.items
            token = page.next_page_token
            if not token:
                return

    def finish(self, operation: Operation, *, timeout_s: float = 60.0) -> Operation:
        """Wait until an operation is done; its `error` tells whether it failed.

        Raises:
            ClientTimeoutError: It is not done after *timeout_s* seconds.
        """
        ends_at_s = time.monotonic() + timeout_s
        while not operation.done:
            if time.monotonic() > ends_at_s:
                raise ClientTimeoutError(str(self.target), timeout_s)
            time.sleep(POLL_S)
            operation = self.get_operation(operation.id)
        return operation
