"""Those who follow lines: each line once and in order, shared, bounded; slow ones are told."""

import pytest
import trio

from workmanager.dispatch.worker import WorkerDispatch
from workmanager.model.spec import WorkerSpec
from workmanager.telemetry import bundles, tails
from workmanager.telemetry.logbook import LogBook
from workmanager.telemetry.tails import Handful

SPEC = WorkerSpec.model_validate({})


def worker(name):
    return WorkerDispatch(1, "", name, SPEC)


@pytest.fixture
def book():
    return LogBook(echo=False)


def say(book, *texts, name="a"):
    for text in texts:
        book.note(worker(name), None, "stdout", "INFO", "", text)


async def take(follower):
    """Return the texts of all that came."""
    with trio.fail_after(5):
        return [line.text for handful in await follower.take() for line in handful]


async def test_lines_come_once_and_in_order_kept_ones_first(book):
    say(book, "1", "2")
    async with book.tail("a", since_seq=1) as follower:
        say(book, "3", "4")
        assert await take(follower) == ["2"]
        assert await take(follower) == ["3", "4"]
        say(book, "5")
        assert await take(follower) == ["5"]


async def test_one_who_comes_later_gets_no_line_twice(book):
    async with book.tail("a") as first:
        say(book, "1")
        async with book.tail("a") as second:
            say(book, "2")
            assert await take(second) == ["1"]
            assert await take(second) == ["2"]
        assert await take(first) == ["1", "2"]


async def test_lines_of_other_workers_go_to_those_who_follow_all(book):
    async with book.tail("a") as one, book.tail(None) as every:
        say(book, "not for one", name="b")
        say(book, "for both")
        assert await take(one) == ["for both"]
        assert await take(every) == ["not for one", "for both"]


async def test_those_who_follow_the_same_share_handfuls(book):
    async with book.tail("a") as first, book.tail("a") as second:
        say(book, "1", "2")
        [one] = await first.take()
        [other] = await second.take()
        assert one is other


async def test_waits_for_lines(book, autojump_clock):
    async with book.tail("a") as follower, trio.open_nursery() as nursery:
        found = []

        async def follow():
            found.extend(await take(follower))

        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        assert found == []
        say(book, "now")
    assert found == ["now"]


async def test_who_reads_too_slowly_is_told_how_many_lines_are_lost(book):
    count = tails.LINES_KEPT + 5000
    async with book.tail("a") as slow, book.tail("a") as other:
        say(book, *map(str, range(10)))
        assert len(await take(other)) == 10
        say(book, *map(str, range(10, count)))
        notice, *texts = await take(slow)
        assert texts == [str(n) for n in range(count - len(texts), count)]
        assert 0 < len(texts) <= tails.LINES_KEPT
        assert notice == f"[{count - len(texts)} lines were dropped: this reader is too slow]"
        assert len(await take(other)) == len(texts) + 1
        say(book, "next")
        assert await take(slow) == ["next"]


async def test_what_waits_is_bounded_in_bytes(book):
    async with book.tail("a") as slow:
        say(book, *["x" * 16_384] * 2000)
        assert sum(len(text) for text in await take(slow)) <= tails.BYTES_KEPT
    assert book.read("a", tail=1)[0].text == "x" * 16_384


async def test_many_followers_take_their_time(book, autojump_clock):
    async with book.tail("a") as follower:
        alone = await pause_of(book, follower)
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                await nursery.start(follow, book)
            assert alone < await pause_of(book, follower) <= 0.5
            nursery.cancel_scope.cancel()


async def pause_of(book, follower):
    """Return the seconds between two messages of a busy worker's lines."""
    say(book, "1")
    await take(follower)
    before = trio.current_time()
    say(book, "2")
    await take(follower)
    return trio.current_time() - before


async def follow(book, *, task_status):
    async with book.tail("a"):
        task_status.started()
        await trio.sleep_forever()


def test_handfuls_are_bounded_and_hold_every_line_once(book):
    say(book, *[str(n) * 50 for n in range(2000)])
    lines = book.read("a", tail=2000)
    handfuls = list(Handful.split(lines))
    assert [line for handful in handfuls for line in handful] == lines
    assert len(handfuls) > 1
    assert all(handful.size_bytes < bundles.BUNDLE_BYTES + 1000 for handful in handfuls)
