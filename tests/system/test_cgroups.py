"""Limits held by cgroup v2, by a real kernel: memory, processes, processor time, and the kill.

Few machines that run tests have the controllers to give. Where they are missing, but User Mode
Linux is installed (Debian: user-mode-linux), this file runs itself in a kernel of its own, in some
seconds and without touching the host's groups.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from system_harness import Lab, Service, event, until

REPOSITORY = Path(__file__).parents[2]
NEEDED = {"memory", "pids", "cpu"}
ONCE = {"retry": {"maximumAttempts": 1}, "deadLetter": {"maxCrashes": 1}}
RESTART = {"restart": {"backoffInitial": "10ms", "backoffMax": "20ms", "startLimitBurst": 0}}
UML_S = 280  # a minute where nothing else runs
INIT = """#!/bin/sh
export PATH={path} PYTHONPATH={pythonpath} HOME=/run PYTHONDONTWRITEBYTECODE=1 TMPDIR=/run
mount -t proc proc /proc
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
{python} -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(2, 2), 0x8914, struct.pack("16sH14x", b"lo", 1))'
cd {repository}
export PYTEST_ADDOPTS='-q --color=no --tb=short -p no:cacheprovider --timeout 90'
{python} -m pytest {file} && echo ALL PASSED
echo o >/proc/sysrq-trigger
sleep 5
"""


def controlled_mount():
    """Return the mount of a cgroup v2 whose root group has what we need; None without."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        place = Path(before.split()[4])
        if after.startswith("cgroup2 ") and os.access(place, os.W_OK):
            controllers = (place / "cgroup.controllers").read_text().split()
            if set(controllers) >= NEEDED and not (place / "cgroup.type").exists():
                return place
    return None


MOUNT = controlled_mount()
needs_controllers = pytest.mark.skipif(MOUNT is None, reason="no cgroup v2 controllers here")


class Unit:
    """A group such as systemd makes for a unit with Delegate=yes, and a service in it."""

    def __init__(self, state):
        self.state = state
        state.parent.chmod(0o755)  # pytest's are closed to the uid of a worker
        for controller in NEEDED:
            (MOUNT / "cgroup.subtree_control").write_text(f"+{controller}")
        self.place = MOUNT / f"workmanager-test-{os.getpid()}"
        self.place.mkdir()

    def start(self):
        leaf = self.place / "supervisor"  # where it has been before: with children, none but leaves
        door = leaf if leaf.exists() else self.place
        enter = ("sh", "-c", f'echo 0 >{door}/cgroup.procs && exec "$@"', "sh")
        return Service.start(self.state, wrapper=enter).wait_ready()

    def groups(self):
        return sorted(path.name for path in self.place.glob("x-*"))

    def remove(self):
        for path in [*self.place.glob("*/"), self.place]:
            if path.is_dir():
                path.rmdir()


@pytest.fixture(scope="module")
def unit(tmp_path_factory):
    made = Unit(tmp_path_factory.mktemp("state") / "state")
    yield made
    made.remove()


@pytest.fixture(scope="module")
def shared(unit):
    service = unit.start()
    yield service
    service.stop()
    assert unit.groups() == []


@needs_controllers
def test_service_is_in_a_leaf_and_each_executor_in_a_group_with_its_limits(lab, unit):
    resources = {"memoryMax": "80MiB", "pidsMax": 9, "cpuMax": 0.5, "cpuWeight": 300}
    worker = lab.worker("a", "def process(event): return 1", resources=resources)
    [executor] = worker.executors()
    place = unit.place / f"x-{executor['id']}"
    held = (place / "cgroup.procs").read_text().split()
    assert held == [str(executor["pid"])]
    texts = {name: (place / name).read_text().strip() for name in ("memory.max", "pids.max")}
    assert texts == {"memory.max": str(80 * 2**20), "pids.max": "9"}
    assert (place / "cpu.max").read_text() == "50000 100000\n"
    assert (place / "cpu.weight").read_text() == "300\n"
    assert (place / "memory.oom.group").read_text() == "1\n"
    leaf = (unit.place / "supervisor" / "cgroup.procs").read_text().split()
    assert str(lab.service.pid) in leaf
    states = {record["layer"]: record["state"] for record in executor["isolation"]}
    assert states["cgroups"] == states["memory"] == "active"
    worker.patch({"resources": {**resources, "cpuWeight": 50}})
    until(lambda: (place / "cpu.weight").read_text() == "50\n" or not place.exists())


@needs_controllers
@pytest.mark.parametrize("way", ["heap", "shared", "children", "scratch"])
def test_memory_is_bounded_whatever_it_is(lab, way):
    """Each way but the first is one that rlimits do not see, or see only for each process."""
    code = """
    import mmap, os, time
    PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    def fill(mapping):
        for place in range(0, len(mapping), 4096):
            mapping[place] = 1
        return mapping
    def process(event):
        if event.data == "heap":
            kept = [fill(mmap.mmap(-1, 2**20, PRIVATE)) for _ in range(90)]
        if event.data == "shared":
            fill(mmap.mmap(-1, 90 * 2**20))
        if event.data == "children":
            for _ in range(6):
                if os.fork() == 0:
                    kept = fill(mmap.mmap(-1, 16 * 2**20, PRIVATE))
                    time.sleep(30)
            time.sleep(30)
        if event.data == "scratch":
            for n in range(90):
                open(f"/tmp/{n}", "wb").write(bytes(2**20))
        return "fine"
    """
    resources = {"memoryMax": "48MiB", "tmpSize": "100MiB"}
    isolation = {"subprocess": "allow"} if way == "children" else {}
    worker = lab.worker(
        "a", code, topic="in", resources=resources, isolation=isolation, **ONCE, **RESTART
    )
    lab.send("in", way)
    worker.until_idle(timeout_s=60)
    lab.publish("in", [event("other", id="other")])
    worker.until_idle(timeout_s=60)
    [letter] = worker.dead_letters()
    assert letter["error"]["message"].startswith("limit oom: resources.memoryMax is 48 MiB")
    refused = ("OSError",) if way == "heap" else ()  # by RLIMIT_DATA, if that comes first
    assert letter["error"]["type"] in ("OutOfMemory", *refused)
    facts = lab.client.get(f"{worker.path}:explain")["facts"]
    assert facts["limits"]["oom"] == 1
    assert worker.status()["tasksCompleted"] == 1


@needs_controllers
def test_processes_of_all_kinds_are_counted(lab):
    code = """
    import os, threading, time
    def process(event):
        for _ in range(3):
            if os.fork() == 0:
                time.sleep(30)
        for _ in range(30):
            threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
    """
    worker = lab.worker(
        "a", code, topic="in", resources={"pidsMax": 12}, isolation={"subprocess": "allow"}, **ONCE
    )
    lab.send("in", 1)
    worker.until_idle()
    [letter] = worker.dead_letters()
    assert letter["error"]["message"].startswith("limit pids: resources.pidsMax is 12")


@needs_controllers
def test_time_out_of_an_attempt_that_was_held_back_says_cpu(lab):
    code = """
    def process(event):
        while True:
            pass
    """
    spec = {"timeouts": {"startToClose": "2s"}, "drain": {"killAfter": "100ms"}, **ONCE}
    worker = lab.worker("a", code, topic="in", resources={"cpuMax": 0.1}, **spec)
    lab.send("in", 1)
    worker.until_idle(timeout_s=30)
    [letter] = worker.dead_letters()
    assert letter["error"]["message"].startswith("limit cpu: resources.cpuMax is 0.1")


@needs_controllers
def test_bill_counts_children_that_were_never_waited_for(lab):
    code = """
    import os, time
    def process(event):
        ours, theirs = os.pipe()
        if os.fork() == 0:
            end = time.process_time() + 0.3
            while time.process_time() < end:
                pass
            os.write(theirs, b"x")
            time.sleep(30)
        os.read(ours, 1)
    """
    worker = lab.worker("a", code, topic="in", isolation={"subprocess": "allow"})
    lab.send("in", 1)
    worker.until_idle()
    [task] = worker.tasks()
    assert 0.28 < task["usage"]["cpuS"] < 3


@needs_controllers
def test_stop_leaves_neither_processes_nor_a_group(lab, unit):
    code = """
    import os, signal, time
    def process(event):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for _ in range(5):
            if os.fork() == 0:
                os.setsid()
                time.sleep(30)
        return "fine"
    """
    drain = {"gracePeriod": "50ms", "killAfter": "50ms"}
    worker = lab.worker("a", code, isolation={"subprocess": "allow"}, drain=drain)
    worker.invoke()
    [executor] = worker.executors()
    place = unit.place / f"x-{executor['id']}"
    assert len((place / "cgroup.procs").read_text().split()) == 6
    worker.verb("stop")
    worker.until_state("STOPPED")
    until(lambda: not place.exists())


@needs_controllers
def test_killed_service_starts_again_in_its_leaf_and_clears_what_was_left(tmp_path, unit, shared):
    """After kill -9 systemd starts the service in the same unit; the old groups are still there."""
    other = Unit.__new__(Unit)
    other.state, other.place = tmp_path / "state", MOUNT / f"workmanager-again-{os.getpid()}"
    tmp_path.chmod(0o755)
    other.place.mkdir()
    service = other.start()
    lab = Lab(service)
    lab.worker("a", "def process(event): return 1")
    [old] = other.groups()
    lab.client.close()
    service.kill()
    made_at = (other.place / old).stat().st_ino
    (other.place / "x-of-long-ago").mkdir()
    service = other.start()
    until(lambda: len(other.groups()) == 1)
    assert (other.place / other.groups()[0]).stat().st_ino != made_at
    service.stop()
    assert other.groups() == []
    other.remove()


@pytest.mark.slow
@pytest.mark.timeout(UML_S + 20)
@pytest.mark.skipif(MOUNT is not None, reason="this kernel has the controllers")
@pytest.mark.skipif(shutil.which("linux.uml") is None, reason="user-mode-linux is not installed")
def test_all_of_this_in_a_kernel_of_its_own(tmp_path):
    init = tmp_path / "init"
    init.write_text(
        INIT.format(
            path=os.environ["PATH"],
            pythonpath=os.environ.get("PYTHONPATH", ""),
            python=sys.executable,
            repository=REPOSITORY,
            file=Path(__file__).relative_to(REPOSITORY),
        )
    )
    init.chmod(0o755)
    command = [shutil.which("linux.uml"), "rootfstype=hostfs", "rootflags=/", "ro", "mem=1024M"]
    command += ["quiet", "con=null", "con0=null,fd:1", "con1=null", "ssl=null", f"init={init}"]
    environment = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,  # its processes are many, and end with their group
    ) as kernel:
        try:
            said, _ = kernel.communicate(timeout=UML_S)
        except subprocess.TimeoutExpired as error:
            said = (error.stdout or b"").decode("utf-8", "replace") + " (no end)"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(kernel.pid, signal.SIGKILL)
    assert "ALL PASSED" in said, said[-8000:]
