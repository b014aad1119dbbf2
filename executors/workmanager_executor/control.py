"""The side thread: answers pings, takes cancels, flushes outcomes while a handler runs long."""

from __future__ import annotations

import _thread
import contextlib
import os
import select
from time import monotonic_ns, process_time_ns
from typing import TYPE_CHECKING

from workmanager_executor.endings import end_because_of, supervisor_gone
from workmanager_executor.job import ProtocolError

if TYPE_CHECKING:
    from typing import Callable

    from workmanager_executor.frames import Frame
    from workmanager_executor.outbox import Outbox
    from workmanager_executor.receiving import FrameReader
    from workmanager_executor.writer import FrameWriter

_STACK_BYTES = 512 * 1024  # address space counts against RLIMIT_AS; the default is 8 MiB
_IDLE_TICKS = 16  # looks that found nothing to flush, then the thread sleeps until armed again
# Each look takes the interpreter away from the handler. Handlers of less than 0.1 ms flush in
# time by themselves; only when one of them suddenly runs long, outcomes wait for 5 ms instead of 1.
_BRISK_OUTCOMES = 10
_BRISK_TICK_MS = 5.0


class Waker:
    """Wakes the side thread from another one."""

    def __init__(self) -> None:
        self.read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def wake(self) -> None:
        """Make `read_fd` readable."""
        with contextlib.suppress(BlockingIOError):  # it is readable already
            os.write(self._write_fd, b"\0")

    def close(self) -> None:
        """Give both descriptors back."""
        os.close(self.read_fd)
        os.close(self._write_fd)

    def clear(self) -> None:
        """Make `read_fd` unreadable again."""
        os.read(self.read_fd, 4096)


class SideThread:
    """Serves the control channel beside user code.

    Args:
        control: The control channel; this thread alone reads it.
        writer: Writes to the same channel.
        events_fd: The events channel, watched for the supervisor's end only.
        on_cancel: Called with the number of the attempt to cancel; replaced once a runner exists.
        on_answer: Called with an answer to a request of `context.http`; likewise.
    """

    def __init__(
        self,
        control: FrameReader,
        writer: FrameWriter,
        *,
        events_fd: int,
        outbox: Outbox,
        waker: Waker,
    ) -> None:
        self.on_cancel: Callable[[int], None] = lambda _no: None
        self.on_answer: Callable[[Frame], None] = lambda _frame: None
        self._control = control
        self._writer = writer
        self._events_fd = events_fd
        self._outbox = outbox
        self._waker = waker
        self._idle_ticks = 0
        self._sent_before = 0

    def start(self) -> None:
        """Begin to serve; never ends before the process does."""
        default = _thread.stack_size(_STACK_BYTES)
        _thread.start_new_thread(self._run, ())  # dirties far fewer pages than threading.Thread
        _thread.stack_size(default)

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # noqa: BLE001 - without this thread the executor is deaf
            end_because_of(error)

    def _serve(self) -> None:
        control_fd, wake_fd = self._control.fd, self._waker.read_fd
        poll = select.poll()
        poll.register(control_fd, select.POLLIN)
        poll.register(wake_fd, select.POLLIN)
        poll.register(self._events_fd, 0)
        while True:
            ready = dict(poll.poll(self._timeout_ms()))
            if ready.get(self._events_fd):
                supervisor_gone()
            if wake_fd in ready:
                self._waker.clear()
            if control_fd in ready:
                for frame in self._control.read_available():
                    self._handle(frame)
            if self._outbox.is_armed:
                self._flush_if_due()

    def _timeout_ms(self) -> float | None:
        """Return when to look again; None for when somebody wakes us."""
        outbox = self._outbox
        if not outbox.is_armed:
            return None
        sent = outbox.sent_total - self._sent_before
        self._sent_before = outbox.sent_total
        if sent > _BRISK_OUTCOMES:
            return _BRISK_TICK_MS
        return max(1.0, (outbox.flush_at_ns - monotonic_ns()) / 1e6)

    def _flush_if_due(self) -> None:
        """Flush, or go to rest after a while without need.

        The flag is taken down before the last look: a runner adds first and looks at the flag then,
        so one of the two always sees the other.
        """
        outbox = self._outbox
        if outbox.pending:
            self._idle_ticks = 0
            if monotonic_ns() >= outbox.flush_at_ns:
                outbox.flush()
            return
        self._idle_ticks += 1
        if self._idle_ticks > _IDLE_TICKS:
            self._idle_ticks = 0
            outbox.is_armed = False
            if outbox.pending:
                outbox.is_armed = True

    def _handle(self, frame: Frame) -> None:
        kind = frame[0]
        if kind == "http" and len(frame) in (4, 5):
            self.on_answer(frame)
            return
        number = frame[1] if len(frame) == 2 else None
        if type(number) is not int or kind not in ("ping", "cancel"):
            raise ProtocolError(f"control frame {kind!r:.50} is not understood")
        if kind == "ping":
            cpu_us = process_time_ns() // 1000
            self._writer.send(["pong", number, {"cpu_us": cpu_us}])
        else:
            self.on_cancel(number)
