"""From an asyncio thread to the trio loop and back: results, errors, cancellation, the end."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest
import trio

from workmanager.api.grpc.bridge import Bridge
from workmanager.errors import NotFoundError, Reason, WorkManagerError

LIMIT_S = 10


@asynccontextmanager
async def asyncio_thread():
    """Run an asyncio loop in a thread; yields how to run a coroutine function there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def run(function):
        """Wait in the trio loop for a coroutine that runs over there."""
        future = asyncio.run_coroutine_threadsafe(function(), loop)
        return await trio.to_thread.run_sync(future.result, LIMIT_S)

    try:
        with trio.fail_after(LIMIT_S):
            yield run
    finally:
        loop.call_soon_threadsafe(loop.stop)
        await trio.to_thread.run_sync(thread.join)
        loop.close()


async def test_work_runs_in_the_trio_loop_and_its_result_comes_back(nursery):
    bridge = Bridge(nursery)
    threads = []

    async def work():
        await trio.lowlevel.checkpoint()
        threads.append(threading.current_thread())
        return 7

    async with asyncio_thread() as run:
        assert await run(lambda: bridge.call(work)) == 7
    assert threads == [threading.current_thread()]


async def test_an_error_comes_back_as_it_was_raised(nursery):
    bridge = Bridge(nursery)

    async def work():
        raise NotFoundError("no", reason=Reason.WORKER_NOT_FOUND)

    async with asyncio_thread() as run:
        with pytest.raises(NotFoundError, match="no"):
            await run(lambda: bridge.call(work))


async def test_cancelling_a_call_cancels_its_work_and_nothing_else(nursery):
    bridge = Bridge(nursery)
    started, ended, other = trio.Event(), trio.Event(), trio.Event()

    async def work():
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async def neighbour():
        await other.wait()
        return "still here"

    async def cancelled_soon():
        waiting = asyncio.create_task(bridge.call(neighbour))
        call = asyncio.create_task(bridge.call(work))
        await bridge.call(started.wait)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await bridge.call(ended.wait)
        bridge.soon(other.set)
        return await waiting

    async with asyncio_thread() as run:
        assert await run(cancelled_soon) == "still here"


async def test_a_loop_that_stops_refuses_what_is_under_way_and_what_comes():
    async with asyncio_thread() as run:
        async with trio.open_nursery() as nursery:
            bridge = Bridge(nursery)

            async def stop():
                nursery.cancel_scope.cancel()

            async def both():
                first = asyncio.create_task(bridge.call(trio.sleep_forever))
                await asyncio.gather(bridge.call(stop), return_exceptions=True)
                return await asyncio.gather(first, return_exceptions=True)

            (error,) = await shielded(run, both)
        assert isinstance(error, WorkManagerError)
        assert error.reason is Reason.SHUTTING_DOWN
        with pytest.raises(WorkManagerError) as caught:
            await run(lambda: bridge.call(trio.sleep_forever))
        assert caught.value.reason is Reason.SHUTTING_DOWN


async def shielded(run, function):
    with trio.CancelScope(shield=True):
        return await run(function)
