"""The C# compiler's process, as the service sees it: started when needed, ended when it is idle.

It is forked and sandboxed as executors are: source code is foreign input. One compilation runs at a
time; a warm process takes 20 ms for what a fresh one takes two seconds. What takes too long, or was
called off, ends with its process.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import structlog
import trio

from workmanager.errors import CodeError, Reason
from workmanager.executors.channel import Channel, ChannelError
from workmanager.executors.last_words import LastWords
from workmanager.executors.logs import LineReader
from workmanager_executor.frames import FrameTooLargeError, encode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from workmanager.executors.zygote import Spawned

START_S = 30.0
COMPILE_S = 60.0
IDLE_S = 60.0  # then its 200 MiB are given back
MOST_REQUESTS = 500  # per process; Roslyn's caches grow

log = structlog.get_logger()


class CompilerDiedError(CodeError):
    """The compiler's process ended while it was asked; the message says what it wrote."""


class Compiler:
    """Compiles, one request after the other.

    Args:
        spawn: Makes a process that can become a compiler.
        nursery: Where it lives.
        alive: Pids that nobody else may reap; its own is kept in it.
    """

    def __init__(
        self,
        spawn: Callable[[Mapping[str, str]], Awaitable[Spawned]],
        nursery: trio.Nursery,
        alive: set[int],
    ) -> None:
        self._spawn = spawn
        self._nursery = nursery
        self._alive = alive
        self._turn = trio.Lock()
        self._process: _Process | None = None

    async def compile(
        self, where: Mapping[str, str], request: Mapping[str, object]
    ) -> Mapping[str, Any]:
        """Return the compiler's answer, see the executor's `dotnet_compiler`.

        Raises:
            CodeError: It took too long, died, or cannot be started (ENGINE_UNAVAILABLE).
        """
        async with self._turn:
            process = await self._ready(where)
            is_fresh = process.is_fresh
            try:
                return await self._ask(process, request)
            except CompilerDiedError:
                if is_fresh:
                    raise
            # It had died before, or of what others had compiled in it.
            return await self._ask(await self._ready(where), request)

    async def _ask(self, process: _Process, request: Mapping[str, object]) -> Mapping[str, Any]:
        try:
            with trio.fail_after(COMPILE_S):
                return await process.ask(request)
        except trio.TooSlowError:
            process.end()
            raise CodeError(f"the compiler needed more than {COMPILE_S:g} s") from None
        except trio.Cancelled:
            process.end()  # it would still work on what nobody waits for
            raise
        finally:
            process.rest()

    async def _ready(self, where: Mapping[str, str]) -> _Process:
        """Return a process that has the compiler in *where* loaded."""
        process = self._process
        if process is not None and process.is_usable(where):
            return process
        if process is not None:
            process.end()
        spawned = await self._spawn(where)
        self._alive.add(spawned.pid)
        self._process = process = _Process(spawned, where)
        self._nursery.start_soon(self._live, process)
        try:
            with trio.fail_after(START_S):
                await process.start()
        except trio.TooSlowError:
            process.end()
            raise CodeError(
                f"the C# compiler was not ready within {START_S:g} s",
                reason=Reason.ENGINE_UNAVAILABLE,
            ) from None
        except BaseException:
            process.end()
            raise
        return process

    async def _live(self, process: _Process) -> None:
        try:
            await process.live()
        except Exception:  # a fault of ours with one process must stay there
            log.exception("compiler_life_failed")
        finally:
            self._alive.discard(process.pid)


class _Process:
    """One compiler process: what it is asked and what it answers."""

    def __init__(self, spawned: Spawned, where: Mapping[str, str]) -> None:
        self.pid = spawned.pid
        self._where = dict(where)
        self._pidfd = spawned.pidfd
        self._control = spawned.control
        self._events = Channel(spawned.events, self._on_frames)
        self._words = LastWords()
        self._pipes = [LineReader(fd, self._words.add) for fd in (spawned.stdout, spawned.stderr)]
        self._requests = 0
        self._answers = trio.open_memory_channel[list[Any]](4)
        self._idle_until = trio.current_time() + START_S + IDLE_S
        self._is_over = False

    def is_usable(self, where: Mapping[str, str]) -> bool:
        """Tell whether it lives, has that compiler, and is not worn out."""
        return not self._is_over and self._where == where and self._requests < MOST_REQUESTS

    @property
    def is_fresh(self) -> bool:
        """Whether it has not been asked for anything yet."""
        return self._requests == 0

    async def start(self) -> None:
        """Have it load the compiler.

        Raises:
            CodeError: It cannot (ENGINE_UNAVAILABLE), or it died.
        """
        self._events.send(encode(["compiler", self._where]))
        kind, body = await self._answer(0)
        if kind != "ready":
            said = body.get("message", "no reason given")
            raise CodeError(
                f"the C# compiler cannot be loaded: {said}", reason=Reason.ENGINE_UNAVAILABLE
            )
        log.info("compiler_ready", compiler=body.get("compiler"), pid=self.pid)

    async def ask(self, request: Mapping[str, object]) -> Mapping[str, Any]:
        """Have it compile.

        Raises:
            CodeError: The compiler failed.
            CompilerDiedError: It died.
        """
        self._requests += 1
        self._idle_until = trio.current_time() + COMPILE_S + IDLE_S
        try:
            self._events.send(encode(["compile", self._requests, dict(request)]))
        except FrameTooLargeError as error:
            raise CodeError(f"too much to compile at once: {error}") from error
        kind, body = await self._answer(self._requests)
        if kind != "compiled":
            raise CodeError(f"the compiler failed: {body.get('message', 'no reason given')}")
        return body

    def rest(self) -> None:
        """Begin to count its idle time anew."""
        self._idle_until = trio.current_time() + IDLE_S

    def end(self) -> None:
        """Kill it; `live` collects it."""
        self._is_over = True
        for kill in (os.killpg, os.kill):
            try:
                kill(self.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue

    async def live(self) -> None:
        """Serve it until it has exited; ends it when it has been idle for long."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve)
                nursery.start_soon(self._end_when_idle)
                for pipe in self._pipes:
                    nursery.start_soon(pipe.run)
                await trio.lowlevel.wait_readable(self._pidfd)
                nursery.cancel_scope.cancel()
        finally:
            self._finish()

    async def _serve(self) -> None:
        try:
            await self._events.run()
        except ChannelError as error:
            log.warning("compiler_protocol_error", why=str(error))
            self.end()

    async def _end_when_idle(self) -> None:
        while True:
            await trio.sleep_until(self._idle_until)
            if trio.current_time() >= self._idle_until:  # else it was used meanwhile
                self.end()
                return

    def _finish(self) -> None:
        self.end()
        os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)
        for pipe in self._pipes:
            pipe.close()
        self._events.close()
        self._control.close()
        self._answers[0].close()

    async def _answer(self, number: int) -> tuple[str, Mapping[str, Any]]:
        """Wait for the answer to request *number*; 0 is the start."""
        try:
            while True:
                frame = await self._answers[1].receive()
                if len(frame) == 2 and number == 0 and isinstance(frame[1], dict):
                    return str(frame[0]), frame[1]
                if len(frame) == 3 and frame[1] == number and isinstance(frame[2], dict):
                    return str(frame[0]), frame[2]
        except trio.EndOfChannel:
            self.end()
            said = self._words.opening or " | ".join(self._words.text.splitlines()[-5:])
            raise CompilerDiedError(f"the compiler died{': ' + said if said else ''}") from None

    def _on_frames(self, frames: list[list[object]]) -> None:
        for frame in frames:
            if frame[0] == "hello":
                continue
            try:
                self._answers[0].send_nowait(frame)
            except trio.WouldBlock:
                raise ChannelError("it says more than it was asked") from None
            except trio.BrokenResourceError:
                return
