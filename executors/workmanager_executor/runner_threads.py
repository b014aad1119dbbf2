"""Runs a synchronous handler on several threads, one attempt each."""

from __future__ import annotations

import queue
import threading
from contextvars import copy_context
from time import monotonic_ns
from typing import TYPE_CHECKING

from workmanager_executor.endings import end_because_of
from workmanager_executor.ledger import units_of

if TYPE_CHECKING:
    from workmanager_executor.ledger import Ledger, Unit
    from workmanager_executor.receiving import FrameReader


class ThreadsRunner:
    """Handles what the supervisor sends until it says drain, up to *width* at a time."""

    def __init__(self, ledger: Ledger, reader: FrameReader, *, width: int) -> None:
        self._ledger = ledger
        self._reader = reader
        self._width = width
        self._queue: queue.SimpleQueue[Unit] = queue.SimpleQueue()
        self._in_hand = 0
        self._changed = threading.Condition()

    def cancel(self, no: int) -> None:
        """Mark attempt *no* as cancelled; called by the side thread."""
        self._ledger.hand.cancel(no)

    def run(self) -> None:
        """Return when everything before the drain frame has been handled."""
        for index in range(self._width):
            name = f"handler-{index}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        while True:
            frames = self._reader.read()
            self._ledger.outbox.begin()
            for frame in frames:
                if frame[0] == "drain":
                    self._wait_until_idle()
                    return
                self._put(units_of(frame, is_batch=self._ledger.calls.is_batch))

    def _put(self, units: list[Unit]) -> None:
        with self._changed:
            self._in_hand += len(units)
        for unit in units:
            self._queue.put(unit)

    def _wait_until_idle(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._in_hand == 0)

    def _work(self) -> None:
        try:
            while True:
                self._run_one(self._queue.get())
        except BaseException as error:  # noqa: BLE001 - a thread that is lost is never noticed
            end_because_of(error)

    def _run_one(self, unit: Unit) -> None:
        attempt = self._ledger.begin(unit, monotonic_ns())
        if attempt is not None:
            verdict = copy_context().run(self._ledger.calls.run, attempt, unit[0][3])
            self._ledger.settle(attempt, verdict, monotonic_ns())
        self._after_one()

    def _after_one(self) -> None:
        outbox = self._ledger.outbox
        with self._changed:
            is_idle = self._in_hand == 1
        if is_idle or outbox.is_due(monotonic_ns()):
            outbox.flush()
        elif not outbox.is_armed:
            outbox.arm()
        with self._changed:
            self._in_hand -= 1
            self._changed.notify_all()
