"""Merging commits: one transaction must leave what the commits would have left one by one."""

import sqlite3

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workmanager.store.commit import (
    CEILING_STEP,
    Commit,
    Counters,
    pack_history,
    pack_segment,
    plan,
    unpack_history,
)
from workmanager.store.migrate import migrations
from workmanager.store.sql import in_list, insert_rows


def database():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for _, script in migrations():
        connection.executescript(script)
    return connection


def run(connection, commits, counters=None):
    statements, after = plan(commits, counters or Counters(), now=5.0)
    for text, params in statements:
        connection.execute(text, params)
    return after


def contents(connection, *tables):
    return {t: connection.execute(f"SELECT * FROM {t} ORDER BY 1").fetchall() for t in tables}


@st.composite
def histories(draw):
    """A life as the loop lives it: segments are accepted, settled bit by bit, and finished."""
    open_segments = {}
    commits = []
    next_segment = 1
    for _ in range(draw(st.integers(1, 12))):
        commit = Commit(accepted_at=1.0)
        for segment, done in list(open_segments.items()):
            if draw(st.booleans()):
                done[draw(st.integers(0, len(done) - 1))] = 1
                if all(done):
                    commit.finished.append(segment)
                    del open_segments[segment]
                else:
                    commit.progress[segment] = bytes(done)
        if draw(st.booleans()):
            workers = tuple(draw(st.lists(st.integers(0, 9), min_size=1, max_size=4)))
            commit.segment_id = next_segment
            commit.events = [("t", workers, b"wire")]
            open_segments[next_segment] = bytearray(len(workers))
            next_segment += 1
        commits.append(commit)
    return commits


@given(histories())
def test_merged_commits_leave_what_single_ones_leave(commits):
    merged, single = database(), database()
    run(merged, commits)
    counters = Counters()
    for commit in commits:
        counters = run(single, [commit], counters)
    assert contents(merged, "segment", "progress") == contents(single, "segment", "progress")


def test_a_hot_transaction_is_a_handful_of_statements():
    commits = [
        Commit(
            segment_id=100 + i,
            accepted_at=1.0,
            events=[("orders", (1, 2), b"x" * 300)] * 100,
            progress={i: b"\1\0"},
            finished=[50 + i],
            history=[
                (1 << 16, 1, "COMPLETED", 1, 0, "v", "e", "i", "s", "t", 1.0, 2.0, 3, 0, "", "")
            ],
            dedupe={1: bytes(16)},
        )
        for i in range(1, 11)
    ]
    statements, _ = plan(commits, Counters(segment_ceiling=1 << 20), now=1.0)
    assert len(statements) == 6


def test_events_accepted_and_finished_in_one_transaction_are_never_written():
    connection = database()
    accept = Commit(segment_id=1, events=[("t", (1,), b"w")])
    run(connection, [accept, Commit(finished=[1])])
    assert contents(connection, "segment", "progress") == {"segment": [], "progress": []}


def test_history_and_dedupe_count_what_was_ever_recorded():
    connection = database()
    row = (1 << 16, 7, "COMPLETED", 1, 0, "v", "e", "i", "s", "t", 1.0, 2.0, 3, 0, "", "")
    counters = run(connection, [Commit(history=[row, row], dedupe={1: bytes(32), 2: bytes(16)})])
    counters = run(connection, [Commit(history=[row], dedupe={1: bytes(16)})], counters)
    assert (counters.history, counters.dedupe) == (3, 4)
    assert [row[0] for row in connection.execute("SELECT id FROM history")] == [2, 3]
    assert [row[0] for row in connection.execute("SELECT id FROM dedupe")] == [3, 4]


def test_a_history_row_knows_its_only_worker():
    connection = database()
    row = (1 << 16, 7, "COMPLETED", 1, 0, "v", "e", "i", "s", "t", 1.0, 2.0, 3, 0, "", "")
    other = (2 << 16, 8, *row[2:])
    counters = run(connection, [Commit(history=[row])])
    run(connection, [Commit(history=[row, other])], counters)
    assert connection.execute(
        "SELECT worker_no, first_task, last_task FROM history ORDER BY id"
    ).fetchall() == [(7, 1 << 16, 1 << 16), (None, 1 << 16, 2 << 16)]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**62),
            st.sampled_from(["a", ""]),
            st.none() | st.floats(0, 1e9),
            st.text(),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_history_is_read_as_it_was_written(rows):
    assert unpack_history(pack_history(rows)) == rows


def test_history_takes_little_room_where_tasks_are_alike():
    def row(n):
        return (
            n,
            1,
            "COMPLETED",
            1,
            0,
            "3f2a9c01d4e5",
            "x-1",
            "id",
            "/shop",
            "t",
            1.0,
            2.0,
            3,
            0,
            "",
            "",
        )

    assert len(pack_history([row(n) for n in range(1000)])) < 5000


def test_segment_ids_are_reserved_ahead_and_rarely():
    connection = database()
    counters = run(connection, [Commit(segment_id=1, events=[("t", (1,), b"")])])
    assert counters.segment_ceiling == 1 + CEILING_STEP
    statements, after = plan([Commit(segment_id=2, events=[("t", (1,), b"")])], counters, now=1.0)
    assert after == counters
    assert len(statements) == 1


def test_a_segment_holds_no_more_deliveries_than_task_numbers():
    full = [("t", tuple(range(1 << 15)), b"")] * 2
    assert len(msgpack.unpackb(pack_segment(full))) == 2
    with pytest.raises(ValueError, match="65537 deliveries"):
        pack_segment([*full, ("t", (1,), b"")])


def test_empty_and_intake_are_told_from_the_rest():
    events = [("t", (1,), b"")]
    assert Commit().is_empty
    assert not Commit(finished=[1]).is_empty
    assert Commit(segment_id=1, events=events).is_intake
    assert not Commit(segment_id=1, events=events, finished=[3]).is_intake
    assert not Commit(progress={1: b"\0"}).is_intake


@given(st.lists(st.integers(0, 999)) | st.integers(0, 1200).map(range))
def test_in_lists_reach_every_value_and_no_other(values):
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    connection.execute(
        "INSERT INTO t WITH RECURSIVE n (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n)"
        " SELECT i FROM n LIMIT 1000"
    )
    for text, params in in_list("DELETE FROM t WHERE id", values):
        connection.execute(text, params)
    left = {row[0] for row in connection.execute("SELECT id FROM t")}
    assert left == set(range(1000)) - set(values)


def test_few_texts_serve_lists_of_every_length():
    texts = {
        text for n in range(1, 1000) for text, _ in in_list("DELETE FROM t WHERE id", range(n))
    }
    assert len(texts) == 10
    inserts = {t for n in range(1, 200) for t, _ in insert_rows("INSERT INTO t", [(1,)] * n)}
    assert len(inserts) == 32
