"""Every rpc with no key, a wrong key, a key without the right, and a key with the right."""

import json
import uuid
from base64 import b64encode

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from workmanager.api.grpc.table import RPCS

pytestmark = [pytest.mark.system, pytest.mark.slow]

ALL = ("READ", "CREATE", "UPDATE", "EXECUTE", "DELETE")
PUBLIC, ANY, ADMIN = "public", "any", "admin"
EVERY = "*"  # the right is needed on all workers
IN, OUT = "in", "refused"
FAIL = b'def process(event):\n    raise ValueError("no")\n'

# What each rpc needs; one that is not here fails the test.
NEEDS = {
    "WorkerService": {
        "GetWorker": "READ", "ListWorkers": ANY, "ExplainWorker": "READ", "DiffWorker": "READ",
        "ListVersions": "READ", "GetVersion": "READ", "GetCode": "READ", "ListExecutors": "READ",
        "ListLogs": "READ", "WatchWorkers": "READ", "TailLogs": "READ", "CreateWorker": "CREATE",
        "ApplyWorker": "UPDATE", "PatchWorker": "UPDATE", "CreateVersion": "UPDATE",
        "PromoteVersion": "UPDATE", "DeleteVersion": "UPDATE", "RollbackWorker": "UPDATE",
        "PauseWorker": "EXECUTE", "ResumeWorker": "EXECUTE", "RestartWorker": "EXECUTE",
        "StopWorker": "EXECUTE", "StartWorker": "EXECUTE", "Recover": f"EXECUTE{EVERY}",
    },
    "EventService": {"Publish": "EXECUTE", "PublishBatch": "EXECUTE", "Invoke": "EXECUTE"},
    "TaskService": {
        "ListTasks": "READ", "GetTask": "READ", "CancelTask": "EXECUTE", "RetryTask": "EXECUTE",
        "ListDeadLetters": "READ", "GetDeadLetter": "READ", "WatchTasks": "READ",
        "Redrive": "EXECUTE", "PurgeDeadLetters": "DELETE",
    },
    "GroupService": {"ListGroups": ANY, "GetGroup": "READ", "ReleaseGroup": "EXECUTE"},
    "EngineService": {"ListEngines": ANY, "GetEngine": ANY},
    "OperationService": {
        "ListOperations": ANY, "GetOperation": "READ", "CancelOperation": "EXECUTE",
    },
    "AdminService": {"GetHealth": ANY, "GetMetrics": f"READ{EVERY}", "GetVersionInfo": ANY},
    "AccessService": {
        "ListApplications": ADMIN, "CreateApplication": ADMIN, "GetApplication": ADMIN,
        "UpdateApplication": ADMIN, "ListAccessKeys": ADMIN, "CreateAccessKey": ADMIN,
        "DeleteAccessKey": ADMIN, "ListAuditEntries": ADMIN, "DeleteApplication": ADMIN,
    },
    "Health": {"Check": PUBLIC, "Watch": PUBLIC, "List": ANY},
    "WorkerService ": {"DeleteWorker": "DELETE"},  # last: it is gone then
}  # fmt: skip


class House:
    """Workers of two families, one of each with a dead letter, and keys of all kinds."""

    def __init__(self, api, make):
        self.api, self.make = api, make
        self.tag = uuid.uuid4().hex[:6]
        self.mine, self.bad = self.worker("mine", make.ECHO), self.worker("mine-bad", FAIL)
        self.other = self.worker("other", make.ECHO)
        api.invoke(self.mine)
        api.invoke(self.bad, mode="async")
        self.letter = api.until(self.letters)[0]["id"]

    def name(self, kind):
        return f"r{self.tag}-{kind}"

    def worker(self, kind, code):
        name = self.name(kind)
        self.rest("PUT", f"/v1/workers/{name}", self.manifest(name, code, kind))
        return name

    def manifest(self, name, code, kind):
        spec = {
            "code": {"content": b64encode(code).decode()},
            "triggers": [{"topic": self.name(f"{kind}-topic")}],
            "group": self.name(f"{kind}-group"),
            "retry": {"maximumAttempts": 1},
        }
        return {"metadata": {"name": name}, "spec": spec}

    def rest(self, method, path, body=None):
        answer = self.api.rest.request(method, path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def letters(self):
        return self.rest("GET", f"/v1/deadLetters?worker={self.bad}")["items"]

    def key(self, workers, *rights):
        name = f"app-{uuid.uuid4().hex[:8]}"
        grants = [{"workers": [workers], "rights": list(rights)}]
        self.rest("POST", "/v1/applications", {"name": name, "grants": grants})
        return self.rest("POST", f"/v1/applications/{name}/accessKeys", {})["token"]

    def requests(self):
        """Return what to send to each rpc, in the JSON of the messages; the rest is empty."""
        version = self.rest("GET", f"/v1/workers/{self.mine}/versions")["items"][0]["id"]
        promoted = self.rest("POST", f"/v1/workers/{self.mine}/versions/{version}:promote")
        task = self.rest("GET", f"/v1/tasks?worker={self.mine}")["items"][0]["id"]
        app = f"walked-{self.tag}"
        self.rest("POST", "/v1/applications", {"name": app})
        event = {"id": "1", "source": "/test", "specVersion": "1.0", "type": "t", "textData": "1"}
        code = {"content": self.manifest("", self.make.ECHO, "mine")["spec"]["code"]["content"]}
        declared = {"metadata": {"name": self.mine}, "spec": {"code": code}}
        on_worker, on_app = {"worker": self.mine}, {"application": app}
        found = dict.fromkeys(NEEDS["WorkerService"], on_worker)
        for name in ("GetVersion", "PromoteVersion", "DeleteVersion"):
            found[name] = {**on_worker, "version": version}
        return found | {
            "ListWorkers": {}, "Recover": {}, "DeleteWorker": on_worker,
            "CreateWorker": {"manifest": {
                "metadata": {"name": self.name("mine-new")}, "spec": {"code": code},
            }},
            "ApplyWorker": {**on_worker, "manifest": declared},
            "DiffWorker": {**on_worker, "manifest": declared},
            "PatchWorker": {**on_worker, "patch": {"metadata": {"labels": {"a": "b"}}}},
            "CreateVersion": {**on_worker, **code, "mediaType": "text/x-python"},
            "Publish": {"topic": self.name("mine-topic"), "event": event},
            "PublishBatch": {"topic": self.name("mine-topic"), "events": [event]},
            "Invoke": {**on_worker, "event": event},
            "ListTasks": on_worker, "WatchTasks": on_worker, "ListDeadLetters": on_worker,
            "GetTask": {"task": task}, "CancelTask": {"task": task}, "RetryTask": {"task": task},
            "GetDeadLetter": {"letter": self.letter}, "Redrive": {"ids": [self.letter]},
            "PurgeDeadLetters": {"worker": self.bad},
            "GetGroup": {"group": self.name("mine-group")},
            "ReleaseGroup": {"group": self.name("mine-group"), "token": 1},
            "GetEngine": {"engine": "text/x-python"},
            "GetOperation": {"operation": promoted["id"]},
            "CancelOperation": {"operation": promoted["id"]},
            "CreateApplication": {"name": f"made-{self.tag}"},
            "GetApplication": on_app, "UpdateApplication": on_app, "DeleteApplication": on_app,
            "ListAccessKeys": on_app, "CreateAccessKey": on_app,
            "DeleteAccessKey": {**on_app, "key": "0123456789ab"},
        }  # fmt: skip


def ask(channel, rpc, request, token):
    """Call *rpc* with *token*; returns IN, OUT, or "unknown" for one that nobody has."""
    open_ = channel.unary_stream if rpc.is_stream else channel.unary_unary
    call = open_(rpc.name, rpc.request.SerializeToString, rpc.answer.FromString)
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    try:
        if rpc.is_stream:
            stream = call(request, metadata=metadata, timeout=2)
            next(stream)
            stream.cancel()
        else:
            call(request, metadata=metadata, timeout=20)
    except grpc.RpcError as error:
        code = error.code()
        if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
            raise
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return "unknown"
        return OUT if code is grpc.StatusCode.PERMISSION_DENIED else IN
    return IN


def test_every_rpc_asks_for_its_right(api, make):
    house = House(api, make)
    flat = [(s.strip(), name, need) for s, names in NEEDS.items() for name, need in names.items()]
    known = {tuple(rpc.name.split("/")[1:]): rpc for rpc in RPCS.values()}
    by_name = {(service.rpartition(".")[2], name): rpc for (service, name), rpc in known.items()}
    assert {(service, name) for service, name, _ in flat} == set(by_name), "say what it needs"
    requests = house.requests()
    own = house.name("mine") + "*"
    only = {right: house.key(own, right) for right in ALL}
    every = {right: house.key("*", right) for right in ALL}
    but = {right: house.key(own, *(r for r in ALL if r != right)) for right in ALL}
    elsewhere, everything = house.key(house.name("other") + "*", *ALL), house.key("*", *ALL)
    wrong = only["READ"][:-1] + ("A" if only["READ"][-1] != "A" else "B")
    with grpc.insecure_channel(api.target) as channel:
        for service, name, needed in flat:
            rpc = by_name[service, name]
            request = ParseDict(requests.get(name, {}), rpc.request())

            def outcome(token, rpc=rpc, request=request):
                return ask(channel, rpc, request, token)

            strangers = {outcome(""), outcome(wrong)}
            if needed == PUBLIC:
                assert strangers == {IN}, name
                continue
            assert strangers == {"unknown"}, name
            if needed == ADMIN:
                assert (outcome(everything), outcome(api.token)) == (OUT, IN), name
            elif needed == ANY:
                assert outcome(elsewhere) == IN, name
            elif needed.endswith(EVERY):
                right = needed.removesuffix(EVERY)
                assert (outcome(only[right]), outcome(every[right])) == (OUT, IN), name
            else:
                assert (outcome(elsewhere), outcome(but[needed])) == (OUT, OUT), name
                assert outcome(only[needed]) == IN, name


def test_streams_and_lists_show_what_may_be_read(api, make):
    house = House(api, make)
    token = house.key(house.name("mine") + "*", "READ")
    metadata = (("authorization", f"Bearer {token}"),)
    with grpc.insecure_channel(api.target) as channel:

        def first(name, field, **fields):
            rpc = next(rpc for rpc in RPCS.values() if rpc.name.endswith(f"/{name}"))
            stream = channel.unary_stream(
                rpc.name, rpc.request.SerializeToString, rpc.answer.FromString
            )(rpc.request(**fields), metadata=metadata, timeout=20)
            items = list(getattr(next(stream), field))
            stream.cancel()
            return items

        told = first("WatchWorkers", "changes", kinds=["workers"])
        assert {c.worker.name for c in told if c.kind == "worker"} == {house.mine, house.bad}
        lines = first("TailLogs", "lines", tail=1000)
        assert {line.worker for line in lines} == {house.mine}
    assert json.dumps(house.other) not in str(told)
