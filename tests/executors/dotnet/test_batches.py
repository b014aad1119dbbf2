"""Handlers of batches: what they take, events that fail by themselves, cancels."""
# ruff: noqa: E501 - lines of C#

from __future__ import annotations

import json

import pytest


def run_batch(executor, *data):
    items = [executor.item(value) for value in data]
    executor.events.send("batch", items)
    return executor.outcomes(len(items))


def data_of(outcome):
    return [json.loads(output[5]) for output in outcome[3]]


@pytest.mark.parametrize(
    ("parameter", "expression"),
    [
        ("IReadOnlyList<CloudEvent>", "x.Sum(e => e.GetData<int>())"),
        ("CloudEvent[]", "x.Sum(e => e.GetData<int>())"),
        ("List<int>", "x.Sum()"),
        ("IEnumerable<JsonElement>", "x.Sum(e => e.GetInt32())"),
        ("string[]", "x.Sum(int.Parse)"),
    ],
)
def test_list_by_type(lab, parameter, expression):
    executor = lab.ready(
        f"public class W {{ public int ProcessBatch({parameter} x) => {expression}; }}"
    )
    assert executor.ready_frame["mode"] == "batch"
    outcomes = run_batch(executor, 1, 2, 3)
    assert [outcome[1] for outcome in outcomes] == [0, 0, 0]
    assert [data_of(outcome) for outcome in outcomes] == [[6], [], []]
    assert data_of(executor.run_one(5)) == [5]  # a single event is a batch of one


@pytest.mark.parametrize("width", [1, 4])
def test_events_that_fail_by_themselves(lab, width):
    code = """
        public class W {
            public async IAsyncEnumerable<string> ProcessBatchAsync(List<CloudEvent> events, WorkerContext c) {
                await Task.Yield();
                c.Fail(events[0], new RetryException("later", TimeSpan.FromSeconds(2)));
                c.Fail(2, new InvalidOperationException("no"));
                var said = "";
                try { c.Fail(new CloudEvent("x"), new Exception()); } catch (ArgumentException) { said = "not mine"; }
                yield return said;
                yield return c.TaskId;
            }
        }
    """
    executor = lab.ready(code, perExecutor=width)
    first, second, third = run_batch(executor, 1, 2, 3)
    assert (first[1], first[4][1], first[4][3]) == (2, "later", 2.0)
    assert (second[1], data_of(second)) == (0, ["not mine", "10000"])
    assert (third[1], third[4][0]) == (1, "InvalidOperationException")


def test_error_of_the_call_is_that_of_every_event(lab):
    executor = lab.ready(
        'public class W { public void ProcessBatch(int[] x) => throw new Exception("all"); }'
    )
    assert [(o[1], o[4][1]) for o in run_batch(executor, 1, 2)] == [(1, "all"), (1, "all")]


@pytest.mark.parametrize("width", [1, 4])
def test_cancel_of_one_is_a_cancel_of_the_call(lab, width):
    code = """
        public class W {
            public async Task ProcessBatch(int[] x, CancellationToken t) { Console.WriteLine("in"); await Task.Delay(-1, t); }
        }
    """
    executor = lab.ready(code, perExecutor=width)
    executor.control.send("cancel", 1)
    executor.control.send("ping", 1)
    executor.control.expect("pong")
    executor.events.send("batch", [executor.item(n) for n in range(3)])
    executor.control.expect("log")
    executor.control.send("cancel", 3)
    assert [outcome[1] for outcome in executor.outcomes(3)] == [5, 5, 5]


def test_heartbeat_is_of_every_event(lab):
    executor = lab.ready(
        "public class W { public void ProcessBatch(int[] x, WorkerContext c) => c.Heartbeat(); }"
    )
    run_batch(executor, 1, 2)
    assert [executor.control.expect("heartbeat")[1] for _ in range(2)] == [1, 2]


def test_batch_handler_goes_before_the_other(lab):
    code = (
        "public class W { public int Process(int x) => 1; public int ProcessBatch(int[] x) => 2; }"
    )
    assert data_of(lab.ready(code).run_one(0)) == [2]


def test_parameter_that_is_no_list_is_refused(lab):
    code = "public class W { public void ProcessBatch(CloudEvent x) { } }"
    assert "takes a list of CloudEvent" in lab.refused(code)["message"]


def test_fail_is_for_batches_only(lab):
    code = "public class W { public void Process(WorkerContext c) => c.Fail(0, new Exception()); }"
    outcome = lab.ready(code).run_one()
    assert "handlers of batches" in outcome[4][1]
