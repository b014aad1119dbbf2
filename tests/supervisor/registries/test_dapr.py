"""The registry between hosts, on virtual time: lost answers, races, and a store that is emptied."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

sys.path.insert(0, str(Path(__file__).parents[1] / "groups"))

from shared_stores import State, Weather

from workmanager.errors import ConflictError, Reason, SidecarError
from workmanager.registries import layout
from workmanager.registries.dapr import FRESH_S, POLL_S, DaprRegistry
from workmanager.registries.layout import Definition
from workmanager.store.rows import VersionRow, WorkerRow

CODE = {"sha256:aa": b"code " * 300_000, "sha256:bb": b"other"}


def worker(uid, *, name="", stamp="", code="sha256:aa", generation=1):
    row = WorkerRow(1, uid, name or uid, {}, "RUNNING", generation, "e", 1.0, 2.0, stamp=stamp)
    version = VersionRow(1, "v", "d", code, "text/x-python", "", {}, "CURRENT", 5, 1.0)
    return Definition(row, (version,))


async def load(digest):
    return CODE.get(digest)


class Host:
    """One host's registry and what it has converged to: stamps by uid."""

    def __init__(self, state):
        self.registry = DaprRegistry(state)
        self.registry.converge = self.converge
        self.rounds = 0
        self.known = {}

    async def converge(self, index):
        if not index.epoch:
            index = await self.registry.begin()
        self.registry.epoch = index.epoch
        self.rounds += 1
        self.known = {uid: place.stamp for uid, place in index.workers.items()}

    async def put(self, definition):
        return await self.registry.put(definition, load)


@asynccontextmanager
async def hosts(state, count):
    async with trio.open_nursery() as nursery:
        made = [Host(state) for _ in range(count)]
        for host in made:
            await nursery.start(host.registry.run)
            await host.registry.fresh(trio.current_time())
        yield made
        nursery.cancel_scope.cancel()


async def test_what_one_host_declares_another_reads_within_seconds(autojump_clock):
    async with hosts(State(Weather()), 2) as (a, b):
        stamp = await a.put(worker("u"))
        await trio.sleep(POLL_S + 0.1)
        assert b.known == {"u": stamp}
        index = await b.registry.read()
        found = await b.registry.definition("u", index.workers["u"], number=7)
        assert found.worker == replace(worker("u").worker, no=7, stamp=stamp)
        assert await b.registry.code("u", "sha256:aa") == CODE["sha256:aa"]


async def test_nobody_answers_for_an_event_before_it_knows_what_was_declared(autojump_clock):
    async with hosts(State(Weather(delay_s=0.2)), 2) as (a, b):
        for number in range(20):
            stamp = await a.put(worker(f"u{number}"))
            await b.registry.fresh(trio.current_time())
            assert b.known[f"u{number}"] == stamp


async def test_one_look_serves_all_who_came_before_it_began(autojump_clock):
    async with hosts(State(Weather(delay_s=0.1)), 1) as (a,):
        before = a.rounds
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(a.registry.fresh, trio.current_time())
        assert a.rounds - before <= 2


async def test_a_host_that_cannot_converge_answers_for_nothing(autojump_clock):
    async with hosts(State(Weather()), 1) as (a,):
        converge = a.registry.converge

        async def refuse(index):
            raise SidecarError("there are two", code="FAILED_PRECONDITION")

        a.registry.converge = refuse
        with pytest.raises(SidecarError, match="there are two"):
            await a.registry.fresh(trio.current_time())
        a.registry.converge = converge
        await a.registry.fresh(trio.current_time())
        assert a.registry.error == ""


async def test_of_two_changes_at_once_one_is_refused(autojump_clock):
    async with hosts(State(Weather(delay_s=0.1)), 2) as (a, b):
        stamp = await a.put(worker("u"))
        kept, refused = [], []

        async def change(host):
            try:
                kept.append(await host.put(worker("u", stamp=stamp, generation=2)))
            except ConflictError as error:
                refused.append(error.reason)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change, a)
            nursery.start_soon(change, b)
        assert (len(kept), refused) == (1, [Reason.ETAG_MISMATCH])
        index = await a.registry.read()
        assert index.workers["u"].stamp == kept[0]


async def test_a_name_is_taken_for_every_host(autojump_clock):
    async with hosts(State(Weather()), 2) as (a, b):
        await a.put(worker("u1", name="n"))
        with pytest.raises(ConflictError) as caught:
            await b.put(worker("u2", name="n"))
        assert caught.value.reason is Reason.WORKER_EXISTS


async def test_nothing_is_left_of_what_was_changed_refused_or_deleted(autojump_clock):
    state = State(Weather())
    async with hosts(state, 2) as (a, b):
        stamp = await a.put(worker("u"))
        newer = await b.put(worker("u", stamp=stamp, generation=2))
        with pytest.raises(ConflictError):
            await a.put(worker("u", stamp=stamp, generation=3))
        await trio.sleep(1)
        records = [key for key in state.entries if key.startswith("wm.worker.")]
        assert records == [layout.worker_key("u", newer)]
        await b.registry.remove(worker("u", stamp=newer))
        await trio.sleep(1)
        assert set(state.entries) == {"wm.index"}
        assert (await a.registry.read()).workers == {}


@pytest.mark.parametrize("seed", range(3))
async def test_every_change_is_whole_or_not_at_all_whatever_is_lost(seed, autojump_clock):
    """A third of all calls or answers is lost; what the index names is there, and is newest."""
    weather = Weather(seed, delay_s=0.05)
    state = State(weather)
    newest = {}
    async with hosts(state, 3) as made:
        weather.loss = 0.15

        async def declare(host, number):
            uid, stamp = f"u{number}", ""
            for generation in range(1, 8):
                definition = worker(uid, stamp=stamp, generation=generation, code="sha256:bb")
                try:
                    stamp = await host.put(definition)
                    newest[uid] = (stamp, generation)
                except SidecarError:
                    index = await again(host.registry.read)
                    place = index.workers.get(uid)
                    stamp = place.stamp if place is not None else ""

        async def again(call):
            while True:
                try:
                    return await call()
                except SidecarError:
                    await trio.sleep(0.1)

        async with trio.open_nursery() as nursery:
            for number in range(9):
                nursery.start_soon(declare, made[number % 3], number)
        weather.loss = 0.0
        await trio.sleep(2 * FRESH_S)
        index = await made[0].registry.read()
        assert index.workers
        for uid, place in index.workers.items():
            found = await made[1].registry.definition(uid, place, number=1)
            assert found is not None
            if uid in newest:
                assert found.worker.generation >= newest[uid][1]
        assert all(host.known == made[0].known for host in made)


async def test_a_change_is_refused_while_the_sidecar_is_away_and_nothing_is_half_done(
    autojump_clock,
):
    weather = Weather()
    state = State(weather)
    async with hosts(state, 1) as (a,):
        weather.down = True
        with pytest.raises(SidecarError):
            await a.put(worker("u"))
        await trio.sleep(5)
        with pytest.raises(SidecarError, match="not known"):
            await a.registry.fresh(trio.current_time())
        assert "lost on the way" in a.registry.error
        weather.down = False
        await a.registry.fresh(trio.current_time())
        assert (await a.registry.read()).workers == {}


async def test_a_store_that_lost_everything_is_no_reason_to_delete(autojump_clock):
    state = State(Weather())
    async with hosts(state, 1) as (a,):
        epoch = a.registry.epoch
        await a.put(worker("u"))
        state.entries.clear()
        with pytest.raises(SidecarError, match="lost the registry"):
            await a.put(worker("u2"))
        await a.registry.fresh(trio.current_time())
        assert a.registry.epoch != epoch
