"""Sends whole frames on a blocking socket, from any thread."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from workmanager_executor.frames import encode

if TYPE_CHECKING:
    import socket


class FrameWriter:
    """Serialises the frames of several threads onto one socket.

    A finalizer or signal handler of user code may print while this very thread is in the middle of
    a send. The lock is therefore re-entrant, and the inner call leaves its frame to the outer one.
    """

    __slots__ = ("_is_sending", "_lock", "_queue", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
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
                    self._sock.sendall(self._queue.popleft())
            finally:
                self._is_sending = False
