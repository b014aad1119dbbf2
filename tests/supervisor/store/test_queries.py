"""Reads: dead letters and history by filter and page, code, operations, idempotency keys."""

import random
from functools import partial

import pytest
import trio

from workmanager.store import Commit, queries, statements
from workmanager.store.queries import DeadLetterFilter, HistoryPage
from workmanager.store.rows import (
    DeadLetterRow,
    IdempotencyRow,
    OperationRow,
    RetryRow,
    VersionRow,
    WorkerRow,
)


@pytest.fixture(autouse=True)
async def in_time():
    with trio.fail_after(30):
        yield


def letter(n, **kwargs):
    fields = {
        "id": f"d{n:03}",
        "worker_no": n % 2 + 1,
        "task_number": n << 16,
        "topic": "orders",
        "reason": "ATTEMPTS" if n % 3 else "CRASHES",
        "accepted_at": 1.0,
        "failed_at": float(n // 4),  # several at the same time: the id decides
        "event_id": f"e{n}",
        "event_type": "order.created",
        "event_source": "shop",
        "wire": b"wire",
        "error_type": "ValueError",
    }
    return DeadLetterRow(**{**fields, **kwargs})


def settled(number, worker_no=1, status="COMPLETED", ended_at=2.0):
    return (
        number, worker_no, status, 1, 0, "v1", "x1", f"e{number}", "shop", "t",
        1.0, ended_at, 150, 2, "", "",
    )  # fmt: skip


def worker(no):
    return WorkerRow(
        no, f"u{no}", f"w{no}", {}, "RUNNING", 1, "e", 1.0, 1.0, dead_letter_retention_s=1e12
    )


def version(no, version_id, code):
    return VersionRow(no, version_id, "d", code, "text/x-python", "", {}, "CURRENT", 1, 1.0)


async def test_dead_letters_are_paged_newest_first(store):
    letters = [letter(n) for n in range(40)]
    shuffled = random.Random(1).sample(letters, 40)
    await store.commit(Commit(statements=statements.put_dead_letters(shuffled)))
    seen, before = [], None
    query = partial(queries.list_dead_letters, wanted=DeadLetterFilter(), limit=7)
    while page := await store.read(partial(query, before=before)):
        seen += page
        before = (page[-1].failed_at, page[-1].id)
    assert seen == letters[::-1]


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (DeadLetterFilter(worker_no=2), lambda d: d.worker_no == 2),
        (DeadLetterFilter(reason="CRASHES"), lambda d: d.reason == "CRASHES"),
        (DeadLetterFilter(error_type="KeyError"), lambda d: d.error_type == "KeyError"),
        (DeadLetterFilter(event_type="x"), lambda d: d.event_type == "x"),
        (DeadLetterFilter(since=5.0), lambda d: d.failed_at >= 5.0),
        (
            DeadLetterFilter(worker_no=1, reason="ATTEMPTS", since=2.0),
            lambda d: d.worker_no == 1 and d.reason == "ATTEMPTS" and d.failed_at >= 2.0,
        ),
    ],
)
async def test_dead_letters_are_filtered(store, wanted, matches):
    letters = [letter(n) for n in range(38)]
    letters += [letter(38, error_type="KeyError"), letter(39, event_type="x")]
    await store.commit(Commit(statements=statements.put_dead_letters(letters)))
    found = await store.read(lambda c: queries.list_dead_letters(c, wanted, limit=100))
    assert found == [d for d in letters[::-1] if matches(d)]
    assert found


async def test_a_dead_letter_is_read_counted_and_deleted(store):
    await store.commit(
        Commit(statements=statements.put_dead_letters([letter(n) for n in range(5)]))
    )
    assert await store.read(lambda c: queries.get_dead_letter(c, "d003")) == letter(3)
    assert await store.read(queries.count_dead_letters) == {1: 3, 2: 2}
    await store.commit(Commit(statements=statements.delete_dead_letters(["d003", "none"])))
    assert await store.read(lambda c: queries.get_dead_letter(c, "d003")) is None
    assert await store.read(queries.count_dead_letters) == {1: 3, 2: 1}


async def pages(store, limit, **kwargs):
    out, before = [], 0
    while True:
        page = await store.read(partial(queries.list_history, limit=limit, before=before, **kwargs))
        out += page.entries
        if not page.before:
            return out
        before = page.before


@pytest.mark.parametrize("limit", [1, 3, 4, 7, 100])
async def test_history_is_paged_newest_first(store, limit):
    for first in range(0, 20, 4):  # five rows of four tasks
        rows = [settled(n, n % 3 + 1, "FAILED" if n % 5 == 0 else "COMPLETED") for n in
                range(first, first + 4)]  # fmt: skip
        await store.commit(Commit(history=rows))
    assert [e.task_number for e in await pages(store, limit)] == list(range(19, -1, -1))
    of_one = await pages(store, limit, worker_no=2)
    assert [e.task_number for e in of_one] == [n for n in range(19, -1, -1) if n % 3 == 1]
    failed = await pages(store, limit, status="FAILED")
    assert [e.task_number for e in failed] == [15, 10, 5, 0]


async def test_history_of_a_task_is_found_by_its_number(store):
    await store.commit(Commit(history=[settled(5 << 16), settled(9 << 16)]))
    await store.commit(Commit(history=[settled(7 << 16, status="CANCELED")]))
    found = await store.read(lambda c: queries.get_history(c, 7 << 16))
    assert (found.task_number, found.status, found.duration_us) == (7 << 16, "CANCELED", 150)
    assert await store.read(lambda c: queries.get_history(c, 6 << 16)) is None


async def test_an_empty_history_is_one_empty_page(store):
    assert await store.read(lambda c: queries.list_history(c, limit=5)) == HistoryPage([], 0)


async def test_code_lives_as_long_as_a_version_names_it(store):
    def bodies(c):
        return [queries.get_code(c, d) for d in ("shared", "own")]

    await store.commit(
        Commit(
            statements=[
                *statements.put_worker(worker(1)),
                *statements.put_worker(worker(2)),
                *statements.put_code("shared", b"s"),
                *statements.put_code("own", b"o"),
                *statements.put_code("own", b"o"),
                *statements.put_version(version(1, "a", "shared")),
                *statements.put_version(version(1, "b", "own")),
                *statements.put_version(version(1, "c", "own")),
                *statements.put_version(version(2, "a", "shared")),
            ]
        )
    )
    await store.commit(Commit(statements=statements.delete_version(version(1, "b", "own"))))
    assert await store.read(bodies) == [b"s", b"o"]
    await store.commit(Commit(statements=statements.delete_version(version(1, "c", "own"))))
    assert await store.read(bodies) == [b"s", None]
    await store.commit(Commit(statements=statements.delete_worker(1)))
    assert await store.read(bodies) == [b"s", None]
    await store.commit(Commit(statements=statements.delete_worker(2)))
    assert await store.read(bodies) == [None, None]


async def test_deleting_a_worker_leaves_its_neighbours(store):
    both = [*statements.put_worker(worker(1)), *statements.put_worker(worker(2))]
    both += statements.put_version(version(1, "a", "x")) + statements.put_version(
        version(2, "a", "x")
    )
    both += statements.put_retries([RetryRow(1 << 16, 1, 1), RetryRow(2 << 16, 2, 1)])
    both += statements.put_dead_letters([letter(1), letter(2)])
    await store.commit(Commit(statements=both))
    await store.commit(Commit(statements=statements.delete_worker(1)))
    for table, column in (
        ("worker", "no"),
        ("version", "worker_no"),
        ("retry_state", "worker_no"),
        ("dead_letter", "worker_no"),
    ):
        text = f"SELECT {column} FROM {table}"
        assert await store.read(lambda c, t=text: c.execute(t).fetchall()) == [(2,)], table


async def test_a_version_changes_its_state_only(store):
    await store.commit(Commit(statements=statements.put_version(version(1, "a", "x"))))
    await store.commit(Commit(statements=statements.set_version_state(1, "a", "DRAINED")))
    text = "SELECT state, code_digest FROM version"
    assert await store.read(lambda c: c.execute(text).fetchall()) == [("DRAINED", "x")]


async def test_operations_are_kept_and_paged(store):
    rows = [OperationRow(f"o{n}", "redrive", "w", float(n)) for n in range(5)]
    rows[2] = OperationRow("o2", "redrive", "w", 2.0, True, 3.0, "5/5", {}, {"count": 5}, None)
    await store.commit(Commit(statements=[s for r in rows for s in statements.put_operation(r)]))
    first = await store.read(lambda c: queries.list_operations(c, limit=3))
    rest = await store.read(lambda c: queries.list_operations(c, limit=3, before=(2.0, "o2")))
    assert first + rest == rows[::-1]
    assert await store.read(lambda c: queries.get_operation(c, "o2")) == rows[2]
    await store.commit(Commit(statements=statements.delete_operations(["o2"])))
    assert await store.read(lambda c: queries.get_operation(c, "o2")) is None


async def test_idempotency_keys_and_settings_are_kept(store):
    row = IdempotencyRow("k", "digest", 201, b"{}", 5.0)
    await store.commit(
        Commit(statements=[*statements.put_idempotency(row), *statements.put_meta("a", "b")])
    )
    assert await store.read(lambda c: queries.get_idempotency(c, "k")) == row
    assert await store.read(lambda c: queries.get_idempotency(c, "other")) is None
    assert await store.read(lambda c: queries.get_meta(c, "a")) == "b"
    assert await store.read(lambda c: queries.get_meta(c, "other")) is None


async def test_many_rows_take_few_statements(store):
    letters = [letter(n) for n in range(1000)]
    assert len(statements.put_dead_letters(letters)) == 32
    assert len(statements.delete_dead_letters([d.id for d in letters])) == 2
    retries = [RetryRow(n, 1, 1) for n in range(1000)]
    assert len(statements.put_retries(retries)) == 32
    assert len(statements.delete_retries(range(1000))) == 2
