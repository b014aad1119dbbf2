"""Messages to JSON values and back: exact, by JSON names, given told from not given."""

from datetime import UTC, datetime

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workmanager.api.grpc.convert import from_json, struct_to_json, to_json, to_message
from workmanager.model.manifest import Manifest
from workmanager.model.resources import (
    Condition,
    DeadLetter,
    FieldChange,
    Operation,
    Task,
    Worker,
    WorkerStatus,
)
from workmanager.model.spec import WorkerSpec
from workmanager.v1 import operation_pb2, spec_pb2, task_pb2, worker_pb2

NOW = datetime(2026, 11, 21, 10, 30, 15, 123456, tzinfo=UTC)
FILTER = {"all": [{"exact": {"type": "x"}}, {"not": {"prefix": {"subject": "y"}}}]}
SPEC = {
    "code": {"digest": "sha256:" + "0" * 64},
    "triggers": [{"topic": "a", "filters": [FILTER]}],
    "group": {"name": "g", "key": "subject"},
    "recycle": {"maxTasks": 10**12, "maxMemory": 2**44},
    "dedupe": {"window": 0},
    "isolation": {"network": "ports", "ports": [443, 8443]},
    "env": {"A": "1"},
}


def test_a_specification_comes_through_whole():
    spec = WorkerSpec.model_validate(SPEC)
    message = to_message(spec_pb2.WorkerSpec, spec)
    again = spec_pb2.WorkerSpec.FromString(message.SerializeToString())
    assert WorkerSpec.model_validate(to_json(again), by_name=False) == spec
    assert again.recycle.max_tasks == 10**12


def test_what_is_not_given_gets_its_default_and_a_zero_stays_a_zero():
    given_ = spec_pb2.WorkerSpec(
        dedupe=spec_pb2.Dedupe(window=0), retry=spec_pb2.Retry(maximum_attempts=2)
    )
    raw = to_json(given_)
    assert raw == {"dedupe": {"window": 0.0}, "retry": {"maximumAttempts": 2}}
    spec = WorkerSpec.model_validate(raw, by_name=False)
    assert (spec.dedupe.window_s, spec.retry.maximum_attempts) == (0, 2)
    assert spec.retry.initial_interval_s == 1.0


def test_code_is_bytes_in_a_message_and_base64_in_json():
    manifest = spec_pb2.Manifest(spec={"code": {"content": b"\x00\xff"}})
    assert to_json(manifest) == {"spec": {"code": {"content": "AP8="}}}
    assert from_json(spec_pb2.Code, {"content": "AP8="}).content == b"\x00\xff"


@pytest.fixture
def worker():
    condition = Condition(type="Healthy", status=True, reason="OK", last_transition_time=NOW)
    status = WorkerStatus(state="RUNNING", conditions=[condition], backlog=2**40)
    return Worker(
        name="w",
        uid="u",
        etag="e",
        generation=2**53 + 1,
        labels={"a": "b"},
        created_at=NOW,
        updated_at=NOW,
        spec=WorkerSpec.model_validate(SPEC),
        desired_state="RUNNING",
        status=status,
    )


def test_a_worker_in_a_message_reads_as_rest_shows_it(worker):
    message = to_message(worker_pb2.Worker, worker)
    assert not message.status.HasField("last_event_time")  # null in REST
    shown = without_empty(worker.model_dump(mode="json", by_alias=True))
    assert without_empty(to_json(message)) == shown


def test_protobufs_own_json_mapping_agrees_but_for_long_numbers(worker):
    message = to_message(worker_pb2.Worker, worker)
    theirs = json_format.MessageToDict(message)
    assert theirs["generation"] == str(2**53 + 1)
    assert to_json(message)["generation"] == 2**53 + 1  # exact, though no double could hold it
    assert alike(without_empty(to_json(message)), without_empty(theirs))


def alike(ours, theirs):
    """Compare; where we have a whole number, they may have its digits."""
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(alike(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(alike, ours, theirs))
    return theirs in (ours, str(ours))


def without_empty(value):
    """Leave out what a message does not tell from absent: null, false, zero, empty."""
    if isinstance(value, dict):
        parts = {key: without_empty(part) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part not in (None, "", 0, [], {})}
    return [without_empty(part) for part in value] if isinstance(value, list) else value


def test_absent_is_told_from_zero_where_rest_has_null():
    open_ = Task(
        id="1", worker="w", status="SCHEDULED", attempt=0, max_attempts=5, event_id="e",
        event_source="s", event_type="t", scheduled_at=NOW,
    )  # fmt: skip
    message = to_message(task_pb2.Task, open_)
    assert not message.HasField("duration_s")
    assert not message.HasField("ended_at")
    settled = open_.model_copy(update={"duration_s": 0.0, "ended_at": NOW})
    message = to_message(task_pb2.Task, settled)
    assert message.HasField("duration_s")
    assert message.ended_at.ToDatetime(UTC) == NOW


def test_a_dead_letter_holds_its_event_as_a_message():
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "n": 3, "data": {"a": 1}}
    letter = DeadLetter(
        id="1", worker="w", task="1", reason="R", attempts=1, crashes=0,
        event={**event, "datacontenttype": "application/json"}, accepted_at=NOW, failed_at=NOW,
    )  # fmt: skip
    message = to_message(task_pb2.DeadLetter, letter)
    assert message.event.attributes["n"].ce_integer == 3
    assert message.event.text_data == '{"a":1}'
    assert to_json(message)["event"] == letter.event


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(max_size=10), json_values, max_size=4))
def test_free_objects_come_through_with_whole_numbers_whole(value):
    operation = Operation(
        id="1", kind="k", target="t", done=False, created_at=NOW, result=value or None
    )
    message = to_message(operation_pb2.Operation, operation)
    again = operation_pb2.Operation.FromString(message.SerializeToString())
    assert (to_json(again).get("result") or {}) == value


def test_a_merge_patch_keeps_nulls_and_whole_numbers():
    patch = Struct()
    patch.update({"spec": {"retry": {"maximumAttempts": 3}, "group": None, "rate": 0.5}})
    read = struct_to_json(patch)
    assert read == {"spec": {"retry": {"maximumAttempts": 3}, "group": None, "rate": 0.5}}
    assert isinstance(read["spec"]["retry"]["maximumAttempts"], int)
    assert isinstance(read["spec"]["rate"], float)


@pytest.mark.parametrize("value", [None, True, 0, 2.5, "", "x", [1, None], {"a": {"b": []}}])
def test_any_value_comes_through(value):
    change = FieldChange(path="p", old=value, new=[value])
    message = to_message(worker_pb2.FieldChange, change)
    read = to_json(message)
    assert read.get("old") == value
    assert read["new"] == [value]


def test_a_whole_manifest_is_read_from_a_message():
    message = spec_pb2.Manifest(
        metadata={"name": "m", "labels": {"a": "b"}},
        spec={"code": {"content": b"x"}, "concurrency": {"executors": 2}},
    )
    manifest = Manifest.model_validate(to_json(message), by_name=False)
    assert manifest.spec.concurrency.executors == 2
