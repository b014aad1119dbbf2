"""User code that misbehaves: what it costs is its own executor, or less."""

from __future__ import annotations

import os
import signal

import pytest


@pytest.mark.parametrize(
    ("statement", "exit_code"),
    [
        ("import os; os._exit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
        ("import os; os.abort()", -signal.SIGABRT),
        ("import os; os.close(3); os.close(4)", 72),
    ],
)
@pytest.mark.parametrize("prefix", ["", "async "])
def test_crash_keeps_outcomes_of_before_and_ends_the_process(
    executor, statement, exit_code, prefix
):
    executor.ready(f"{prefix}def process(event):\n    {statement}")
    executor.events.send("run", [executor.item()])
    assert executor.wait() == exit_code
    if exit_code != 72:
        assert executor.events.receive() is None


def test_segfault_says_where_on_stderr(executor):
    executor.ready("import ctypes\ndef process(event):\n    ctypes.string_at(0)")
    executor.events.send("run", [executor.item()])
    executor.wait()
    assert 'File "worker.py", line 3 in process' in executor.read_stderr()


def test_last_line_before_a_crash_is_not_lost(executor):
    executor.ready("import os\ndef process(event):\n    print('last words')\n    os._exit(1)")
    executor.events.send("run", [executor.item()])
    assert executor.control.expect("log")[3] == "last words"


def test_endless_generator_is_stopped(executor):
    executor.ready("import itertools\ndef process(event): yield from itertools.count()")
    assert executor.run_one()[4][:2] == ["OutputTooLarge", "more than 100 outputs"]


def test_endless_async_generator_is_stopped_and_closed(executor):
    executor.ready(
        "async def process(event):\n"
        "    try:\n        while True: yield 1\n"
        "    finally: print('closed')"
    )
    assert executor.run_one()[4][0] == "OutputTooLarge"
    assert executor.control.expect("log")[3] == "closed"


def test_output_larger_than_any_frame_is_refused_here(executor):
    executor.ready("def process(event): return 'x' * (20 << 20)", maxOutputBytes=1 << 40)
    outcome = executor.run_one()
    assert (outcome[1], outcome[4][0]) == (3, "OutputTooLarge")


def test_more_values_than_a_frame_may_hold_are_refused_here(executor):
    executor.ready(
        "def process(event): yield from range(100_000)", maxOutputs=1 << 40, maxOutputBytes=8 << 20
    )
    outcome = executor.run_one()
    assert (outcome[1], outcome[4][0]) == (3, "OutputTooLarge")


def test_many_outcomes_of_the_largest_size_arrive(executor):
    executor.ready(
        "def process(event): return 'x' * (10 << 20)", maxOutputBytes=12 << 20, perExecutor=3
    )
    outcomes = executor.run(*[executor.item() for _ in range(6)])
    assert [outcome[1] for outcome in outcomes] == [0] * 6


def test_many_large_errors_arrive(executor):
    executor.ready("def process(event): raise ValueError('x' * 100_000)")
    outcomes = executor.run(*[executor.item() for _ in range(200)])
    assert {len(outcome[4][1]) for outcome in outcomes} == {4096}


def test_flood_of_prints_is_bounded(executor):
    executor.ready("def process(event):\n    for n in range(200_000): print(n)")
    frames = executor.control.collect()
    assert executor.run_one()[1] == 0
    executor.drain()
    assert 10_000 < len(frames) < 16_000


def test_printing_finalizer_and_signal_handler_do_no_harm(executor):
    executor.ready(
        "import signal\n"
        "class Noisy:\n"
        "    def __init__(self): self.me = self\n"
        "    def __del__(self): print('finalized')\n"
        "def start(context):\n"
        "    signal.signal(signal.SIGALRM, lambda *_: print('alarm'))\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\n"
        "def stop(context): signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "def process(event):\n"
        "    for _ in range(50): Noisy()\n"
        "    return 1",
        logLimitBytes=2000,
    )
    frames = executor.control.collect()
    for _ in range(5):
        outcomes = executor.run(*[executor.item() for _ in range(100)])
        assert {outcome[1] for outcome in outcomes} == {0}
    assert executor.drain() == 0
    assert {frame[0] for frame in frames} == {"log"}


def test_replaced_streams_and_patched_modules_do_not_break_the_loop(executor):
    executor.ready(
        "import sys, json, time, os\n"
        "def process(event):\n"
        "    sys.stdout = sys.stderr = None\n"
        "    json.dumps = json.loads = time.monotonic_ns = None\n"
        "    print('into nothing')\n"
        "    return 1"
    )
    assert [outcome[1] for outcome in executor.run(executor.item(), executor.item())] == [0, 0]
    assert executor.drain() == 0


def test_background_task_that_exits_ends_the_executor(executor):
    executor.ready(
        "import asyncio, sys\n"
        "async def leave(): sys.exit(3)\n"
        "async def process(event):\n"
        "    task = asyncio.get_running_loop().create_task(leave())\n"
        "    await asyncio.sleep(30)"
    )
    executor.events.send("run", [executor.item()])
    assert executor.wait() == 1
    assert "SystemExit: 3" in executor.read_stderr()


def test_interrupt_kills_like_any_signal(executor):
    executor.ready("def process(event): ...")
    os.kill(executor.pid, signal.SIGINT)
    assert executor.wait() == -signal.SIGINT


def test_deep_recursion_is_an_error_of_the_attempt(executor):
    executor.ready("def process(event): return process(event)")
    assert executor.run_one()[4][0] == "RecursionError"
    assert executor.run_one()[4][0] == "RecursionError"


def test_exception_with_hostile_parts_is_still_an_outcome(executor):
    executor.ready(
        "class Evil(Exception):\n"
        "    def __str__(self): raise SystemExit\n"
        "    __repr__ = __str__\n"
        "def process(event): raise Evil"
    )
    status, error = executor.run_one()[1], executor.run_one()[4]
    assert (status, error[0]) == (1, "Evil")
