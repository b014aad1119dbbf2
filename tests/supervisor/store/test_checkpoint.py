"""The log stays small under sustained commits, whoever reads meanwhile."""

import threading
from contextlib import closing

import pytest
import trio

from workmanager.store import Commit, recover
from workmanager.store.checkpoint import WAL_BYTES, checkpoint
from workmanager.store.connection import connect, connect_read_only

ROUNDS = 60
COMMITS = 20
EVENTS_BYTES = 30_000


async def commit_much(store, *, rounds=ROUNDS, first=1):
    """Write some 36 MB in commits that follow each other at once; return the largest log seen."""
    log = store.folder / "state.db-wal"
    largest, segment = 0, first
    for _ in range(rounds):
        for _ in range(COMMITS):
            commit = Commit(segment, 1.0, [("t", (1,), bytes(EVENTS_BYTES))])
            if segment >= first + 2 * COMMITS:  # not in the transaction that accepted it
                commit.finished.append(segment - 2 * COMMITS)
            store.writer.submit(commit, lambda _: None)
            segment += 1
        await store.commit(Commit(progress={segment - 1: b"\0"}))
        largest = max(largest, log.stat().st_size)
    return largest


@pytest.mark.slow
async def test_the_log_stays_bounded_under_sustained_commits(store):
    with trio.fail_after(60):
        largest = await commit_much(store)
    written = ROUNDS * COMMITS * EVENTS_BYTES
    print(f"\n{written >> 20} MiB written, log at most {largest / 2**20:.1f} MiB")
    assert written > 8 * WAL_BYTES
    assert largest < 4 * WAL_BYTES


@pytest.mark.slow
async def test_the_log_shrinks_again_after_a_reader_pinned_it(store):
    """A snapshot that is held keeps the log growing; commits go on, and all is well after."""
    with trio.fail_after(60):
        await store.commit(Commit(1, 1.0, [("t", (1,), b"w")]))
        with closing(connect_read_only(store.folder / "state.db")) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM segment").fetchone() == (1,)
            pinned = await commit_much(store, rounds=30, first=10)
            assert reader.execute("SELECT count(*) FROM segment").fetchone() == (1,)
        await commit_much(store, rounds=30, first=1000)
        assert pinned > 4 * WAL_BYTES
        assert (store.folder / "state.db-wal").stat().st_size <= 4 * WAL_BYTES


async def test_checkpoints_lose_nothing(store):
    with trio.fail_after(60):
        await commit_much(store, rounds=10)
        with closing(connect(store.folder / "state.db")) as connection:
            while checkpoint(connection):  # noqa: ASYNC110 - the store's own thread is at it
                await trio.sleep(0.01)
        ids = [segment.id for segment in (await recover(store)).segments]
    assert ids == list(range(161, 201))


async def test_the_store_has_two_threads_and_ends_both(store):
    names = {thread.name for thread in threading.enumerate()}
    assert {"store-writer", "store-checkpoint"} <= names
    with trio.fail_after(10):
        await store.aclose()
    names = {thread.name for thread in threading.enumerate()}
    assert not {"store-writer", "store-checkpoint"} & names
