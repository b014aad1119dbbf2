"""From a fresh fork to an executor: session, descriptors, limits, parent's death, sandbox.

The order matters. Descriptors come first, so that every later failure can be told on the executor's
own stderr. The parent-death signal is armed only after the intermediate process has gone, for it
is bound to the parent at that moment. The sandbox comes last of all, before a byte of user code is
read; a foreign interpreter is executed inside it.

What runs here dirties pages that the fork shares with the zygote: each Python function that is
called for the first time costs about 16 KiB, and `open()` or an enum of `signal` several hundred.
Hence the bare system calls.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import posix
import random
import resource
import select
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from workmanager_executor import linux
from workmanager_executor.caging import Cage, msgpack_folder, needs_seal, settle
from workmanager_executor.endings import end, supervisor_gone
from workmanager_executor.exits import EXIT_REFUSED, EXIT_SETUP
from workmanager_executor.frames import encode
from workmanager_executor.writer import write_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Callable, Dict, List

    from workmanager_executor.spawning import Limits, SpawnRequest

    ForkHooks = List[Dict[str, Callable[[], object]]]  # arguments of os.register_at_fork

executor_module = "workmanager_executor.executor"  # what runs in the end; a zygote may set another

EVENTS_FD = 3
CONTROL_FD = 4
CAGE_FD = 5

_SPARE_FD = 64  # above all targets, so that no duplicate overwrites a source
_ADOPTION_POLL_S = 0.0001
_HEADROOM_BYTES = 8 * 1024 * 1024  # to load and run even trivial code
_LEAST_ADDRESS_SPACE_BYTES = 2 * 1024**3  # numpy with 32 threads reserves 1.24 GiB
_SPARE_ADDRESS_SPACE_BYTES = 1024**3
# "processes" is left to the sandbox: RLIMIT_NPROC counts every process of the uid, and without a
# user namespace that uid is shared with the supervisor and whoever else runs under it.
_RLIMITS = (
    ("files", resource.RLIMIT_NOFILE, 0),
    ("fileSizeBytes", resource.RLIMIT_FSIZE, 0),
    ("cpuSeconds", resource.RLIMIT_CPU, 1),  # SIGXCPU tells why; the kill follows a second later
    ("coreBytes", resource.RLIMIT_CORE, 0),
)


@dataclass(frozen=True)
class Birth:
    """All that a fresh child needs to know in order to become an executor.

    Attributes:
        descriptors: Events, control, stdout and stderr, as they came with the request.
        forked_by: Pid of the intermediate process.
        fork_hooks: Hooks that the zygote held back.
        cage: Sandbox it was born into; None for none.
        failure: Why there is no sandbox though there should be; "" if all is well.
    """

    request: SpawnRequest
    descriptors: Sequence[int]
    forked_by: int
    fork_hooks: ForkHooks
    cage: Cage | None
    failure: str


class SetupError(Exception):
    """The process cannot be set up as asked; it ends with `EXIT_SETUP` and says why on stderr."""


def become_executor(birth: Birth) -> NoReturn:
    """Turn this fresh child into the executor that was asked for."""
    try:
        _take_descriptors(birth)
        _set_up(birth)
        _catch_up_with_fork(birth.fork_hooks)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not reach the zygote's loop
        end(EXIT_SETUP, f"executor set-up failed: {type(error).__name__}: {error}\n")
    if birth.request.python is not None:
        _execute_foreign(birth.request.python, needs_seal(birth.request.sandbox))
    importlib.import_module(executor_module).main()
    os._exit(EXIT_SETUP)  # not reached: the module's main never returns


def _set_up(birth: Birth) -> None:
    if birth.failure:
        raise SetupError(birth.failure)
    request = birth.request
    os.setsid()
    _set_environment(request)
    linux.set_process_name(request.title)
    _limit(request.limits)
    layers: list[object] = []
    if birth.cage is None:
        _bind_to_parent(birth.forked_by)
    else:
        layers = settle(birth.cage, CAGE_FD)  # which binds it, too
    python = request.python or sys.version.split()[0]
    hello = {"pid": os.getpid(), "python": python, "layers": layers}
    try:
        write_all(EVENTS_FD, encode(["hello", hello]))
    except ConnectionError:
        supervisor_gone()


def _bind_to_parent(forked_by: int) -> None:
    """Die with the supervisor: wait until it has adopted us, then arm the signal.

    If the supervisor died before that, its end of the events channel is closed.
    """
    while os.getppid() == forked_by:
        time.sleep(_ADOPTION_POLL_S)
    linux.die_with_parent()
    if has_hung_up(EVENTS_FD):
        supervisor_gone()


def _catch_up_with_fork(hooks: ForkHooks) -> None:
    """Do what the held back hooks would have done, as far as it matters, and put them in place.

    They reset locks that a single-threaded zygote never holds. What matters is the random state,
    which all executors would share, and the hooks themselves, for forks of user code.
    """
    random.seed()
    os.register_at_fork = posix.register_at_fork
    for arguments in hooks:
        os.register_at_fork(**arguments)


def _take_descriptors(birth: Birth) -> None:
    """Put /dev/null, the pipes and the channels at 0..4 and close everything else."""
    events, control, stdout, stderr = birth.descriptors
    sources = [os.open(os.devnull, os.O_RDWR), stdout, stderr, events, control]
    if birth.cage is not None:
        sources.append(birth.cage.departure_fd)  # becomes CAGE_FD
    spares = [fcntl.fcntl(source, fcntl.F_DUPFD, _SPARE_FD) for source in sources]
    for target, spare in enumerate(spares):
        os.dup2(spare, target)
    os.closerange(len(sources), os.sysconf("SC_OPEN_MAX"))


def _set_environment(request: SpawnRequest) -> None:
    if os.environ:  # the zygote's is empty; this spares a look at what clear() needs
        os.environ.clear()
    for name, value in request.env.items():
        os.environ[name] = value
    if "TZ" in request.env:
        time.tzset()
    os.chdir(request.cwd or "/")


def _limit(limits: Limits) -> None:
    for name, number, grace in _RLIMITS:
        if name in limits:
            _set_limit(number, limits[name], grace)
    if "memoryBytes" in limits:
        _limit_memory(limits["memoryBytes"])


def _set_limit(number: int, value: int, grace: int) -> None:
    """Set a limit; where the machine's hard limit is lower already, that one stays."""
    hard = resource.getrlimit(number)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
        grace = min(grace, hard - value)
    resource.setrlimit(number, (value, value + grace))


def _limit_memory(limit_bytes: int) -> None:
    """Bound private memory, and address space loosely, for what shared mappings would get past.

    Libraries reserve far more address space than they use (sandbox study, 1.6 and 4.2).

    Raises:
        SetupError: The interpreter itself already needs more.
    """
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    used = int(os.read(statm, 256).split()[5]) * resource.getpagesize()
    os.close(statm)
    if limit_bytes < used + _HEADROOM_BYTES:
        raise SetupError(
            f"memory limit of {limit_bytes} bytes is too low: the interpreter alone "
            f"takes {used} bytes, so allow {used + _HEADROOM_BYTES} or more"
        )
    address_space_bytes = max(_LEAST_ADDRESS_SPACE_BYTES, limit_bytes + _SPARE_ADDRESS_SPACE_BYTES)
    _set_limit(resource.RLIMIT_DATA, limit_bytes, 0)
    _set_limit(resource.RLIMIT_AS, address_space_bytes, 0)


def has_hung_up(fd: int) -> bool:
    """Tell whether the other end is closed; of a SEQPACKET socket an empty read does not."""
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))


def _execute_foreign(python: str, is_to_seal: bool) -> NoReturn:
    """Replace this process by *python*, which runs the same executor with nothing of ours in it."""
    main_path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
    arguments = [python, "-I", main_path, "executor", "--msgpack", msgpack_folder()]
    arguments += ["--seal"] if is_to_seal else []
    try:
        # The sandbox may have changed the environment, so it is not the request's any more.
        os.execve(python, arguments, {"MALLOC_ARENA_MAX": "1", **os.environ})  # noqa: S606
    except OSError as error:
        message = f"interpreter {python} cannot be started: {error.strerror}"
    report = {"message": message, "file": None, "line": None, "traceback": ""}
    write_all(EVENTS_FD, encode(["refused", {"reason": "BUILD_FAILED", **report}]))
    os._exit(EXIT_REFUSED)
