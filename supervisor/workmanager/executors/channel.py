"""One socket to an executor: many frames per system call in both directions.

The child is hostile. Frames are bounded and type-checked by the decoder; what it does not read is
held up to a limit, then it is reported as stuck. Nothing here awaits per frame: a wake-up reads
what has arrived, and a write goes straight to the socket unless that is full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from workmanager_executor.frames import Decoder, FrameError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from workmanager.executors.pace import Pace

READ_BYTES = 64 * 1024  # above this glibc maps and unmaps the buffer at every read
READS_PER_WAKE = 16  # then other executors get their turn
PACED_READ_BYTES = 8 * 1024  # of tiny frames, handled in a few milliseconds
STALL_S = 5.0  # how long the rest of a frame may take
MAX_UNSENT_BYTES = (
    64 * 1024 * 1024
)  # credit bounds what is sent; more means the child stopped reading


class ChannelError(Exception):
    """The child broke the protocol or stopped reading; its executor has to be killed."""


class Channel:
    """A framed, non-blocking socket.

    Args:
        sock: Our end; owned and closed by this object.
        on_frames: Called with all frames of one wake-up, in order. May raise ChannelError.
        pace: Bounds frames that the child may send at will; None where others bound them.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_frames: Callable[[list[list[object]]], None],
        pace: Pace | None = None,
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._on_frames = on_frames
        self._pace = pace
        self._owed_s = 0.0
        self._part_since: float | None = None  # when the part of a frame was first looked at
        self._part_bytes_in = 0
        self._decoder = Decoder()
        self._unsent = bytearray()
        self._writable_wanted = trio.Event()
        self.is_closed = False
        self.bytes_in = 0

    def send(self, frame: bytes) -> None:
        """Send *frame*; what the socket does not take now follows as soon as it does.

        Raises:
            ChannelError: More than 64 MiB wait: the child does not read.
        """
        if self.is_closed:
            return
        if self._unsent:
            self._hold(frame)
            return
        try:
            sent = self._sock.send(frame)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # the child has gone; its pidfd tells the rest
        if sent < len(frame):
            self._hold(memoryview(frame)[sent:])

    async def run(self) -> None:
        """Read and write until the child closes its end.

        Raises:
            ChannelError: The child broke the protocol.
        """
        broken: ChannelError | None = None  # raised in the nursery, it would be in a group
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write_rest)
            try:
                while self.read_available():
                    if self._owed_s:
                        await trio.sleep(self._owed_s)
                        self._owed_s = 0.0
                    await trio.lowlevel.wait_readable(self._sock)
            except ChannelError as error:
                broken = error
            nursery.cancel_scope.cancel()
        if broken is not None:
            raise broken

    def read_available(self) -> bool:
        """Hand on everything that has arrived; False at the end of the stream.

        Raises:
            ChannelError: The child broke the protocol.
        """
        size = READ_BYTES if self._pace is None else PACED_READ_BYTES
        for _ in range(READS_PER_WAKE):
            if self.is_closed:
                return False
            try:
                chunk = self._sock.recv(size)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not chunk:
                return False
            self.bytes_in += len(chunk)
            try:
                frames = self._decoder.feed(chunk)
            except FrameError as error:
                raise ChannelError(str(error)) from error
            if frames:
                self._on_frames(frames)
                if self._pace is not None:
                    self._owed_s = self._pace.owed_s(len(frames), trio.current_time())
                    if self._owed_s:
                        return True
        return True

    def is_stalled(self, now: float) -> bool:
        """Tell at *now* whether a frame began long ago and its rest does not come."""
        if not self._decoder.buffered_bytes:
            self._part_since = None
            return False
        if self._part_since is None or self.bytes_in != self._part_bytes_in:
            self._part_since, self._part_bytes_in = now, self.bytes_in
        return now - self._part_since > STALL_S

    def close(self) -> None:
        """Close our end; may be called twice."""
        if not self.is_closed:
            self.is_closed = True
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    def _hold(self, rest: bytes | memoryview) -> None:
        if len(self._unsent) + len(rest) > MAX_UNSENT_BYTES:
            raise ChannelError(f"it does not read: {len(self._unsent)} bytes wait for it")
        self._unsent += rest
        self._writable_wanted.set()

    async def _write_rest(self) -> None:
        while True:
            await self._writable_wanted.wait()
            self._writable_wanted = trio.Event()
            while self._unsent:
                await trio.lowlevel.wait_writable(self._sock)
                try:
                    sent = self._sock.send(self._unsent)
                except BlockingIOError:
                    continue
                except OSError:
                    return
                del self._unsent[:sent]


def check_item(item: object, types: Sequence[tuple[type, ...]]) -> list[object]:
    """Return *item* if it is a list of exactly these types.

    Raises:
        ChannelError: It is not; the text says at which place.
    """
    if not isinstance(item, list) or len(item) != len(types):
        raise ChannelError(f"expected a list of {len(types)}, got {type(item).__name__}")
    for i, (value, wanted) in enumerate(zip(item, types, strict=True)):
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise ChannelError(f"place {i}: {type(value).__name__} is not allowed")
    return item
