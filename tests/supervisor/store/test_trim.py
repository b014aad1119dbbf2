"""What is forgotten, and how much of it at a time."""

import sqlite3

import pytest

from workmanager.store import statements
from workmanager.store.commit import Commit, Counters, plan
from workmanager.store.migrate import migrations
from workmanager.store.rows import DeadLetterRow, IdempotencyRow, WorkerRow
from workmanager.store.trim import EVERY_COMMITS, ROWS_MAX, Retention, Trimmer, trim_hot, trim_slow

ROW = (1 << 16, 7, "COMPLETED", 1, 0, "v", "e", "i", "s", "t", 1.0, 2.0, 3, 0, "", "")


@pytest.fixture
def connection():
    opened = sqlite3.connect(":memory:", isolation_level=None)
    for _, script in migrations():
        opened.executescript(script)
    yield opened
    opened.close()


def run(connection, some):
    return [connection.execute(text, params).rowcount for text, params in some]


def fill(connection, transactions, tasks, *, ended_at=2.0, counters=None):
    """Record *tasks* tasks and as many dedupe keys in each of *transactions*."""
    counters = counters or Counters()
    row = (*ROW[:11], ended_at, *ROW[12:])
    for _ in range(transactions):
        commit = Commit(history=[row] * tasks, dedupe={1: bytes(16) * tasks})
        some, counters = plan([commit], counters, now=ended_at)
        run(connection, some)
    return counters


def left(connection, table):
    return [row[0] for row in connection.execute(f"SELECT id FROM {table} ORDER BY id")]


def test_the_newest_tasks_and_keys_are_kept(connection):
    counters = fill(connection, 10, 100)
    keep = Retention(history_tasks=350, dedupe_keys=250)
    run(connection, trim_hot(counters, keep, now=3.0))
    # Whole rows: the one that holds the oldest task to keep stays whole.
    assert left(connection, "history") == [700, 800, 900, 1000]
    assert left(connection, "dedupe") == [800, 900, 1000]


def test_old_ones_are_forgotten_however_few(connection):
    counters = fill(connection, 3, 1, ended_at=1000.0)
    counters = fill(connection, 2, 1, ended_at=2000.0, counters=counters)
    run(connection, trim_hot(counters, Retention(history_s=500.0, dedupe_s=100.0), now=2050.0))
    assert left(connection, "history") == [4, 5]
    assert left(connection, "dedupe") == [4, 5]
    run(connection, trim_hot(counters, Retention(history_s=500.0, dedupe_s=100.0), now=9000.0))
    assert left(connection, "history") == []


def test_one_trim_is_bounded_and_trims_keep_up(connection):
    counters = fill(connection, 300, 1)
    keep = Retention(history_tasks=10, dedupe_keys=10)
    assert run(connection, trim_hot(counters, keep, now=3.0)) == [ROWS_MAX, ROWS_MAX]
    assert ROWS_MAX > EVERY_COMMITS
    for _ in range(5):
        run(connection, trim_hot(counters, keep, now=3.0))
    assert left(connection, "history") == list(range(291, 301))


def test_nothing_is_trimmed_that_is_within_limits(connection):
    counters = fill(connection, 20, 5)
    assert run(connection, trim_hot(counters, Retention(), now=3.0)) == [0, 0]


def letter(n, worker_no, failed_at):
    return DeadLetterRow(
        f"d{n}", worker_no, n, "t", "ATTEMPTS", 1.0, failed_at, "e", "t", "s", b"w"
    )


def test_dead_letters_are_kept_as_long_as_their_worker_says(connection):
    rows = []
    for no, keep_s in ((1, 100.0), (2, 1000.0)):
        rows += statements.put_worker(
            WorkerRow(no, f"u{no}", f"w{no}", {}, "RUNNING", 1, "e", 1.0, 1.0,
                      dead_letter_retention_s=keep_s)
        )  # fmt: skip
    rows += statements.put_dead_letters(
        [letter(1, 1, 1000.0), letter(2, 1, 1950.0), letter(3, 2, 500.0), letter(4, 2, 1500.0)]
    )
    run(connection, rows)
    run(connection, trim_slow(Retention(), now=2000.0))
    assert left(connection, "dead_letter") == ["d2", "d4"]


def test_idempotency_keys_are_kept_for_a_day(connection):
    day = 86_400.0
    for key, at in (("old", 5.0), ("young", 100.0)):
        run(connection, statements.put_idempotency(IdempotencyRow(key, "d", 200, b"", at)))
    run(connection, trim_slow(Retention(), now=day + 50.0))
    assert connection.execute("SELECT key FROM idempotency").fetchall() == [("young",)]


def test_dead_letters_are_found_by_index(connection):
    """Trimming must not scan: a thousand workers, a million dead letters."""
    text, params = trim_slow(Retention(), now=1.0)[0]
    how = " ".join(r[3] for r in connection.execute(f"EXPLAIN QUERY PLAN {text}", params))
    assert "SEARCH d USING COVERING INDEX dead_letter_by_worker" in how


def test_trims_ride_on_few_commits():
    trimmer = Trimmer(Retention())
    now = 1e9
    due = [bool(trimmer.due(Counters(), now=now)) for _ in range(3 * EVERY_COMMITS - 1)]
    assert due.count(True) == 3
    assert due[0]
    assert trimmer.due(Counters(), now=now + 0.5) == []
    assert len(trimmer.due(Counters(), now=now + 1.5)) == 2
    assert len(trimmer.due(Counters(), now=now + 11.0)) == 5
    assert trimmer.due(Counters(), now=now - 1000.0), "a clock set back must not stop it"
