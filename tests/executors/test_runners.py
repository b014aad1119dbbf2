"""How attempts run: order, concurrency, flushing, cancelling, draining, the control channel."""

from __future__ import annotations

import json
import os
import time

import pytest
from harness import encode, job

from workmanager_executor.exits import EXIT_PROTOCOL

# The handler blocks on a named pipe, so that the test decides when it ends.
WAITS = """
import os
GATE = os.open({path!r}, os.O_RDWR)
{prefix}def process(event, context):
    print("began", event.data)
    if event.data:
        os.read(GATE, 1)
    return context.cancelled
"""
WAITS_ASYNC = """
import asyncio, os
async def process(event, context):
    print("began", event.data)
    if event.data == "swallow":
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return "swallowed"
    elif event.data:
        await asyncio.sleep(30)
    return context.cancelled
"""


@pytest.fixture
def gate(tmp_path):
    """A named pipe: handlers read it, the test writes."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR)
    yield path, fd
    os.close(fd)


def waiting_on(path, prefix: str = "") -> str:
    return WAITS.format(path=str(path), prefix=prefix)


def began(executor, *datas: object) -> None:
    """Wait until the handlers of these events have begun."""
    lines = [executor.control.expect("log")[3] for _ in datas]
    assert lines == [f"began {data}" for data in datas]


def result_of(outcome: list) -> object:
    return json.loads(outcome[3][0][5])


def test_items_are_handled_in_order_and_flushed_together(executor):
    executor.ready("def process(event): ...")
    executor.events.send("run", [executor.item(n) for n in range(1000)])
    frames = []
    while sum(map(len, frames)) < 1000:
        frames.append(executor.events.expect("done")[1])
    assert [outcome[0] for frame in frames for outcome in frame] == list(range(1, 1001))
    assert len(frames) < 500  # far fewer on an idle machine: four, by the limit of 256


def test_at_most_256_outcomes_wait(executor):
    executor.ready("def process(event): ...")
    executor.events.send("run", [executor.item() for _ in range(1000)])
    found = 0
    while found < 1000:
        outcomes = executor.events.expect("done")[1]
        assert len(outcomes) <= 256
        found += len(outcomes)


def test_large_outputs_do_not_pile_up(executor):
    executor.ready("def process(event): return 'x' * 200_000")
    executor.events.send("run", [executor.item() for _ in range(20)])
    found = 0
    while found < 20:
        outcomes = executor.events.expect("done")[1]
        assert len(outcomes) <= 3
        found += len(outcomes)


def test_outcome_is_flushed_though_the_next_handler_blocks(executor, gate):
    path, fd = gate
    executor.ready(waiting_on(path))
    executor.events.send("run", [executor.item(0), executor.item(1)])
    assert executor.outcomes(1)[0][0] == 1
    began(executor, 0, 1)
    os.write(fd, b"x")
    assert executor.outcomes(1)[0][0] == 2


def test_outcome_is_flushed_though_the_next_handler_burns(executor):
    executor.ready("def process(event):\n    while event.data: pass")
    for _ in range(3):  # also when the side thread is awake already, or has gone to rest
        executor.run(executor.item(0), executor.item(0))
    executor.events.send("run", [executor.item(0), executor.item(1)])
    assert executor.outcomes(1)[0][0] == 7


def test_outcome_is_flushed_though_the_loop_is_blocked(executor, gate):
    path, _ = gate
    executor.ready(waiting_on(path, "async "))
    executor.events.send("run", [executor.item(0), executor.item(1)])
    assert executor.outcomes(1)[0][0] == 1


def test_ping_is_answered_while_user_code_burns(executor):
    executor.ready("def process(event):\n    print('began', 1)\n    while True: pass")
    executor.events.send("run", [executor.item()])
    began(executor, 1)
    for number in (1, 2):
        executor.control.send("ping", number)
        kind, answered, stats = executor.control.receive()
        assert (kind, answered) == ("pong", number)
        assert stats["cpu_us"] > 0


def test_ping_is_answered_while_code_is_loading(executor, gate):
    path, fd = gate
    executor.events.expect("hello")
    code = f"import os\nos.read(os.open({str(path)!r}, os.O_RDWR), 1)\ndef process(e): ..."
    executor.events.send("load", job(code))
    executor.control.send("ping", 9)
    assert executor.control.receive()[:2] == ["pong", 9]
    os.write(fd, b"x")
    executor.events.expect("ready")


def test_cancel_is_seen_by_a_running_handler(executor, gate):
    path, fd = gate
    executor.ready(waiting_on(path))
    executor.events.send("run", [executor.item(1)])
    began(executor, 1)
    executor.control.send("cancel", 1)
    executor.control.send("ping", 1)
    executor.control.expect("pong")  # the cancel was handled before it
    os.write(fd, b"x")
    assert result_of(executor.outcomes(1)[0]) is True


@pytest.mark.parametrize("prefix", ["", "async "])
def test_cancel_of_an_attempt_not_begun_settles_it(executor, gate, prefix):
    path, fd = gate
    executor.ready(waiting_on(path, prefix))
    executor.events.send("run", [executor.item(1), executor.item(0), executor.item(0)])
    began(executor, 1)
    executor.control.send("cancel", 2)
    executor.control.send("ping", 1)
    executor.control.expect("pong")
    os.write(fd, b"x")
    assert [outcome[:2] for outcome in executor.outcomes(3)] == [[1, 0], [2, 5], [3, 0]]


@pytest.mark.parametrize("number", [99, -1, 2**63])
def test_cancel_of_an_unknown_attempt_is_ignored(executor, number):
    executor.ready("def process(event, context): return context.cancelled")
    executor.control.send("cancel", number)
    assert result_of(executor.run_one()) is False


def test_async_handler_is_cancelled(executor):
    executor.ready(WAITS_ASYNC)
    executor.events.send("run", [executor.item("sleep")])
    began(executor, "sleep")
    executor.control.send("cancel", 1)
    _, status, _, outputs, error = executor.outcomes(1)[0]
    assert (status, outputs, error[0]) == (5, [], "Cancelled")
    assert result_of(executor.run_one()) is False


def test_async_handler_that_finishes_in_spite_of_its_cancel_is_well(executor):
    executor.ready(WAITS_ASYNC)
    executor.events.send("run", [executor.item("swallow")])
    began(executor, "swallow")
    executor.control.send("cancel", 1)
    assert result_of(executor.outcomes(1)[0]) == "swallowed"


def test_cancel_of_one_async_attempt_leaves_the_others(executor):
    executor.ready(WAITS_ASYNC, perExecutor=3)
    executor.events.send("run", [executor.item("sleep") for _ in range(3)])
    began(executor, "sleep", "sleep", "sleep")
    executor.control.send("cancel", 2)
    assert executor.outcomes(1)[0][:2] == [2, 5]
    executor.control.send("cancel", 3)
    executor.control.send("cancel", 1)
    assert [outcome[:2] for outcome in executor.outcomes(2)] == [[1, 5], [3, 5]]


CONCURRENT = """
import threading
meeting = threading.Barrier({width})
def process(event):
    meeting.wait(20)
"""
CONCURRENT_ASYNC = """
import asyncio
present = []
everybody = None
def start(context):
    global everybody
    everybody = asyncio.Event()
async def process(event):
    present.append(event.id)
    if len(present) == {width}:
        everybody.set()
    await asyncio.wait_for(everybody.wait(), 20)
"""


@pytest.mark.parametrize("code", [CONCURRENT, CONCURRENT_ASYNC], ids=["threads", "async"])
def test_attempts_run_side_by_side(executor, code):
    executor.ready(code.format(width=8), perExecutor=8)
    outcomes = executor.run(*[executor.item() for _ in range(8)])
    assert [outcome[1] for outcome in outcomes] == [0] * 8


COUNTING = """
import threading
lock, now, most = threading.Lock(), 0, 0
{prefix}def process(event):
    global now, most
    with lock:
        now += 1
        most = max(most, now)
    {work}
    with lock:
        now -= 1
    return most
"""


@pytest.mark.parametrize(
    ("prefix", "work"),
    [("", "import time; time.sleep(0.001)"), ("async ", "import asyncio; await asyncio.sleep(0)")],
    ids=["threads", "async"],
)
@pytest.mark.parametrize("width", [1, 3])
def test_never_more_attempts_than_allowed(executor, prefix, work, width):
    executor.ready(COUNTING.format(prefix=prefix, work=work), perExecutor=width)
    outcomes = executor.run(*[executor.item() for _ in range(30)])
    assert max(result_of(outcome) for outcome in outcomes) == width


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("prefix", ["", "async "])
def test_drain_finishes_what_was_sent_before(executor, prefix, width):
    executor.ready(f"{prefix}def process(event): ...", perExecutor=width)
    executor.events.send("run", [executor.item() for _ in range(50)])
    executor.events.send("drain")
    assert len(executor.outcomes(50)) == 50
    executor.events.expect("bye")
    assert executor.wait() == 0


def test_threads_of_user_code_do_not_hold_the_exit(executor):
    executor.ready(
        "import threading\n"
        "def process(event): threading.Thread(target=threading.Event().wait).start()"
    )
    executor.run_one()
    assert executor.drain() == 0


def test_frames_sent_together_with_load_are_not_lost(zygote):
    for prefix in ("", "async "):
        with zygote.spawn() as executor:
            code = f"{prefix}def process(event): ..."
            items = [executor.item(), executor.item()]
            executor.events.sock.sendall(
                encode(["load", job(code)]) + encode(["run", items]) + encode(["drain"])
            )
            executor.events.expect("hello")
            executor.events.expect("ready")
            assert len(executor.outcomes(2)) == 2
            executor.events.expect("bye")
            assert executor.wait() == 0


@pytest.mark.parametrize("prefix", ["", "async "])
@pytest.mark.parametrize(
    "raw",
    [
        encode(["dance"]),
        encode(["run", 5]),
        encode(["run", [1, 2]]),
        encode(["batch", []]),
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01\xc1",
    ],
)
def test_broken_protocol_ends_the_executor(executor, prefix, raw):
    executor.ready(f"{prefix}def process(event): ...")
    executor.events.sock.sendall(raw)
    assert executor.wait() == EXIT_PROTOCOL
    assert executor.read_stderr()


@pytest.mark.parametrize("frame", [["dance", 1], ["ping"], ["ping", "x"], ["cancel", None]])
def test_broken_control_protocol_ends_the_executor(executor, frame):
    executor.ready("def process(event): ...")
    executor.control.send(*frame)
    assert executor.wait() == EXIT_PROTOCOL
    assert "control frame" in executor.read_stderr()


def test_first_frame_has_to_be_load(executor):
    executor.events.send("run", [])
    executor.events.expect("hello")
    assert executor.wait() == EXIT_PROTOCOL
    assert "expected load" in executor.read_stderr()


def test_duration_is_the_handlers_own(executor):
    executor.ready("import time\ndef process(event): time.sleep(event.data)")
    began_at = time.monotonic()
    quick, slow = executor.run(executor.item(0), executor.item(0.02))
    spent_us = (time.monotonic() - began_at) * 1e6
    assert 20_000 <= slow[2] <= spent_us
    assert quick[2] <= spent_us - 20_000
