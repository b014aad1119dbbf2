"""The zygote: forks executors set up as asked, survives malformed requests, ends with its owner."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgpack
import pytest
from harness import DEADLINE_S, Executor, Peer, ZygoteProcess, wait_exit

from workmanager_executor.exits import EXIT_PROTOCOL, EXIT_SETUP

if TYPE_CHECKING:
    from collections.abc import Callable

PROCESS_FACTS = """
import os, resource, sys
def process(event):
    limits = {n: resource.getrlimit(getattr(resource, "RLIMIT_" + n))
              for n in ("NOFILE", "FSIZE", "CPU", "CORE", "DATA")}
    return {
        "pid": os.getpid(), "ppid": os.getppid(), "sid": os.getsid(0), "pgid": os.getpgid(0),
        "fds": sorted(int(n) for n in os.listdir("/proc/self/fd")),
        "stdin": os.readlink("/proc/self/fd/0"), "read": sys.stdin.read(),
        "env": dict(os.environ), "cwd": os.getcwd(), "limits": limits,
        "comm": open("/proc/self/comm").read().strip(), "path": sys.path, "argv": sys.argv,
        "modules": sorted(name for name in sys.modules if "msgpack" in name.split(".")[0]),
        "signals": open("/proc/self/status").read().split("SigIgn:")[1].split()[0],
    }
"""


def facts_of(executor: Executor) -> dict:
    return json.loads(executor.ready(PROCESS_FACTS).run_one()[3][0][5])


def open_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def until(holds: Callable[[], object], what: str) -> None:
    ends_at = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < ends_at, what
        time.sleep(0.005)


def children(zygote: ZygoteProcess, count: int) -> list[int]:
    """Return the pids of the zygote's children, once there are so many."""
    path = Path(f"/proc/{zygote.pid}/task/{zygote.pid}/children")
    until(lambda: len(path.read_text().split()) == count, f"{count} children of the zygote")
    return [int(pid) for pid in path.read_text().split()]


def kill_waiting(zygote: ZygoteProcess) -> int:
    """Kill the intermediate that waits for the next request; returns its pid."""
    (waiting,) = children(zygote, 1)
    os.kill(waiting, signal.SIGKILL)
    children(zygote, 0)
    return waiting


def test_executor_is_set_up_as_asked(zygote, tmp_path):
    with zygote.spawn(
        env={"A": "ü", "TZ": "UTC"}, cwd=str(tmp_path), title="wm-orders"
    ) as executor:
        facts = facts_of(executor)
        assert executor.hello == {"pid": executor.pid, "python": facts_python(), "layers": []}
    assert facts["pid"] == facts["sid"] == facts["pgid"] == executor.pid
    assert facts["ppid"] == os.getpid()
    assert facts["env"] == {"A": "ü", "TZ": "UTC"}
    assert (facts["cwd"], facts["comm"]) == (str(tmp_path), "wm-orders")
    assert (facts["stdin"], facts["read"]) == ("/dev/null", "")
    assert facts["argv"] == ["worker.py"]


def facts_python() -> str:
    import platform

    return platform.python_version()


def test_executor_has_no_descriptors_but_its_own(zygote):
    leaked = os.pipe()
    for fd in leaked:
        os.set_inheritable(fd, True)
    with ZygoteProcess.start() as leaky, leaky.spawn() as executor:
        fds = facts_of(executor)["fds"]
    for fd in leaked:
        os.close(fd)
    # 0 to 4, the side thread's waker, and the one that lists the folder
    assert fds[:5] == [0, 1, 2, 3, 4]
    assert len(fds) == 8


def test_executor_sees_no_packages_of_ours(executor):
    facts = facts_of(executor)
    assert not [path for path in facts["path"] if "site-packages" in path]
    assert {name.partition(".")[0] for name in facts["modules"]} == {"_workmanager_msgpack"}


def test_pythonpath_of_the_worker_is_honoured(zygote, tmp_path):
    (tmp_path / "helper_of_worker.py").write_text("VALUE = 42\n")
    with zygote.spawn(env={"PYTHONPATH": str(tmp_path)}) as executor:
        executor.ready("import helper_of_worker as h\ndef process(event): return h.VALUE")
        assert executor.run_one()[3][0][5] == b"42"


def test_limits_are_set(zygote):
    limits = {
        "memoryBytes": 300 << 20,
        "files": 100,
        "processes": 50,
        "fileSizeBytes": 1 << 20,
        "cpuSeconds": 60,
        "coreBytes": 0,
    }
    with zygote.spawn(limits=limits) as executor:
        got = facts_of(executor)["limits"]
    assert got == {
        "NOFILE": [100, 100],
        "FSIZE": [1 << 20, 1 << 20],
        "CPU": [60, 61],
        "CORE": [0, 0],
        "DATA": [300 << 20, 300 << 20],
    }


def test_limit_above_the_hard_limit_becomes_the_hard_limit(zygote):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with zygote.spawn(limits={"files": hard + 1}) as executor:
        assert facts_of(executor)["limits"]["NOFILE"][1] == hard


def test_memory_limit_stops_an_allocation_not_the_executor(zygote):
    with zygote.spawn(limits={"memoryBytes": 200 << 20}) as executor:
        executor.ready(
            "def process(event):\n    return len(bytearray(event.data))", maxOutputBytes=100
        )
        assert executor.run_one(400 << 20)[4][0] == "MemoryError"
        assert executor.run_one(1 << 20)[1] == 0


def test_executor_is_born_in_its_cgroups(zygote, tmp_path):
    """Whatever comes beyond the four channels is a cgroup.procs file to write to."""
    procs = tmp_path / "cgroup.procs"
    procs.touch()
    joined = os.open(procs, os.O_WRONLY)
    events, theirs = socket.socketpair()
    request = zygote.request()
    zygote.post(request, [*[theirs.fileno()] * 4, joined])
    pid = zygote.reply(request["id"])["pid"]
    assert procs.read_text() == "0"
    theirs.close()
    events.close()
    os.close(joined)
    assert wait_exit(pid) == EXIT_PROTOCOL


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"limits": {"memoryBytes": 1 << 20}}, "memory limit of 1048576 bytes is too low"),
        ({"cwd": "/no/such/folder"}, "No such file or directory"),
        ({"sandbox": {"level": "fortress"}}, "fortress"),
    ],
)
def test_set_up_that_fails_says_why_on_stderr(zygote, fields, text):
    with zygote.spawn(**fields) as executor:
        assert executor.wait() == EXIT_SETUP
        assert executor.events.receive() is None
        assert text in executor.read_stderr()


def test_requests_are_pipelined(zygote):
    executors = [zygote.spawn() for _ in range(10)]
    assert len({executor.pid for executor in executors}) == 10
    for executor in executors:
        with executor:
            executor.ready("def process(e): return 1")
            assert executor.drain() == 0


def test_many_requests_at_once_are_all_answered():
    with ZygoteProcess.start() as zygote:
        ends = [socket.socketpair() for _ in range(20)]
        for number, (_, theirs) in enumerate(ends):
            request = {**zygote.request(), "id": f"burst-{number}"}
            zygote.post(request, [theirs.fileno()] * 4)
        pids = [zygote.reply(f"burst-{number}")["pid"] for number in range(20)]
        for ours, theirs in ends:
            theirs.close()
            assert Peer(ours).expect("hello")
            ours.close()
        assert [wait_exit(pid) for pid in pids] == [EXIT_PROTOCOL] * 20


def test_zygote_keeps_no_descriptors_and_no_zombies():
    with ZygoteProcess.start() as zygote:
        children(zygote, 1)
        before = open_descriptors(zygote.pid)
        for _ in range(5):
            with zygote.spawn() as executor:
                executor.events.expect("hello")
        zygote.post(b"garbage", [0, 1, 2])
        zygote.reply(None)
        children(zygote, 1)
        until(lambda: open_descriptors(zygote.pid) <= before, "descriptors were left open")


def test_an_intermediate_that_is_killed_while_it_waits_is_replaced(zygote):
    killed = kill_waiting(zygote)
    with zygote.spawn() as executor:
        executor.events.expect("hello")
    assert children(zygote, 1) != [killed]


def test_request_is_refused_while_nothing_can_be_forked():
    with ZygoteProcess.start() as zygote:
        kill_waiting(zygote)
        soft, hard = resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE, (1, hard))
        zygote.post(zygote.request(), [])
        assert "cannot fork: Too many open files" in zygote.reply(None)["error"]
        resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE, (soft, hard))
        with zygote.spawn() as executor:
            executor.events.expect("hello")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"op": "dance"}, "unknown op"),
        ({"python": "python3"}, "is not an absolute path"),
        ({"python": 5}, "python: a text"),
        ({"env": {"A": 1}}, "env: 'A'"),
        ({"env": {"A=B": "1"}}, "env: 'A=B'"),
        ({"env": {"A": "x\0"}}, "env: 'A'"),
        ({"env": []}, "env: a map"),
        ({"limits": {"height": 1}}, "'height' is unknown"),
        ({"limits": {"files": -1}}, "files: a whole number"),
        ({"limits": {"files": True}}, "files: a whole number"),
        ({"sandbox": 1}, "sandbox: a map"),
        ({"cwd": "\0"}, "cwd: a text"),
    ],
)
def test_malformed_request_is_answered_with_the_reason(zygote, change, message):
    request = {**zygote.request(), **change}
    null = os.open(os.devnull, os.O_RDWR)
    zygote.post(request, [null] * 4)
    os.close(null)
    assert message in zygote.reply(request["id"])["error"]


@pytest.mark.parametrize(
    ("body", "descriptors", "request_id", "message"),
    [
        (b"\xc1garbage", 0, None, "not msgpack"),
        (msgpack.packb([1, 2]), 0, None, "not a map"),
        (msgpack.packb({"op": "spawn"}), 4, None, "no id"),
        (msgpack.packb({"op": "spawn", "id": "few"}), 3, "few", "3 descriptors"),
        (msgpack.packb({"op": "spawn", "id": "many"}), 9, None, "too many descriptors"),
    ],
)
def test_garbage_is_answered_and_survived(zygote, body, descriptors, request_id, message):
    zygote.post(body, [1] * descriptors)
    assert message in zygote.reply(request_id)["error"]
    with zygote.spawn() as executor:
        executor.events.expect("hello")


SEARCH_OWN_MEMORY = """
import re
def process(event):
    wanted = re.compile(b"s3cret[-]of[-]the[-]first")  # does not match itself
    found = []
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            if " rw-p " in line:
                start, end = (int(part, 16) for part in line.split()[0].split("-"))
                memory.seek(start)
                found += [line] * len(wanted.findall(memory.read(end - start)))
    return found
"""


def test_secrets_of_one_worker_are_not_inherited_by_the_next(zygote):
    """What the zygote has in memory, every later executor has."""
    secret = {"FILLER": "x" * 5000, "TOKEN": "s3cret" + "-of-the-first"}
    with zygote.spawn(env=secret) as first:
        first.ready(SEARCH_OWN_MEMORY)
        assert json.loads(first.run_one()[3][0][5])
    with zygote.spawn() as second:
        second.ready(SEARCH_OWN_MEMORY)
        assert json.loads(second.run_one()[3][0][5]) == []


def test_random_numbers_differ_between_executors(zygote):
    numbers = set()
    for _ in range(3):
        with zygote.spawn() as executor:
            executor.ready("import random\ndef process(event): return random.random()")
            numbers.add(executor.run_one()[3][0][5])
    assert len(numbers) == 3


def test_user_code_that_forks_has_the_usual_hooks(executor):
    executor.ready(
        "import os, random, threading\n"
        "def process(event):\n"
        "    read, write = os.pipe()\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        alone = threading.active_count() == 1\n"
        "        os.write(write, f'{alone} {random.random()}'.encode()); os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
        "    return [os.read(read, 100).decode(), f'True {random.random()}']"
    )
    child, parent = json.loads(executor.run_one()[3][0][5])
    assert child.startswith("True ")
    assert child != parent


def test_empty_message_is_not_taken_for_the_end(zygote):
    zygote.sock.send(b"")
    with zygote.spawn() as executor:
        executor.events.expect("hello")


def test_zygote_ends_when_its_owner_closes_the_socket():
    zygote = ZygoteProcess.start()
    zygote.sock.close()
    assert wait_exit(zygote.pid) == 0


def test_executors_outlive_their_zygote():
    zygote = ZygoteProcess.start()
    with zygote.spawn() as executor:
        executor.ready("def process(e): return 1")
        os.kill(zygote.pid, signal.SIGKILL)
        assert wait_exit(zygote.pid) == -signal.SIGKILL
        assert executor.run_one()[1] == 0
        assert zygote.sock.recv(1) == b""  # what waited for the next request has gone, too
    zygote.sock.close()


def test_zygote_is_out_of_reach_of_ctrl_c(zygote):
    assert os.getsid(zygote.pid) == zygote.pid


def test_zygote_environment_is_empty(zygote):
    assert Path(f"/proc/{zygote.pid}/environ").read_bytes() == b""


@pytest.mark.parametrize("channel", ["events", "control"])
def test_executor_ends_when_a_channel_closes(executor, channel):
    executor.ready("def process(e): ...")
    getattr(executor, channel).sock.close()
    assert executor.wait() == EXIT_PROTOCOL


def test_executor_ends_though_its_handler_is_busy(executor):
    executor.ready("def process(e):\n    print('in')\n    while True: pass")
    executor.events.send("run", [executor.item()])
    executor.control.expect("log")
    executor.events.sock.close()
    assert executor.wait() == EXIT_PROTOCOL


def test_executor_dies_with_its_supervisor():
    """The parent-death signal is armed for the adopting process, not for the intermediate one.

    This process keeps both channels open and is a subreaper, too, so it adopts what is left.
    """
    told, tell = os.pipe()
    events, their_events = socket.socketpair()
    control, their_control = socket.socketpair()
    supervisor = os.fork()
    if supervisor == 0:
        zygote = ZygoteProcess.start()
        request = zygote.request()
        zygote.post(request, [their_events.fileno(), their_control.fileno(), 1, 2])
        os.write(tell, f"{zygote.pid} {zygote.reply(request['id'])['pid']}".encode())
        signal.pause()
    zygote_pid, executor_pid = map(int, os.read(told, 64).split())
    Peer(events).expect("hello")  # sent after the signal was armed
    os.kill(supervisor, signal.SIGKILL)
    wait_exit(supervisor)
    assert wait_exit(executor_pid) == -signal.SIGKILL
    assert wait_exit(zygote_pid) == 0
    for end in (events, their_events, control, their_control):
        end.close()
    os.close(told)
    os.close(tell)
