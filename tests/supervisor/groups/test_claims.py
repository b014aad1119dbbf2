"""Claims on events: one application has each, one host in the end, and none is lost by a crash."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio

sys.path.insert(0, str(Path(__file__).parent))

from shared_stores import State, Weather

from workmanager.errors import SidecarError
from workmanager.groups.claims import PATIENCE_S, Claims, claim_key

KEYS = [claim_key("g", "t", "/s", str(n)) for n in range(50)]


async def test_of_two_applications_one_has_each_event(autojump_clock):
    state = State(Weather(delay_s=0.1))
    one, other = Claims(state, "a"), Claims(state, "b")
    had = {}

    async def take(claims, app):
        had[app] = await claims.take(app, KEYS)
        await claims.done(had[app].ours)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, one, "app-1")
        nursery.start_soon(take, other, "app-2")
    assert had["app-1"].ours | had["app-2"].ours == set(KEYS)
    assert not had["app-1"].ours & had["app-2"].ours
    assert had["app-1"].lost == had["app-2"].ours


async def test_an_event_that_another_host_has_taken_in_is_not_taken_in_again(autojump_clock):
    state = State(Weather())
    one, other = Claims(state, "a"), Claims(state, "b")
    mine = await one.take("app", KEYS)
    await one.done(mine.ours)
    assert (await other.take("app", KEYS)).lost == set(KEYS)
    assert (await one.take("app", KEYS)).lost == set(KEYS)


async def test_the_claim_of_a_host_that_died_before_its_commit_is_taken_over(autojump_clock):
    state = State(Weather())
    await Claims(state, "dead").take("app", KEYS)
    other, third = Claims(state, "b"), Claims(state, "c")
    began = trio.current_time()
    assert (await other.take("app", KEYS)).ours == set(KEYS)
    assert PATIENCE_S <= trio.current_time() - began < 2 * PATIENCE_S
    await other.done(KEYS)
    assert (await third.take("app", KEYS)).lost == set(KEYS)


async def test_a_host_that_asks_again_has_what_it_claimed_before(autojump_clock):
    weather = Weather(1, loss=0.3)
    claims = Claims(State(weather), "a")
    while True:
        try:
            claimed = await claims.take("app", KEYS[:5])
            break
        except SidecarError:
            pass
    assert claimed.ours == set(KEYS[:5])


async def test_a_store_that_is_away_leaves_events_unanswered(autojump_clock):
    weather = Weather()
    weather.down = True
    with pytest.raises(SidecarError):
        await Claims(State(weather), "a").take("app", KEYS)


def test_a_claim_is_on_one_event_of_one_topic_for_one_group():
    parts = [("g", "t", "s", "1"), ("h", "t", "s", "1"), ("g", "u", "s", "1"), ("g", "t", "s", "2")]
    assert len({claim_key(*each) for each in parts}) == len(parts)
