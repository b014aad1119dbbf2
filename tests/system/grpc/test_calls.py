"""Calls over gRPC with the stock client: every service, and the same answers as over REST."""

import uuid
from datetime import datetime

import grpc
import pytest

from workmanager.v1 import admin_service_pb2 as admin
from workmanager.v1 import engine_pb2 as engines
from workmanager.v1 import event_service_pb2 as events
from workmanager.v1 import group_pb2 as groups
from workmanager.v1 import operation_pb2 as operations
from workmanager.v1 import task_service_pb2 as tasks
from workmanager.v1 import worker_service_pb2 as pb

pytestmark = [pytest.mark.system, pytest.mark.slow]

FAIL = b'def process(event):\n    raise ValueError("no")\n'
NOOP = b"def process(event): pass\n"


def test_a_worker_is_created_looked_at_changed_and_deleted(api):
    name = api.create()
    worker = api.workers.GetWorker(pb.GetWorkerRequest(worker=name))
    assert (worker.name, worker.status.state, worker.desired_state) == (name, "RUNNING", "RUNNING")
    assert worker.spec.retry.maximum_attempts == 5
    listed = api.workers.ListWorkers(pb.ListWorkersRequest(filter=f"name={name}"))
    assert [item.name for item in listed.items] == [name]
    stopped = api.workers.StopWorker(pb.StopWorkerRequest(worker=worker.uid))
    assert stopped.status.state == "STOPPED"
    assert api.workers.StartWorker(pb.StartWorkerRequest(worker=name)).status.state == "RUNNING"
    paused = api.workers.PauseWorker(pb.PauseWorkerRequest(worker=name))
    assert paused.status.state == "PAUSED"
    assert api.workers.ResumeWorker(pb.ResumeWorkerRequest(worker=name)).status.state == "RUNNING"
    assert api.workers.RestartWorker(pb.RestartWorkerRequest(worker=name)).name == name
    explained = api.workers.ExplainWorker(pb.ExplainWorkerRequest(worker=name))
    assert explained.worker == name
    assert explained.summary
    assert api.delete(name).done
    with pytest.raises(grpc.RpcError) as caught:
        api.workers.GetWorker(pb.GetWorkerRequest(worker=name))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_the_short_form_creates_a_worker_with_a_guid(api):
    seed = {"code_source": {"content": NOOP}, "topic": "seed"}
    worker = api.workers.CreateWorker(pb.CreateWorkerRequest(seed=seed))
    assert uuid.UUID(worker.uid)
    assert worker.spec.engine == "text/x-python"
    assert worker.spec.triggers[0].topic == "seed"


def test_apply_patch_and_diff_change_what_they_say(api, make):
    name = make.name()
    spec = {"code": {"content": NOOP}, "retry": {"maximum_attempts": 2}}
    manifest = {"metadata": {"labels": {"a": "1"}}, "spec": spec}
    request = pb.ApplyWorkerRequest(worker=name, manifest=manifest)
    dry = pb.ApplyWorkerRequest(worker=name, manifest=manifest, dry_run=True)
    assert api.workers.ApplyWorker(dry).change == "created"
    created = api.workers.ApplyWorker(request)
    assert (created.change, created.worker.spec.retry.maximum_attempts) == ("created", 2)
    assert api.workers.ApplyWorker(request).change == "unchanged"
    manifest["spec"]["retry"]["maximum_attempts"] = 3
    diff = api.workers.DiffWorker(pb.DiffWorkerRequest(worker=name, manifest=manifest))
    (change,) = diff.changes
    assert (change.path, change.old.number_value, change.new.number_value) == (
        "spec.retry.maximumAttempts",
        2,
        3,
    )
    patch = pb.PatchWorkerRequest(worker=name, if_match=created.worker.etag)
    patch.patch.update({"spec": {"retry": {"maximumAttempts": 7}, "dedupe": {"window": "5m"}}})
    patched = api.workers.PatchWorker(patch).worker
    assert (patched.spec.retry.maximum_attempts, patched.spec.dedupe.window) == (7, 300.0)
    stale = make.refusal(api.workers.PatchWorker, patch)
    assert (stale.code, stale.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    absent = pb.ApplyWorkerRequest(worker=make.name(), manifest=manifest, if_match="*")
    assert make.refusal(api.workers.ApplyWorker, absent).reason == "ETAG_MISMATCH"


def test_versions_are_made_swapped_in_and_rolled_back(api):
    name = api.create(b"def process(event): return 1\n")
    first = api.workers.GetWorker(pb.GetWorkerRequest(worker=name)).status.current_version
    code = b"def process(event): return 2\n"
    request = pb.CreateVersionRequest(worker=name, content=code, media_type="text/x-python")
    second = api.workers.CreateVersion(request)
    assert second.state == "CURRENT"
    assert api.invoke(name).outputs[0].text_data == "2"
    shown = api.workers.GetCode(pb.GetCodeRequest(worker=name))
    assert (shown.content, shown.media_type) == (code, "text/x-python")
    listed = api.workers.ListVersions(pb.ListVersionsRequest(worker=name))
    assert {version.id for version in listed.items} == {first, second.id}
    back = api.workers.RollbackWorker(pb.RollbackWorkerRequest(worker=name, message="oops"))
    assert api.finish(back).result["version"] == first
    assert api.invoke(name).outputs[0].text_data == "1"
    kept = pb.GetVersionRequest(worker=name, version=second.id)
    assert api.workers.GetVersion(kept).state == "DRAINED"
    promote = pb.PromoteVersionRequest(worker=name, version=second.id)
    assert api.finish(api.workers.PromoteVersion(promote)).result["version"] == second.id
    old = pb.DeleteVersionRequest(worker=name, version=first)
    api.until(lambda: _deleted(api, old))
    request.promote = False
    request.content = b"def process(event): return 3\n"
    assert api.workers.CreateVersion(request).state == "INACTIVE"


def _deleted(api, request):
    """Delete; False while the old version's executor still drains."""
    try:
        api.workers.DeleteVersion(request)
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION  # noqa: PT017
        return False
    return True


def test_events_are_published_and_handled(api, make):
    name = api.create(triggers=[{"topic": "grpc.in"}])
    one = events.PublishRequest(topic="grpc.in", event=make.event(text_data='{"n": 1}'))
    result = api.events.Publish(one)
    assert (result.topic, result.accepted, result.deliveries) == ("grpc.in", 1, 1)
    assert api.events.Publish(one).duplicates == 1
    many = api.publish("grpc.in", *(make.event() for _ in range(100)))
    assert (many.accepted, many.deliveries) == (100, 100)
    done = tasks.ListTasksRequest(worker=name, status="COMPLETED", page_size=1000)
    found = api.until(lambda: api.tasks.ListTasks(done), holds=lambda page: len(page.items) == 101)
    task = api.tasks.GetTask(tasks.GetTaskRequest(task=found.items[0].id))
    assert (task.worker, task.status, task.attempt) == (name, "COMPLETED", 1)
    assert task.HasField("duration_s")
    assert not task.HasField("fencing_token")


def test_an_invoke_answers_with_events(api, make):
    name = api.create()
    answer = api.invoke(name, '{"a": [1]}')
    assert answer.status == "COMPLETED"
    (output,) = answer.outputs
    assert output.text_data == '{"echo":{"a":[1]}}'
    assert output.attributes["datacontenttype"].ce_string == "application/json"
    assert output.attributes["wmattempt"].ce_integer == 1
    later = api.invoke(name, mode="async")
    assert (later.status, later.HasField("duration_s")) == ("SCHEDULED", False)
    assert api.invoke(name, mode="dryRun").status == "COMPLETED"


def test_dead_letters_are_listed_redriven_and_purged(api, make):
    retry = {"maximum_attempts": 1}
    name = api.create(FAIL, triggers=[{"topic": "grpc.dead"}], retry=retry)
    api.publish("grpc.dead", make.event(id="bad", text_data="[1]"))
    request = tasks.ListDeadLettersRequest(worker=name)
    page = api.until(lambda: api.tasks.ListDeadLetters(request), holds=lambda page: page.items)
    (letter,) = page.items
    assert (letter.event.id, letter.event.text_data) == ("bad", "[1]")
    assert (letter.error.type, letter.attempts) == ("ValueError", 1)
    assert api.tasks.GetDeadLetter(tasks.GetDeadLetterRequest(letter=letter.id)) == letter
    again = api.tasks.Redrive(tasks.RedriveRequest(worker=name))
    assert api.finish(again).result["count"] == 1
    api.until(lambda: api.tasks.ListDeadLetters(request), holds=lambda page: page.items)
    purge = tasks.PurgeDeadLettersRequest(worker=name)
    assert api.tasks.PurgeDeadLetters(purge).count == 1


def test_a_waiting_task_is_cancelled(api, make):
    name = api.create(NOOP, triggers=[{"topic": "grpc.wait"}])
    api.workers.PauseWorker(pb.PauseWorkerRequest(worker=name))
    api.publish("grpc.wait", make.event())
    (task,) = api.tasks.ListTasks(tasks.ListTasksRequest(worker=name)).items
    ended = api.tasks.CancelTask(tasks.CancelTaskRequest(task=task.id))
    assert ended.status == "CANCELED"
    refused = make.refusal(api.tasks.RetryTask, tasks.RetryTaskRequest(task=task.id))
    assert refused.reason == "INVALID_STATE"


def test_groups_engines_operations_and_the_service_itself_are_shown(api, make):
    name = api.create(NOOP, group={"name": "grpc-group"})
    (group,) = api.groups.ListGroups(groups.ListGroupsRequest()).items
    assert (group.name, group.members[0].worker) == ("grpc-group", name)
    assert api.groups.GetGroup(groups.GetGroupRequest(group="grpc-group")).limit == 1
    release = groups.ReleaseGroupRequest(group="grpc-group", token=12345)
    assert make.refusal(api.groups.ReleaseGroup, release).reason == "LEASE_LOST"
    found = api.engines.ListEngines(engines.ListEnginesRequest(page_size=1))
    assert len(found.items) == 1
    assert found.next_page_token
    python = api.engines.GetEngine(engines.GetEngineRequest(engine="text/x-python"))
    assert python.available
    operation = api.workers.Recover(pb.RecoverRequest())
    assert api.finish(operation).result["workers"] >= 1
    seen = api.operations.ListOperations(operations.ListOperationsRequest())
    assert operation.id in [item.id for item in seen.items]
    health = api.admin.GetHealth(admin.GetHealthRequest(verbose=True))
    assert health.status in ("ok", "degraded")
    assert "store" in [check["name"] for check in health.checks]
    assert "workmanager_" in api.admin.GetMetrics(admin.GetMetricsRequest()).text
    version = api.admin.GetVersionInfo(admin.GetVersionInfoRequest())
    assert version.api_version == "v1"
    executors = api.workers.ListExecutors(pb.ListExecutorsRequest(worker=name))
    assert [item.state for item in executors.items] == ["READY"]


def test_logs_are_listed(api):
    name = api.create()
    api.invoke(name)
    request = pb.ListLogsRequest(worker=name)
    page = api.until(lambda: api.workers.ListLogs(request), holds=lambda page: page.items)
    assert page.items[0].text.startswith("seen")


def test_both_apis_show_the_same_worker(api):
    from workmanager.api.grpc.convert import to_json

    name = api.create(triggers=[{"topic": "same", "filters": [{"exact": {"type": "x"}}]}])
    api.invoke(name)
    shown = api.rest.get(f"/v1/workers/{name}").json()
    given = to_json(api.workers.GetWorker(pb.GetWorkerRequest(worker=name)))
    assert without_empty(given) == without_empty(shown)


def without_empty(value):
    """Leave out what a message does not tell from absent; read times, whose digits differ."""
    if isinstance(value, dict):
        parts = {key: without_empty(part) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part not in (None, "", 0, [], {})}
    if isinstance(value, str) and value.endswith("Z") and value[:2] == "20":
        return datetime.fromisoformat(value)
    return [without_empty(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("rpc", "request_", "path"),
    [
        ("GetWorker", {"worker": "absent"}, "/v1/workers/absent"),
        ("ListWorkers", {"filter": "nonsense"}, "/v1/workers?filter=nonsense"),
        ("ListWorkers", {"page_token": "x"}, "/v1/workers?pageToken=x"),
        ("ListVersions", {"worker": "absent"}, "/v1/workers/absent/versions"),
    ],
)
def test_both_apis_refuse_for_the_same_reason(api, make, rpc, request_, path):
    request = getattr(pb, f"{rpc}Request")(**request_)
    refused = make.refusal(getattr(api.workers, rpc), request)
    problem = api.rest.get(path).json()
    assert (refused.reason, refused.code.name) == (problem["reason"], problem["code"])
    assert refused.message == problem["detail"]
    assert refused.faults == {fault["pointer"]: fault["detail"] for fault in problem["errors"]}
    assert dict(refused.info.metadata) == problem["metadata"]


def test_every_fault_of_a_manifest_is_told_with_its_path(api, make):
    spec = {
        "code": {"content": NOOP},
        "retry": {"maximum_attempts": 0, "backoff": "sometimes"},
        "triggers": [{"topic": "bad topic"}],
    }
    manifest = {"metadata": {"name": "BAD"}, "spec": spec}
    refused = make.refusal(api.workers.CreateWorker, pb.CreateWorkerRequest(manifest=manifest))
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_ARGUMENT",
    )
    assert refused.info.domain == "workmanager"
    assert refused.faults.keys() == {
        "metadata.name",
        "spec.retry.maximumAttempts",
        "spec.retry.backoff",
        "spec.triggers[0].topic",
    }


def test_what_user_code_raised_is_told_with_its_traceback(api, make):
    name = api.create(FAIL)
    request = events.InvokeRequest(worker=name, event=make.event())
    refused = make.refusal(api.events.Invoke, request)
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "WORKER_ERROR",
    )
    assert 'raise ValueError("no")' in refused.info.metadata["traceback"]


def test_a_full_inbox_says_when_to_come_back(api, make):
    name = api.create(NOOP, triggers=[{"topic": "grpc.full"}], inbox={"max_count": 1})
    api.workers.PauseWorker(pb.PauseWorkerRequest(worker=name))
    api.publish("grpc.full", make.event())
    request = events.PublishRequest(topic="grpc.full", event=make.event())
    refused = make.refusal(api.events.Publish, request)
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "INBOX_FULL",
    )
    assert refused.RetryInfo.retry_delay.ToMilliseconds() > 0


@pytest.mark.parametrize(
    ("stub", "rpc", "request_", "reason"),
    [
        ("workers", "CreateWorker", pb.CreateWorkerRequest(), "INVALID_ARGUMENT"),
        ("workers", "ApplyWorker", pb.ApplyWorkerRequest(worker="w"), "INVALID_ARGUMENT"),
        ("workers", "CreateVersion", pb.CreateVersionRequest(), "UNSUPPORTED_MEDIA_TYPE"),
        ("workers", "ListWorkers", pb.ListWorkersRequest(page_size=-1), "INVALID_ARGUMENT"),
        ("workers", "ListLogs", pb.ListLogsRequest(tail=-1), "INVALID_ARGUMENT"),
        ("tasks", "ListTasks", tasks.ListTasksRequest(status="LOST"), "INVALID_ARGUMENT"),
        ("tasks", "GetTask", tasks.GetTaskRequest(task="zz"), "TASK_NOT_FOUND"),
        ("tasks", "Redrive", tasks.RedriveRequest(max_rate=-1), "INVALID_ARGUMENT"),
        ("events", "Publish", events.PublishRequest(topic="t"), "MALFORMED_EVENT"),
        ("events", "PublishBatch", events.PublishBatchRequest(topic="t"), "MALFORMED_EVENT"),
        ("groups", "ReleaseGroup", groups.ReleaseGroupRequest(group="g"), "INVALID_ARGUMENT"),
        ("groups", "GetGroup", groups.GetGroupRequest(group="g"), "GROUP_NOT_FOUND"),
        ("engines", "GetEngine", engines.GetEngineRequest(engine="x/y"), "ENGINE_NOT_FOUND"),
        ("operations", "GetOperation", operations.GetOperationRequest(), "OPERATION_NOT_FOUND"),
    ],
)
def test_wrong_requests_are_refused(api, make, stub, rpc, request_, reason):
    refused = make.refusal(getattr(getattr(api, stub), rpc), request_)
    assert refused.reason == reason


def test_modes_and_time_outs_of_an_invoke_are_checked(api, make):
    for field, value in (("mode", "maybe"), ("timeout_s", -1), ("timeout_s", 1e9)):
        request = events.InvokeRequest(worker="w", event=make.event(), **{field: value})
        refused = make.refusal(api.events.Invoke, request)
        assert refused.reason == "INVALID_ARGUMENT"
        assert len(refused.faults) == 1


def test_bytes_that_are_no_message_are_refused(api, make):
    call = api.channel.unary_unary("/workmanager.v1.WorkerService/GetWorker")
    refused = make.refusal(call, b"\xff\xff\xff")
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_ARGUMENT",
    )


def test_an_unknown_rpc_is_unimplemented(api, make):
    call = api.channel.unary_unary("/workmanager.v1.WorkerService/FlyWorker")
    assert make.refusal(call, b"").code is grpc.StatusCode.UNIMPLEMENTED


def test_a_request_too_large_for_its_kind_is_refused(api, make):
    request = pb.GetWorkerRequest(worker="x" * (2 * 2**20))
    refused = make.refusal(api.workers.GetWorker, request)
    assert (refused.code, refused.reason) == (
        grpc.StatusCode.OUT_OF_RANGE,
        "PAYLOAD_TOO_LARGE",
    )


def test_the_same_call_under_one_key_is_done_once(api, make):
    key = (("idempotency-key", uuid.uuid4().hex),)
    manifest = {"metadata": {"name": make.name()}, "spec": {"code": {"content": NOOP}}}
    request = pb.CreateWorkerRequest(manifest=manifest)
    first = api.workers.CreateWorker(request, metadata=key)
    assert api.workers.CreateWorker(request, metadata=key) == first
    request.start = False
    refused = make.refusal(api.workers.CreateWorker, request, metadata=key)
    assert refused.reason == "IDEMPOTENCY_KEY_REUSED"
    other = make.refusal(
        api.workers.StopWorker, pb.StopWorkerRequest(worker=first.name), metadata=key
    )
    assert other.reason == "IDEMPOTENCY_KEY_REUSED"
    rest = api.rest.post(
        f"/v1/workers/{first.name}:stop", headers={"idempotency-key": key[0][1]}
    ).json()
    assert rest["reason"] == "IDEMPOTENCY_KEY_REUSED"
