"""Where code comes from: inline, the seed era's call, and URLs that the service must not trust."""

import base64
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from system_harness import event, serving

CODE = (
    b"def Process(event):\n    return {'Type': 'greeting', 'Source': 's', 'Data': event['data']}\n"
)
OTHER = b"def Process(event):\n    return None\n"
DIGEST = f"sha256:{hashlib.sha256(CODE).hexdigest()}"

pytestmark = pytest.mark.system


class Shelf(BaseHTTPRequestHandler):
    """Serves code, a redirect to it, and a redirect in circles."""

    def do_GET(self):
        if self.path == "/round.py":
            self._redirect("/round.py")
        elif self.path == "/there.py":
            self._redirect("/worker.py")
        elif self.path == "/worker.py":
            self._answer(200, CODE)
        else:
            self._answer(404, b"")

    def _redirect(self, to):
        self.send_response(302)
        self.send_header("location", to)
        self.send_header("content-length", "0")
        self.end_headers()

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "text/x-python")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def shelf():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shelf)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def trusting(tmp_path_factory):
    """A service that may fetch from this machine, in the clear."""
    options = ("--set", "allow_private_urls=true", "--set", "allow_http_urls=true")
    with serving(tmp_path_factory.mktemp("trusting"), *options) as service:
        client = service.client()
        yield client
        client.close()


def invoke(client, name):
    headers = {"content-type": "application/cloudevents+json"}
    made = event({"a": 1}, id=f"invoke-{name}")
    return client.post(f"/v1/workers/{name}:invoke", made, headers=headers)["outputs"]


def test_the_seed_eras_call_creates_and_starts_a_worker_as_it_stands(trusting):
    made = trusting.post(
        "/v1/workers", {"codeSource": {"Content": base64.b64encode(CODE).decode()}}
    )
    assert trusting.headers["location"].endswith(made["name"])
    assert made["name"] == made["uid"]
    assert made["status"]["state"] == "RUNNING"
    (output,) = invoke(trusting, made["uid"])
    assert (output["type"], output["source"], output["data"]) == ("greeting", "s", {"a": 1})


@pytest.mark.parametrize(
    "keys", [("codeSource", "Url"), ("CODESOURCE", "URL"), ("codesource", "url")]
)
def test_the_seed_eras_call_takes_a_url_with_keys_in_any_case(trusting, shelf, keys):
    outer, inner = keys
    made = trusting.post("/v1/workers", {outer: {inner: f"{shelf}/worker.py"}, "Topic": "seeds"})
    assert made["spec"]["triggers"][0]["topic"] == "seeds"
    assert made["spec"]["code"]["digest"] == DIGEST
    assert invoke(trusting, made["name"])


def test_code_behind_a_redirect_is_fetched_once_and_kept(trusting, shelf):
    made = trusting.post("/v1/workers", {"codeSource": {"url": f"{shelf}/there.py"}})
    status, raw = trusting.send("GET", f"/v1/workers/{made['name']}/code")
    assert (status, raw) == (200, CODE)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/round.py", "CODE_FETCH_FAILED"), ("/gone.py", "CODE_FETCH_FAILED")],
)
def test_code_that_cannot_be_had_is_refused_and_leaves_nothing(trusting, shelf, path, reason):
    before = len(trusting.all("/v1/workers"))
    refused = trusting.post("/v1/workers", {"codeSource": {"url": shelf + path}}, expect=422)
    assert refused["reason"] == reason
    assert len(trusting.all("/v1/workers")) == before


def test_a_digest_that_does_not_match_refuses_the_code(trusting, shelf):
    spec = {"code": {"url": f"{shelf}/worker.py", "digest": f"sha256:{'0' * 64}"}}
    refused = trusting.call(
        "PUT", "/v1/workers/pinned", {"metadata": {"name": "pinned"}, "spec": spec}, expect=422
    )
    assert refused["reason"] == "DIGEST_MISMATCH"
    spec["code"]["digest"] = DIGEST
    made = trusting.call(
        "PUT", "/v1/workers/pinned", {"metadata": {"name": "pinned"}, "spec": spec}
    )
    assert made["worker"]["status"]["state"] == "RUNNING"


def test_known_code_is_named_by_its_digest_alone(trusting, shelf):
    trusting.post("/v1/workers", {"codeSource": {"url": f"{shelf}/worker.py"}})
    body = {"metadata": {"name": "again"}, "spec": {"code": {"digest": DIGEST}}}
    assert trusting.call("PUT", "/v1/workers/again", body)["worker"]["status"]["state"] == "RUNNING"


def test_private_addresses_are_refused_unless_allowed(tmp_path, shelf):
    with serving(tmp_path, "--set", "allow_http_urls=true") as service:
        client = service.client()
        refused = client.post(
            "/v1/workers", {"codeSource": {"url": f"{shelf}/worker.py"}}, expect=422
        )
        assert refused["reason"] == "CODE_FETCH_FAILED"
        assert "127.0.0.1" in refused["detail"]
        client.close()
