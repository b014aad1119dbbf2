"""The context: what it knows, publish, heartbeat, logs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

FACTS = """
def process(event, context):
    deadline = context.deadline
    return {
        "task_id": context.task_id, "attempt": context.attempt, "worker": context.worker,
        "max_attempts": context.max_attempts, "version": context.version, "group": context.group,
        "fence": context.fencing_token, "config": context.config, "uid": context.worker_uid,
        "deadline": deadline and deadline.isoformat(), "remaining": min(context.remaining(), 1e9),
        "cancelled": context.cancelled,
    }
"""


def output_of(outcome: list) -> dict:
    assert outcome[1] == 0, outcome
    return json.loads(outcome[3][-1][5])


def test_context_knows_its_attempt(executor):
    executor.ready(FACTS, group="g", config={"region": "eu"}, startToCloseS=30)
    no, _, _, wire, _ = executor.item()
    facts = output_of(executor.run([no, 0xABC0001, 2, wire, 77])[0])
    deadline = datetime.fromisoformat(facts.pop("deadline"))
    assert timedelta(seconds=5) < deadline - datetime.now(UTC) <= timedelta(seconds=30)
    assert 5 < facts.pop("remaining") <= 30
    assert facts == {
        "task_id": "abc0001",
        "attempt": 2,
        "worker": "orders",
        "max_attempts": 3,
        "version": "v1",
        "group": "g",
        "fence": 77,
        "config": {"region": "eu"},
        "uid": "uid-1",
        "cancelled": False,
    }


def test_attempt_without_limit_has_no_deadline(executor):
    executor.ready(FACTS, startToCloseS=0)
    facts = output_of(executor.run_one())
    assert (facts["deadline"], facts["remaining"]) == (None, 1e9)


@pytest.mark.parametrize(("prefix", "wait"), [("", ""), ("async ", "await "), ("async ", "")])
def test_publish_and_heartbeat_work_awaited_or_not(executor, prefix, wait):
    executor.ready(
        "from workmanager_executor import Event\n"
        f"{prefix}def process(event, context):\n"
        f"    {wait}context.heartbeat({{'pct': 40}})\n"
        f"    {wait}context.publish({{'k': 1}}, topic='side', type='x', subject='s')\n"
        f"    {wait}context.publish(Event('y', 2, topic='own'))\n"
        "    return 3"
    )
    no, status, _, outputs, _ = executor.run_one()
    assert status == 0
    assert [[*output[:4], output[5]] for output in outputs] == [
        ["side", "x", None, "s", b'{"k":1}'],
        ["own", "y", None, None, b"2"],
        [None, None, None, None, b"3"],
    ]
    assert executor.control.expect("heartbeat") == ["heartbeat", no, b'{"pct":40}']


def test_heartbeat_of_a_batch_is_one_for_each_item(executor):
    executor.ready("def process_batch(events, context): context.heartbeat(1)")
    executor.events.send("batch", [executor.item(), executor.item()])
    executor.outcomes(2)
    assert [executor.control.expect("heartbeat")[1] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("context.publish({1})", "OutputError"),
        ("[context.publish(1) for _ in range(200)]", "OutputTooLarge"),
        ("context.heartbeat('x' * 100_000)", "OutputTooLarge"),
        ("context.heartbeat(object())", "OutputError"),
    ],
)
def test_misuse_ends_the_attempt_for_good(executor, statement, kind):
    executor.ready(f"def process(event, context):\n    {statement}")
    outcome = executor.run_one()
    assert (outcome[1], outcome[3], outcome[4][0]) == (3, [], kind)


def test_context_of_a_past_attempt_refuses_to_publish(executor):
    executor.ready(
        "kept = []\ndef process(event, context):\n    kept.append(context)\n    kept[0].publish(1)"
    )
    assert executor.run_one()[1] == 0
    outcome = executor.run_one()
    assert outcome[4][0] == "RuntimeError"
    assert "after its attempt had ended" in outcome[4][1]


def test_start_has_no_attempt_to_publish_in(executor):
    kind, facts = executor.load("def start(context): context.publish(1)\ndef process(event): ...")
    assert kind == "refused"
    assert "inside of an attempt only" in facts["message"]


def test_lines_belong_to_their_attempt(executor):
    executor.ready(
        "import logging, sys, threading\nprint('loading')\n"
        "def process(event, context):\n"
        "    print('one\\ntwo', end='')\n"
        "    print('oops', file=sys.stderr)\n"
        "    context.logger.warning('careful %s', 1)\n"
        "    logging.getLogger('lib').info('info')\n"
        "    logging.getLogger('lib').debug('not shown')\n"
        "    thread = threading.Thread(target=lambda: [print('thread'), "
        "context.logger.info('of attempt')])\n"
        "    thread.start(); thread.join()\n"
    )
    outcome = executor.run_one()
    assert outcome[1] == 0
    lines = [executor.control.expect("log")[1:] for _ in range(8)]
    assert lines == [
        [None, "INFO", "loading"],
        [1, "INFO", "one"],
        [1, "ERROR", "oops"],
        [1, "WARNING", "careful 1"],
        [1, "INFO", "info"],
        [None, "INFO", "thread"],
        [1, "INFO", "of attempt"],
        [1, "INFO", "two"],
    ]


def test_concurrent_attempts_keep_their_lines_apart(executor):
    executor.ready(
        "import asyncio\n"
        "async def process(event):\n"
        "    print('a', event.data, end=' ')\n"
        "    await asyncio.sleep(0)\n"
        "    print('b', event.data)",
        perExecutor=2,
    )
    executor.run(executor.item(1), executor.item(2))
    lines = sorted(executor.control.expect("log")[1:] for _ in range(2))
    assert lines == [[1, "INFO", "a 1 b 1"], [2, "INFO", "a 2 b 2"]]


def test_log_is_bounded_per_attempt_and_says_what_it_dropped(executor):
    executor.ready(
        "def process(event):\n    for n in range(100): print('x' * 99)", logLimitBytes=1000
    )
    for no in (1, 2):
        executor.run_one()
        lines = [executor.control.expect("log") for _ in range(11)]
        assert {line[1] for line in lines} == {no}
        assert lines[-1][2] == "WARNING"
        assert lines[-1][3].startswith("90 more lines of 8910 bytes were dropped")


def test_long_line_is_cut_and_odd_text_survives(executor):
    executor.ready("def process(event):\n    print('y' * 100_000 + '\\n\\ud800')")
    executor.run_one()
    assert executor.control.expect("log")[3] == "y" * 16384
    assert executor.control.expect("log")[3] == "\\ud800"


def test_raw_writes_go_through_the_pipes(executor):
    executor.ready(
        "import os, sys, subprocess\n"
        "def process(event):\n"
        "    os.write(1, b'raw out\\n'); sys.stderr.buffer.write(b'raw err\\n')\n"
        "    subprocess.run(['/bin/echo', 'child'], stdout=sys.stdout, check=True)"
    )
    assert executor.run_one()[1] == 0
    assert executor.read_stdout() == "raw out\nchild\n"
    assert executor.read_stderr() == "raw err\n"


def test_stdout_behaves_like_a_stream(executor):
    executor.ready(
        "import sys\n"
        "def process(event):\n"
        "    try:\n        sys.stdout.write(b'x')\n"
        "    except TypeError as error:\n        kind = str(error)\n"
        "    sys.stdout.flush()\n"
        "    return [sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.encoding,\n"
        "            sys.stdout.isatty(), sys.stdout.writable(), kind]"
    )
    assert output_of(executor.run_one()) == [
        *(1, 2, "utf-8", False, True),
        "write() argument must be str, not bytes",
    ]
