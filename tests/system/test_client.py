"""The Python client against the real service: every way there, synchronous, trio and asyncio."""

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import anyio
import pytest
import trio
from system_harness import base64_of, manifest, serving

from workmanager.client import (
    AsyncWorkManagerClient,
    ClientError,
    NoSupervisorError,
    ProblemError,
    WorkManagerClient,
    new_event,
)
from workmanager.model.resources import Change, LogLine, Version, Worker
from workmanager.model.states import VersionState, WorkerState

LIMIT_S = 60
ECHO = 'def process(event):\n    print("seen", event.data)\n    return {"echo": event.data}\n'
FAIL = 'def process(event):\n    raise ValueError("no")\n'
DOORS = ("http", "unix", "grpc", "grpc+unix")
FORMS = ("sync", "trio", "asyncio")


@dataclass
class Running:
    """A service and where it listens."""

    doors: dict[str, str]
    count: int = 0

    def name(self):
        self.count += 1
        return f"w{self.count}"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("client")
    options = ("--socket", str(folder / "wm.sock"), "--set", "grpc_bind=127.0.0.1:0")
    with serving(folder / "state", *options) as service:
        urls = service.wait_line("serving", timeout_s=LIMIT_S)["urls"]
        yield Running({url.partition(":")[0]: url for url in urls})


class Threaded:
    """A synchronous client in the clothes of an asynchronous one: a test is written once."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        return lambda *args, **kwargs: self._run(getattr(self._client, name), args, kwargs)

    async def _run(self, call, args, kwargs):
        return await anyio.to_thread.run_sync(partial(call, *args, **kwargs))

    def watch(self, *args, **kwargs):
        return self._stream(self._client.watch(*args, **kwargs))

    def tail_logs(self, *args, **kwargs):
        return self._stream(self._client.tail_logs(*args, **kwargs))

    @asynccontextmanager
    async def _stream(self, stream):
        with stream:
            yield Pulled(stream)


class Pulled:
    def __init__(self, stream):
        self._stream = stream

    def __aiter__(self):
        return self

    async def __anext__(self):
        item = await anyio.to_thread.run_sync(partial(next, self._stream, None))
        if item is None:
            raise StopAsyncIteration
        return item


@pytest.fixture(params=[f"{form}-{door}" for form in FORMS for door in DOORS])
def play(request, running):
    """Run a scenario with a client of this form, at this door."""
    form, _, door = request.param.partition("-")

    async def bounded(scenario):
        with anyio.fail_after(LIMIT_S):
            if form == "sync":
                with WorkManagerClient(running.doors[door]) as client:
                    await scenario(Threaded(client), running.name())
            else:
                async with AsyncWorkManagerClient(running.doors[door]) as client:
                    await scenario(client, running.name())

    return partial(asyncio_run if form == "asyncio" else trio.run, bounded)


async def exhaust(opening):
    async with opening as stream:
        async for _ in stream:
            pass


def asyncio_run(bounded, scenario):
    asyncio.run(bounded(scenario))


def test_calls_answer_typed_and_refuse_alike(play):
    async def scenario(client, name):
        worker = await client.create_worker(manifest(name, ECHO, topic=name))
        assert isinstance(worker, Worker)
        assert worker.status.state is WorkerState.RUNNING
        assert worker.spec.triggers[0].topic == name
        assert (await client.get_worker(name)).uid == worker.uid

        published = await client.publish(name, new_event({"n": 1}))
        assert (published.accepted, published.duplicates) == (1, 0)
        result = await client.invoke(name, new_event({"n": 2}, attributes={"partitionkey": "k"}))
        assert result.outputs[0]["data"] == {"echo": {"n": 2}}
        assert result.outputs[0]["type"] == f"{name}.output"

        assert await client.get_code(name) == (ECHO.encode(), "text/x-python")
        assert name in [found.name for found in (await client.list_workers()).items]
        assert (await client.health()).status in ("ok", "degraded")
        assert "workmanager" in await client.metrics()

        with pytest.raises(ProblemError) as caught:
            await client.get_worker("nobody")
        assert (caught.value.reason, caught.value.status) == ("WORKER_NOT_FOUND", 404)
        with pytest.raises(ProblemError) as caught:
            await client.create_worker({"metadata": {"name": "x"}, "spec": {"retry": {"a": 1}}})
        assert caught.value.reason == "INVALID_ARGUMENT"
        assert {fault.pointer for fault in caught.value.faults} >= {"spec.retry.a", "spec.code"}
        operation = await client.finish(await client.delete_worker(name, drain=False))
        assert operation.error is None

    play(scenario)


def test_changes_carry_manifests_patches_and_code(play):
    async def scenario(client, name):
        given = manifest(name, ECHO, retry={"initialInterval": "1500ms"}, inbox={"maxBytes": "1Mi"})
        applied = await client.apply_worker(name, given)
        assert applied.change == "created"
        assert applied.worker.spec.retry.initial_interval_s == 1.5
        assert applied.worker.spec.inbox.max_bytes == 2**20
        assert (await client.apply_worker(name, given)).change == "unchanged"
        assert not (await client.diff_worker(name, given)).changes

        patched = await client.patch_worker(
            name, {"metadata": {"labels": {"team": "a"}}}, if_match=applied.worker.etag
        )
        assert patched.worker.labels == {"team": "a"}
        with pytest.raises(ProblemError, match="ETAG_MISMATCH"):
            await client.patch_worker(name, {"spec": {"env": {}}}, if_match=applied.worker.etag)

        version = await client.load_code_from_content(name, ECHO.replace("echo", "more"))
        assert isinstance(version, Version)
        assert version.state is VersionState.CURRENT
        history = (await client.get_worker_history(name)).items
        assert history[0].state is VersionState.CURRENT
        assert len(history) == 2
        assert (await client.finish(await client.rollback_worker(name))).error is None
        assert (await client.stop_worker(name)).desired_state.name == "STOPPED"
        assert (await client.finish(await client.recover_workers())).done
        await client.finish(await client.delete_worker(name, drain=False))

    play(scenario)


def test_dead_letters_and_tasks_are_listed_and_redriven(play):
    async def scenario(client, name):
        spec = {"retry": {"maximumAttempts": 1}}
        await client.create_worker(manifest(name, FAIL, topic=name, **spec))
        with pytest.raises(ProblemError) as caught:
            await client.invoke(name, new_event(1))
        assert (caught.value.reason, caught.value.status) == ("WORKER_ERROR", 422)
        async with client.watch("deadLetters", worker=name) as changes:
            await client.publish(name, [new_event(1), new_event(2)])
            async for change in changes:
                if change.dead_letter is not None:
                    break
        letter = await client.get_dead_letter(change.dead_letter.id)
        assert letter.error.type == "ValueError"
        assert letter.event["data"] in (1, 2)
        task = await client.get_task(letter.task)
        assert (task.worker, task.event_id) == (name, letter.event["id"])
        done = await client.finish(await client.redrive(ids=[letter.id]))
        assert done.error is None
        await client.finish(await client.delete_worker(name, drain=False))

    play(scenario)


def test_watch_and_logs_tell_what_is_and_what_comes(play):
    async def scenario(client, name):
        async with client.watch(["workers", "executors"], worker="") as changes:
            async for change in changes:
                assert isinstance(change, Change)
                if change.type == "BOOKMARK":
                    break
            await client.create_worker(manifest(name, ECHO))
            seen = set()
            async for change in changes:
                thing = change.worker or change.executor
                seen.add((change.kind, getattr(thing, "worker", getattr(thing, "name", ""))))
                if {("worker", name), ("executor", name)} <= seen:
                    break
        async with client.tail_logs(name) as lines:
            await client.invoke(name, new_event("hello"))
            async for line in lines:
                assert isinstance(line, LogLine)
                if line.text == "seen hello":
                    break
        with pytest.raises(ProblemError, match="RESUME_TOKEN_EXPIRED"):
            await exhaust(client.watch(resume_token="00000000-1"))
        with pytest.raises(ProblemError, match="WORKER_NOT_FOUND"):
            await exhaust(client.tail_logs("nobody"))
        await client.finish(await client.delete_worker(name, drain=False))

    play(scenario)


def test_seed_form_gets_a_name(play):
    async def scenario(client, name):
        worker = await client.create_worker({"CodeSource": {"Content": base64_of(ECHO)}})
        assert len(worker.name) == 36
        await client.finish(await client.delete_worker(worker.name, drain=False))

    play(scenario)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("run", [trio.run, lambda main: asyncio.run(main())], ids=FORMS[1:])
def test_cancelled_call_leaves_the_client_usable(running, door, run):
    slow = "import time\ndef process(event):\n    time.sleep(event.data)\n"

    async def main():
        with anyio.fail_after(LIMIT_S):
            async with AsyncWorkManagerClient(running.doors[door]) as client:
                name = running.name()
                await client.create_worker(manifest(name, slow))
                with anyio.move_on_after(0.2) as scope:
                    await client.invoke(name, new_event(30))
                assert scope.cancelled_caught
                async with client.watch() as changes:
                    with anyio.move_on_after(0.2):
                        async for _ in changes:
                            pass
                    await client.patch_worker(name, {"metadata": {"labels": {"a": "b"}}})
                    async for change in changes:  # none is lost by the cancellation
                        if change.worker and change.worker.labels == {"a": "b"}:
                            break
                await client.finish(await client.delete_worker(name, drain=False))

    run(main)


@pytest.mark.parametrize("door", DOORS)
def test_many_threads_share_a_client(running, door):
    with WorkManagerClient(running.doors[door]) as client:
        name = running.name()
        client.create_worker(manifest(name, ECHO))
        wrong = []

        def call(number):
            for turn in range(5):
                data = [number, turn]
                result = client.invoke(name, new_event(data))
                if result.outputs[0]["data"] != {"echo": data}:
                    wrong.append(result)

        threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
        assert not wrong
        client.finish(client.delete_worker(name, drain=False))


@pytest.mark.parametrize("door", DOORS)
def test_invoke_under_a_key_runs_once(running, door):
    with WorkManagerClient(running.doors[door]) as client:
        name = running.name()
        code = "seen = []\ndef process(event):\n    seen.append(1)\n    return len(seen)\n"
        client.create_worker(manifest(name, code))
        event = new_event(1)
        first, second = (client.invoke(name, event, key=f"key-{name}") for _ in range(2))
        assert first.outputs == second.outputs
        assert client.invoke(name, new_event(1)).outputs[0]["data"] == 2
        client.finish(client.delete_worker(name, drain=False))


@pytest.mark.parametrize("door", ["unix", "grpc"])
def test_pages_and_batches(running, door):
    with WorkManagerClient(running.doors[door]) as client:
        name = running.name()
        client.create_worker(manifest(name, ECHO, topic=name), start=False)
        result = client.publish_all(name, (new_event(n) for n in range(2100)), batch=1000)
        assert (result.accepted, result.deliveries) == (2100, 2100)
        tasks = list(client.each(client.list_tasks, worker=name))
        assert len({task.id for task in tasks}) == 2100
        client.finish(client.delete_worker(name, drain=False))


@pytest.mark.slow
def test_restart_is_got_over_by_patience_and_ends_a_watch_with_its_reason(tmp_path):
    state = tmp_path / "state"
    options = ["--socket", str(tmp_path / "wm.sock"), "--set", "grpc_bind=127.0.0.1:0"]
    with serving(state, *options) as service:
        urls = service.wait_line("serving", timeout_s=LIMIT_S)["urls"]
        doors = {url.partition(":")[0]: url for url in urls}
        clients = [WorkManagerClient(url, patience_s=LIMIT_S) for url in doors.values()]
        clients[0].create_worker(manifest("a", ECHO))
        watching = [Watching(client) for client in clients]
        for each in watching:
            each.wait_told()
    for url in doors.values():
        with pytest.raises(NoSupervisorError), WorkManagerClient(url) as hasty:
            hasty.get_worker("a")
    found = []
    ask = [partial(lambda c: found.append(c.get_worker("a").name), c) for c in clients]
    asking = [threading.Thread(target=each) for each in ask]
    for each in asking:
        each.start()
    options += ["--bind", doors["http"].rpartition("/")[2]]
    options += ["--set", f"grpc_bind={doors['grpc'].rpartition('/')[2]}"]
    with serving(state, *options):
        for each in asking:
            each.join(LIMIT_S)
        assert found == ["a"] * len(DOORS)
        assert [each.end() for each in watching] == ["RESUME_TOKEN_EXPIRED"] * len(DOORS)
    for client in clients:
        client.close()


class Watching:
    """A watch in a thread, until it ends."""

    def __init__(self, client):
        self._changes = client.watch()
        self._told = threading.Event()
        self._reason = "it goes on"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            for change in self._changes:
                if change.type == "BOOKMARK":
                    self._told.set()
        except ClientError as error:
            self._reason = getattr(error, "reason", str(error))

    def wait_told(self):
        assert self._told.wait(LIMIT_S)

    def end(self):
        self._thread.join(LIMIT_S)
        return self._reason
