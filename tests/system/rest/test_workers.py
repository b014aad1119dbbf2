"""Workers through REST: declare, apply, patch, verbs, delete, and what is refused."""

import base64
import json
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

pytestmark = [pytest.mark.system, pytest.mark.slow]


def test_the_seed_call_as_it_was(rest):
    """Curl without -H sends JSON as a form; the answer is 201 with the worker's GUID."""
    code = base64.b64encode(
        b'def Process(event):\n    return {"Type": "t", "Source": "s"}\n'
    ).decode()
    answer = rest.client.post(
        "/v1/workers",
        content=json.dumps({"CODEsource": {"Content": code}}),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 201
    uuid.UUID(answer.json()["name"])
    assert answer.headers["location"] == f"/v1/workers/{answer.json()['name']}"
    assert rest.invoke(answer.json()["name"])["status"] == "COMPLETED"
    assert rest.invoke(answer.json()["uid"])["status"] == "COMPLETED"


def test_a_worker_is_created_read_and_listed(rest, make):
    body = make.manifest("listed")
    created = rest.call("POST", "/v1/workers?start=false", status=201, json=body)
    assert created["desiredState"] == "STOPPED"
    assert rest.call("GET", "/v1/workers/listed")["uid"] == created["uid"]
    assert rest.call("GET", f"/v1/workers/{created['uid']}")["name"] == "listed"
    names = [
        w["name"]
        for w in rest.call("GET", "/v1/workers", params={"filter": "name=listed"})["items"]
    ]
    assert names == ["listed"]
    rest.refusal("POST", "/v1/workers", status=409, reason="WORKER_EXISTS", json=body)


@pytest.mark.parametrize("media_type", ["application/yaml", "text/yaml", "application/x-yaml"])
def test_a_manifest_may_be_yaml(rest, make, media_type):
    text = yaml.safe_dump(make.manifest(f"y-{uuid.uuid4().hex[:6]}"))
    headers = {"content-type": media_type}
    rest.call("POST", "/v1/workers", status=201, content=text, headers=headers)


def test_apply_says_created_changed_unchanged(rest, make):
    body = make.manifest("applied")
    answer = rest.client.put("/v1/workers/applied", json=body)
    assert (answer.status_code, answer.json()["change"]) == (201, "created")
    etag = answer.headers["etag"]
    answer = rest.client.put("/v1/workers/applied", json=body, headers={"if-match": etag})
    assert (answer.status_code, answer.json()["change"]) == (200, "unchanged")
    body["metadata"]["labels"] = {"a": "b"}
    assert rest.call("PUT", "/v1/workers/applied?dryRun", json=body)["change"] == "changed"
    assert rest.call("POST", "/v1/workers/applied:diff", json=body)["changes"]
    assert rest.call("PUT", "/v1/workers/applied", json=body)["change"] == "changed"
    assert not rest.call("POST", "/v1/workers/applied:diff", json=body)["changes"]


def test_a_stale_etag_is_refused(rest, make):
    name = rest.create()
    answer = rest.client.get(f"/v1/workers/{name}")
    etag = answer.headers["etag"]
    assert rest.client.get(f"/v1/workers/{name}", headers={"if-none-match": etag}).status_code in (
        304,
        200,
    )
    patch = {"metadata": {"labels": {"a": "1"}}}
    changed = rest.client.patch(f"/v1/workers/{name}", json=patch, headers={"if-match": etag})
    assert changed.json()["worker"]["labels"] == {"a": "1"}
    stale = {"headers": {"if-match": etag}, "status": 412, "reason": "ETAG_MISMATCH"}
    rest.refusal("PATCH", f"/v1/workers/{name}", json={"metadata": {"labels": {"a": "2"}}}, **stale)
    rest.refusal("PUT", f"/v1/workers/{name}", json=make.manifest(name), **stale)
    rest.refusal("DELETE", f"/v1/workers/{name}", **stale)
    fresh = {"if-match": changed.headers["etag"]}
    rest.call("DELETE", f"/v1/workers/{name}", status=202, headers=fresh)


def test_if_match_any_asks_for_a_worker_that_exists(rest, make):
    rest.refusal(
        "PUT",
        "/v1/workers/absent",
        json=make.manifest("absent"),
        headers={"if-match": "*"},
        status=412,
        reason="ETAG_MISMATCH",
    )


def test_merge_patch_has_its_own_media_type(rest):
    name = rest.create()
    headers = {"content-type": "application/merge-patch+json"}
    body = json.dumps({"metadata": {"annotations": {"n": "1"}}})
    assert (
        rest.call("PATCH", f"/v1/workers/{name}", content=body, headers=headers)["change"]
        == "changed"
    )


def test_verbs_move_a_worker(rest):
    name = rest.create()
    rest.invoke(name)
    for verb, desired in [
        *(("pause", "PAUSED"), ("resume", "RUNNING"), ("stop", "STOPPED"), ("start", "RUNNING")),
        *(("restart", "RUNNING"), ("restart", "RUNNING")),
    ]:
        assert rest.call("POST", f"/v1/workers/{name}:{verb}")["desiredState"] == desired
    assert rest.invoke(name)["status"] == "COMPLETED"
    assert rest.call("GET", f"/v1/workers/{name}:explain")["summary"]


def test_every_fault_of_a_manifest_is_listed_with_its_path(rest):
    body = {"metadata": {"name": "Bad Name"}, "spec": {"code": {"content": "!"}, "color": "red"}}
    problem = rest.refusal("POST", "/v1/workers", status=400, reason="INVALID_ARGUMENT", json=body)
    assert {"metadata.name", "spec.color", "spec.code.content"} <= {
        fault["pointer"] for fault in problem["errors"]
    }


def test_a_broken_code_is_refused_with_its_line(rest, make):
    body = make.manifest("broken", "def process(event)\n    pass\n")
    problem = rest.refusal("POST", "/v1/workers", status=422, reason="BUILD_FAILED", json=body)
    assert "1" in json.dumps(problem)


def test_workers_deleted_twice_at_once_are_deleted_once(rest):
    names = [rest.create() for _ in range(8)]
    with rest.client.stream("GET", "/v1/workers:watch"), ThreadPoolExecutor(2) as pool:
        for name in names:
            paths = [f"/v1/workers/{name}"] * 2
            answers = list(pool.map(rest.client.delete, paths))
            for answer in answers:
                assert answer.status_code in (202, 404), answer.text
                if answer.status_code == 202:
                    assert not rest.finish(answer.json()["id"])["error"]


def test_delete_is_an_operation_that_ends(rest):
    name = rest.create()
    answer = rest.client.delete(f"/v1/workers/{name}?drain=false")
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/operations/{answer.json()['id']}"
    rest.finish(answer.json()["id"])
    rest.refusal("GET", f"/v1/workers/{name}", status=404, reason="WORKER_NOT_FOUND")
    assert answer.json()["id"] in {o["id"] for o in rest.call("GET", "/v1/operations")["items"]}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/workers/absent", 404),
        ("POST", "/v1/workers/absent:start", 404),
        ("POST", "/v1/workers/absent:fly", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/workers/", 404),
        ("GET", "/v1/workers/absent:start", 405),
        ("DELETE", "/v1/workers", 405),
        ("PATCH", "/metrics", 405),
        ("GET", "/v1/tasks/zz", 404),
        ("GET", "/v1/deadLetters/zz", 404),
        ("GET", "/v1/groups/zz", 404),
        ("GET", "/v1/operations/zz", 404),
        ("GET", "/v1/engines/text/x-cobol", 404),
        ("GET", "/v1/workers?pageSize=5000", 400),
        ("GET", "/v1/workers?pageToken=x", 400),
        ("GET", "/v1/executors?pageToken=x", 400),
        ("GET", "/v1/workers?filter=no%20such(", 400),
        ("GET", "/v1/workers?color=red", 400),
        ("GET", "/v1/tasks?status=DONE", 400),
        ("GET", "/v1/workers?pageSize=1&pageSize=2", 400),
        ("POST", "/v1/workers/absent:invoke?mode=later", 400),
    ],
)
def test_what_is_wrong_is_a_problem(rest, method, path, status):
    problem = rest.call(method, path, status=status)
    assert problem["instance"] == path.partition("?")[0]
    if status == 405:
        allowed = rest.client.request(method, path).headers["allow"].split(", ")
        assert method not in allowed
        assert allowed


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b'{"a":', "application/json", 400),
        (b"[]", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"a: [", "application/yaml", 400),
        (b"{}", "text/plain", 415),
        (b"", "", 415),
    ],
)
def test_bodies_that_are_no_manifest_are_refused(rest, content, media_type, status):
    headers = {"content-type": media_type} if media_type else {}
    rest.call("POST", "/v1/workers", status=status, content=content, headers=headers)


def test_a_verb_takes_no_body(rest):
    name = rest.create()
    rest.refusal(
        "POST",
        f"/v1/workers/{name}:stop",
        json={"force": True},
        status=400,
        reason="INVALID_ARGUMENT",
    )
    problem = rest.refusal(
        "POST",
        f"/v1/workers/{name}:rollback",
        json={"to": 1, "version": 2},
        status=400,
        reason="INVALID_ARGUMENT",
    )
    assert {fault["pointer"] for fault in problem["errors"]} == {"to", "version"}


def test_pages_follow_each_other(rest):
    for _ in range(3):
        rest.create()
    seen, token = [], ""
    while True:
        page = rest.call("GET", "/v1/workers", params={"pageSize": 2, "pageToken": token})
        assert len(page["items"]) <= 2
        seen += [worker["name"] for worker in page["items"]]
        token = page["nextPageToken"]
        if not token:
            break
    assert len(seen) == len(set(seen)) >= 3
    page = rest.call("GET", "/v1/executors", params={"pageSize": 1})
    assert len(page["items"]) == 1
    more = rest.call(
        "GET", "/v1/executors", params={"pageSize": 1, "pageToken": page["nextPageToken"]}
    )
    assert more["items"][0]["id"] != page["items"][0]["id"]
