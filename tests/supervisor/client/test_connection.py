"""The client over real sockets: framing, keeping the connection, and every way an answer fails."""

import json
import socket
import threading

import pytest

from workmanager.client import (
    ClientTimeoutError,
    ConnectionLostError,
    NoSupervisorError,
    ProblemError,
)
from workmanager.client.light import LightClient
from workmanager.errors import Fault

PROBLEM = {
    "reason": "INVALID_ARGUMENT",
    "status": 400,
    "detail": "the manifest has 2 faults",
    "errors": [
        {"pointer": "spec.triggers[0].topic", "detail": "is required"},
        {"pointer": "spec.retry", "detail": "unknown"},
    ],
    "metadata": {"worker": "orders"},
    "retryAfterMs": 1500,
}


def client(server, **options):
    return LightClient(server.url, token="", **options)


def reply(body=b"{}", *, status="200 OK", headers=""):
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body


def test_calls_share_one_connection(server):
    with client(server) as wm:
        wm.get_worker("a")
        wm.get_worker("b")
    assert [asked.path for asked in server.asked] == ["/v1/workers/a", "/v1/workers/b"]
    assert server.connections == 1


def test_names_are_quoted_in_paths_and_queries(server):
    with client(server) as wm:
        wm.get_worker("a/b c:d?é")
        wm.list_workers(filter="state = RUNNING&x")
    assert server.asked[0].path == "/v1/workers/a%2Fb%20c%3Ad%3F%C3%A9"
    assert server.asked[1].path == "/v1/workers?filter=state%20%3D%20RUNNING%26x"


def test_unix_socket_path_is_a_target(unix_server):
    path = unix_server.listener.getsockname()
    with LightClient(path, token="") as wm:
        assert wm.get_worker("a") == {}
    assert unix_server.asked[0].headers["host"] == "localhost"


def test_tls_is_spoken_and_the_certificate_checked(tls_server, monkeypatch):
    url = tls_server.url.replace("http:", "https:")
    with LightClient(url, token="t") as wm:
        assert wm.get_worker("a") == {}
        assert wm.get_worker("b") == {}
    monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    with (
        LightClient(url, token="t") as wm,
        pytest.raises(NoSupervisorError, match="certificate"),
    ):
        wm.get_worker("a")


def test_token_travels_as_bearer(server):
    with LightClient(server.url, token="secret") as wm:
        wm.get_worker("a")
    assert server.asked[0].headers["authorization"] == "Bearer secret"


def test_chunked_answers_are_joined(server):
    chunks = b'7\r\n{"name"\r\n6\r\n: "a"}\r\n0\r\n\r\n'
    server.answers = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks]
    with client(server) as wm:
        assert wm.get_worker("a") == {"name": "a"}


def test_interim_answers_are_passed_over(server):
    server.answers = [b"HTTP/1.1 103 Early Hints\r\n\r\n" + reply(b'{"x": 1}')]
    with client(server) as wm:
        assert wm.get_worker("a") == {"x": 1}


def test_problem_carries_reason_faults_and_time_to_retry(server):
    body = json.dumps(PROBLEM).encode()
    server.answers = [reply(body, status="400 Bad Request")]
    with client(server) as wm, pytest.raises(ProblemError) as caught:
        wm.apply_worker("orders", {})
    problem = caught.value
    assert (problem.reason, problem.status) == ("INVALID_ARGUMENT", 400)
    assert problem.faults[0] == Fault("spec.triggers[0].topic", "is required")
    assert len(problem.faults) == 2
    assert problem.metadata == {"worker": "orders"}
    assert problem.retry_after_s == 1.5


def test_refusal_without_a_problem_document_is_still_one(server):
    server.answers = [
        reply(b"<h1>Bad gateway</h1>", status="502 Bad", headers="retry-after: 3\r\n")
    ]
    with client(server) as wm, pytest.raises(ProblemError) as caught:
        wm.get_worker("a")
    assert caught.value.reason == "HTTP_502"
    assert "Bad gateway" in caught.value.detail
    assert caught.value.retry_after_s == 3


def test_answer_that_is_no_json_object_is_an_error(server):
    server.answers = [reply(b"[]")]
    with client(server) as wm, pytest.raises(ProblemError, match="NOT_JSON"):
        wm.get_worker("a")


def test_redirects_are_not_followed(server):
    server.answers = [reply(status="307 Moved", headers="location: http://example.org/\r\n")]
    with client(server) as wm, pytest.raises(ProblemError, match="HTTP_307"):
        wm.get_worker("a")


def test_idempotent_call_is_sent_again_after_a_hang_up(server):
    server.answers = [b"", reply(b'{"name": "a"}')]
    with client(server) as wm:
        assert wm.get_worker("a") == {"name": "a"}
    assert len(server.asked) == 2


def test_create_repeats_with_the_same_key(server):
    server.answers = [b"", reply()]
    with client(server) as wm:
        wm.create_worker({"metadata": {"name": "a"}})
    first, second = server.asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.body == second.body


def test_publish_repeats_with_the_same_event_ids(server):
    server.answers = [b"", reply()]
    with client(server) as wm:
        wm.publish("t", [{"data": 1}, {"data": 2}])
    first, second = (json.loads(asked.body) for asked in server.asked)
    assert first == second
    assert first[0]["id"] != first[1]["id"]


def test_invoke_is_not_repeated(server):
    """A handler with side effects must not run twice because an answer was lost."""
    server.answers = [b"", reply()]
    with client(server) as wm, pytest.raises(ConnectionLostError):
        wm.invoke("a", {"id": "1"})
    assert len(server.asked) == 1


def test_idle_connection_that_the_service_closed_is_replaced(server):
    server.answers = [reply(headers="connection: close\r\n"), reply()]
    with client(server) as wm:
        wm.get_worker("a")
        wm.invoke("a", {"id": "1"})
    assert server.connections == 2


def test_silent_service_is_a_timeout(server):
    server.answers = [None]
    with client(server, timeout_s=0.05) as wm, pytest.raises(ClientTimeoutError) as caught:
        wm.get_worker("a")
    assert caught.value.timeout_s == 0.05


def test_call_after_a_timeout_does_not_get_the_late_answer(server):
    server.answers = [None, reply(b'{"name": "b"}')]
    with client(server, timeout_s=0.05) as wm:
        with pytest.raises(ClientTimeoutError):
            wm.get_worker("a")
        assert wm.get_worker("b") == {"name": "b"}
    assert server.connections == 2


def test_truncated_answer_is_a_lost_connection(server):
    server.answers = [b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{"] * 3
    with client(server) as wm, pytest.raises(ConnectionLostError):
        wm.get_worker("a")


def test_answer_that_is_not_http_is_a_lost_connection(server):
    server.answers = [b"SSH-2.0-OpenSSH_9.6\r\nconnection: close\r\n\r\n"] * 3
    with client(server) as wm, pytest.raises(ConnectionLostError):
        wm.get_worker("a")


def test_nobody_listening_is_no_supervisor(tmp_path):
    with (
        LightClient(str(tmp_path / "none.sock"), token="") as wm,
        pytest.raises(NoSupervisorError, match="No such file"),
    ):
        wm.get_worker("a")


def test_refusal_while_the_body_is_still_sent_is_read(server):
    """A service that refuses a large body may stop reading it; its reason must not be lost."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse():
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                body = json.dumps({"reason": "PAYLOAD_TOO_LARGE"}).encode()
                peer.sendall(reply(body, status="413 Large"))
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(1 << 20):
                    pass

        thread = threading.Thread(target=refuse)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with LightClient(url, token="") as wm, pytest.raises(ProblemError, match="TOO_LARGE"):
            wm.create_version("a", b"x" * 10_000_000, "text/x-python")
        thread.join(10)
