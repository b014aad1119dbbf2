"""An executor's life: load, READY, run until drained, BYE."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import inspect
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from workmanager_executor.calls import Calls
from workmanager_executor.context import Context, Runtime
from workmanager_executor.control import SideThread, Waker
from workmanager_executor.egress import Desk
from workmanager_executor.endings import end, end_because_of
from workmanager_executor.exits import EXIT_DRAINED, EXIT_REFUSED
from workmanager_executor.faults import text_of, user_line, user_traceback
from workmanager_executor.job import Job, ProtocolError, parse_job
from workmanager_executor.ledger import Ledger
from workmanager_executor.loading import FILE_NAME, Handler, RefusedError, load
from workmanager_executor.logs import capture_output
from workmanager_executor.outbox import Outbox
from workmanager_executor.process import CONTROL_FD, EVENTS_FD
from workmanager_executor.receiving import FrameReader
from workmanager_executor.runner_async import AsyncRunner
from workmanager_executor.runner_sync import SyncRunner
from workmanager_executor.runner_threads import ThreadsRunner
from workmanager_executor.secrets import take_secrets
from workmanager_executor.writer import FrameWriter

if TYPE_CHECKING:
    from typing import Union

    from workmanager_executor.loading import Hook
    from workmanager_executor.logs import LogSink

    Runner = Union[SyncRunner, ThreadsRunner, AsyncRunner]

_SWITCH_INTERVAL_S = 0.001  # the side thread's flush is due after 1 ms; the default is 5 ms


@dataclass(frozen=True)
class Channels:
    """The two channels of this process and what serves them."""

    events: FrameWriter
    reader: FrameReader
    control: FrameWriter
    outbox: Outbox
    side_thread: SideThread
    logs: LogSink
    waker: Waker


def main() -> NoReturn:
    """Run the executor on descriptors 3 and 4, already set up and greeted with HELLO."""
    try:
        _prepare_interpreter()
        channels = open_channels(EVENTS_FD, CONTROL_FD)
        channels.side_thread.start()
        code = live(channels)
    except BaseException as error:  # noqa: BLE001 - sys.exit() in a callback comes out here
        end_because_of(error)
    end(code, "")


def open_channels(events_fd: int, control_fd: int) -> Channels:
    """Take the two descriptors over; log lines go to *control_fd* from now on."""
    for fd in (events_fd, control_fd):
        os.set_inheritable(fd, False)
    events, control = FrameWriter(events_fd), FrameWriter(control_fd)
    logs = capture_output()
    logs.connect(control)
    waker = Waker()
    outbox = Outbox(events, waker.wake)
    return Channels(
        events=events,
        reader=FrameReader(events_fd),
        control=control,
        outbox=outbox,
        side_thread=SideThread(
            FrameReader(control_fd), control, events_fd=events_fd, outbox=outbox, waker=waker
        ),
        logs=logs,
        waker=waker,
    )


def live(channels: Channels) -> int:
    """Load, run until drained, say BYE; return the exit code.

    Raises:
        ProtocolError: The supervisor sent what it may not.
        OSError: It has gone.
    """
    job = _read_job(channels.reader)
    channels.logs.limit_bytes = job.log_limit_bytes
    try:
        handler = load(job)
        runtime = Runtime(job, channels.control, channels.logs, Desk(channels.control))
        channels.side_thread.on_answer = runtime.desk.answer
        loop = _new_loop() if handler.is_async else None
        _start(handler.start, Context(None, runtime), loop)
    except RefusedError as error:
        channels.logs.close(None)
        channels.events.send(_refused(error))
        return EXIT_REFUSED
    runner = _runner(handler, runtime, channels, loop)
    channels.side_thread.on_cancel = runner.cancel
    gc.collect()
    gc.freeze()
    channels.events.send(_ready(handler))
    runner.run()
    channels.outbox.finish()
    _stop(handler.stop, runtime, loop)
    channels.logs.close(None)
    channels.events.send(["bye"])
    return EXIT_DRAINED


def _prepare_interpreter() -> None:
    gc.enable()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    sys.argv[:] = [FILE_NAME]
    folders = os.environ.get("PYTHONPATH", "")  # isolated mode ignores what the worker asked for
    sys.path[:0] = [folder for folder in folders.split(os.pathsep) if folder]
    faulthandler.enable(2)


def _read_job(reader: FrameReader) -> Job:
    frame = reader.read_first()
    if len(frame) != 2 or frame[0] != "load" or not isinstance(frame[1], dict):
        raise ProtocolError(f"expected load, got {frame[0]!r:.50}")
    take_secrets(frame[1])
    return parse_job(frame[1])


def _new_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def _start(hook: Hook, context: Context, loop: asyncio.AbstractEventLoop | None) -> None:
    """Call start(context).

    Raises:
        RefusedError: It raised.
    """
    try:
        _call_hook(hook, context, loop)
    except BaseException as error:  # noqa: BLE001 - whatever user code raises refuses the version
        line = user_line(error, FILE_NAME)
        raise RefusedError(
            f"start() failed: {type(error).__name__}: {text_of(error)}",
            file=None if line is None else FILE_NAME,
            line=line,
            trace=user_traceback(error),
        ) from None


def _stop(hook: Hook, runtime: Runtime, loop: asyncio.AbstractEventLoop | None) -> None:
    """Call stop(context); what it raises is logged, for there is nothing left to undo."""
    try:
        _call_hook(hook, Context(None, runtime), loop)
    except BaseException as error:  # noqa: BLE001 - the same border of user code
        runtime.logs.line(None, "ERROR", f"stop() failed: {user_traceback(error)}")


def _call_hook(hook: Hook, context: Context, loop: asyncio.AbstractEventLoop | None) -> None:
    if hook is None:
        return
    result = hook(context)
    if inspect.iscoroutine(result):
        if loop is None:
            asyncio.run(result)
        else:
            loop.run_until_complete(result)


def _runner(
    handler: Handler,
    runtime: Runtime,
    channels: Channels,
    loop: asyncio.AbstractEventLoop | None,
) -> Runner:
    ledger = Ledger(Calls(handler, runtime), channels.outbox, channels.logs)
    width = runtime.job.per_executor
    if loop is not None:
        return AsyncRunner(ledger, channels.reader, loop, width=width)
    if width > 1:
        return ThreadsRunner(ledger, channels.reader, width=width)
    return SyncRunner(ledger, channels.reader)


def _ready(handler: Handler) -> list[object]:
    mode = "batch" if handler.form == "batch" else "event"
    facts = {"handler": handler.name, "mode": mode, "async": handler.is_async}
    return ["ready", {**facts, "python": sys.version.split()[0]}]


def _refused(error: RefusedError) -> list[object]:
    facts = {"reason": error.reason, "message": str(error), "traceback": error.traceback}
    return ["refused", {**facts, "file": error.file, "line": error.line}]
