"""The feed of changes: order, resuming, bounds."""

import json

import pytest
import trio
from pydantic import BaseModel

from workmanager.errors import Reason, ResumeTokenError, SlowReaderError, WorkManagerError
from workmanager.telemetry import bundles, watch
from workmanager.telemetry.changes import ADDED, BOOKMARK, MODIFIED, Kind
from workmanager.telemetry.watch import Feed

WORKERS, TASKS = Kind.WORKERS, Kind.TASKS


class Thing(BaseModel):
    name: str
    text: str = ""


@pytest.fixture
def feed():
    made = Feed()
    made.record(WORKERS)
    made.record(TASKS)
    return made


def say(feed, *names_, kind=WORKERS, worker="w", text=""):
    things = [Thing(name=name, text=text) for name in names_]
    feed.publish(kind, [feed.change(MODIFIED, kind, worker, thing) for thing in things])


async def take_all(watcher, count):
    """Take batches until there are *count* changes."""
    taken = []
    with trio.fail_after(5):
        while len(taken) < count:
            taken += await watcher.take()
    return taken


def names(taken):
    return [change.resource.name for change in taken]


async def test_a_watcher_gets_what_it_asked_for_in_order(feed):
    mine, all_ = feed.watch([WORKERS], worker="a"), feed.watch([WORKERS, TASKS])
    say(feed, "1", worker="a")
    say(feed, "2", worker="b")
    say(feed, "3", worker="a", kind=TASKS)
    say(feed, "4", worker="a")
    assert names(await take_all(mine, 2)) == ["1", "4"]
    assert names(await take_all(all_, 4)) == ["1", "2", "3", "4"]


async def test_a_change_is_made_once_for_all_and_reads_like_rest(feed):
    first, second = feed.watch([WORKERS]), feed.watch([WORKERS])
    feed.publish(WORKERS, [feed.change(ADDED, WORKERS, "w", Thing(name="n"))])
    batch = await first.take()
    assert batch is await second.take()
    (one,) = batch
    assert json.loads(one.json) == {
        "type": "ADDED",
        "kind": "worker",
        "resumeToken": one.token,
        "worker": {"name": "n", "text": ""},
    }


async def test_taking_waits_for_a_change(feed):
    watcher = feed.watch([WORKERS])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_take_one, watcher)
        await trio.testing.wait_all_tasks_blocked()
        say(feed, "1")


async def _take_one(watcher):
    with trio.fail_after(5):
        assert names(await watcher.take()) == ["1"]


async def test_a_token_resumes_after_its_change(feed):
    watcher = feed.watch([WORKERS])
    say(feed, "1")
    say(feed, "task", kind=TASKS)
    (seen,) = await watcher.take()
    watcher.close()
    say(feed, "2")
    again = feed.watch([WORKERS, TASKS], after=seen.token)
    say(feed, "3")
    assert names(await take_all(again, 3)) == ["task", "2", "3"]


async def test_a_bookmark_resumes_where_it_stands(feed):
    say(feed, "1")
    mark = feed.bookmark()
    assert (mark.type, mark.kind, json.loads(mark.json)["resumeToken"]) == (
        BOOKMARK,
        None,
        mark.token,
    )
    say(feed, "2")
    assert names(await feed.watch([WORKERS], after=mark.token).take()) == ["2"]


@pytest.mark.parametrize("token", ["x", "-", "deadbeef-0", "-1", "deadbeef-99999999999999999999"])
def test_a_token_of_another_start_or_none_at_all_is_refused(feed, token):
    with pytest.raises(ResumeTokenError) as caught:
        feed.watch([WORKERS], after=token)
    assert caught.value.reason is Reason.RESUME_TOKEN_EXPIRED


def test_a_token_of_the_future_is_refused(feed):
    start = feed.token.partition("-")[0]
    with pytest.raises(ResumeTokenError):
        feed.watch([WORKERS], after=f"{start}-1")


def test_a_token_beyond_what_is_kept_is_refused(feed, monkeypatch):
    monkeypatch.setattr(watch, "KEPT_CHANGES", 3)
    tokens = []
    for number in range(5):
        say(feed, str(number))
        tokens.append(feed.token)
    assert feed.watch([WORKERS], after=tokens[1])
    with pytest.raises(ResumeTokenError):
        feed.watch([WORKERS], after=tokens[0])


def test_a_token_from_before_a_kind_was_recorded_is_refused():
    feed = Feed()
    feed.record(WORKERS)
    say(feed, "1")
    token = feed.token
    say(feed, "2")
    feed.record(TASKS)
    assert feed.watch([WORKERS], after=token)
    with pytest.raises(ResumeTokenError):
        feed.watch([WORKERS, TASKS], after=token)


def test_what_is_kept_is_bounded_in_bytes(feed, monkeypatch):
    monkeypatch.setattr(watch, "KEPT_BYTES", 10_000)
    token = feed.token
    for _ in range(100):
        say(feed, "x", text="y" * 1000)
    with pytest.raises(ResumeTokenError):
        feed.watch([WORKERS], after=token)


async def test_a_watcher_with_too_long_a_backlog_is_cut_off_and_others_are_not(feed, monkeypatch):
    monkeypatch.setattr(watch, "BACKLOG_CHANGES", 5)
    slow, fast = feed.watch([WORKERS]), feed.watch([TASKS])
    say(feed, *map(str, range(6)))
    say(feed, "t", kind=TASKS)
    assert slow.dropped.is_set()
    assert feed.dropped == 1
    with pytest.raises(SlowReaderError, match="6 changes waited"):
        await slow.take()
    assert names(await fast.take()) == ["t"]


async def test_a_backlog_is_bounded_in_bytes_too(feed, monkeypatch):
    monkeypatch.setattr(watch, "BACKLOG_BYTES", 2000)
    watcher = feed.watch([WORKERS])
    say(feed, "1", text="x" * 3000)
    with pytest.raises(SlowReaderError):
        await watcher.take()


async def test_a_batch_is_bounded_in_bytes(feed, monkeypatch):
    monkeypatch.setattr(bundles, "BUNDLE_BYTES", 2500)
    watcher = feed.watch([WORKERS])
    say(feed, *map(str, range(5)), text="x" * 1000)
    assert [names(await watcher.take()) for _ in range(2)] == [["0", "1", "2"], ["3", "4"]]


async def test_dropping_a_kind_cuts_its_watchers_off_and_forgets_the_past(feed):
    token = feed.token
    tasks, workers = feed.watch([TASKS]), feed.watch([WORKERS])
    say(feed, "t", kind=TASKS)
    feed.drop(TASKS, "too much")
    say(feed, "w")
    with pytest.raises(SlowReaderError, match="too much"):
        await tasks.take()
    assert names(await workers.take()) == ["w"]
    with pytest.raises(ResumeTokenError):
        feed.watch([TASKS], after=token)


def test_there_is_a_bound_on_watchers(feed, monkeypatch):
    monkeypatch.setattr(watch, "MAX_WATCHERS", 1)
    first = feed.watch([WORKERS])
    with pytest.raises(WorkManagerError) as caught:
        feed.watch([WORKERS])
    assert caught.value.reason is Reason.QUOTA_EXCEEDED
    first.close()
    assert feed.watch([WORKERS])


def test_many_watchers_slow_the_pace_down(feed):
    assert feed.pace_s == watch.PACE_MIN_S
    watchers = [feed.watch([WORKERS]) for _ in range(200)]
    assert feed.pace_s == pytest.approx(0.8)
    watchers[0].close()
    assert feed.pace_s < 0.8
