"""`context.Http`: what goes to the supervisor, what comes of its answer, and what ends it."""
# ruff: noqa: E501 - lines of C#

from __future__ import annotations

import json

import pytest
from dotnet_harness import BRIDGE
from harness import job

GET = "public class W { public async Task<string> ProcessAsync(WorkerContext c) => await c.Http.GetStringAsync(%s); }"


def begin(lab, code, **fields):
    executor = lab.ready(code, **fields)
    executor.events.send("run", [executor.item()])
    return executor, executor.control.expect("http")


def ended(executor):
    ((_, status, _, outputs, error),) = executor.outcomes(1)
    return status, [json.loads(output[5]) for output in outputs], error


@pytest.mark.parametrize("width", [1, 4])
def test_request_and_answer(lab, width):
    code = """
        public class W {
            public async Task<object> ProcessAsync(WorkerContext c, CancellationToken token) {
                var request = new System.Net.Http.HttpRequestMessage(System.Net.Http.HttpMethod.Post, "https://a.example/x?y=ü");
                request.Headers.Add("X-Key", "k");
                request.Headers.UserAgent.ParseAdd("mine/1.0 (test)");
                request.Content = new System.Net.Http.StringContent("{}", System.Text.Encoding.UTF8, "application/json");
                var answer = await c.Http.SendAsync(request, token);
                var said = answer.Headers.GetValues("x-said").Single();
                return new { code = (int)answer.StatusCode, said, text = await answer.Content.ReadAsStringAsync(),
                             type = answer.Content.Headers.ContentType.MediaType };
            }
        }
    """
    executor, frame = begin(lab, code, perExecutor=width)
    _, number, method, url, headers, body, timeout_s = frame
    assert (method, url, body) == ("POST", "https://a.example/x?y=%C3%BC", b"{}")
    assert dict(headers) == {
        "X-Key": "k",
        "User-Agent": "mine/1.0 (test)",
        "Content-Type": "application/json; charset=utf-8",
    }
    assert 0 < timeout_s <= 600
    answer = [["x-said", "hi"], ["content-type", "text/plain"], ["content-length", "3"]]
    executor.control.send("http", number, 404, answer, b"gone")
    status, outputs, _ = ended(executor)
    assert status == 0
    assert outputs == [{"code": 404, "said": "hi", "text": "gone", "type": "text/plain"}]


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [("refused", 3, "HttpRefusedException"), ("failed", 1, "HttpRequestException")],
)
def test_request_without_an_answer(lab, kind, status, error):
    executor, frame = begin(lab, GET % '"https://a.example/"')
    executor.control.send("http", frame[1], kind, "not today")
    found = ended(executor)
    assert (found[0], found[2][0], found[2][1]) == (status, error, "not today")


def test_status_of_failure_is_an_exception_where_dotnet_has_it_so(lab):
    executor, frame = begin(lab, GET % '"https://a.example/"')
    executor.control.send("http", frame[1], 503, [], b"")
    found = ended(executor)
    assert (found[0], found[2][0]) == (1, "HttpRequestException")


@pytest.mark.parametrize("call", ["await", "blocked"])
def test_cancel_ends_a_request(lab, call):
    wait = {
        "await": 'await c.Http.GetAsync("https://a.example/")',
        "blocked": 'c.Http.GetAsync("https://a.example/").GetAwaiter().GetResult()',
    }[call]
    code = f"public class W {{ public async Task ProcessAsync(WorkerContext c) {{ {wait}; await Task.Yield(); }} }}"
    executor, frame = begin(lab, code)
    executor.control.send("cancel", 1)
    assert ended(executor)[0] == 5
    executor.control.send("http", frame[1], 200, [], b"too late")
    executor.control.send("ping", 1)
    executor.control.expect("pong")


def test_one_client_for_constructor_and_start(lab):
    code = """
        public class W {
            readonly System.Net.Http.HttpClient http;
            string said;
            public W(System.Net.Http.HttpClient http) {
                this.http = http;
                http.BaseAddress = new Uri("https://a.example/");
            }
            public async Task StartAsync() => said = await http.GetStringAsync("start");
            public string Process(System.Net.Http.HttpClient other, WorkerContext c) =>
                said + ReferenceEquals(http, other) + ReferenceEquals(http, c.Http);
        }
    """
    executor = lab.spawn()
    image = lab.compiler.compile(code)
    executor.events.expect("hello")
    place = {"root": str(lab.dotnet.root), "bridge": str(BRIDGE)}
    executor.events.send("load", job(image, engine="text/x-dll", dotnet=place))
    _, number, _, url, *_ = executor.control.expect("http")
    assert url == "https://a.example/start"
    executor.control.send("http", number, 200, [], b"ready ")
    executor.events.expect("ready")
    assert json.loads(executor.run_one()[3][0][5]) == "ready TrueTrue"


def test_body_that_no_rule_allows(lab):
    code = """
        public class W {
            public Task Process(WorkerContext c) => c.Http.PutAsync(
                "https://a.example/", new System.Net.Http.ByteArrayContent(new byte[9 << 20]));
        }
    """
    outcome = lab.ready(code).run_one()
    assert (outcome[1], outcome[4][0]) == (3, "HttpRefusedException")


def test_trace_context_of_the_event(lab):
    code = 'public class W { public string Process(WorkerContext c) => c.TraceParent ?? "none"; }'
    executor = lab.ready(code)
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    first, second = executor.run(executor.item(traceparent=trace), executor.item())
    assert [json.loads(outcome[3][0][5]) for outcome in (first, second)] == [trace, "none"]
