"""Runs a synchronous handler in a plain blocking loop on the main thread, one event at a time.

This is the hot path: per event a book entry, a call and an append. No lock and one clock reading;
everything else happens once per read or once per flush.
"""

from __future__ import annotations

from contextvars import copy_context
from time import monotonic_ns
from typing import TYPE_CHECKING

from workmanager_executor.attempt import Attempt
from workmanager_executor.calls import NOTHING
from workmanager_executor.ledger import items_of, units_of
from workmanager_executor.outbox import MAX_WAITING

if TYPE_CHECKING:
    from workmanager_executor.frames import Frame
    from workmanager_executor.ledger import Item, Ledger
    from workmanager_executor.receiving import FrameReader


class SyncRunner:
    """Handles what the supervisor sends until it says drain."""

    def __init__(self, ledger: Ledger, reader: FrameReader) -> None:
        self._ledger = ledger
        self._outbox = ledger.outbox
        self._reader = reader

    def cancel(self, no: int) -> None:
        """Mark attempt *no* as cancelled; called by the side thread."""
        self._ledger.hand.cancel(no)

    def run(self) -> None:
        """Return when everything before the drain frame has been handled."""
        while True:
            frames = self._reader.read()
            self._outbox.begin()
            for frame in frames:
                if frame[0] == "drain":
                    return
                self._handle(frame)
            self._outbox.flush()

    def _handle(self, frame: Frame) -> None:
        is_batch = self._ledger.calls.is_batch
        if frame[0] == "run" and not is_batch:
            self._run_events(items_of(frame))
            return
        for unit in units_of(frame, is_batch=is_batch):
            attempt = self._ledger.begin(unit, monotonic_ns())
            if attempt is not None:
                verdict = copy_context().run(self._ledger.calls.run, attempt, b"")
                self._ledger.settle(attempt, verdict, monotonic_ns())
                self._outbox.flush()

    def _run_events(self, items: list[Item]) -> None:
        ledger, outbox = self._ledger, self._outbox
        running, cancelled = ledger.hand.running, ledger.hand.cancelled
        pending, call, clock = outbox.pending, ledger.calls.run, monotonic_ns
        begun_ns = clock()
        for no, task_number, number, wire, fence in items:
            if pending and not outbox.is_armed:
                outbox.arm()
            if cancelled and ledger.refuse_cancelled(no):
                continue
            attempt = running[no] = Attempt(no, task_number, number, fence, begun_ns)
            verdict = copy_context().run(call, attempt, wire)
            now_ns = clock()
            if verdict is NOTHING and attempt.log is None:
                attempt.is_done = True
                del running[no]
                pending.append((no, 0, (now_ns - begun_ns) // 1000, NOTHING[1], None))
            else:
                ledger.settle(attempt, verdict, now_ns)
            if now_ns >= outbox.flush_at_ns or len(pending) >= MAX_WAITING:
                outbox.flush()
                now_ns = clock()
            begun_ns = now_ns
