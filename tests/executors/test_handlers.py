"""All handler forms, run in real executors."""

from __future__ import annotations

import json

import pytest

TYPE, DATA = 1, 5


def data_of(outcome: list) -> list:
    """Return the decoded data of an outcome's outputs, which has to be well."""
    assert outcome[1] == 0, outcome
    return [None if output[DATA] is None else json.loads(output[DATA]) for output in outcome[3]]


@pytest.mark.parametrize("prefix", ["", "async "], ids=["sync", "async"])
class TestForms:
    def test_process_returns_data(self, executor, prefix):
        executor.ready(f"{prefix}def process(event): return {{'n': event.data['n'] + 1}}")
        assert data_of(executor.run_one({"n": 1})) == [{"n": 2}]

    def test_process_returns_nothing(self, executor, prefix):
        executor.ready(f"{prefix}def process(event): pass")
        assert executor.run_one({"n": 1})[1:] == [0, pytest.approx(0, abs=1e6), [], None]

    def test_process_returns_events(self, executor, prefix):
        executor.ready(
            "from workmanager_executor import Event\n"
            f"{prefix}def process(event, context):\n"
            "    return [Event('a', 1), Event('b', 2, topic='t')]"
        )
        outputs = executor.run_one()[3]
        assert [(output[0], output[TYPE], output[DATA]) for output in outputs] == [
            (None, "a", b"1"),
            ("t", "b", b"2"),
        ]

    def test_process_yields(self, executor, prefix):
        executor.ready(
            "from workmanager_executor import Event\n"
            f"{prefix}def process(event):\n"
            "    yield {'n': 1}\n    yield None\n    yield Event('t', 2)\n    yield [3]"
        )
        assert data_of(executor.run_one()) == [{"n": 1}, 2, [3]]

    def test_seed_process(self, executor, prefix):
        executor.ready(
            f"{prefix}def Process(event):\n"
            "    return {'Type': 't', 'Source': 's', 'Data': event['data']}"
        )
        outcome = executor.run_one({"x": 1})
        assert outcome[3][0][:3] == [None, "t", "s"]
        assert data_of(outcome) == [{"x": 1}]

    def test_seed_process_yields_lists(self, executor, prefix):
        executor.ready(
            f"{prefix}def Process(event, context):\n"
            "    yield {'Data': 1}\n    yield [{'total': 2}, {'DATA': 3}]"
        )
        assert data_of(executor.run_one()) == [1, {"total": 2}, 3]

    def test_batch(self, executor, prefix):
        executor.ready(
            "from workmanager_executor import BatchResult, Retry\n"
            f"{prefix}def process_batch(events, context):\n"
            "    failures = {events[1]: ValueError('bad'), events[2].id: Retry('busy', after=3),\n"
            "                0: KeyError}\n"
            "    return BatchResult(outputs=[len(events)], failures=failures)",
            batchSize=10,
        )
        executor.events.send("batch", [executor.item(n) for n in range(4)])
        outcomes = executor.outcomes(4)
        assert [outcome[1] for outcome in outcomes] == [1, 1, 2, 0]
        assert [outcome[4] and outcome[4][0] for outcome in outcomes] == [
            "KeyError",
            "ValueError",
            "Retry",
            None,
        ]
        assert outcomes[2][4][3] == 3.0
        assert [len(outcome[3]) for outcome in outcomes] == [0, 0, 0, 1]
        assert data_of(outcomes[3]) == [4]

    def test_start_and_stop(self, executor, prefix):
        executor.ready(
            "state = []\n"
            f"{prefix}def start(context):\n"
            "    state.append(context.worker); print('up', context.task_id, context.attempt)\n"
            f"{prefix}def stop(context): print('down', state)\n"
            f"{prefix}def process(event): return state"
        )
        assert executor.control.expect("log") == ["log", None, "INFO", "up  0"]
        assert data_of(executor.run_one()) == [["orders"]]
        executor.drain()
        assert executor.control.expect("log") == ["log", None, "INFO", "down ['orders']"]

    def test_error(self, executor, prefix):
        executor.ready(
            "def inner(x):\n    return 1 / x\n"
            f"{prefix}def process(event):\n    return inner(event.data)\n"
        )
        _, status, _, outputs, (kind, message, trace, after_s) = executor.run_one(0)
        assert (status, outputs, kind, after_s) == (1, [], "ZeroDivisionError", None)
        assert message == "division by zero"
        assert "return inner(event.data)" in trace
        assert "return 1 / x" in trace
        assert "calls.py" not in trace

    @pytest.mark.parametrize(
        ("statement", "status", "kind"),
        [
            ("raise w.Retry('later', after=5)", 2, "Retry"),
            ("raise w.NonRetryable('never', type='Invalid')", 3, "Invalid"),
            ("raise w.Drop('old')", 4, "Drop"),
            ("raise SystemExit(1)", 1, "SystemExit"),
            ("raise KeyboardInterrupt", 1, "KeyboardInterrupt"),
            ("raise BaseException('x')", 1, "BaseException"),
            ("return {1, 2}", 3, "OutputError"),
            ("return float('nan')", 3, "OutputError"),
            ("return 'x' * 2000000", 3, "OutputTooLarge"),
            ("event.data", 3, "DataError"),
            ("raise RecursionError", 1, "RecursionError"),
        ],
    )
    def test_outcome_of(self, executor, prefix, statement, status, kind):
        executor.ready(
            f"import workmanager_executor as w\n{prefix}def process(event):\n    {statement}"
        )
        outcome = executor.run_one(b"{", datacontenttype="application/json")
        assert (outcome[1], outcome[3], outcome[4][0]) == (status, [], kind)
        assert executor.run_one(b"{", datacontenttype="application/json")[1] == status

    def test_outputs_before_an_error_are_not_sent(self, executor, prefix):
        executor.ready(
            f"{prefix}def process(event, context):\n"
            "    context.publish(1)\n    yield 2\n    raise ValueError"
        )
        assert executor.run_one()[3] == []


def test_batch_handler_takes_single_events_too(executor):
    answer = executor.load("def process_batch(events): return [e.data for e in events]")
    assert answer[1]["mode"] == "batch"
    outcomes = executor.run(executor.item(1), executor.item(2))
    assert [data_of(outcome) for outcome in outcomes] == [[1], [2]]


def test_batch_that_fails_as_a_whole_fails_each_item(executor):
    executor.ready("def process_batch(events): raise OSError('down')")
    executor.events.send("batch", [executor.item() for _ in range(3)])
    assert [outcome[4][0] for outcome in executor.outcomes(3)] == ["OSError"] * 3


@pytest.mark.parametrize(
    "failures", ["{'no such id': ValueError()}", "{7: ValueError()}", "{0: 'text'}", "{True: 1}"]
)
def test_batch_failures_that_make_no_sense_are_named(executor, failures):
    executor.ready(
        "from workmanager_executor import BatchResult\n"
        f"def process_batch(events): return BatchResult(failures={failures})"
    )
    executor.events.send("batch", [executor.item(), executor.item()])
    for outcome in executor.outcomes(2):
        assert (outcome[1], outcome[4][0]) == (3, "OutputError")
        assert "failures[" in outcome[4][1]


def test_ready_names_the_handler(executor):
    answer = executor.load("async def process(event): ...")
    assert answer[1]["handler"] == "process"
    assert (answer[1]["mode"], answer[1]["async"]) == ("event", True)


def test_handler_that_hides_its_coroutine_is_told_so(executor):
    executor.ready("async def f(e): ...\ndef process(event): return f(event)")
    outcome = executor.run_one()
    assert (outcome[1], outcome[4][0]) == (3, "HandlerError")
    assert "functools.wraps" in outcome[4][1]


def test_refusal_is_sent_and_the_executor_ends(executor):
    kind, facts = executor.load("import json\n\ndef process(event:\n    pass\n")
    assert kind == "refused"
    assert (facts["reason"], facts["file"], facts["line"]) == ("BUILD_FAILED", "worker.py", 3)
    assert facts["message"].startswith("SyntaxError: ")
    assert executor.wait() == 70


def test_start_that_fails_refuses_the_version(executor):
    kind, facts = executor.load(
        "def start(context):\n    open('/no/such/file')\ndef process(event): ..."
    )
    assert (kind, facts["line"]) == ("refused", 2)
    assert facts["message"].startswith("start() failed: FileNotFoundError")
    assert executor.wait() == 70


def test_stop_that_fails_is_logged_and_the_executor_still_says_bye(executor):
    executor.ready("def stop(context): 1 / 0\ndef process(event): ...")
    assert executor.drain() == 0
    _, no, level, text = executor.control.expect("log")
    assert (no, level) == (None, "ERROR")
    assert "ZeroDivisionError" in text


def test_dataclasses_and_pickle_work_in_worker_code(executor):
    executor.ready(
        "from dataclasses import dataclass\nimport pickle, inspect\n"
        "@dataclass\nclass Order:\n    total: int\n"
        "def process(event):\n"
        "    order = pickle.loads(pickle.dumps(Order(3)))\n"
        "    return [order.total, Order.__module__, inspect.getsource(process).split('(')[0]]"
    )
    assert data_of(executor.run_one()) == [[3, "worker", "def process"]]


def test_context_variables_do_not_leak_into_the_next_event(executor):
    executor.ready(
        "import contextvars\nvar = contextvars.ContextVar('v', default=0)\n"
        "def process(event):\n    var.set(var.get() + 1)\n    return var.get()"
    )
    outcomes = executor.run(executor.item(), executor.item())
    assert [data_of(outcome) for outcome in outcomes] == [[1], [1]]
