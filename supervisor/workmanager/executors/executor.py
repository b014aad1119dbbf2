"""One executor process as the supervisor sees it: its channels, what it has in hand, how it ends.

Nothing that comes from the child is believed before it is checked, and its death is decided by its
pidfd: not by an end of file, not by what it says.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import structlog
import trio

from workmanager.executors.answers import check_outcomes, read_body, read_refusal
from workmanager.executors.channel import Channel, ChannelError, check_item
from workmanager.executors.last_words import LastWords
from workmanager.executors.logs import LineReader, bounded
from workmanager.executors.meter import Meter
from workmanager.executors.pace import Pace
from workmanager.executors.process import Exit, Process
from workmanager.executors.requests import read_request
from workmanager.model.states import ExecutorState
from workmanager.policy.window import CreditWindow
from workmanager_executor.frames import FrameError, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from workmanager.dispatch.task import Task
    from workmanager.dispatch.timers import Timer
    from workmanager.executors.answers import Refusal
    from workmanager.executors.isolation.room import Room
    from workmanager.executors.listener import Listener
    from workmanager.executors.requests import HttpRequest
    from workmanager.executors.zygote import Spawned

CLOSED_S = 1.0  # how long an executor may live without one of its channels
CONTROL_FRAMES = (5000, 500)  # a second, and at once: lines cost 10 to 30 us of ours each
FRAME_SHARE_BYTES = 4 * 1024 * 1024  # events in one frame; far below the frame limit
VERIFY_S = 1.0  # how long a killed process may take to disappear

log = structlog.get_logger()


class Executor:
    """A process that runs one version of one worker.

    Attributes:
        hand: Tasks it was given and has not answered, by delivery number, oldest first.
        progress_at: When it last began something new, seconds of trio's clock.
    """

    def __init__(
        self,
        room: Room,
        spawned: Spawned,
        listener: Listener,
        *,
        worker: str,
        version: str,
        per_executor: int,
    ) -> None:
        self.id = room.executor
        self.room = room
        self.worker = worker
        self.version = version
        self.pid = spawned.pid
        self.per_executor = per_executor
        self.state = ExecutorState.STARTING
        self.started_at = time.time()
        self.hand: dict[int, Task] = {}
        self.window = CreditWindow()
        self.progress_at = 0.0
        self.tasks_total = 0
        self.exit: Exit | None = None
        self.refusal: Refusal | None = None
        self.layers: list[dict[str, Any]] = []
        self.mode = "event"
        self.asked_to_end = ""
        self.limit = ""  # the limit at which the supervisor ends it
        self.throttled_before_s = 0.0  # when its deadline was armed
        self.is_to_blame = True  # its end is its own doing; False once the supervisor asks for it
        self.on_trial = False  # it runs suspects, and nothing beside them
        self.deadline: Timer | None = None
        self.overdue: set[int] = set()  # numbers of tasks asked to stop because of their time
        self.kill_at: dict[int, float] = {}  # by delivery: when one that was asked is killed
        self.recent: dict[int, int] = {}  # task numbers of deliveries answered lately
        self.recent_contexts: dict[int, object] = {}  # their `traceparent`, by task number
        self.heartbeats: dict[int, float] = {}
        self.sent_at: dict[int, float] = {}  # by delivery, where several run at once
        self.last_pong_at = 0.0
        self.pinged_at = 0.0
        self.first_unanswered_at = 0.0  # the oldest ping without an answer; 0 if there is none
        self.ready_at = 0.0
        self.was_charged = False  # an event was found to have killed it
        self.inner_pid = spawned.pid  # the process that runs the code, as the host numbers it
        self.memory_bytes = 0
        self.last_lines: deque[str] = deque(maxlen=5)  # for a start that fails
        self.last_words = LastWords()
        self.settled = trio.Event()  # ready, refused, or gone
        self.gone = trio.Event()
        self.process = Process(spawned.pid, spawned.pidfd, room.group)
        self.meter = Meter(spawned.pid, has_children=room.has_children, group=room.group)
        self._listener = listener
        self.on_request: Callable[[HttpRequest], None] = lambda _: None
        self._has_greeted = self._has_said_bye = False
        self._next_no = 1
        self._answers: list[list[Any]] = []  # of a batch of which others are on their way
        self._looked_at = 0
        self._events = Channel(spawned.events, self._on_events)
        self._control = Channel(spawned.control, self._on_control, Pace(*CONTROL_FRAMES))
        self._pipes = (
            LineReader(spawned.stdout, lambda text: self._line("stdout", "INFO", text)),
            LineReader(spawned.stderr, lambda text: self._line("stderr", "ERROR", text)),
        )

    # -- what it is told ---------------------------------------------------------------------

    def load(self, package: Mapping[str, Any]) -> None:
        """Give it the code; READY or a refusal follows."""
        self._events.send(encode(["load", dict(package)]))

    def credit(self) -> int:
        """How many more tasks may be put into its hands now."""
        if self.state is not ExecutorState.READY:
            return 0
        size = self.window.size if self.per_executor == 1 else self.per_executor
        return size - len(self.hand)

    def run(
        self,
        tasks: Sequence[Task],
        *,
        batch: bool = False,
        wires: Mapping[int, bytes] | None = None,
    ) -> None:
        """Hand it *tasks*; with *batch* they are one call of `process_batch`.

        *wires* are the events of some tasks, by number, that differ from their own.
        """
        now = trio.current_time()
        if not self.hand:
            self.progress_at = now
        if self.per_executor > 1:
            first = self._next_no
            self.sent_at.update((first + i, now) for i in range(len(tasks)))
        no, hand = self._next_no, self.hand
        items: list[tuple[object, ...]] = []
        size = 0
        for task in tasks:
            wire = task.event.wire
            if wires and task.number in wires:
                wire = wires[task.number]
            if size + len(wire) > FRAME_SHARE_BYTES and items and not batch:
                self._send_run(items, batch=batch)
                items, size = [], 0
            hand[no] = task
            items.append((no, task.number, task.attempt + 1, wire, task.fence))
            size += len(wire)
            no += 1
        self._next_no = no
        self._send_run(items, batch=batch)

    def _send_run(self, items: list[tuple[object, ...]], *, batch: bool) -> None:
        try:
            self._events.send(encode(["batch" if batch else "run", items]))
        except (ChannelError, FrameError) as error:
            self.protocol_error(str(error))

    def part_with(self, no: int) -> Task:
        """Take delivery *no*, which it has answered, off its hand.

        Lines that come after the outcome still find their task and its trace.
        """
        task = self.hand.pop(no)
        self.recent[no] = task.number
        if "traceparent" in task.event.attributes:
            self.recent_contexts[task.number] = task.event.attributes["traceparent"]
        return task

    def answer(self, frame: list[object]) -> None:
        """Send the answer to a request of `context.http`; nothing if it has gone."""
        if self.exit is None:
            self._tell(frame)

    def cancel(self, no: int) -> None:
        """Ask the handler of delivery *no* to stop."""
        self._tell(["cancel", no])

    def is_stalled(self, now: float) -> bool:
        """Tell at *now* whether it began a frame long ago and does not go on with it."""
        return self._events.is_stalled(now) or self._control.is_stalled(now)

    def throttled_s(self) -> float:
        """How long its processor limit has held it back so far; 0 without a cgroup."""
        group = self.room.group
        return group.evidence().throttled_s if group is not None else 0.0

    def is_busy(self) -> bool:
        """Whether it has, or since the last look had, something to do."""
        was, self._looked_at = self._looked_at, self.tasks_total
        return bool(self.hand) or was != self.tasks_total

    def ping(self, now: float) -> None:
        """Ask for a sign of life at *now* (trio's clock); `last_pong_at` moves when it comes."""
        self.pinged_at = now
        self.first_unanswered_at = self.first_unanswered_at or now
        self._tell(["ping", 0])

    def drain(self) -> None:
        """Let it finish what it has, call `stop`, and exit."""
        if self.state in (ExecutorState.READY, ExecutorState.STARTING):
            self.state = ExecutorState.DRAINING
            self.is_to_blame = False
            self._events.send(encode(["drain"]))

    def end(self, why: str, *, blame: bool = False, limit: str = "") -> None:
        """Kill it with all that it started; *why* is reported with its exit.

        With *blame* its end counts as a crash: it has made the supervisor do this, by running into
        *limit* if one is named.
        """
        if self.exit is not None:
            return
        self._ask(why, blame=blame)
        self.limit = self.limit or limit
        self.state = ExecutorState.STOPPING
        self.process.kill()

    def terminate(self, why: str) -> None:
        """SIGTERM it: it may still clean up."""
        if self.exit is None:
            self._ask(why, blame=False)
            self.process.send(signal.SIGTERM)

    def _ask(self, why: str, *, blame: bool) -> None:
        if not self.asked_to_end:
            self.asked_to_end, self.is_to_blame = why, blame

    def protocol_error(self, why: str) -> None:
        """Kill it for breaking the protocol."""
        log.warning("executor_protocol_error", worker=self.worker, executor=self.id, why=why)
        self.end(f"protocol error: {why}", blame=True)

    # -- its life ----------------------------------------------------------------------------

    async def live(self) -> None:
        """Serve its channels until it has exited and everything it said has been read."""
        try:
            async with trio.open_nursery() as nursery:
                for channel in (self._events, self._control):
                    nursery.start_soon(self._serve, channel)
                for pipe in self._pipes:
                    nursery.start_soon(pipe.run)
                await self.process.wait()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                self.exit = end = await self._bury()
            self._finish(end)

    async def _bury(self) -> Exit:
        """Reap it; kills first if we end before the process did."""
        if not self.process.has_ended():
            self.end("the supervisor stops")
            with trio.move_on_after(VERIFY_S):
                await self.process.wait()
        if self.process.has_ended():
            return self.process.reap(self.asked_to_end, self.limit)
        log.error("executor_unkillable", worker=self.worker, executor=self.id, pid=self.pid)
        self.process.abandon()
        return Exit(None, "", self.asked_to_end)

    def _finish(self, end: Exit) -> None:
        for channel in (self._events, self._control):
            try:
                channel.read_available()
            except ChannelError as error:
                log.warning("executor_last_words_refused", executor=self.id, why=str(error))
        self.meter.close(end)
        for pipe in self._pipes:
            pipe.close()
        self._events.close()
        self._control.close()
        self.state = ExecutorState.EXITED
        self.settled.set()
        self._listener.executor_exited(self)
        self.gone.set()

    async def _serve(self, channel: Channel) -> None:
        try:
            await channel.run()
            await trio.sleep(CLOSED_S)  # cancelled by its exit, which is what an end means mostly
            self.protocol_error("it closed a channel and lives on")
        except ChannelError as error:
            self.protocol_error(str(error))
        except Exception:  # a fault of ours in one executor's business must stay there
            log.exception("executor_channel_failed", worker=self.worker, executor=self.id)
            self.end("the supervisor failed to serve it")

    # -- what it says ------------------------------------------------------------------------

    def _on_events(self, frames: list[list[Any]]) -> None:
        outcomes: list[list[Any]] = []
        for frame in frames:
            if frame[0] == "done" and len(frame) == 2 and isinstance(frame[1], list) and frame[1]:
                outcomes.extend(frame[1])
            else:
                self._on_event(frame)
        if outcomes:
            self._take_outcomes(outcomes)

    def _take_outcomes(self, outcomes: list[list[Any]]) -> None:
        busy_us = check_outcomes(outcomes, self.hand, self._answers)
        if self.mode == "batch":  # which fails or succeeds as a whole, however many frames tell
            self._answers += outcomes
            if len(self._answers) < len(self.hand):
                return
            outcomes, self._answers = self._answers, []
        now = trio.current_time()
        self.window.observe(busy_us / len(outcomes) / 1e6)
        if self.per_executor == 1:
            self.meter.note(outcomes, busy_us)
        self.progress_at = now
        self.tasks_total += len(outcomes)
        self._listener.executor_done(self, outcomes)

    def _on_event(self, frame: list[Any]) -> None:
        kind = frame[0]
        body = read_body(frame)
        if kind == "hello" and not self._has_greeted:  # no user code has run by then
            self._has_greeted = True
            self.layers = list(body.get("layers") or ())
        elif kind in ("ready", "refused") and not self.settled.is_set():  # said once
            self._settle(kind, body)
        elif kind == "bye" and not self._has_said_bye:
            self._has_said_bye = True
        else:
            raise ChannelError(f"frame {str(kind)[:40]!r} is unknown, or was said already")

    def _settle(self, kind: str, body: Mapping[str, Any]) -> None:
        if kind == "refused":
            self.refusal = read_refusal(body)
        else:
            self.mode = "batch" if body.get("mode") == "batch" else "event"
            if self.state is ExecutorState.STARTING:
                self.state = ExecutorState.READY
            self.meter.start()
            self.last_pong_at = self.ready_at = self.pinged_at = trio.current_time()
        self.settled.set()

    def _on_control(self, frames: list[list[Any]]) -> None:
        for frame in frames:
            kind = frame[0]
            if kind == "pong":
                self.last_pong_at = trio.current_time()
                self.first_unanswered_at = 0.0
            elif kind == "log":
                _, no, level, said = check_item(frame, ((str,), (int, type(None)), (str,), (str,)))
                text = bounded(str(said))
                self.last_lines.append(text)
                self._listener.executor_line(self, "log", str(level), self._task(no), text)
            elif kind == "heartbeat":
                _, no, _ = check_item(frame, ((str,), (int,), (bytes,)))
                if no in self.hand:
                    self.heartbeats[int(str(no))] = trio.current_time()
            elif kind == "http":
                self.on_request(read_request(frame))
            else:
                raise ChannelError(f"unknown frame {str(kind)[:40]!r}")

    def _line(self, stream: str, level: str, text: str) -> None:
        head = self._task(next(iter(self.hand), None))
        self.last_lines.append(text)
        if stream == "stderr":
            self.last_words.add(text)
        self._listener.executor_line(self, stream, level, head, text)

    def _task(self, no: object) -> int | None:
        """Return the number of the task that it got as delivery *no*; None if it never did."""
        if not isinstance(no, int):
            return None
        held = self.hand.get(no)
        return held.number if held is not None else self.recent.get(no)

    def _tell(self, frame: list[object]) -> None:
        try:
            self._control.send(encode(frame))
        except ChannelError as error:
            self.protocol_error(str(error))
