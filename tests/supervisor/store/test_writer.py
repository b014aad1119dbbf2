"""The writer's thread: order, groups, bad commits, and a disk that fills up and is emptied."""

import subprocess
import threading
from contextlib import closing
from dataclasses import replace

import pytest
import trio
import trio.testing

from workmanager.errors import Reason, StoreError
from workmanager.store import BadCommitError, Commit, WriterOptions, recover
from workmanager.store.connection import connect
from workmanager.store.statements import put_meta
from workmanager.store.trim import EVERY_COMMITS

TASK = (1 << 16, 7, "COMPLETED", 1, 0, "v", "e", "i", "s", "t", 1.0, 2.0, 3, 0, "", "")


def accept(segment_id, size=10, **kwargs):
    events = [("t", (1,), b"w" * size)]
    return Commit(segment_id=segment_id, accepted_at=1.0, events=events, **kwargs)


def bad():
    return Commit(statements=[("INSERT INTO meta (key, value) VALUES ('k', NULL)", ())])


class Results:
    """Collects what became of commits, in order; waits for as many as were submitted."""

    def __init__(self):
        self.seen = []
        self._all = threading.Semaphore(0)

    def on_done(self, name):
        def report(error):
            self.seen.append((name, error))
            self._all.release()

        return report

    def wait(self, count):
        for _ in range(count):
            assert self._all.acquire(timeout=10)
        return self.seen


def hold(writer):
    """Keep the writer busy; returns what lets it go on."""
    go, held = threading.Event(), threading.Event()

    def wait(_):
        held.set()
        go.wait(10)

    writer.submit(put("held", "1"), wait)
    assert held.wait(10)
    return go


def put(key, value):
    return Commit(statements=put_meta(key, value))


def segments(store):
    with closing(connect(store.folder / "state.db")) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM segment ORDER BY id")]


def test_commits_run_in_order_and_report_in_the_writers_thread(store):
    results, threads = Results(), set()
    for i in range(1, 101):
        report = results.on_done(i)
        store.writer.submit(
            accept(i), lambda e, r=report: (threads.add(threading.current_thread().name), r(e))
        )
    assert results.wait(100) == [(i, None) for i in range(1, 101)]
    assert threads == {"store-writer"}
    assert segments(store) == list(range(1, 101))


def test_commits_that_wait_become_one_transaction(store):
    go, results = hold(store.writer), Results()
    for i in range(50):
        store.writer.submit(Commit(history=[TASK]), results.on_done(i))
    go.set()
    results.wait(50)
    with closing(connect(store.folder / "state.db")) as connection:
        # One history row per transaction, whose id counts its tasks.
        assert connection.execute("SELECT id FROM history").fetchall() == [(50,)]


def test_a_bad_commit_fails_alone(store):
    go, results = hold(store.writer), Results()
    store.writer.submit(accept(1), results.on_done("first"))
    store.writer.submit(bad(), results.on_done("bad"))
    store.writer.submit(accept(2), results.on_done("last"))
    go.set()
    seen = dict(results.wait(3))
    assert seen["first"] is None
    assert seen["last"] is None
    assert isinstance(seen["bad"], BadCommitError)
    assert segments(store) == [1, 2]


@pytest.mark.parametrize(
    "commit",
    [
        accept(1 << 70),
        Commit(segment_id=1, events=[("t", (1,), object())]),
        Commit(segment_id=1, events=[("t", tuple(range(1 << 16)), b""), ("t", (1,), b"")]),
        Commit(statements=[("SELECT no such thing", ())]),
        Commit(statements=[("INSERT INTO meta (key, value) VALUES (?, ?)", (1,))]),
        Commit(history=[("too", "short")]),
    ],
    ids=["id", "wire", "deliveries", "sql", "params", "history"],
)
def test_whatever_a_commit_holds_the_writer_goes_on(store, commit):
    results = Results()
    store.writer.submit(commit, results.on_done("bad"))
    store.writer.submit(accept(7), results.on_done("good"))
    seen = dict(results.wait(2))
    assert isinstance(seen["bad"], BadCommitError)
    assert seen["good"] is None
    assert segments(store) == [7]


def test_a_commit_lands_whole_or_not_at_all(store):
    results = Results()
    half = accept(1, statements=[*put_meta("a", "1"), *bad().statements])
    store.writer.submit(half, results.on_done("half"))
    assert isinstance(results.wait(1)[0][1], BadCommitError)
    with closing(connect(store.folder / "state.db")) as connection:
        assert connection.execute("SELECT * FROM meta WHERE key = 'a'").fetchall() == []
    assert segments(store) == []


def test_a_callback_that_raises_harms_nobody(store, capsys):
    results = Results()

    def raises(_):
        raise RuntimeError("no")

    store.writer.submit(accept(1), raises)
    store.writer.submit(accept(2), results.on_done("next"))
    assert results.wait(1) == [("next", None)]
    assert segments(store) == [1, 2]


def test_closing_writes_what_is_queued_and_refuses_what_comes_after(opened, folder):
    store = opened(folder)
    go, results = hold(store.writer), Results()
    for i in range(1, 400):
        store.writer.submit(accept(i), results.on_done(i))
    go.set()
    store.close()
    assert results.wait(399) == [(i, None) for i in range(1, 400)]
    store.writer.submit(accept(400), results.on_done("late"))
    name, error = results.wait(1)[-1]
    assert (name, error.reason) == ("late", Reason.SHUTTING_DOWN)
    assert sorted(p.name for p in folder.iterdir()) == ["lock", "state.db"]
    store.close()


def test_many_threads_may_submit(store):
    results = Results()

    def submit(start):
        for i in range(start, start + 50):
            store.writer.submit(accept(i), results.on_done(i))

    threads = [threading.Thread(target=submit, args=(1 + 50 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(error is None for _, error in results.wait(200))
    assert segments(store) == list(range(1, 201))


async def test_commit_waits_until_the_commit_is_durable(store):
    with trio.fail_after(10):
        await store.commit(accept(1))
        assert segments(store) == [1]
        with pytest.raises(BadCommitError):
            await store.commit(accept(1))


async def test_history_and_keys_are_trimmed_as_commits_go_by(store):
    """Also what was written before the limit was lowered; nobody asks for it."""

    def count(connection):
        text = "SELECT (SELECT count(*) FROM history), (SELECT count(*) FROM dedupe)"
        return connection.execute(text).fetchone()

    async def settle(times):
        for _ in range(times):
            await store.commit(Commit(history=[TASK], dedupe={1: bytes(16)}))

    with trio.fail_after(30):
        await settle(100)
        assert await store.read(count) == (100, 100)
        store.writer.retention = replace(store.writer.retention, history_tasks=20, dedupe_keys=10)
        await settle(100)
        history, keys = await store.read(count)
        assert 20 <= history <= 20 + EVERY_COMMITS
        assert 10 <= keys <= 10 + EVERY_COMMITS


async def test_a_cancelled_commit_is_still_written(store):
    go = hold(store.writer)
    with trio.move_on_after(0):
        await store.commit(accept(5))
    go.set()
    with trio.fail_after(10):
        await store.commit(accept(6))
    assert segments(store) == [5, 6]


async def test_a_loop_that_ended_does_not_stop_the_writer(opened, folder):
    store = opened(folder)
    go = hold(store.writer)

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.commit, accept(1))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    await trio.to_thread.run_sync(trio.run, main)
    go.set()
    await store.aclose()
    assert segments(opened(folder)) == [1]


async def test_reads_run_beside_writes_and_see_what_was_committed(store):
    def count(connection):
        return connection.execute("SELECT count(*) FROM segment").fetchone()[0]

    with trio.fail_after(10):
        await store.commit(accept(1))
        go = hold(store.writer)
        assert await store.read(count) == 1
        go.set()
        await store.commit(accept(2))
        assert await store.read(count) == 2


async def test_a_read_cannot_write(store):
    with trio.fail_after(10), pytest.raises(StoreError, match="readonly"):
        await store.read(lambda c: c.execute("DELETE FROM segment"))
    with trio.fail_after(10):
        assert await store.read(lambda c: c.execute("SELECT 1").fetchone()) == (1,)


async def test_a_read_after_closing_is_refused(store):
    with trio.fail_after(10):
        await store.aclose()
        with pytest.raises(StoreError):
            await store.read(lambda c: c.execute("SELECT 1").fetchone())


async def fill(store, kept):
    for i in range(1, 200):
        await store.commit(accept(i, 50_000))
        kept.append(i)


def resize(disk, size):
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def limit_pages(store, pages):
    """Make SQLite report a full disk: on the writer's connection, from the writer's thread."""
    done = threading.Event()

    def set_limit(_):
        store.writer._connection.execute(f"PRAGMA max_page_count = {pages}")
        done.set()

    store.writer.submit(put("limit", "1"), set_limit)
    assert done.wait(10)


def test_a_full_disk_fails_every_commit_and_heals(store):
    limit_pages(store, 1)  # SQLite raises it to the present size
    go, results = hold(store.writer), Results()
    for i in range(1, 4):
        store.writer.submit(accept(i, 50_000), results.on_done(i))
    go.set()
    errors = [error for _, error in results.wait(3)]
    assert {type(error) for error in errors} == {StoreError}
    assert "make room" in str(errors[0])
    assert errors[0].retry_after_s
    assert segments(store) == []
    limit_pages(store, 1_000_000)
    store.writer.submit(accept(4, 50_000), results.on_done(4))
    assert results.wait(1)[-1] == (4, None)
    assert segments(store) == [4]


async def test_a_really_full_disk_refuses_keeps_what_it_has_and_heals(tiny_disk, opened):
    """What was confirmed is there after the disk was full, and after a restart on a full disk."""
    folder = tiny_disk / "state"
    store = opened(folder)
    kept = []
    with trio.fail_after(30):
        with pytest.raises(StoreError, match="disk"):
            await fill(store, kept)
        assert kept
        with pytest.raises(StoreError):
            await store.commit(accept(999, 50_000))
        assert [s.id for s in (await recover(store)).segments] == kept
        # An operator makes room.
        resize(tiny_disk, "16m")
        await store.commit(accept(1000, 50_000))
        await store.commit(Commit(finished=kept[:1]))
        await store.aclose()
        store = opened(folder)
        assert [s.id for s in (await recover(store)).segments] == [*kept[1:], 1000]


async def test_new_work_is_refused_before_the_disk_is_full_and_settling_goes_on(tiny_disk, opened):
    options = WriterOptions(room_bytes=1024 * 1024)
    store = opened(tiny_disk / "state", options)
    ballast = tiny_disk / "ballast"
    with trio.fail_after(30):
        await store.commit(accept(1))
        ballast.write_bytes(bytes(3 * 1024 * 1024))
        look_again(store)
        with pytest.raises(StoreError, match="new work is refused"):
            await store.commit(accept(2))
        await store.commit(Commit(segment_id=3, events=[("t", (1,), b"out")], finished=[1]))
        await store.commit(put("k", "v"))
        ballast.unlink()
        look_again(store)
        await store.commit(accept(4))
        assert [s.id for s in (await recover(store)).segments] == [3, 4]


def look_again(store):
    """The free space is looked at four times a second; do not wait for that."""
    store.writer._room_checked_at = float("-inf")
