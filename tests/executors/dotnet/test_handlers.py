"""The contract of a C# handler: what it may take, what it may return, how it is found."""
# ruff: noqa: E501 - lines of C#

from __future__ import annotations

import json

import pytest

ORDER = "public record Order(int Id, string Name);\n"


def outputs_of(outcome):
    assert outcome[1] == 0, outcome
    return outcome[3]


def data_of(outcome):
    """Return the data of the outputs, decoded."""
    return [json.loads(output[5]) for output in outputs_of(outcome)]


def echo(parameter, expression, declarations=""):
    """Return a worker that gives back what *expression* says of its parameter."""
    return f"""
        {declarations}
        public class W {{ public object Process({parameter} x) => {expression}; }}
    """


@pytest.mark.parametrize(
    ("parameter", "expression", "data", "expected"),
    [
        ("CloudEvent", "new { x.Type, x.Id, d = x.GetData<int>() }", 7, None),
        ("Order", 'x.Name + "!"', {"ID": 1, "name": "tea"}, "tea!"),
        ("Order", "x is null", None, True),
        ("int", "x + 1", 41, 42),
        ("int?", "x is null", None, True),
        ("int[]", "x.Sum()", [1, 2, 3], 6),
        ("List<Order>", "x.Count", [{"id": 1}, {"id": 2}], 2),
        ("JsonElement", 'x.GetProperty("a").GetInt32()', {"a": 5}, 5),
        ("JsonElement", "x.ValueKind.ToString()", None, "Null"),
        ("JsonDocument", "x.RootElement.GetArrayLength()", [1, 2], 2),
        ("string", "x.Length", {"a": 1}, 8),
        ("byte[]", "x.Length", {"a": 1}, 8),
        ("ReadOnlyMemory<byte>", "x.Length", {"a": 1}, 8),
        ("Dictionary<string, object>", 'new { t = x["type"], d = x["data"] }', 3, None),
        (
            "IDictionary<string, object>",
            '((Dictionary<string, object>)x["data"])["k"]',
            {"k": 2},
            2,
        ),
        ("object", "((dynamic)x).data.k", {"k": [1]}, [1]),
        ("dynamic", "x.data.k.m", {"k": {"m": 1.5}}, 1.5),
    ],
)
def test_parameter_by_type(lab, parameter, expression, data, expected):
    executor = lab.ready(echo(parameter, expression, ORDER))
    if expected is None:
        expected = {"type": "test.event", "id": "e1", "d": 7}
        if parameter.startswith("Dictionary"):
            expected = {"t": "test.event", "d": 3}
    assert data_of(executor.run_one(data)) == [expected]


def test_several_parameters_in_any_order(lab):
    executor = lab.ready(
        ORDER
        + """
        public class W {
            public object Process(CancellationToken token, CloudEvent e, WorkerContext c, Order data) =>
                new { token.CanBeCanceled, e.Subject, c.Worker, c.Attempt, data.Name };
        }
        """
    )
    (found,) = data_of(executor.run_one({"id": 1, "name": "tea"}, subject="s"))
    assert found == {
        "canBeCanceled": True,
        "subject": "s",
        "worker": "orders",
        "attempt": 1,
        "name": "tea",
    }


def test_no_parameter_at_all(lab):
    executor = lab.ready("public static class W { public static int Process() => 5; }")
    assert data_of(executor.run_one()) == [5]


@pytest.mark.parametrize(
    ("returned", "body", "expected"),
    [
        ("void", "", []),
        ("object", "return null;", []),
        ("int", "return 5;", [5]),
        ("string", 'return "x";', ["x"]),
        ("List<int>", "return new() { 1, 2 };", [[1, 2]]),
        ("int[]", "return new[] { 1, 2 };", [[1, 2]]),
        ("IEnumerable<int>", "yield return 1; yield return 2;", [1, 2]),
        ("IEnumerable<CloudEvent>", 'yield return new("a", 1); yield return new("b", 2);', [1, 2]),
        ("List<CloudEvent>", 'return new() { new("a", 1), new("b", 2) };', [1, 2]),
        ("Task", "return Task.CompletedTask;", []),
        ("async Task", "await Task.Yield();", []),
        ("async Task<int>", "await Task.Yield(); return 5;", [5]),
        ("async Task<List<int>>", "await Task.Yield(); return new() { 1 };", [[1]]),
        ("async Task<IEnumerable<int>>", "await Task.Yield(); return new[] { 1, 2 };", [1, 2]),
        ("ValueTask", "return default;", []),
        ("async ValueTask<int>", "await Task.Yield(); return 5;", [5]),
        (
            "async IAsyncEnumerable<int>",
            "yield return 1; await Task.Yield(); yield return 2;",
            [1, 2],
        ),
        ("JsonElement", 'return JsonDocument.Parse("[1]").RootElement;', [[1]]),
        ("object", "return new { A = 1, Später = true };", [{"a": 1, "später": True}]),
        ("Dictionary<string, int>", 'return new() { ["Key"] = 1 };', [{"Key": 1}]),
        ("bool?", "return true;", [True]),
    ],
)
def test_return_by_type(lab, returned, body, expected):
    executor = lab.ready(f"public class W {{ public {returned} Process() {{ {body} }} }}")
    assert data_of(executor.run_one()) == expected
    assert executor.ready_frame["async"] is ("Task" in returned or "Async" in returned)


def test_bytes_go_out_as_they_are(lab):
    executor = lab.ready("public class W { public byte[] Process() => new byte[] { 0, 255 }; }")
    (output,) = outputs_of(executor.run_one())
    assert output[4:6] == ["application/octet-stream", b"\x00\xff"]


def test_output_event_with_every_attribute(lab):
    executor = lab.ready(
        """
        public class W {
            public CloudEvent Process() => new("t", new { A = 1 }) {
                Source = "/s", Subject = "u", Topic = "p", PartitionKey = "k",
                ["flag"] = true, ["count"] = 3,
            };
        }
        """
    )
    (output,) = outputs_of(executor.run_one())
    extensions = {"partitionkey": "k", "flag": True, "count": 3}
    assert output == ["p", "t", "/s", "u", "application/json", b'{"a":1}', extensions]


def test_received_event_is_passed_on_with_its_data_as_it_came(lab):
    executor = lab.ready(
        """
        public class W {
            public CloudEvent Process(CloudEvent e) { e.Type = "next"; e["hop"] = 1; return e; }
        }
        """
    )
    (output,) = outputs_of(executor.run_one(b"<x/>", datacontenttype="text/xml", ext="v"))
    assert output == [None, "next", "/test", None, "text/xml", b"<x/>", {"ext": "v", "hop": 1}]


@pytest.mark.parametrize(
    "result",
    [
        'new { Type = "t", Source = "s", Data = new { n = 1 } }',
        'new Dictionary<string, object> { ["TYPE"] = "t", ["source"] = "s", ["Data"] = new { n = 1 } }',
        'new Hashtable { ["Type"] = "t", ["Source"] = "s", ["data"] = new { n = 1 } }',
        'new[] { new { Type = "t", Source = "s", Data = new { n = 1 } } }',
        'new Seed("t", "s", new { n = 1 })',
    ],
)
def test_seed_form_of_a_result(lab, result):
    executor = lab.ready(
        "using System.Collections;\npublic record Seed(string Type, string Source, object Data);\n"
        f"public static class W {{ public static object Process() => {result}; }}"
    )
    (output,) = outputs_of(executor.run_one())
    assert output == [None, "t", "s", None, "application/json", b'{"n":1}', None]


def test_data_that_resembles_an_event_stays_data(lab):
    executor = lab.ready(
        'public class W { public object Process() => new { Type = "tea", Data = 1, Price = 2 }; }'
    )
    assert data_of(executor.run_one()) == [{"type": "tea", "data": 1, "price": 2}]


def test_published_outputs_come_before_the_returned_one(lab):
    executor = lab.ready(
        """
        public class W {
            public int Process(WorkerContext c) {
                c.Publish(1, topic: "p", type: "t");
                c.Publish(new CloudEvent("own", 2), subject: "s");
                return 3;
            }
        }
        """
    )
    found = outputs_of(executor.run_one())
    assert [output[:4] for output in found] == [
        ["p", "t", None, None],
        [None, "own", None, "s"],
        [None, None, None, None],
    ]


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("public double Process() => double.NaN;", "OutputError", "cannot become JSON"),
        (
            'public object Process() => new CloudEvent { ["Not OK"] = 1 };',
            "OutputError",
            "attribute",
        ),
        ('public object Process() => new CloudEvent { ["x"] = 1.5 };', "OutputError", "32-bit"),
        ('public object Process() => new CloudEvent("");', "OutputError", "type: is empty"),
        (
            "public IEnumerable<int> Process() => Enumerable.Range(0, 101);",
            "OutputTooLarge",
            "more than 100",
        ),
        ("public byte[] Process() => new byte[2 << 20];", "OutputTooLarge", "are allowed"),
        ("public int Process(int x) => x;", "DataError", "could not be converted"),
    ],
)
def test_value_that_cannot_be_used_is_final(lab, code, kind, words):
    executor = lab.ready(f"public class W {{ {code} }}")
    _, status, _, outputs, error = executor.run_one("text")
    assert (status, outputs, error[0]) == (3, [], kind)
    assert words in error[1]


def test_constructor_gets_context_logger_and_configuration(lab):
    executor = lab.ready(
        """
        public class W {
            readonly WorkerContext context; readonly string said;
            public W() => throw new Exception("the wrong constructor");
            public W(WorkerContext c, IReadOnlyDictionary<string, string> env,
                     IReadOnlyDictionary<string, object> config) {
                context = c;
                said = env["GREETING"] + config["n"];
            }
            public object Process() => new { said, context.TaskId, context.Attempt };
        }
        """,
        spawn={"env": {"GREETING": "hello"}},
        config={"n": 5},
    )
    found = data_of(executor.run_one())
    assert found == [{"said": "hello5", "taskId": "10000", "attempt": 1}]


def test_object_is_made_once_and_keeps_its_state(lab):
    executor = lab.ready("public class W { int n; public int Process() => ++n; }")
    assert [data_of(executor.run_one()) for _ in range(3)] == [[1], [2], [3]]


@pytest.mark.parametrize("form", ["void {0}", "async Task {0}Async", "async ValueTask {0}"])
def test_hooks_run_once(lab, form):
    start, stop = form.format("Start"), form.format("Stop")
    executor = lab.ready(
        f"""
        public class W : IDisposable {{
            int n = 0;
            public {start}(WorkerContext c) {{ n = c.Attempt + 10; await_(); }}
            public {stop}() {{ Console.WriteLine("stopped"); await_(); }}
            void await_() {{ }}
            public int Process() => n;
            public void Dispose() => Console.WriteLine("disposed");
        }}
        """
    )
    assert data_of(executor.run_one()) == [10]
    assert executor.drain() == 0
    lines = [executor.control.receive() for _ in range(2)]
    assert [line[3] for line in lines] == ["stopped", "disposed"]


def test_context_says_what_is_known(lab):
    executor = lab.ready(
        """
        public class W {
            public object Process(WorkerContext c) => new {
                c.Worker, c.WorkerUid, c.Version, c.Group, c.FencingToken, c.MaxAttempts,
                left = c.Remaining.TotalSeconds > 29 && c.Deadline > DateTimeOffset.UtcNow,
            };
        }
        """,
        group="g",
    )
    item = executor.item()
    item[4] = 77
    (outcome,) = executor.run(item)
    assert data_of(outcome) == [
        {
            "worker": "orders",
            "workerUid": "uid-1",
            "version": "v1",
            "group": "g",
            "fencingToken": 77,
            "maxAttempts": 3,
            "left": True,
        }
    ]


def test_heartbeat(lab):
    executor = lab.ready(
        "public class W { public void Process(WorkerContext c) => c.Heartbeat(new { Done = 5 }); }"
    )
    executor.run_one()
    assert executor.control.expect("heartbeat") == ["heartbeat", 1, b'{"done":5}']


TWO = """
    namespace A { public class One { public int Process() => 1; public int Other() => 11; } }
    namespace B { public class Two { public int Process() => 2; public class In { public int Process() => 3; } } }
    class Hidden { public int Process() => 4; }
"""


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ("A.One", 1),
        ("A.One.Process", 1),
        ("A.One.Other", 11),
        ("One", 1),
        ("One.Other", 11),
        ("B.Two+In.Process", 3),
        ("A.One::Other", 11),
        ("Worker::A.One::Process", 1),
        ("worker::Two::Process", 2),
        ("Hidden", 4),
    ],
)
def test_handler_by_name(lab, handler, expected):
    assert data_of(lab.ready(TWO, handler=handler).run_one()) == [expected]


@pytest.mark.parametrize(
    "code",
    [
        "[Worker] public class One { public int Process() => 1; } public class Two { public int Process() => 2; }",
        "public class One { public int Process() => 1; } class Two { public int Process() => 2; }",
        "class One { public int Process() => 1; }",
        "public class One { public int ProcessAsync() => 1; int Process() => 2; }",
        "public abstract class Base { public int Process() => 1; } public class One : Base { }",
    ],
)
def test_handler_that_is_the_only_fitting_one(lab, code):
    assert data_of(lab.ready(code).run_one()) == [1]


@pytest.mark.parametrize(
    ("code", "handler", "words"),
    [
        ("public class W { }", "", "no public Process or ProcessAsync in any class"),
        ("public class W { public int Proces() => 1; }", "", "the public methods are W.Proces"),
        ("public class W { int Process() => 1; }", "", "no public Process"),
        (TWO, "", "A.One.Process, B.Two+In.Process, B.Two.Process; name one in `handler`"),
        (TWO, "A.Three", "no public method for handler 'A.Three'"),
        (TWO, "A.One::Gone", "no public method for handler 'A.One::Gone'"),
        (TWO, "Other::A.One::Process", "the handler names assembly Other, the upload is Worker"),
        (
            "public class W { public int Process() => 1; public int Process(int x) => x; }",
            "",
            "2 overloads",
        ),
        ("public class W { public void Process<T>(T x) { } }", "", "is generic"),
        ("public class W { public T Process<T>() => default; }", "", "is generic"),
        ("public class W { public void Process(ref int x) { } }", "", "parameter 'x'"),
        (
            "public class W { public void Process(IDisposable x) { } }",
            "",
            "of type IDisposable cannot be given",
        ),
        ("public class W { W() { } public void Process() { } }", "", "no public constructor"),
        (
            "public class W { public W(int n) { } public void Process() { } }",
            "",
            "constructor parameter 'n'",
        ),
    ],
)
def test_handler_that_is_none(lab, code, handler, words):
    refusal = lab.refused(code, handler=handler)
    assert refusal["reason"] == "HANDLER_NOT_FOUND"
    assert words in refusal["message"]
