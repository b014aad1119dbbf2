"""Traces through the real service into a collector that speaks OTLP/HTTP, and one that is dead."""

import contextlib
import gzip
import http.server
import socket
import threading
import time

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from system_harness import Lab, event, serving, until

pytestmark = pytest.mark.slow

TRACE, PUBLISHER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{PUBLISHER}-01"
FIRST = """
def process(event, context):
    print("in A", event.id)
    assert event.extensions["traceparent"] == context.traceparent
    return {"seen": context.traceparent}
"""
SECOND = """
def process(event, context):
    context.logger.warning("in B")
    return {"given": event.data["seen"], "own": context.traceparent}
"""


class Collector:
    """Takes spans by OTLP/HTTP."""

    def __init__(self):
        self.resources, self.spans, self.requests = [], [], 0
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(self.path, self.headers["content-type"], body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def environ(self):
        host, port = self._server.server_address
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{host}:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_SERVICE_NAME": "under-test",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        }

    def take(self, path, content_type, body):
        assert (path, content_type) == ("/v1/traces", "application/x-protobuf")
        request = ExportTraceServiceRequest.FromString(body)
        self.requests += 1
        for resource in request.resource_spans:
            self.resources.append(facts(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def of(self, worker):
        """Return the spans about a worker by their names' first word."""
        mine = [s for s in self.spans if facts(s.attributes)["workmanager.worker"] == worker]
        return {span.name.split()[0]: span for span in mine}


def facts(attributes):
    return {a.key: a.value.string_value or a.value.int_value for a in attributes}


@pytest.fixture(scope="module")
def collector():
    listening = Collector()
    yield listening
    listening.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory, collector):
    options = ("--set", "log_worker_lines=true")
    with serving(tmp_path_factory.mktemp("state"), *options, environ=collector.environ) as service:
        yield service


def test_one_trace_from_the_publisher_through_two_workers(lab, collector):
    first = lab.worker("a", FIRST, topic="in", output="mid")
    second = lab.worker("b", SECOND, topic="mid", output="out")
    sink = lab.sink("out")
    lab.publish("in", [event({"n": 1}, id="e1", traceparent=PARENT, tracestate="vendor=1")])
    said = sink.data(1)[0]
    until(lambda: len(collector.of(second.name)) == 3 and len(collector.of(first.name)) == 3)
    a, b = collector.of(first.name), collector.of(second.name)
    assert set(a) == set(b) == {"receive", "process", "send"}
    chain = [a["receive"], a["process"], a["send"], b["receive"], b["process"], b["send"]]
    assert {span.trace_id.hex() for span in chain} == {TRACE}
    parents = [PUBLISHER, *(span.span_id.hex() for span in chain)]
    assert [span.parent_span_id.hex() for span in chain] == parents[:-1]
    assert len({span.span_id for span in chain}) == 6
    assert all(0 < span.start_time_unix_nano <= span.end_time_unix_nano for span in chain)
    assert all(span.trace_state == "vendor=1" for span in chain)
    assert [span.kind for span in chain[:3]] == [
        Span.SPAN_KIND_CONSUMER, Span.SPAN_KIND_CONSUMER, Span.SPAN_KIND_PRODUCER,
    ]  # fmt: skip
    assert said["given"] == f"00-{TRACE}-{a['process'].span_id.hex()}-01"
    assert said["own"] == f"00-{TRACE}-{b['process'].span_id.hex()}-01"
    told = facts(a["process"].attributes)
    assert told["messaging.system"] == "workmanager"
    assert told["messaging.operation.name"] == "process"
    assert told["messaging.destination.name"] == lab.topic("in")
    assert told["messaging.message.id"] == told["cloudevents.event_id"] == "e1"
    assert told["faas.version"] == first.get()["status"]["currentVersion"]
    assert told["workmanager.attempt"] == 1
    assert collector.resources[0]["service.name"] == "under-test"
    assert collector.resources[0]["deployment.environment"] == "test"


def test_lines_of_an_attempt_name_its_trace(lab, collector):
    worker = lab.worker("lines", SECOND, topic="in")
    context = PARENT.replace(TRACE, "5" * 32)
    lab.publish("in", [event({"seen": ""}, id="e1", traceparent=context)])
    until(lambda: "process" in collector.of(worker.name))
    span = collector.of(worker.name)["process"]
    line = lab.service.wait_line("worker_line", worker=worker.name)
    assert line["trace_id"] == span.trace_id.hex() == "5" * 32
    assert line["span_id"] == span.span_id.hex()
    assert line["version"] == worker.get()["status"]["currentVersion"]
    assert line["task"] == facts(span.attributes)["workmanager.task"]
    assert line["level"] == "warning"
    kept = worker.lines()[0]
    assert (kept["traceId"], kept["spanId"]) == (line["trace_id"], line["span_id"])
    assert (kept["version"], kept["executor"]) == (line["version"], line["executor"])


def test_each_attempt_is_a_span_with_its_error(lab, collector):
    code = "def process(event):\n    raise ValueError('not yet')\n"
    retry = {"maximumAttempts": 2, "initialInterval": 0.01}
    worker = lab.worker("failing", code, topic="in", retry=retry)
    lab.send("in", 1)
    until(worker.dead_letters)

    def attempts():
        mine = [s for s in collector.spans if f"process {lab.topic('in')}" == s.name]
        return mine if len(mine) == 2 else None

    first, second = until(attempts)
    assert first.trace_id == second.trace_id
    assert first.parent_span_id == second.parent_span_id
    assert [facts(s.attributes)["workmanager.attempt"] for s in (first, second)] == [1, 2]
    assert first.status.code == Status.STATUS_CODE_ERROR
    assert first.status.message == "not yet"
    assert facts(first.attributes)["error.type"] == "ValueError"
    raised = facts(first.events[0].attributes)
    assert raised["exception.type"] == "ValueError"
    assert "worker.py" in raised["exception.stacktrace"]
    received = [s for s in collector.spans if f"receive {lab.topic('in')}" == s.name]
    assert len(received) == 1


def test_an_attempt_that_dies_ends_its_span(lab, collector):
    code = "import os\ndef process(event):\n    os._exit(3)\n"
    worker = lab.worker("dying", code, topic="in", deadLetter={"maxCrashes": 1})
    lab.send("in", 1)
    until(worker.dead_letters)
    until(lambda: "process" in collector.of(worker.name))
    span = collector.of(worker.name)["process"]
    assert facts(span.attributes)["error.type"] == "ExecutorLost"


def test_a_decision_of_the_publisher_holds(lab, collector):
    worker = lab.worker("silent", FIRST, topic="in", output="out")
    sink = lab.sink("out")
    unsampled = PARENT[:-1] + "0"
    lab.publish("in", [event(1, id="e1", traceparent=unsampled)])
    assert sink.take(1)[0]["data"] == {"seen": unsampled}
    line = lab.service.wait_line("worker_line", worker=worker.name)
    assert line["trace_id"] == TRACE
    assert collector.of(worker.name) == {}


def test_the_context_of_a_request_is_taken_where_events_have_none(lab, collector):
    worker = lab.worker("joined", FIRST, topic="in")
    headers = {"content-type": "application/cloudevents+json", "traceparent": PARENT}
    path = f"/v1/topics/{lab.topic('in')}:publish"
    lab.client.post(path, event(1, id="e1"), headers=headers)
    until(lambda: "receive" in collector.of(worker.name))
    received = collector.of(worker.name)["receive"]
    assert received.trace_id.hex() == TRACE
    assert received.parent_span_id.hex() == PUBLISHER
    bad = {"content-type": "application/cloudevents+json", "traceparent": "nonsense"}
    lab.client.post(path, event(1, id="e2"), headers=bad)


@pytest.mark.parametrize("kind", ["refuses", "never answers"])
def test_a_dead_collector_costs_spans_and_nothing_else(kind, tmp_path):
    with contextlib.closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        if kind == "never answers":
            listening.listen(1)
        port = listening.getsockname()[1]
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "10",
            "OTEL_BSP_MAX_QUEUE_SIZE": "100",
        }
        with serving(tmp_path / "state", environ=environ) as service:
            lab = Lab(service)
            worker = lab.worker("w", "def process(event):\n    pass\n", topic="t")
            lab.publish("t", [event(i, id=i) for i in range(2000)])
            worker.until_idle()
            assert worker.status()["tasksCompleted"] == 2000
            dropped = until(lambda: metric(lab, "workmanager_spans_dropped_total"))
            assert dropped >= 1000
            assert metric(lab, "workmanager_spans_sent_total") == 0
            lab.close()
            began = time.monotonic()
            service.stop()
            assert time.monotonic() - began < 15
        complaints = [line for line in service.lines if line["event"] == "spans_dropped"]
        assert len(complaints) <= 1, "it complains once a minute"


def metric(lab, name):
    text = lab.client.get("/metrics").decode()
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(name)), 0)
