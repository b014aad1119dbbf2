"""Applications and their keys on the real service: every route, with and without the right."""

import json
import uuid

import httpx2
import pytest

ALL = ("READ", "CREATE", "UPDATE", "EXECUTE", "DELETE")
PUBLIC, ANY, ADMIN = "public", "any", "admin"
EVERY = "*"  # the right is needed on all workers

# What each route needs; a route that is not here fails the test.
NEEDS = {
    "get /livez": PUBLIC,
    "get /readyz": PUBLIC,
    "get /startupz": PUBLIC,
    "get /metrics": f"READ{EVERY}",
    "get /version": ANY,
    "get /v1/health": ANY,
    "get /v1/engines": ANY,
    "get /v1/engines/{engine}": ANY,
    "get /v1/applications": ADMIN,
    "post /v1/applications": ADMIN,
    "get /v1/applications/{application}": ADMIN,
    "put /v1/applications/{application}": ADMIN,
    "delete /v1/applications/{application}": ADMIN,
    "get /v1/applications/{application}/accessKeys": ADMIN,
    "post /v1/applications/{application}/accessKeys": ADMIN,
    "delete /v1/applications/{application}/accessKeys/{key}": ADMIN,
    "get /v1/auditEntries": ADMIN,
    "get /v1/deadLetters": ANY,
    "get /v1/deadLetters/{letter}": "READ",
    "post /v1/deadLetters:redrive": "EXECUTE",
    "post /v1/deadLetters:purge": "DELETE",
    "get /v1/executors": ANY,
    "get /v1/groups": ANY,
    "get /v1/groups/{group}": "READ",
    "post /v1/groups/{group}:release": "EXECUTE",
    "get /v1/logs": ANY,
    "get /v1/operations": ANY,
    "get /v1/operations/{operation}": "READ",
    "post /v1/operations/{operation}:cancel": "EXECUTE",
    "get /v1/tasks": ANY,
    "get /v1/tasks:watch": ANY,
    "get /v1/tasks/{task}": "READ",
    "post /v1/tasks/{task}:cancel": "EXECUTE",
    "post /v1/tasks/{task}:retry": "EXECUTE",
    "post /v1/topics/{topic}:publish": "EXECUTE",
    "get /v1/workers": ANY,
    "post /v1/workers": "CREATE",
    "get /v1/workers:watch": ANY,
    "post /v1/workers:recover": f"EXECUTE{EVERY}",
    "get /v1/workers/{worker}": "READ",
    "put /v1/workers/{worker}": "UPDATE",
    "patch /v1/workers/{worker}": "UPDATE",
    "get /v1/workers/{worker}/code": "READ",
    "put /v1/workers/{worker}/code": "UPDATE",
    "get /v1/workers/{worker}/executors": "READ",
    "get /v1/workers/{worker}/logs": "READ",
    "get /v1/workers/{worker}/versions": "READ",
    "post /v1/workers/{worker}/versions": "UPDATE",
    "get /v1/workers/{worker}/versions/{version}": "READ",
    "delete /v1/workers/{worker}/versions/{version}": "UPDATE",
    "post /v1/workers/{worker}/versions/{version}:promote": "UPDATE",
    "post /v1/workers/{worker}:diff": "READ",
    "get /v1/workers/{worker}:explain": "READ",
    "post /v1/workers/{worker}:invoke": "EXECUTE",
    "post /v1/workers/{worker}:pause": "EXECUTE",
    "post /v1/workers/{worker}:resume": "EXECUTE",
    "post /v1/workers/{worker}:restart": "EXECUTE",
    "post /v1/workers/{worker}:start": "EXECUTE",
    "post /v1/workers/{worker}:stop": "EXECUTE",
    "post /v1/workers/{worker}:rollback": "UPDATE",
    "delete /v1/workers/{worker}": "DELETE",  # last: it is gone then
}


class House:
    """A service with a worker of everything, and keys of all kinds."""

    def __init__(self, rest, make):
        self.rest = rest
        self.make = make
        self.tag = uuid.uuid4().hex[:6]
        self.mine = self._worker("mine", make.ECHO, topic="t", group="g")
        self.other = self._worker("other", make.ECHO, topic="u", group="h")
        self._failing("mine")
        self._failing("other")
        self.urls = httpx2.Client(base_url=rest.url, timeout=30)

    def name(self, kind):
        return f"t{self.tag}-{kind}"

    def _worker(self, kind, code, *, topic, group, **spec):
        triggers = [{"topic": self.name(topic)}]
        body = self.make.manifest(
            self.name(kind), code, triggers=triggers, group=self.name(group), **spec
        )
        self.rest.call("POST", "/v1/workers", status=201, json=body)
        self.rest.invoke(self.name(kind))
        return self.name(kind)

    def _failing(self, kind):
        """Make a worker of the same family with a dead letter."""
        body = self.make.manifest(
            self.name(f"{kind}-bad"), self.make.FAIL, retry={"maximumAttempts": 1}
        )
        self.rest.call("POST", "/v1/workers", status=201, json=body)
        self.rest.invoke(self.name(f"{kind}-bad"), mode="async")
        self.rest.until(lambda: self.letters(kind))

    def letters(self, kind):
        page = self.rest.call("GET", f"/v1/deadLetters?worker={self.name(f'{kind}-bad')}")
        return page["items"]

    def key(self, *grants, expires_in_s=0):
        """Make an application with these grants; return its token."""
        name = f"app-{uuid.uuid4().hex[:8]}"
        body = {"name": name, "grants": list(grants)}
        self.rest.call("POST", "/v1/applications", status=201, json=body)
        issued = self.rest.call(
            "POST", f"/v1/applications/{name}/accessKeys", status=201,
            json={"expiresInS": expires_in_s},
        )  # fmt: skip
        assert issued["accessKey"]["application"] == name
        return issued["token"]

    def call(self, token, method, path, **more):
        """Call over TCP with *token*; returns the answer."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        headers |= more.pop("headers", {})
        return self.urls.request(method, path, headers=headers, **more)

    def status(self, token, method, path, **more):
        return self.call(token, method, path, **more).status_code


def grant(workers, *rights, **more):
    return {"workers": [workers], "rights": list(rights), **more}


@pytest.fixture(scope="module")
def house(rest, make):
    house = House(rest, make)
    yield house
    house.urls.close()


def requests_of(house):
    """Return what to send to each route: `(path, options)` by `method path`."""
    rest, make, mine = house.rest, house.make, house.mine
    tasks = rest.call("GET", f"/v1/tasks?worker={mine}")["items"]
    version = rest.call("GET", f"/v1/workers/{mine}/versions")["items"][0]["id"]
    operation = rest.call("POST", f"/v1/workers/{mine}/versions/{version}:promote", status=202)
    rest.finish(operation["id"])
    app = f"walked-{house.tag}"
    rest.call("POST", "/v1/applications", status=201, json={"name": app})
    places = {
        "application": app,
        "key": "0123456789ab",
        "engine": "text/x-python",
        "letter": house.letters("mine")[0]["id"],
        "group": house.name("g"),
        "operation": operation["id"],
        "task": tasks[0]["id"],
        "topic": house.name("t"),
        "worker": mine,
        "version": version,
    }
    code = {"content": make.ECHO.encode(), "headers": {"content-type": "text/x-python"}}
    declared = {"json": make.manifest(mine, make.ECHO)}
    event = {
        "json": make.event(data=1),
        "headers": {"content-type": "application/cloudevents+json"},
    }
    bodies = {
        "post /v1/workers": {"json": make.manifest(house.name("mine-new"), make.ECHO)},
        "put /v1/workers/{worker}": declared,
        "patch /v1/workers/{worker}": {"json": {"metadata": {"labels": {"a": "b"}}}},
        "post /v1/workers/{worker}:diff": declared,
        "put /v1/workers/{worker}/code": code,
        "post /v1/workers/{worker}/versions": code,
        "post /v1/workers/{worker}:invoke": event,
        "post /v1/topics/{topic}:publish": event,
        "post /v1/groups/{group}:release": {"json": {"token": 1}},
        "post /v1/deadLetters:redrive": {"json": {"ids": [places["letter"]]}},
        "post /v1/deadLetters:purge": {"json": {"worker": house.name("mine-bad")}},
        "post /v1/applications": {"json": {"name": f"made-{house.tag}"}},
        "put /v1/applications/{application}": {"json": {"grants": []}},
    }
    document = house.rest.client.get("/openapi.json").json()
    found = {}
    for path, entry in document["paths"].items():
        for method in entry:
            route = f"{method} {path}"
            found[route] = (path.format(**places), bodies.get(route, {}))
    return found


def test_every_route_asks_for_its_right(rest, make):
    """No key, a wrong key, a key without the right, a key with the right, on every route."""
    house = House(rest, make)
    requests = requests_of(house)
    assert set(requests) == set(NEEDS), "say what a new route needs"
    own = house.name("mine") + "*"
    only = {right: house.key(grant(own, right)) for right in ALL}
    every = {right: house.key(grant("*", right)) for right in ALL}
    but = {right: house.key(grant(own, *(r for r in ALL if r != right))) for right in ALL}
    elsewhere = house.key(grant(house.name("other") + "*", *ALL))
    everything = house.key(grant("*", *ALL))
    wrong = only["READ"][:-1] + ("A" if only["READ"][-1] != "A" else "B")
    for route, needed in NEEDS.items():
        path, more = requests[route]
        method = route.partition(" ")[0].upper()

        def status(token, method=method, path=path, more=more):
            if path.endswith(":watch"):
                return opened(house, token, path)
            return house.status(token, method, path, **dict(more))

        refused = {name: status(token) for name, token in (("no", ""), ("wrong", wrong))}
        if needed == PUBLIC:
            assert set(refused.values()) == {200}, route
            continue
        assert set(refused.values()) == {401}, (route, refused)
        if needed == ADMIN:
            assert status(everything) == 403, route
        elif needed == ANY:
            assert status(elsewhere) == 200, route
        elif needed.endswith(EVERY):
            right = needed.removesuffix(EVERY)
            assert status(only[right]) == 403, route
            assert status(every[right]) in (200, 202), route
        else:
            assert status(elsewhere) == 403, route
            assert status(but[needed]) == 403, route
            assert status(only[needed]) not in (401, 403, 500), route
    house.urls.close()


def opened(house, token, path):
    """Open a stream and return its status; it would not end by itself."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with house.urls.stream("GET", path, headers=headers) as answer:
        return answer.status_code


def test_lists_show_what_may_be_read(rest, make):
    house = House(rest, make)
    token = house.key(grant(house.name("mine") + "*", "READ"))

    def seen(path, member="worker"):
        answer = house.call(token, "GET", path)
        assert answer.status_code == 200, answer.text
        return {item[member] for item in answer.json()["items"]}

    family = {house.name("mine"), house.name("mine-bad")}
    assert seen("/v1/workers?pageSize=1000", "name") == family
    assert seen("/v1/executors?pageSize=1000") == family
    assert seen("/v1/tasks?pageSize=1000") == family
    assert seen("/v1/logs?tail=1000") == {house.name("mine")}
    assert seen("/v1/deadLetters") == {house.name("mine-bad")}
    assert seen("/v1/groups", "name") == {house.name("g")}
    assert seen("/v1/operations", "target") <= family
    assert house.status(token, "GET", f"/v1/tasks?worker={house.other}") == 403
    assert house.status(token, "GET", f"/v1/health?worker={house.other}") == 403
    other = rest.call("GET", f"/v1/workers/{house.other}/executors")["items"][0]["id"]
    assert house.status(token, "GET", f"/v1/health?executor={other}") == 403
    uid = rest.call("GET", f"/v1/workers/{house.other}")["uid"]
    assert house.status(token, "GET", f"/v1/workers/{uid}") == 403
    mine = rest.call("GET", f"/v1/workers/{house.mine}")["uid"]
    assert house.status(token, "GET", f"/v1/workers/{mine}") == 200
    house.urls.close()


def test_streams_show_what_may_be_read(house):
    token = house.key(grant(house.name("mine") + "*", "READ", "EXECUTE"))
    headers = {"authorization": f"Bearer {token}"}
    with house.urls.stream("GET", "/v1/workers:watch", headers=headers) as answer:
        names = set()
        for line in answer.iter_lines():
            change = json.loads(line[5:]) if line.startswith("data:") else {}
            if change.get("type") == "BOOKMARK":
                break
            names.add(change.get("worker", {}).get("name"))
    assert house.other not in names
    with house.urls.stream("GET", "/v1/logs?follow=1&tail=1000", headers=headers) as answer:
        lines = answer.iter_lines()
        house.rest.invoke(house.other, mode="async")
        house.rest.invoke(house.name("mine-bad"), mode="async")
        house.status(token, "POST", f"/v1/workers/{house.mine}:start")
        event = house.make.event(data=1)
        house.call(
            token, "POST", f"/v1/topics/{house.name('t')}:publish", json=event,
            headers={"content-type": "application/cloudevents+json"},
        )  # fmt: skip
        whose = set()
        for line in lines:
            if line.startswith("data:"):
                record = json.loads(line[5:])
                whose.add(record["worker"])
                if event["id"] in record["text"]:
                    break
        assert house.other not in whose
    assert house.status(token, "GET", f"/v1/workers/{house.other}/logs?follow=1") == 403


def test_publishing_needs_the_right_on_every_consumer(house):
    topic = house.name("both")
    for kind in ("mine", "other"):
        body = house.make.manifest(
            house.name(f"{kind}-both"), house.make.ECHO, triggers=[{"topic": topic}]
        )
        house.rest.call("POST", "/v1/workers", status=201, json=body)
    one = house.key(grant(house.name("mine") + "*", "EXECUTE"))
    both = house.key(grant("*", "EXECUTE"))

    def publish(token, topic):
        headers = {"content-type": "application/cloudevents+json"}
        path = f"/v1/topics/{topic}:publish"
        return house.status(token, "POST", path, json=house.make.event(), headers=headers)

    assert publish(one, topic) == 403
    assert publish(both, topic) == 200
    assert publish(one, house.name("t")) == 200
    assert publish(one, house.name("nobody")) == 200
    reader = house.key(grant("*", "READ"))
    assert publish(reader, house.name("nobody")) == 403


def test_apply_tells_creating_from_updating(house):
    name = house.name("mine-applied")
    path = f"/v1/workers/{name}"
    body = house.make.manifest(name, house.make.ECHO)
    creator = house.key(grant(house.name("mine") + "*", "CREATE"))
    updater = house.key(grant(house.name("mine") + "*", "UPDATE"))
    assert house.status(updater, "PUT", path, json=body) == 403
    assert house.status(creator, "PUT", path, json=body) == 201
    assert house.status(creator, "PUT", path, json=body) == 403
    assert house.status(updater, "PUT", path, json=body) == 200
    assert (
        house.status(creator, "PUT", "/v1/workers/elsewhere", json=body | {"metadata": {}}) == 403
    )
    unnamed = {"codeSource": {"Content": body["spec"]["code"]["content"]}}
    assert house.status(creator, "POST", "/v1/workers", json=unnamed) == 403
    all_names = house.key(grant("*", "CREATE"))
    assert house.status(all_names, "POST", "/v1/workers", json=unnamed) == 201


def test_isolation_and_secrets_are_not_an_applications_to_loosen(house):
    own = house.name("mine") + "*"
    token = house.key(grant(own, "CREATE", "UPDATE", secrets=["team.*"]))
    name = house.name("mine-caged")

    def create(**spec):
        body = house.make.manifest(name, house.make.ECHO, **spec)
        answer = house.call(token, "PUT", f"/v1/workers/{name}?dryRun=true", json=body)
        return answer.status_code, answer.text

    assert create()[0] in (200, 201)
    assert create(isolation={"level": "none"})[0] == 403
    assert create(isolation={"readPaths": ["/var/lib"]})[0] == 403
    assert create(secrets=[{"name": "root.db"}])[0] == 403
    assert create(secrets=[{"name": "team.db"}])[0] in (200, 201)
    patch = {"spec": {"isolation": {"level": "none"}}}
    assert house.status(token, "PATCH", f"/v1/workers/{house.mine}", json=patch) == 403
    patch = {"spec": {"secrets": [{"name": "root.db"}]}}
    assert house.status(token, "PATCH", f"/v1/workers/{house.mine}", json=patch) == 403


def test_a_key_ends_at_once(house):
    rest = house.rest
    grants = [grant("*", "READ")]
    rest.call("POST", "/v1/applications", status=201, json={"name": "short", "grants": grants})
    keys = [rest.call("POST", "/v1/applications/short/accessKeys", status=201) for _ in range(2)]
    first, second = (key["token"] for key in keys)
    assert house.status(first, "GET", "/v1/workers") == 200
    rest.refusal(
        "POST", "/v1/applications", status=409, reason="INVALID_STATE", json={"name": "short"}
    )
    rest.call("PUT", "/v1/applications/short", json={"grants": []})
    assert house.status(first, "GET", f"/v1/workers/{house.mine}") == 403
    path = f"/v1/applications/short/accessKeys/{keys[0]['accessKey']['id']}"
    rest.call("DELETE", path, status=204)
    assert house.status(first, "GET", "/version") == 401
    assert house.status(second, "GET", "/version") == 200
    rest.refusal("DELETE", path, status=404, reason="NOT_FOUND")
    rest.call("DELETE", "/v1/applications/short", status=204)
    assert house.status(second, "GET", "/version") == 401
    soon = house.key(grant("*", "READ"), expires_in_s=1)
    assert house.status(soon, "GET", "/version") == 200
    rest.until(lambda: house.status(soon, "GET", "/version") == 401)


def test_the_secret_of_a_key_is_shown_once_and_kept_nowhere(house):
    rest = house.rest
    rest.call("POST", "/v1/applications", status=201, json={"name": "hidden"})
    headers = {"idempotency-key": uuid.uuid4().hex}
    path = "/v1/applications/hidden/accessKeys"
    issued = rest.call("POST", path, status=201, headers=headers)
    again = rest.call("POST", path, status=201, headers=headers)
    assert issued["token"] != again["token"], "an answer with a secret must not be kept"
    secret = issued["token"].split("_", 2)[2]  # it may hold one itself
    listed = rest.client.get(path).text
    assert issued["accessKey"]["id"] in listed
    assert secret not in listed
    assert house.status(issued["token"], "GET", "/version") == 200
    for file in rest.state.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file


def test_what_is_changed_or_refused_is_audited(house):
    rest = house.rest
    token = house.key(grant(house.name("mine") + "*", "EXECUTE"))
    key_id = token.split("_")[1]
    for _ in range(3):
        assert house.status(token, "POST", f"/v1/workers/{house.other}:stop") == 403
    assert house.status(token, "POST", f"/v1/workers/{house.mine}:pause") == 200
    assert house.status(token, "POST", f"/v1/workers/{house.mine}:resume") == 200
    entries = rest.call("GET", "/v1/auditEntries?pageSize=1000")["items"]
    mine = [e for e in entries if e["principal"].endswith(f"/{key_id}")]
    facts = [(e["action"], e["target"], e["outcome"]) for e in reversed(mine)]
    assert facts == [
        ("stop_worker", house.other, "refused"),
        ("pause_worker", house.mine, "done"),
        ("resume_worker", house.mine, "done"),
    ]
    principal = mine[0]["principal"]
    filtered = rest.call("GET", f"/v1/auditEntries?principal={principal}&action=stop_worker")
    assert [e["reason"] for e in filtered["items"]] == ["PERMISSION_DENIED"]
    family = rest.call("GET", f"/v1/auditEntries?principal={principal.rpartition('/')[0]}/")
    assert len(family["items"]) == 3
    made = next(e for e in entries if e["action"] == "create_access_key")
    assert made["principal"].startswith("uid:")
    page = rest.call("GET", "/v1/auditEntries?pageSize=1")
    following = rest.call("GET", f"/v1/auditEntries?pageSize=1&pageToken={page['nextPageToken']}")
    assert following["items"][0]["id"] < page["items"][0]["id"]
    text = json.dumps(entries)
    assert token not in text


def test_keys_and_audit_outlive_the_service(make, tmp_path):
    with make.serving(tmp_path / "state") as first:
        grants = [grant("*", "READ")]
        first.call("POST", "/v1/applications", status=201, json={"name": "a", "grants": grants})
        token = first.call("POST", "/v1/applications/a/accessKeys", status=201)["token"]
        gone = first.call("POST", "/v1/applications/a/accessKeys", status=201)
        headers = {"authorization": f"Bearer {gone['token']}"}
        with httpx2.Client(base_url=first.url) as tcp:
            assert tcp.get("/version", headers=headers).status_code == 200  # its use is written
        path = f"/v1/applications/a/accessKeys/{gone['accessKey']['id']}"
        first.call("DELETE", path, status=204)
    with make.serving(tmp_path / "state") as second, httpx2.Client(base_url=second.url) as tcp:
        headers = {"authorization": f"Bearer {token}"}
        assert tcp.get("/v1/workers", headers=headers).status_code == 200
        headers = {"authorization": f"Bearer {gone['token']}"}
        assert tcp.get("/v1/workers", headers=headers).status_code == 401
        actions = [e["action"] for e in second.call("GET", "/v1/auditEntries")["items"]]
        assert actions[0] == "delete_access_key"
        listed = second.call("GET", "/v1/applications/a/accessKeys")["items"]
        assert len(listed) == 1
