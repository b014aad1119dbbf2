"""The service through REST: credentials, probes, its description, keys, limits, dev mode."""

import http.client
import json
import re
import socket
import stat
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

pytestmark = [pytest.mark.system, pytest.mark.slow]

BATCH = {"content-type": "application/cloudevents-batch+json"}


def test_tcp_needs_the_token(rest):
    with httpx2.Client(base_url=rest.url) as client:
        for path in ("/v1/workers", "/metrics", "/version", "/livez?verbose", "/v1/nothing"):
            answer = client.get(path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
        right = {"authorization": f"Bearer {rest.token}"}
        assert client.get("/v1/workers", headers=right).status_code == 200
        assert client.get("/v1/workers", headers={"authorization": "Bearer x"}).status_code == 401
        assert client.post("/v1/topics/t:publish", content=b"[]", headers=BATCH).status_code == 401
    assert stat.S_IMODE((rest.state / "token").stat().st_mode) == 0o600


def test_probes_are_public_and_details_are_not(rest):
    with httpx2.Client(base_url=rest.url) as client:
        for path in ("/livez", "/readyz", "/startupz"):
            assert client.get(path).text == "ok\n"
            assert client.get(f"{path}?verbose").status_code == 401
    for path in ("/livez", "/readyz", "/startupz"):
        checks = rest.call("GET", f"{path}?verbose")["checks"]
        assert {"store", "zygote"} <= {check["name"] for check in checks}
    assert rest.call("GET", "/v1/health")["checks"] == []


def test_a_dapr_sidecar_is_answered_without_credentials(rest):
    with httpx2.Client(base_url=rest.url) as client:
        assert client.get("/healthz").text == "ok\n"
        assert client.get("/dapr/subscribe").json() == []
        assert client.get("/dapr/config").json() == {}
        assert client.post("/dapr/subscribe").status_code == 405
        assert client.get("/dapr/anything").status_code == 401


def test_metrics_and_version(rest):
    answer = rest.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "workmanager_" in answer.text
    assert rest.call("GET", "/version")["apiVersion"] == "v1"


def test_engines_are_listed_and_found_by_their_media_type(rest):
    names = [engine["mediaType"] for engine in rest.call("GET", "/v1/engines")["items"]]
    assert "text/x-python" in names
    assert rest.call("GET", "/v1/engines/text/x-python")["available"]


def test_every_answer_has_safe_headers(rest):
    for path in ("/livez", "/v1/workers", "/v1/nothing", "/docs", "/openapi.json"):
        headers = rest.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers


def test_the_docs_page_asks_nobody_else(rest):
    answer = rest.client.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"(?:src|href)\s*=|https?://|@import|url\(", answer.text)
    assert answer.text.count("fetch(") == 1
    assert "connect-src 'self'" in answer.headers["content-security-policy"]


def test_the_description_is_whole(rest):
    document = rest.call("GET", "/openapi.json")
    text = json.dumps(document)
    names = set(document["components"]["schemas"])
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= names
    assert "HTTPValidationError" not in names
    for path, entry in document["paths"].items():
        for method, operation in entry.items():
            assert operation["tags"], (method, path)
            answers = operation["responses"]
            assert {"400", "401", "403", "500", "503", "default"} <= set(answers)
            for status, answer in answers.items():
                if status == "default" or int(status) >= 400:
                    assert "application/problem+json" in answer["content"]
            declared = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path))


def test_the_same_key_does_a_thing_once(rest, make):
    key = {"idempotency-key": '"key-1"'}
    body = make.manifest("keyed")
    first = rest.client.post("/v1/workers", json=body, headers=key)
    again = rest.client.post("/v1/workers", json=body, headers={"idempotency-key": "key-1"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    rest.refusal(
        "POST",
        "/v1/workers",
        json=make.manifest("other"),
        headers=key,
        status=422,
        reason="IDEMPOTENCY_KEY_REUSED",
    )


def test_a_refusal_is_not_kept_under_its_key(rest, make):
    key = {"idempotency-key": "key-2"}
    bad = {"metadata": {"name": "Bad Name"}, "spec": {}}
    rest.call("POST", "/v1/workers", json=bad, headers=key, status=400)
    rest.call("POST", "/v1/workers", json=make.manifest("mended"), headers=key, status=201)


def test_an_invoke_that_failed_is_not_run_again_under_its_key(rest, make):
    name = rest.create(make.FAIL, retry={"maximumAttempts": 1})
    options = {
        "content": json.dumps(make.event()),
        "headers": {"content-type": "application/cloudevents+json", "idempotency-key": "key-3"},
    }
    path = f"/v1/workers/{name}:invoke"
    first = rest.call("POST", path, status=422, **options)
    assert rest.call("POST", path, status=422, **options) == first
    assert len(rest.call("GET", "/v1/tasks", params={"worker": name})["items"]) == 1


def test_a_key_in_flight_is_refused(rest, make):
    """Of two calls at once under one key one is done, whichever came first."""
    name = rest.create("import time\ndef process(event):\n    time.sleep(60)\n")
    path = f"/v1/workers/{name}:invoke?timeoutS=2"
    headers = {"content-type": "application/cloudevents+json", "idempotency-key": "key-4"}
    body = json.dumps(make.event())

    def call(_):
        return rest.client.post(path, content=body, headers=headers).json()["reason"]

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(call, range(2))) == {"TASK_TIMEOUT", "IDEMPOTENCY_KEY_IN_USE"}
    rest.call("DELETE", f"/v1/workers/{name}?drain=false", status=202)


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9"])
def test_a_key_that_is_none_is_refused(rest, key):
    headers = [(b"idempotency-key", key.encode("latin-1"))]
    rest.call("POST", "/v1/workers:recover", headers=headers, status=400)


@pytest.mark.parametrize("path", ["/v1/topics/t:publish", "/v1/workers"])
def test_a_body_too_large_is_refused_before_it_is_sent(rest, path):
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {2**40}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(rest.state / "workmanager.sock"))
        client.sendall(head.encode())
        answer = http.client.HTTPResponse(client)
        answer.begin()
        problem = json.loads(answer.read())
    assert (answer.status, problem["reason"]) == (413, "PAYLOAD_TOO_LARGE")
    assert int(problem["metadata"]["limitBytes"]) >= 16 * 2**20


def test_a_body_without_a_length_is_bounded_while_it_streams(rest):
    chunks = (b"[" + b" " * 2**20 for _ in range(64))
    try:
        answer = rest.client.post("/v1/topics/t:publish", content=chunks, headers=BATCH)
    except httpx2.WriteError:
        return  # cut while sending, which is as good
    assert answer.status_code == 413


def test_dev_mode_asks_nothing_of_loopback_and_refuses_browsers(make, tmp_path):
    with make.serving(tmp_path / "state", "--dev") as rest, httpx2.Client(base_url=rest.url) as web:
        assert web.get("/v1/workers").status_code == 200
        for headers in (
            {"host": "evil.example"},
            {"origin": "https://evil.example"},
            {"sec-fetch-site": "cross-site"},
        ):
            assert web.post("/v1/workers:recover", headers=headers).status_code == 403
