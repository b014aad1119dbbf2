"""Leases between hosts, on virtual time: lost answers, crashes and stores that are away."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
import trio

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode hides the stores otherwise

import itertools

from shared_stores import Host, Locks, State, Weather

from workmanager.groups.cluster import free_former
from workmanager.groups.fencing import BLOCK
from workmanager.groups.lease import ttl_for

TTL_S = ttl_for(2.0, 1.0)


def check(log):
    """No two attempts at once, and tokens that rise with time."""
    log = sorted(log)
    for (_, ended, token, who), (began, _, later, other) in itertools.pairwise(log):
        assert ended <= began, (who, other)
        assert token <= later
        assert who == other or token < later


@pytest.mark.parametrize("seed", range(4))
async def test_attempts_never_overlap_whatever_is_lost_and_whoever_crashes(seed, autojump_clock):
    rng, log = random.Random(seed), []
    weather = Weather(seed, delay_s=0.1, loss=0.1)
    locks, state = Locks(weather), State(weather)

    async def live(number):
        for life in range(6):  # each ends by a crash: nothing is given back
            with trio.move_on_after(rng.uniform(5, 120)):
                async with trio.open_nursery() as nursery:
                    host = Host(f"{number}.{life}", locks, state, nursery)
                    await host.work(log, rng)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(live, number)
    assert len(log) > 100
    check(log)


async def test_the_lock_of_a_dead_host_is_taken_over_within_its_time_to_live(autojump_clock):
    locks, state = Locks(Weather()), State(Weather())
    async with trio.open_nursery() as nursery:
        host = Host("a", locks, state, nursery)
        first = await host.lease()
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        second = await Host("b", locks, state, nursery).lease()
        assert trio.current_time() - first.asked_at <= TTL_S + 0.5
        assert second.token > first.token
        nursery.cancel_scope.cancel()


async def test_a_host_that_waits_comes_next_after_a_full_turn(autojump_clock):
    locks, state, log = Locks(Weather()), State(Weather()), []
    with trio.move_on_after(60):
        async with trio.open_nursery() as nursery:
            for name in "ab":
                host = Host(name, locks, state, nursery, run_s=0.1)
                nursery.start_soon(host.work, log, random.Random(1))
    check(log)
    turns = [who for (_, _, token, who), after in itertools.pairwise(log) if after[2] > token]
    assert len(turns) > 20
    assert all(one != other for one, other in itertools.pairwise(turns))


async def test_a_lease_that_nobody_uses_is_given_back_at_once(autojump_clock):
    locks, state = Locks(Weather()), State(Weather())
    async with trio.open_nursery() as nursery:
        host = Host("a", locks, state, nursery)
        host.leases.give_back(await host.lease())
        host.is_waiting = False
        other = Host("b", locks, state, nursery)
        began = trio.current_time()
        await other.lease()
        assert trio.current_time() - began < 0.5
        assert host.leases.held == []
        nursery.cancel_scope.cancel()


async def test_a_group_with_a_limit_has_so_many_leases_in_all(autojump_clock):
    locks, state = Locks(Weather()), State(Weather())
    async with trio.open_nursery() as nursery:
        hosts = [Host(name, locks, state, nursery, limit=3) for name in "abcd"]
        leases = []

        async def take(host):
            leases.append(await host.lease())

        with trio.move_on_after(1):
            async with trio.open_nursery() as taking:
                for host in hosts:
                    taking.start_soon(take, host)
        assert len(leases) == 3
        assert len({lease.token for lease in leases}) == 3
        assert len({lease.resource for lease in leases}) == 3
        nursery.cancel_scope.cancel()


async def test_a_store_that_is_away_is_told_and_waited_for(autojump_clock):
    weather = Weather()
    weather.down = True
    locks, state = Locks(weather), State(weather)
    async with trio.open_nursery() as nursery:
        host = Host("a", locks, state, nursery)
        assert host.leases.take("", 1.0) is None
        await trio.sleep(5)
        assert "lost on the way" in host.leases.error
        weather.down = False
        await host.lease()
        assert host.leases.error == ""
        nursery.cancel_scope.cancel()


async def test_a_lock_whose_token_cannot_be_raised_is_given_back(autojump_clock):
    weather, bad = Weather(), Weather()
    bad.down = True
    locks, state = Locks(weather), State(bad)
    async with trio.open_nursery() as nursery:
        host = Host("a", locks, state, nursery)
        assert host.leases.take("", 1.0) is None
        await trio.sleep(1.5)
        host.is_waiting = False
        await trio.sleep(1.5)
        assert locks.held == {}
        assert host.leases.held == []
        nursery.cancel_scope.cancel()


async def test_tokens_go_on_from_what_the_host_knew_before(autojump_clock):
    locks, state = Locks(Weather()), State(Weather())
    async with trio.open_nursery() as nursery:
        host = Host("a", locks, state, nursery)
        host.fences["g"] = 20_000
        assert (await host.lease()).token == 20_001
        assert host.fences["g"] == 20_000 + BLOCK
        nursery.cancel_scope.cancel()


async def test_every_turn_of_a_lease_has_a_token_of_its_own(autojump_clock):
    locks, state = Locks(Weather()), State(Weather())
    async with trio.open_nursery() as nursery:
        host = Host("a", locks, state, nursery, hold_s=1000.0)
        lease = await host.lease()
        tokens = [host.leases.next_token(lease) for _ in range(BLOCK)]
        assert tokens == list(range(lease.token, lease.token + BLOCK))
        host.leases.give_back(lease)
        following = await host.lease()  # the block is used up, its lease is over
        assert following is not lease
        assert host.leases.next_token(following) == tokens[-1] + 1
        nursery.cancel_scope.cancel()


async def test_a_start_opens_the_locks_that_the_process_before_it_held(autojump_clock):
    locks, state = Locks(Weather()), State(Weather())
    async with trio.open_nursery() as nursery:
        before = Host("a", locks, state, nursery, hold_s=100.0)
        before.leases.give_back(await before.lease())
        await trio.sleep(1)
        assert before.held == {}  # what was given back is not remembered
        await before.lease()
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        after = Host("a2", locks, state, nursery)
        after.held = dict(before.held)
        began = trio.current_time()
        nursery.start_soon(free_former, after.leases._cluster, before.held)
        await after.lease()
        assert trio.current_time() - began < 2
        assert len(after.held) == 1
        nursery.cancel_scope.cancel()
