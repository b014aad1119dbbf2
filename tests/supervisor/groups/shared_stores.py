"""A lock and a state store in memory, slow and faulty as real ones are, on the clock of trio."""

from __future__ import annotations

import random

import trio

from workmanager.errors import SidecarError
from workmanager.groups.cluster import Cluster, Shared
from workmanager.groups.leases import Leases
from workmanager.sidecar.state import Entry


class Weather:
    """How calls fare: *delay_s* at most, and a share of *loss* of answers and of calls."""

    def __init__(self, seed=0, delay_s=0.01, loss=0.0):
        self.rng = random.Random(seed)
        self.delay_s, self.loss = delay_s, loss
        self.down = False

    async def call(self, do):
        await trio.sleep(self.rng.uniform(0, self.delay_s))
        if self.down or self.rng.random() < self.loss:
            raise SidecarError("lost on the way", code="UNAVAILABLE")
        result = do()
        await trio.sleep(self.rng.uniform(0, self.delay_s))
        if self.rng.random() < self.loss:
            raise SidecarError("the answer is lost", code="DEADLINE_EXCEEDED")
        return result


class Locks:
    """Locks with an expiry, as Redis has them."""

    def __init__(self, weather):
        self.weather = weather
        self.held = {}

    async def try_lock(self, resource, owner, ttl_s):
        def do():
            now = trio.current_time()
            if resource in self.held and self.held[resource][1] > now:
                return False
            self.held[resource] = (owner, now + ttl_s)
            return True

        return await self.weather.call(do)

    async def unlock(self, resource, owner):
        def do():
            found = self.held.get(resource, ("", 0.0))
            if found[0] != owner or found[1] <= trio.current_time():
                return False
            del self.held[resource]
            return True

        return await self.weather.call(do)


class State:
    """Keys with etags."""

    def __init__(self, weather):
        self.weather = weather
        self.entries = {}
        self.writes = 0

    async def get(self, key):
        return await self.weather.call(lambda: self.entries.get(key, Entry()))

    async def get_many(self, keys):
        return await self.weather.call(
            lambda: {key: self.entries[key] for key in keys if key in self.entries}
        )

    async def put(self, key, value, *, etag, ttl_s=0):
        def do():
            if self.entries.get(key, Entry()).etag != etag:
                return False
            self.writes += 1
            self.entries[key] = Entry(value, str(self.writes))
            return True

        return await self.weather.call(do)

    async def delete(self, key):
        await self.weather.call(lambda: self.entries.pop(key, None))


class Host:
    """One host with one group; `run` takes leases and uses each for its turn until cancelled."""

    def __init__(self, name, locks, state, nursery, *, run_s=1.0, hold_s=2.0, limit=1):
        self.fences, self.held = {}, {}
        cluster = Cluster(Shared(locks, state), name, nursery, clock=trio.current_time)
        cluster.notes = self
        self.name, self.run_s = name, run_s
        self.leases = Leases("g", cluster)
        self.leases.hold_s, self.leases.limit = hold_s, limit
        self.leases.run_s = lambda: run_s
        self.is_waiting = True
        self.leases.wants = lambda _: self.is_waiting
        self.leases.on_grant = lambda _: self.granted.set()
        self.granted = trio.Event()

    def highest_token(self, group):
        return self.fences.get(group, 0)

    def note_token(self, group, token):
        self.fences[group] = token

    def note_held(self, owner, resource):
        self.held[owner] = resource

    def note_freed(self, owner):
        self.held.pop(owner, None)

    async def lease(self):
        """Wait for a lease that an attempt may start under."""
        while True:
            self.granted = trio.Event()
            lease = self.leases.take("", self.run_s)
            if lease is not None:
                return lease
            await self.granted.wait()

    async def work(self, log, rng):
        """Make attempts for ever, each up to its whole time, and write them down."""
        while True:
            lease = await self.lease()
            began = trio.current_time()
            await trio.sleep(self.run_s * rng.random())
            if lease.is_valid(trio.current_time()):
                log.append((began, trio.current_time(), lease.token, self.name))
            self.leases.give_back(lease)
            await trio.lowlevel.checkpoint()
