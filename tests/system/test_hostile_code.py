"""User code that attacks its channels: the executor ends, the service and its neighbours do not."""

from __future__ import annotations

import psutil
import pytest
from system_harness import event

FAST = {"backoffInitial": "10ms", "backoffMax": "20ms", "startLimitBurst": 0}
PACK = """
import os, struct, time
from workmanager_executor.packing import pack
def frame(body):
    return struct.pack(">I", len(body)) + body
def send(fd, *parts):
    os.write(fd, frame(pack(list(parts))))
n = 2  # the number of the bad event's delivery
def answer(status=0, duration_us=1, outputs=(), error=None):
    send(3, "done", [[n, status, duration_us, list(outputs), error]])
def process(event):
    if event.data != "bad":
        return event.data
    ATTACK
    time.sleep(REST)
"""

# Each ends the executor and is charged to the event that did it.
ATTACKS = {
    "garbage on events": "os.write(3, os.urandom(4096))",
    "garbage on control": "os.write(4, os.urandom(4096))",
    "huge length": "os.write(3, b'\\xff\\xff\\xff\\xff')",
    "zero length": "os.write(3, b'\\0\\0\\0\\0')",
    "not msgpack": "os.write(3, frame(b'\\xc1'))",
    "not an array": "os.write(3, frame(pack({'a': 1})))",
    "no kind": "os.write(3, frame(pack([1, 2])))",
    "unknown kind": "send(3, 'surprise')",
    "unknown kind on control": "send(4, 'surprise')",
    "ext type": "os.write(3, frame(b'\\x92\\xa4done\\xd4\\x05x'))",
    "deep nesting": "os.write(3, frame(b'\\x92\\xa4done' + b'\\x91' * 5000 + b'\\x90'))",
    "bomb of arrays": (
        "os.write(3, frame(b'\\x92\\xa4done\\xdd\\x00\\x0f\\xff\\xff' + b'\\x90' * 0xfffff))"
    ),
    "forged id": "send(3, 'done', [[999999, 0, 1, [], None]])",
    "answered twice": "o = [n, 0, 1, [], None]; send(3, 'done', [o, o])",
    "negative id": "send(3, 'done', [[-1, 0, 1, [], None]])",
    "outcome of wrong form": "send(3, 'done', [[n, 'ok', 1, [], None]])",
    "outcome too short": "send(3, 'done', [[n]])",
    "bool for int": "send(3, 'done', [[n, True, 1, [], None]])",
    "done without list": "send(3, 'done', 7)",
    "log of wrong form": "send(4, 'log', 1, 2, 3)",
    "heartbeat of wrong form": "send(4, 'heartbeat', 'x', b'')",
    "closes events": "os.close(3)",
    "shuts events": "import socket; socket.socket(fileno=3).shutdown(2)",
}
# Each is within the frames' form, or harmless: the event ends in its own way.
NUISANCES = {
    "unknown status": "answer(77)",
    "absurd duration": "answer(duration_us=-5)",
    "endless duration": "answer(duration_us=2**62)",
    "outputs of wrong form": "answer(outputs=['x'])",
    "output to a bad topic": "answer(outputs=[['a b', *[None] * 4, b'1', None]])",
    "forged attributes": "answer(outputs=[[*[None] * 5, b'1', {'id': 'x'}]])",
    "error of wrong form": "answer(1, error=[{}, [1], b'\\xff', 'soon'])",
    "endless delay": "answer(2, error=['Retry', '', '', 1e300])",
    "nan delay": "answer(2, error=['Retry', '', '', float('nan')])",
    "second ready": "send(3, 'ready', {'mode': 'batch'}); answer()",
    "late refusal": "send(3, 'refused', {'reason': 7}); answer()",
    "second hello": "send(3, 'hello', {'pid': 1}); answer()",
    "pongs": "[send(4, 'pong', i, {}) for i in range(1000)]; answer()",
    "heartbeats for nobody": "send(4, 'heartbeat', 10**9, b''); answer()",
    "control characters": "send(4, 'log', n, 'INFO', 'a\\x1b[2Jb\\nc'); answer()",
    "closes control": "os.close(4); answer()",
    "closes its pipes": "os.close(1); os.close(2); answer()",
}


@pytest.fixture(scope="module")
def neighbour_pid(shared):
    """Pid of the service, which must be the same when all is over."""
    pid = shared.pid
    yield pid
    assert psutil.pid_exists(pid)


def attacked(lab, attack, *, rest, **spec):
    """Send a good, a bad and a good event through a worker that attacks at the bad one."""
    code = PACK.replace("ATTACK", attack).replace("REST", str(rest))
    spec = {"restart": FAST, "retry": {"maximumAttempts": 1}, **spec}
    sink = lab.sink("out")
    worker = lab.worker("a", code, topic="in", output="out", **spec)
    lab.send("in", "good")
    sink.take(1)
    lab.publish("in", [event("bad", id="bad")])
    return worker, sink


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_costs_the_event_that_made_it(lab, neighbour_pid, name):
    probes = {"liveness": {"period": "1s", "timeout": "1s"}}  # a ping shows what was closed
    spec = {"deadLetter": {"maxCrashes": 1}, "probes": probes}
    worker, sink = attacked(lab, ATTACKS[name], rest=20, **spec)
    worker.until_idle()
    [letter] = worker.dead_letters()
    assert letter["event"]["id"] == "bad"
    assert letter["reason"] == "CRASHED"
    lab.publish("in", [event("after", id="after")])
    assert "after" in sink.data(2)
    assert lab.client.get("/livez") == b"ok\n"


@pytest.mark.parametrize("name", NUISANCES)
def test_nuisance_harms_nobody_else(lab, neighbour_pid, name):
    worker, sink = attacked(lab, NUISANCES[name], rest=0)
    worker.until(lambda status: status["delayed"] or not status["backlog"])
    lab.publish("in", [event("after", id="after")])
    sink.until(lambda status: status["tasksCompleted"] >= 2)
    assert "after" in [record["data"] for record in sink.take(2)]


def test_flood_of_output_is_cut_and_told(lab):
    code = """
    import os
    def process(event):
        for _ in range(200):
            os.write(1, b"x" * 65536)
        os.write(1, b"\\nthe end\\n")
        return "done"
    """
    worker = lab.worker("a", code)
    neighbour = lab.worker("b", "def process(event): return event.data")
    assert worker.invoke(timeoutS=60)["outputs"][0]["data"] == "done"
    assert neighbour.invoke(1)["outputs"][0]["data"] == 1
    texts = worker.texts()
    assert any("bytes were dropped" in text for text in texts)
    assert max(len(text) for text in texts) <= 16 * 1024
    assert sum(len(text) for text in texts) < 8 * 2**20


def test_flood_of_log_lines_is_cut(lab):
    code = """
    def process(event):
        for i in range(20_000):
            print("line", i)
        return "done"
    """
    worker = lab.worker("a", code)
    assert worker.invoke(timeoutS=60)["outputs"][0]["data"] == "done"
    assert len(worker.lines()) <= 2000


def test_flood_of_heartbeats_holds_nobody_up(lab):
    code = """
    def process(event, context):
        for _ in range(20_000):
            context.heartbeat()
        return "done"
    """
    worker = lab.worker("a", code)
    assert worker.invoke(timeoutS=60)["outputs"][0]["data"] == "done"


def test_terminal_tricks_in_a_line_are_made_visible(lab):
    code = """
    import os
    def process(event):
        os.write(2, b"red \\x1b[31m and \\x00 and \\xff\\n")
        os.write(1, "sep \\u2028 end\\n".encode())
    """
    worker = lab.worker("a", code)
    worker.invoke()
    lab.worker("b", "def process(event): pass").invoke()
    texts = worker.texts()
    assert any("red \\x1b[31m and \\x00 and \ufffd" in text for text in texts)
    assert not any("\u2028" in text or "\x1b" in text for text in texts)


def test_lines_over_the_channel_are_cut_and_escaped_as_those_of_a_pipe(lab):
    """The runtime keeps to its bound; hostile code writes to the channel past it."""
    attack = "send(4, 'log', n, 'INFO', 'a\\x1b[2J' + 'x' * 2_000_000); answer()"
    worker, _ = attacked(lab, attack, rest=0)
    worker.until(lambda status: not status["backlog"])
    texts = [text for text in worker.texts() if text.startswith("a\\x1b[2Jxxx")]
    assert texts
    assert max(len(text) for text in worker.texts()) < 17 * 1024


def test_executor_that_does_not_read_is_not_waited_for(lab):
    """Large events for one that never reads stay within its credit; others go on."""
    code = """
    import time
    def process(event):
        time.sleep(60)
    """
    drain = {"gracePeriod": "50ms", "killAfter": "50ms"}
    stuck = lab.worker("stuck", code, topic="in", drain=drain)
    free = lab.worker("free", "def process(event): return len(event.data)")
    lab.publish("in", [event("x" * 1_000_000, id=n) for n in range(12)])
    assert free.invoke("x" * 1000)["outputs"][0]["data"] == 1000
    assert stuck.status()["inFlight"] <= 2
    stuck.verb("stop")
    stuck.until_state("STOPPED")
    assert stuck.status()["backlog"] == 12
