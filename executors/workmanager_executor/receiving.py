"""Reads frames from the events channel, blocking or not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from workmanager_executor.endings import supervisor_gone
from workmanager_executor.frames import Decoder, FrameError
from workmanager_executor.job import ProtocolError

if TYPE_CHECKING:
    from workmanager_executor.frames import Frame

READ_BYTES = 64 * 1024  # above this glibc maps and unmaps the buffer at every read


class FrameReader:
    """Frames of one blocking descriptor; ends the process when the supervisor has gone."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._decoder = Decoder()
        self._waiting: list[Frame] = []

    def read(self) -> list[Frame]:
        """Wait for the next frames and return all that came with them.

        Raises:
            ProtocolError: The framing is broken.
        """
        frames = self.take_waiting()
        while not frames:
            frames = self._decode(os.read(self.fd, READ_BYTES))
        return frames

    def read_first(self) -> Frame:
        """Return the next frame alone; those that came with it wait for `read`.

        Raises:
            ProtocolError: The framing is broken.
        """
        frame, *self._waiting = self.read()
        return frame

    def read_available(self) -> list[Frame]:
        """Return what has arrived on a descriptor that is readable; nobody else may read it.

        Raises:
            ProtocolError: The framing is broken.
        """
        return self.take_waiting() + self._decode(os.read(self.fd, READ_BYTES))

    def take_waiting(self) -> list[Frame]:
        """Return the frames that came together with the one of `read_first`."""
        frames, self._waiting = self._waiting, []
        return frames

    def _decode(self, chunk: bytes) -> list[Frame]:
        if not chunk:
            supervisor_gone()
        try:
            return self._decoder.feed(chunk)
        except FrameError as error:
            raise ProtocolError(str(error)) from None
