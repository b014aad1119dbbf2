"""Running: many events, several at a time, logs, drain."""
# ruff: noqa: E501 - lines of C#

from __future__ import annotations

import json
import time

import pytest

COUNTER = "public class W { int n; public int Process() => Interlocked.Increment(ref n); }"


def lines(executor, count):
    return [executor.control.expect("log")[1:] for _ in range(count)]


def test_events_are_handled_in_order(lab):
    executor = lab.ready(COUNTER)
    outcomes = executor.run(*(executor.item() for _ in range(2000)))
    assert [json.loads(outcome[3][0][5]) for outcome in outcomes] == list(range(1, 2001))


@pytest.mark.parametrize("width", [1, 8])
def test_large_events_and_outputs(lab, width):
    executor = lab.ready(
        "public class W { public CloudEvent Process(CloudEvent e) => e; }",
        perExecutor=width,
        maxOutputBytes=16 << 20,
    )
    body = bytes(5 << 20)
    for outcome in executor.run(*(executor.item(body) for _ in range(2))):
        assert outcome[3][0][5] == body


def test_frames_may_come_in_any_pieces(lab):
    from workmanager_executor.frames import encode

    executor = lab.ready(COUNTER)
    stream = b"".join(encode(["run", [executor.item() for _ in range(3)]]) for _ in range(5))
    for at in range(0, len(stream), 7):
        executor.events.sock.sendall(stream[at : at + 7])
    assert len(executor.outcomes(15)) == 15


@pytest.mark.parametrize(
    "body",
    [
        "async Task<int> Process() { await Meet(); return 1; }",
        "int Process() { Meet().Wait(); return 1; }",
    ],
)
def test_attempts_run_beside_each_other(lab, body):
    """Four attempts wait for each other: with fewer at a time none would end."""
    code = f"""
        public class W {{
            static readonly TaskCompletionSource met = new();
            static int n;
            static Task Meet() {{ if (Interlocked.Increment(ref n) % 4 == 0) met.SetResult(); return met.Task; }}
            public {body}
        }}
    """
    executor = lab.ready(code, perExecutor=4)
    assert all(outcome[1] == 0 for outcome in executor.run(*(executor.item() for _ in range(4))))


def test_no_more_run_beside_each_other_than_may(lab):
    code = """
        public class W {
            int now, most;
            public async Task<int> Process() {
                var here = Interlocked.Increment(ref now);
                lock (this) most = Math.Max(most, here);
                await Task.Delay(1);
                Interlocked.Decrement(ref now);
                return most;
            }
        }
    """
    executor = lab.ready(code, perExecutor=3)
    outcomes = executor.run(*(executor.item() for _ in range(60)))
    assert max(json.loads(outcome[3][0][5]) for outcome in outcomes) == 3


def test_outcome_does_not_wait_for_a_handler_that_runs_long(lab):
    executor = lab.ready(
        """
        public class W {
            static readonly ManualResetEventSlim go = new();
            public void Process(int n, CancellationToken t) { if (n == 1) t.WaitHandle.WaitOne(); }
        }
        """
    )
    executor.events.send("run", [executor.item(0), executor.item(1)])
    assert [outcome[0] for outcome in executor.outcomes(1)] == [1]
    executor.control.send("cancel", 2)
    assert [outcome[0] for outcome in executor.outcomes(1)] == [2]


def test_outcomes_beside_a_long_one_do_not_wait_either(lab):
    executor = lab.ready(
        "public class W { public async Task Process(int n, CancellationToken t) {"
        " await Task.Yield(); if (n == 1) await Task.Delay(-1, t); } }",
        perExecutor=2,
    )
    executor.events.send("run", [executor.item(1), executor.item(0), executor.item(0)])
    assert sorted(outcome[0] for outcome in executor.outcomes(2)) == [2, 3]
    executor.control.send("cancel", 1)
    executor.outcomes(1)


@pytest.mark.parametrize("width", [1, 4])
def test_drain_finishes_what_was_sent_before(lab, width):
    executor = lab.ready(
        "public class W { public async Task<int> Process() { await Task.Delay(1); return 1; }"
        ' public void Stop() => Console.WriteLine("stopped"); }',
        perExecutor=width,
    )
    executor.events.send("run", [executor.item() for _ in range(20)])
    executor.events.send("drain")
    assert len(executor.outcomes(20)) == 20
    executor.events.expect("bye")
    assert executor.wait() == 0
    assert lines(executor, 1) == [[None, "INFO", "stopped"]]


def test_stop_that_throws_is_logged(lab):
    executor = lab.ready(
        'public class W { public void Process() { } public void Stop() => throw new Exception("no"); }'
    )
    assert executor.drain() == 0
    (line,) = lines(executor, 1)
    assert line[1] == "ERROR"
    assert "no" in line[2]


def test_console_lines_belong_to_their_attempt(lab):
    executor = lab.ready(
        """
        public class W {
            public W() => Console.WriteLine("made");
            public async Task Process(int n, WorkerContext c) {
                Console.Write("a"); Console.WriteLine($"b{n}");
                await Task.Yield();
                Console.Error.WriteLine("e{0}", n);
                await Task.Run(() => Console.WriteLine("deep"));
                c.LogWarning("w");
                Console.Write("rest");
            }
        }
        """
    )
    executor.run(executor.item(1), executor.item(2))
    assert lines(executor, 11) == [
        [None, "INFO", "made"],
        *([no, *line] for no in (1, 2) for line in own_lines(no)),
    ]


def own_lines(no):
    return [
        ["INFO", f"ab{no}"],
        ["ERROR", f"e{no}"],
        ["INFO", "deep"],
        ["WARNING", "w"],
        ["INFO", "rest"],
    ]


def test_log_is_bounded_per_attempt(lab):
    executor = lab.ready(
        'public class W { public void Process() { for (var i = 0; i < 100; i++) Console.WriteLine("0123456789"); } }',
        logLimitBytes=200,
    )
    executor.run(executor.item(), executor.item())
    found = lines(executor, 42)
    assert [line[0] for line in found] == [1] * 21 + [2] * 21
    assert found[20][1:] == [
        "WARNING",
        "80 more lines of 800 bytes were dropped: 200 bytes may be logged",
    ]


def test_long_line_is_cut(lab):
    executor = lab.ready(
        "public class W { public void Process() => Console.WriteLine(new string('ü', 20000)); }",
        logLimitBytes=1 << 20,
    )
    executor.run_one()
    (line,) = lines(executor, 1)
    assert 16000 < len(line[2].encode()) <= 16384


def test_raw_descriptors_are_the_pipes(lab):
    executor = lab.ready(
        """
        public class W {
            public void Process() {
                using var raw = Console.OpenStandardOutput();
                raw.Write("raw\\n"u8);
            }
        }
        """
    )
    executor.run_one()
    assert executor.read_stdout() == "raw\n"


def test_what_a_handler_sets_in_its_context_ends_with_it(lab):
    executor = lab.ready(
        "public class W { static readonly AsyncLocal<int> local = new();"
        " public int Process() { var was = local.Value; local.Value = 5; return was; } }"
    )
    assert [json.loads(o[3][0][5]) for o in executor.run(executor.item(), executor.item())] == [
        0,
        0,
    ]


def test_durations_are_of_the_handler(lab):
    executor = lab.ready("public class W { public void Process(int ms) => Thread.Sleep(ms); }")
    executor.run_one(0)
    quick, slow = executor.run(executor.item(0), executor.item(50))
    assert quick[2] < 20_000
    assert slow[2] >= 50_000


def test_a_burst_of_single_events_is_answered_one_by_one(lab):
    executor = lab.ready(COUNTER)
    executor.run_one()
    begun = time.perf_counter()
    for _ in range(200):
        executor.run_one()
    assert time.perf_counter() - begun < 5
