"""How attempts end otherwise: exceptions, signals by name, cancellation, crashes; and executors."""
# ruff: noqa: E501 - lines of C#

from __future__ import annotations

import signal

import pytest

OWN_SIGNALS = """
    public class Retry : Exception { public Retry(string m, object after) : base(m) { After = after; }
                                     public object After { get; } }
    public class NonRetryable : Exception { public string Type => "own.type"; }
    public class Drop : Exception { public Drop(string m) : base(m) { } }
"""


def worker(body, parameters=""):
    return f"public class W {{\n    public void Process({parameters})\n    {{\n        {body}\n    }}\n}}"


@pytest.mark.parametrize(
    ("thrown", "status", "kind", "message", "after"),
    [
        ('new InvalidOperationException("no")', 1, "InvalidOperationException", "no", None),
        (
            'new RetryException("later", TimeSpan.FromSeconds(1.5))',
            2,
            "RetryException",
            "later",
            1.5,
        ),
        ('new RetryException("later")', 2, "RetryException", "later", None),
        ('new NonRetryableException("bad", "order.bad")', 3, "order.bad", "bad", None),
        ('new NonRetryableException("bad")', 3, "NonRetryableException", "bad", None),
        ('new DropException("old")', 4, "DropException", "old", None),
        (
            'new AggregateException(new TimeoutException("slow"))',
            1,
            "TimeoutException",
            "slow",
            None,
        ),
        ("new OperationCanceledException()", 1, "OperationCanceledException", None, None),
    ],
)
def test_exception(lab, thrown, status, kind, message, after):
    outcome = lab.ready(worker(f"throw {thrown};")).run_one()
    assert (outcome[1], outcome[4][0], outcome[4][3]) == (status, kind, after)
    assert message is None or outcome[4][1] == message


@pytest.mark.parametrize(
    ("thrown", "status", "kind", "after"),
    [
        ('new Retry("m", TimeSpan.FromMinutes(1))', 2, "Retry", 60.0),
        ('new Retry("m", 5)', 2, "Retry", 5.0),
        ('new Retry("m", 0.25)', 2, "Retry", 0.25),
        ('new Retry("m", "x")', 2, "Retry", None),
        ('new Retry("m", -3)', 2, "Retry", 0.0),
        ("new NonRetryable()", 3, "own.type", None),
        ('new Drop("m")', 4, "Drop", None),
    ],
)
def test_signals_are_known_by_name_so_a_worker_needs_no_package_of_ours(
    lab, thrown, status, kind, after
):
    image = lab.compiler.compile(OWN_SIGNALS + worker(f"throw {thrown};"))
    outcome = lab.ready(image).run_one()
    assert (outcome[1], outcome[4][0], outcome[4][3]) == (status, kind, after)


def test_traceback_has_lines_and_no_frames_of_ours(lab):
    code = """
        public class W {
            public async Task ProcessAsync(CloudEvent e) {
                await Task.Yield();
                Inner();
            }
            static void Inner() => throw new Exception("outer", new FormatException("inner"));
        }
    """
    trace = lab.ready(code).run_one()[4][2]
    assert "worker.cs:line 7" in trace
    assert "worker.cs:line 5" in trace
    assert "FormatException: inner" in trace
    assert "WorkManager.Host" not in trace


def test_exception_with_hostile_members(lab):
    code = """
        public class Retry : Exception {
            public override string Message => throw new Exception("no message");
            public override string ToString() => throw new Exception("no text");
            public object After => throw new Exception("no after");
        }
        public class Bad : Exception { public override string ToString() => null;
                                       public override string Message => null; }
        public class W { public void Process(int n) { if (n == 0) throw new Retry(); throw new Bad(); } }
    """
    executor = lab.ready(code)
    first, second = executor.run(executor.item(0), executor.item(1))
    assert (first[1], second[1]) == (2, 1)
    assert "cannot be shown" in first[4][1]


def test_huge_message_is_cut(lab):
    outcome = lab.ready(worker("throw new Exception(new string('ü', 100000));")).run_one()
    assert 4000 < len(outcome[4][1].encode()) <= 4096
    assert len(outcome[4][2].encode()) <= 16384


BY_TOKEN = """
    public class W {
        public async Task Process(CancellationToken t) { Console.WriteLine("in"); await Task.Delay(-1, t); }
    }
"""
BY_CONTEXT = """
    public class W {
        public void Process(WorkerContext c) {
            Console.WriteLine("in");
            c.CancellationToken.WaitHandle.WaitOne();
            c.CancellationToken.ThrowIfCancellationRequested();
        }
    }
"""
IN_A_STREAM = """
    public class W {
        public async IAsyncEnumerable<int> Process(CancellationToken t) {
            Console.WriteLine("in");
            await Task.Delay(-1, t);
            yield return 1;
        }
    }
"""


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("code", [BY_TOKEN, BY_CONTEXT, IN_A_STREAM])
def test_cancel_reaches_the_token(lab, code, width):
    executor = lab.ready(code, perExecutor=width)
    executor.events.send("run", [executor.item()])
    assert executor.control.expect("log")[3] == "in"
    executor.control.send("cancel", 1)
    ((_, status, _, outputs, error),) = executor.outcomes(1)
    assert (status, outputs, error[0]) == (5, [], "Cancelled")


@pytest.mark.parametrize("width", [1, 4])
def test_cancel_that_comes_before_its_event(lab, width):
    executor = lab.ready("public class W { public int Process() => 1; }", perExecutor=width)
    executor.control.send("cancel", 1)
    executor.control.send("ping", 5)
    executor.control.expect("pong")
    first, second = executor.run(executor.item(), executor.item())
    assert (first[1], second[1]) == (5, 0)


def test_cancellation_callback_that_throws_is_logged(lab):
    code = worker(
        't.Register(() => throw new Exception("callback")); Console.WriteLine("in");'
        " t.WaitHandle.WaitOne();",
        "CancellationToken t",
    )
    executor = lab.ready(code)
    executor.events.send("run", [executor.item()])
    executor.control.expect("log")
    executor.control.send("cancel", 1)
    assert "a cancellation callback failed" in executor.control.expect("log")[3]
    assert executor.outcomes(1)[0][1] == 0


def test_ping_is_answered_while_the_handler_spins(lab):
    executor = lab.ready(worker('Console.WriteLine("in"); while (true) { }'))
    executor.events.send("run", [executor.item()])
    executor.control.expect("log")
    executor.control.send("ping", 7)
    _, number, stats = executor.control.expect("pong")
    assert (number, stats["cpu_us"] > 0) == (7, True)


def test_sigterm_ends_even_a_handler_that_spins(lab):
    executor = lab.ready(worker('Console.WriteLine("in"); while (true) { }'))
    executor.events.send("run", [executor.item()])
    executor.control.expect("log")
    import os

    os.kill(executor.pid, signal.SIGTERM)
    assert executor.wait() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("void F() => F(); F();", -signal.SIGABRT, "Stack overflow"),
        ('Environment.FailFast("it broke");', -signal.SIGABRT, "it broke"),
        ("Environment.Exit(42);", 42, ""),
        (
            'new Thread(() => throw new Exception("behind")).Start(); Thread.Sleep(-1);',
            -signal.SIGABRT,
            "behind",
        ),
        (
            "unsafe { *(int*)8 = 1; }",  # in the first page a plain exception, beyond it fatal
            None,
            "NullReferenceException",
        ),
        ("unsafe { *(int*)0x100000000 = 1; }", -signal.SIGABRT, "AccessViolationException"),
    ],
)
def test_crash_ends_the_process_and_says_why_on_stderr(lab, body, code, words):
    executor = lab.ready(worker(body))
    executor.events.send("run", [executor.item()])
    if code is None:
        assert executor.outcomes(1)[0][4][0] == words
        return
    assert executor.wait() == code
    said = executor.read_stderr()
    assert words in said
    if code == -signal.SIGABRT:
        assert "at W." in said


def test_out_of_memory_is_an_exception_of_the_attempt(lab):
    executor = lab.ready(
        "public class W { public int Process(int mib) => new byte[mib << 20].Length; }"
    )
    failed, fine = executor.run(executor.item(400), executor.item(1))
    assert (failed[1], failed[4][0]) == (1, "OutOfMemoryException")
    assert fine[1] == 0


def test_task_that_nobody_waits_for_is_told_in_the_log(lab):
    code = """
        public class W {
            public void Process() { Lose(); GC.Collect(); GC.WaitForPendingFinalizers(); }
            static void Lose() => Task.Run(() => throw new Exception("lost")).ContinueWith(_ => { }).Wait();
        }
    """
    executor = lab.ready(code)
    executor.run_one()
    executor.run_one()
    assert "lost" in executor.control.expect("log")[3]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (["run", 5], "array"),
        (["run", [[1, 2]]], "five parts"),
        (["dance"], "not understood"),
        (["batch", []], "not understood"),
        (["run", [["x", 1, 1, b"", None]]], "integer"),
    ],
)
def test_frame_that_is_wrong_ends_the_executor(lab, frame, words):
    executor = lab.ready("public class W { public void Process() { } }")
    executor.events.send(*frame)
    assert executor.wait() == 72
    assert words in executor.read_stderr()


def test_control_frame_that_is_wrong_ends_the_executor(lab):
    executor = lab.ready("public class W { public void Process() { } }")
    executor.control.send("dance", 1)
    assert executor.wait() == 72
    assert "'dance' is not understood" in executor.read_stderr()


@pytest.mark.parametrize("channel", ["events", "control"])
@pytest.mark.parametrize("is_busy", [False, True])
def test_executor_ends_when_a_channel_closes(lab, channel, is_busy):
    executor = lab.ready(worker('Console.WriteLine("in"); while (true) { }'))
    if is_busy:
        executor.events.send("run", [executor.item()])
        executor.control.expect("log")
    getattr(executor, channel).sock.close()
    assert executor.wait() == 72
