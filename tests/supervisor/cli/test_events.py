"""Events from the command line: their data, copies, batches."""

import json

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from workmanager.cli.eventoptions import EventOptions, build_event
from workmanager.cli.publishing import BATCH_BYTES, BATCH_EVENTS, batches, copies, read_batch
from workmanager.cli.root import root
from workmanager.client import new_event
from workmanager.model.event import Event


def test_event_carries_all_that_was_given():
    options = EventOptions(
        data='{"a": 1}', type_="t", source="s", id_="i", subject="x", extensions=[("k", "v")]
    )
    event = build_event(options)
    assert event == {
        "specversion": "1.0",
        "id": "i",
        "source": "s",
        "type": "t",
        "subject": "x",
        "k": "v",
        "data": {"a": 1},
    }
    assert Event.from_json(event).id == "i"


def test_default_event_is_what_the_service_takes():
    assert Event.from_json(build_event(EventOptions())).type == "event"


def test_data_comes_from_a_file(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"\x00\xff")
    options = EventOptions(data=f"@{tmp_path}/x.bin", content_type="application/octet-stream")
    assert Event.from_json(build_event(options)).data == b"\x00\xff"


@pytest.mark.parametrize("data", ["hello", "{", "@/none/such"])
def test_data_that_cannot_be_read_is_usage(data):
    with pytest.raises(click.UsageError, match="--data"):
        build_event(EventOptions(data=data))


def test_text_needs_its_type():
    assert build_event(EventOptions(data="hello", content_type="text/plain"))["data"] == "hello"


def test_copies_have_their_own_ids():
    random = list(copies(new_event(), 3, has_own_id=False))
    assert len({event["id"] for event in random}) == 3
    named = copies(new_event(attributes={"id": "a"}), 3, has_own_id=True)
    assert [event["id"] for event in named] == ["a-1", "a-2", "a-3"]
    assert [event["id"] for event in copies({"id": "a"}, 1, has_own_id=True)] == ["a"]


def test_batch_file_fills_in_what_events_lack(tmp_path):
    (tmp_path / "b.jsonl").write_text('{"id": "1", "data": 1}\n\n{"type": "own"}\n')
    first, second = read_batch(str(tmp_path / "b.jsonl"), {"type": "given"})
    assert (first["id"], first["type"], first["data"]) == ("1", "given", 1)
    assert (bool(second["id"]), second["type"]) == (True, "own")


@pytest.mark.parametrize(("line", "where"), [("{", "line 2"), ("[]", "line 2")])
def test_broken_line_of_a_batch_is_named(tmp_path, line, where):
    (tmp_path / "b.jsonl").write_text("{}\n" + line)
    with pytest.raises(click.UsageError, match=where):
        list(read_batch(str(tmp_path / "b.jsonl"), {}))


@given(st.lists(st.integers(0, 3 * BATCH_EVENTS), min_size=1, max_size=4).map(sum))
def test_batches_lose_nothing_and_stay_small(count):
    found = list(batches({"n": n} for n in range(count)))
    assert [event["n"] for batch in found for event in batch] == list(range(count))
    assert all(0 < len(batch) <= BATCH_EVENTS for batch in found)


def test_batches_are_bounded_in_bytes():
    large = {"data": "x" * (BATCH_BYTES // 2)}
    assert [len(batch) for batch in batches([large] * 5)] == [2, 2, 1]
    assert len(json.dumps(large)) < BATCH_BYTES


@pytest.mark.parametrize("extra", [["--data", "1"], ["--id", "x"], ["--count", "2"]])
def test_batch_excludes_single_event_options(extra, tmp_path):
    (tmp_path / "b.jsonl").write_text("{}")
    words = ["event", "publish", "t", "--batch", str(tmp_path / "b.jsonl"), *extra]
    assert CliRunner().invoke(root, words).exit_code == 2
