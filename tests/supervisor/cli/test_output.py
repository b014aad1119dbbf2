"""The forms of `-o`, with resources made by the models that the service uses."""

import json
from datetime import UTC, datetime, timedelta

import click
import pytest
import yaml
from click.testing import CliRunner

from workmanager.cli.columns import COLUMNS, cells
from workmanager.cli.output import emit, emit_all, emit_streamed
from workmanager.cli.settings import Settings
from workmanager.model import access as a
from workmanager.model import resources as r
from workmanager.model.spec import WorkerSpec

THEN = datetime(2026, 11, 21, tzinfo=UTC)
SPEC = WorkerSpec.model_validate(
    {"triggers": [{"topic": "orders"}, {"topic": "returns"}], "group": "billing"}
)
ERROR = r.TaskError(type="ValueError", message="bad\nworse", traceback="...")
WORKER = r.Worker(
    name="a",
    uid="u-1",
    etag="7",
    generation=3,
    created_at=THEN,
    updated_at=THEN,
    spec=SPEC,
    desired_state="RUNNING",
    status=r.WorkerStatus(
        state="RUNNING",
        current_version="sha256:0123456789abcdef",
        last_error="e",
        executors_ready=1,
    ),
)
SAMPLES = {
    "worker": WORKER,
    "apply": r.ApplyResult(change="created", worker=WORKER),
    "version": r.Version(
        id="v1",
        worker="a",
        digest="sha256:0",
        code_digest="sha256:1",
        engine="text/x-python",
        handler="process",
        state="CURRENT",
        size_bytes=5000,
        created_at=THEN,
        message="first",
    ),
    "executor": r.Executor(
        id="e1",
        worker="a",
        version="sha256:0",
        pid=7,
        state="READY",
        started_at=THEN,
        uptime_s=3.25,
        in_flight=1,
        tasks_total=9,
    ),
    "task": r.Task(
        id="1f0000",
        worker="a",
        status="FAILED",
        attempt=2,
        max_attempts=5,
        event_id="i",
        event_source="s",
        event_type="t",
        topic="orders",
        version="sha256:0",
        executor="e1",
        scheduled_at=THEN,
        duration_s=0.012,
        error=ERROR,
    ),
    "dead-letter": r.DeadLetter(
        id="d1",
        worker="a",
        task="1f0000",
        reason="ATTEMPTS_EXHAUSTED",
        error=ERROR,
        attempts=5,
        crashes=0,
        topic="orders",
        event={"id": "i", "type": "t"},
        accepted_at=THEN,
        failed_at=THEN,
    ),
    "group": r.Group(
        name="billing",
        limit=1,
        key="subject",
        delivery="once",
        scope="auto",
        members=[
            r.GroupMember(worker="a", waiting=2, holding=1),
            r.GroupMember(worker="b", waiting=3, holding=0),
        ],
        fencing_token=42,
    ),
    "engine": r.Engine(
        media_type="text/x-python",
        aliases=["py"],
        available=True,
        detail="here",
        runtime_version="3.11",
    ),
    "operation": r.Operation(
        id="o1",
        kind="delete",
        target="a",
        done=False,
        created_at=THEN,
        progress="1 of 2",
        error={"detail": "no"},
    ),
    "publish": r.PublishResult(topic="orders", accepted=2, duplicates=1, deliveries=4),
    "invoke": r.InvokeResult(task="1f", status="FAILED", duration_s=1.5, error=ERROR),
    "application": a.Application(
        name="shop",
        description="the shop",
        grants=[a.Grant(workers=["shop-*"], rights=["READ"], secrets=["shop.*"])],
        keys=2,
        created_at=THEN,
        updated_at=THEN,
    ),
    "access-key": a.AccessKey(
        id="0123456789ab",
        application="shop",
        description="pipeline",
        created_at=THEN,
        expires_at=THEN,
        last_used_at=THEN,
    ),
    "audit": a.AuditEntry(
        id=1,
        time=THEN,
        principal="uid:0",
        action="stop_worker",
        target="a",
        outcome="refused",
        reason="PERMISSION_DENIED",
    ),
    "count": r.RedriveResult(count=3),
    "change": r.FieldChange(path="spec.retry", old=1, new=2),
}


def wire(kind):
    return SAMPLES[kind].model_dump(mode="json", by_alias=True)


def written(output, act):
    @click.command()
    def command():
        act(Settings(output=output))

    return CliRunner().invoke(command, catch_exceptions=False)


@pytest.mark.parametrize("kind", COLUMNS)
def test_columns_name_fields_that_the_resources_have(kind):
    """A renamed field would show as "-": every cell of a full sample has something to show."""
    row = wire(kind) | ({"worker": "a"} if kind == "change" else {})
    shown = dict(zip((c.heading for c in COLUMNS[kind]), cells(COLUMNS[kind], row), strict=True))
    assert "-" not in shown.values(), shown


def test_table_is_aligned_plain_text_without_a_terminal():
    group = wire("group")
    result = written("table", lambda s: emit_all(s, "group", [group, {**group, "name": "b"}]))
    assert result.stdout.splitlines() == [
        "NAME     LIMIT  DELIVERY  MEMBERS  HOLDING  WAITING  TOKEN",
        "billing  1      once      a,b      1        5        42",
        "b        1      once      a,b      1        5        42",
    ]


def test_wide_adds_columns():
    line = written("wide", lambda s: emit(s, "group", wire("group"))).stdout.splitlines()[0]
    assert line.split()[-2:] == ["KEY", "SCOPE"]


def test_empty_table_is_words_on_stderr():
    result = written("table", lambda s: emit_all(s, "worker", []))
    assert (result.stdout, result.stderr) == ("", "nothing found\n")


def test_json_of_a_list_is_a_list_and_of_one_is_itself():
    worker = wire("worker")
    listed = written("json", lambda s: emit_all(s, "worker", [worker])).stdout
    assert json.loads(listed) == [worker]
    assert json.loads(written("json", lambda s: emit(s, "worker", worker)).stdout) == worker
    assert json.loads(written("json", lambda s: emit_all(s, "worker", [])).stdout) == []


def test_jsonl_is_a_line_for_each():
    text = written("jsonl", lambda s: emit_all(s, "task", [wire("task")] * 2)).stdout
    assert [json.loads(line) for line in text.splitlines()] == [wire("task")] * 2


def test_yaml_reads_back_the_same():
    text = written("yaml", lambda s: emit_all(s, "worker", [wire("worker")])).stdout
    assert yaml.load(text, Loader=yaml.BaseLoader)[0]["createdAt"] == "2026-11-21T00:00:00Z"


def test_streamed_yaml_is_documents():
    def act(settings):
        emit_streamed(settings, {"a": 1})
        emit_streamed(settings, {"a": 2})

    assert list(yaml.safe_load_all(written("yaml", act).stdout)) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "yaml"])
def test_control_characters_do_not_reach_the_terminal(output):
    row = {**wire("group"), "name": "\x1b[2J\x9b31m\x7f"}
    text = written(output, lambda s: emit(s, "group", row)).stdout
    assert not {"\x1b", "\x9b", "\x7f"} & set(text)


def test_age_is_shown_from_the_time_of_creation():
    row = {**wire("version"), "createdAt": (datetime.now(UTC) - timedelta(hours=26)).isoformat()}
    text = written("table", lambda s: emit(s, "version", row)).stdout
    assert " 1d2h " in text
