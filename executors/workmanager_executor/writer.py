"""Sends whole frames on a blocking descriptor, from any thread."""

from __future__ import annotations

import os
import threading
from collections import deque

from workmanager_executor.frames import encode


class FrameWriter:
    """Serialises the frames of several threads onto one descriptor.

    A finalizer or signal handler of user code may print while this very thread is in the middle of
    a send. The lock is therefore re-entrant, and the inner call leaves its frame to the outer one.
    """

    __slots__ = ("_fd", "_is_sending", "_lock", "_queue")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._queue: deque[bytes] = deque()
        self._lock = threading.RLock()
        self._is_sending = False

    def send(self, frame: object) -> None:
        """Encode *frame* and send it; blocks while the supervisor does not read.

        Raises:
            FrameTooLargeError: The frame is too large; nothing was sent.
            OSError: The supervisor has gone.
        """
        self._queue.append(encode(frame))
        with self._lock:
            if self._is_sending:
                return
            self._is_sending = True
            try:
                while self._queue:
                    write_all(self._fd, self._queue.popleft())
            finally:
                self._is_sending = False


def write_all(fd: int, data: bytes) -> None:
    """Write all of *data*; a signal may cut a single write short.

    Raises:
        OSError: The other end has gone.
    """
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, memoryview(data)[written:])
