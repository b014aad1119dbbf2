"""How a sandboxed executor ends: when asked, when killed, and with its supervisor."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness import ZygoteProcess

BUSY = "sum(range(10**12))"  # a loop in C: no handler in Python would run
GONE_S = 1.0
FAMILY = """
import os, time
def process(event):
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork(): os._exit(0)
            time.sleep(60)
    print("family is there", flush=True)
    time.sleep(60)
"""
ALONE = "def process(event):\n    import time\n    print('alone', flush=True)\n    time.sleep(60)"
SUPERVISOR = f"""
import sys
sys.path[:0] = {sys.path!r}
from harness import ZygoteProcess, job
zygote = ZygoteProcess.start()
executor = zygote.spawn(sandbox={{sandbox!r}})
executor.ready({{code!r}})
executor.events.send("run", [executor.item()])
assert executor.control.receive()[0] == "log"
print(executor.pid, zygote.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def zygote():
    with ZygoteProcess.start() as running:
        yield running


def profile(level, **fields):
    if level == "uid" and os.geteuid() != 0:
        pytest.skip("level uid needs root")
    return {"level": level, **({"uid": 64999} if level == "uid" else {}), **fields}


@pytest.mark.parametrize(("level", "ending"), [("basic", -15), ("full", 15), ("uid", 15)])
def test_sigterm_ends_it_in_the_middle_of_anything(zygote, level, ending):
    with zygote.spawn(sandbox=profile(level)) as executor:
        executor.ready(f"def process(event):\n    print('busy', flush=True)\n    {BUSY}")
        executor.events.send("run", [executor.item()])
        kind, *_ = executor.control.receive()
        assert kind == "log"
        os.kill(executor.pid, signal.SIGTERM)
        assert executor.wait() == ending


@pytest.mark.parametrize("level", ["full", "uid"])
def test_user_code_may_handle_sigterm(zygote, level):
    code = """
import os, signal
def process(event):
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(42))
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
"""
    with zygote.spawn(sandbox=profile(level)) as executor:
        executor.ready(code)
        executor.events.send("run", [executor.item()])
        assert executor.wait() == 42


@pytest.mark.parametrize(
    ("level", "how", "ending"),
    [
        ("basic", "os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("full", "os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGSYS),
        ("uid", "os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGSYS),
        ("full", "os.kill(os.getpid(), signal.SIGUSR1)", signal.SIGUSR1),
        ("full", "signal.alarm(1); signal.pause()", signal.SIGALRM),
    ],
)
def test_user_code_can_end_its_own_process(zygote, level, how, ending):
    """The kernel would ignore most signals that the first process of a namespace sends itself."""
    with zygote.spawn(sandbox=profile(level)) as executor:
        executor.ready(f"import os, signal\ndef process(event): {how}")
        executor.events.send("run", [executor.item()])
        assert executor.wait() == ending


def test_kill_of_the_first_process_is_refused_where_others_could_ask_for_it(zygote):
    code = "import os\ndef process(event): os.kill(1, 9)"
    with zygote.spawn(sandbox=profile("full", subprocess="allow")) as executor:
        executor.ready(code)
        assert executor.run_one()[4][0] == "PermissionError"


@pytest.mark.parametrize("level", ["full", "uid"])
def test_children_die_of_sigterm_as_usual(zygote, level):
    code = """
import subprocess
def process(event):
    child = subprocess.Popen(["/bin/sleep", "60"])
    child.terminate()
    return child.wait()
"""
    with zygote.spawn(sandbox=profile(level, subprocess="allow")) as executor:
        executor.ready(code)
        assert executor.run_one()[3][0][5] == b"-15"


@pytest.mark.parametrize("level", ["none", "basic", "full", "uid"])
def test_it_is_the_supervisors_own_child(zygote, level):
    with zygote.spawn(sandbox=profile(level)) as executor:
        executor.ready("def process(event): import os; os._exit(7)")
        stat = Path(f"/proc/{executor.pid}/stat").read_text()
        assert int(stat.rpartition(")")[2].split()[1]) == os.getpid()
        executor.events.send("run", [executor.item()])
        assert executor.wait() == 7


@pytest.mark.parametrize(
    ("level", "subprocess_allowed"),
    [("basic", "deny"), ("full", "deny"), ("full", "allow"), ("uid", "allow")],
)
def test_nothing_outlives_a_killed_supervisor(level, subprocess_allowed):
    fields = profile(level, subprocess=subprocess_allowed)
    code = FAMILY if subprocess_allowed == "allow" else ALONE
    script = SUPERVISOR.replace("{sandbox!r}", repr(fields)).replace("{code!r}", repr(code))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as supervisor:
        pids = [int(word) for word in supervisor.stdout.readline().split()]
        pids += descendants(pids[0])
        pidfds = [os.pidfd_open(pid) for pid in pids]
        supervisor.kill()
    for pid, pidfd in zip(pids, pidfds, strict=True):
        ended = select.select([pidfd], [], [], GONE_S)[0]
        os.close(pidfd)
        assert ended, f"process {pid} outlived its supervisor"


def descendants(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    pids = [int(word) for word in children.split()]
    return pids + [below for child in pids for below in descendants(child)]
