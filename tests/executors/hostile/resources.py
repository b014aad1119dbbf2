"""Attacks on what all share: processes, memory, descriptors, disk, time."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import struct
import threading
import time

from cage import (
    ESCAPES,
    ISOLATED,
    LIBC,
    NOT_RUN,
    ROOT_ESCAPES,
    UNKNOWN,
    Escaped,
    Targets,
    attack,
    call,
    number,
)

NO_COUNT = {"basic": "RLIMIT_NPROC would count the supervisor's other processes too"}


@attack(at_none=ESCAPES)
def fork_bomb(targets: Targets) -> None:
    """subprocess=deny: not one fork."""
    _fork_until(120, "forks")


@attack(levels=ISOLATED, profile={"subprocess": "allow"})
def fork_bomb_where_forks_are_allowed(targets: Targets) -> None:
    """subprocess=allow: the private count of processes ends it."""
    _fork_until(2 * targets.processes, "forks", allowed=targets.processes)


@attack(at_none=ESCAPES)
def vfork_bomb(targets: Targets) -> None:
    """clone(2) by its number is no way around."""
    for count in range(60):
        pid = call(number(56, 220), int(signal.SIGCHLD), 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        if count == 40:
            raise Escaped("40 clones")


@attack(at_none=UNKNOWN)
def threads_with_big_stacks(targets: Targets) -> None:
    """Stacks count as data: memory ends it where the count does not."""
    _thread_until(150, stack_bytes=8 << 20)


@attack(at_none=UNKNOWN, leaks=NO_COUNT)
def threads_with_small_stacks(targets: Targets) -> None:
    """The private count of tasks ends it, threads included."""
    _thread_until(3 * targets.processes, stack_bytes=64 << 10)


@attack()
def heap(targets: Targets) -> None:
    """RLIMIT_DATA: MemoryError, and the process lives."""
    hoard = [b"x" * (8 << 20) for _ in range(2 * targets.memory_bytes >> 23)]
    raise Escaped(f"{len(hoard) * 8} MiB of heap")


@attack()
def private_mapping(targets: Targets) -> None:
    """RLIMIT_DATA counts anonymous mappings."""
    mmap.mmap(-1, 2 * targets.memory_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    raise Escaped("an anonymous mapping of twice the limit")


@attack()
def shared_mapping(targets: Targets) -> None:
    """RLIMIT_DATA does not see shared memory: RLIMIT_AS ends it, later."""
    mmap.mmap(-1, 8 * targets.memory_bytes)
    raise Escaped("a shared mapping of eight times the limit")


@attack(at_none=ESCAPES)
def memory_file(targets: Targets) -> None:
    """memfd_create is refused: no rlimit counts it."""
    file = os.memfd_create("hoard")
    os.write(file, b"x" * (1 << 20))
    raise Escaped("a file in memory, outside of every rlimit")


@attack(at_none=ESCAPES, profile={"engine": "dotnet"})
def memory_file_of_another_engine(targets: Targets) -> None:
    """Whatever runs the code: a .NET worker can make system calls as well."""
    memory_file(targets)


@attack(at_none=ESCAPES)
def system_v_memory(targets: Targets) -> None:
    """shmget is refused: a segment outlives its process."""
    segment = call(number(29, 194), 0, 1 << 20, 0o1600)
    call(number(31, 195), segment, 0, 0)  # IPC_RMID
    raise Escaped("a System V segment")


@attack(at_none=ESCAPES)
def message_queue(targets: Targets) -> None:
    """msgget is refused."""
    queue = call(number(68, 186), 0, 0o1600)
    call(number(71, 187), queue, 0, 0)
    raise Escaped("a System V message queue")


@attack(at_none=ESCAPES)
def semaphores(targets: Targets) -> None:
    """semget is refused."""
    array = call(number(64, 190), 0, 250, 0o1600)
    call(number(66, 191), array, 0, 0)
    raise Escaped("a System V semaphore array")


@attack(at_none=ROOT_ESCAPES)
def locked_memory(targets: Targets) -> None:
    """RLIMIT_MEMLOCK is 0."""
    buffer = ctypes.create_string_buffer(1 << 16)
    if LIBC.mlock(buffer, ctypes.c_size_t(1 << 16)) == 0:
        raise Escaped("locked memory")


@attack(at_none=UNKNOWN)
def descriptors(targets: Targets) -> None:
    """RLIMIT_NOFILE, soft and hard."""
    kept = [os.dup(3) for _ in range(2 * targets.files)]
    raise Escaped(f"{len(kept)} descriptors")


@attack(at_none=ESCAPES)
def pipe_buffers(targets: Targets) -> None:
    """Growing a pipe takes from a pot that is counted per uid over the whole host."""
    import fcntl

    fcntl.fcntl(os.pipe()[1], 1031, 1 << 20)  # F_SETPIPE_SZ
    raise Escaped("a pipe of 1 MiB")


@attack(levels=("basic", "full"), at_none=ESCAPES)
def inotify_instances(targets: Targets) -> None:
    """A uid has 128 on the whole host: where it is shared, an executor gets few or none."""
    for _ in range(40):
        call(number(294, 26), 0)
    raise Escaped("40 inotify instances")


@attack(at_none=ESCAPES)
def asynchronous_io_contexts(targets: Targets) -> None:
    """io_setup takes from fs.aio-max-nr, one pot for the whole host."""
    context = ctypes.c_ulong(0)
    call(number(206, 0), 1024, ctypes.byref(context))
    raise Escaped("an AIO context of 1024 events")


@attack(at_none=ROOT_ESCAPES)
def real_time_priority(targets: Targets) -> None:
    """RLIMIT_RTPRIO is 0, and there is no CAP_SYS_NICE."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    raise Escaped("SCHED_FIFO")


@attack(at_none=ROOT_ESCAPES)
def better_nice_value(targets: Targets) -> None:
    """RLIMIT_NICE is 0."""
    os.setpriority(os.PRIO_PROCESS, 0, -10)
    raise Escaped("nice -10")


@attack(at_none=UNKNOWN)
def higher_limits(targets: Targets) -> None:
    """Hard limits are down too."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4 * targets.files, 4 * targets.files))
    raise Escaped("a higher RLIMIT_NOFILE")


@attack(at_none=UNKNOWN)
def core_dump(targets: Targets) -> None:
    """RLIMIT_CORE stays where it is."""
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
    raise Escaped("core dumps")


@attack()
def queued_signals(targets: Targets) -> None:
    """Queued signals are counted per uid: an executor stops at 256 of them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
    info = ctypes.create_string_buffer(b"\0" * 8 + b"\xff\xff\xff\xff", 128)  # si_code SI_QUEUE
    for _ in range(1000):
        call(number(129, 138), os.getpid(), int(signal.SIGRTMIN), info)
    raise Escaped("1000 queued signals")


@attack(at_none=ESCAPES)
def own_oom_score(targets: Targets) -> None:
    """/proc is read-only, or Landlock forbids the write."""
    score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    os.write(score, b"0")
    raise Escaped("no longer the first choice when memory runs out")


@attack(at_none=ESCAPES)
def core_dump_to_a_program(targets: Targets) -> None:
    """A limit of 0 still starts what core_pattern pipes to; it is 1, and cannot be lowered."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    raise Escaped("each crash starts the host's program for core dumps")


@attack(at_none=UNKNOWN)
def timers(targets: Targets) -> None:
    """POSIX timers count as pending signals: 256 for the uid, as an executor sees it."""
    event = struct.pack("=QiiQQ", 0, int(signal.SIGRTMIN), 1, 0, 0).ljust(64, b"\0")  # SIGEV_NONE
    timer = ctypes.c_int()
    for _ in range(1000):
        call(number(222, 107), 1, event, ctypes.byref(timer))
    raise Escaped("1000 timers")


@attack(at_none=UNKNOWN)
def stack_that_grows(targets: Targets) -> None:
    """MAP_GROWSDOWN is no data to RLIMIT_DATA: RLIMIT_AS ends it."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x100 | 0x20000  # GROWSDOWN, STACK
    mmap.mmap(-1, 8 * targets.memory_bytes, flags)
    raise Escaped("a stack of eight times the limit")


@attack(at_none=UNKNOWN)
def break_of_the_heap(targets: Targets) -> None:
    """brk counts as data."""
    LIBC.sbrk.restype = ctypes.c_void_p
    before = LIBC.sbrk(ctypes.c_long(2 * targets.memory_bytes))
    if before != ctypes.c_void_p(-1).value:
        raise Escaped("a heap of twice the limit by sbrk")


@attack(at_none=UNKNOWN)
def memory_by_remapping(targets: Targets) -> None:
    """mremap grows what was small when it was counted."""
    small = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    small.resize(2 * targets.memory_bytes)
    raise Escaped("a mapping of twice the limit")


@attack(at_none=UNKNOWN)
def memory_behind_a_private_file(targets: Targets) -> None:
    """A private, writable mapping of a file is memory of one's own, too."""
    with open(os.path.join(targets.scratch, "sparse"), "wb+") as file:
        file.truncate(1 << 20)
        kept = [
            mmap.mmap(file.fileno(), 1 << 20, mmap.MAP_PRIVATE)
            for _ in range(2 * targets.memory_bytes >> 20)
        ]
    raise Escaped(f"{len(kept)} MiB of private mappings")


@attack(at_none=ROOT_ESCAPES)
def deadline_scheduling(targets: Targets) -> None:
    """SCHED_DEADLINE comes before everybody else."""
    attributes = struct.pack("=IIQiIQQQ", 48, 6, 0, 0, 0, 900_000, 1_000_000, 1_000_000)
    call(number(314, 274), 0, attributes, 0)
    raise Escaped("SCHED_DEADLINE")


@attack(at_none=UNKNOWN)
def own_limits_lifted(targets: Targets) -> None:
    """No hard limit can be raised, whichever it is."""
    for name in ("AS", "DATA", "FSIZE", "MEMLOCK", "MSGQUEUE", "NICE", "RTPRIO", "SIGPENDING"):
        limit = getattr(resource, f"RLIMIT_{name}")
        soft, hard = resource.getrlimit(limit)
        try:
            resource.setrlimit(limit, (hard + 1, hard + 1) if hard >= 0 else (soft, hard))
        except (OSError, ValueError):
            continue
        if hard >= 0:
            raise Escaped(f"a higher RLIMIT_{name}")


@attack(at_none=UNKNOWN)
def nests_of_epoll(targets: Targets) -> None:
    """Each epoll costs a descriptor, so they are few."""
    import select

    kept = [select.epoll() for _ in range(4 * targets.files)]
    raise Escaped(f"{len(kept)} epolls")


@attack(levels=ISOLATED, at_none=NOT_RUN, profile={"subprocess": "allow"})
def memory_of_many_children(targets: Targets) -> None:
    """All children together are as many as the count lets; each has the same limit."""
    for _ in range(3):
        if os.fork() == 0:
            try:
                bytearray(2 * targets.memory_bytes)
            except MemoryError:
                os._exit(7)
            os._exit(0)
    if any(os.waitstatus_to_exitcode(os.wait()[1]) != 7 for _ in range(3)):
        raise Escaped("a child took twice the limit")


def _fork_until(enough: int, what: str, *, allowed: int = 0) -> None:
    done = 0
    try:
        while done < enough:
            pid = os.fork()
            if pid == 0:
                time.sleep(20)
                os._exit(0)
            done += 1
    except OSError:
        if done > allowed:
            raise Escaped(f"{done} {what}") from None
        raise
    finally:
        _end_children(done)
    raise Escaped(f"{done} {what}")


def _end_children(count: int) -> None:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as children:
        for pid in map(int, children.read().split()):
            os.kill(pid, signal.SIGKILL)
    for _ in range(count):
        os.wait()


def _thread_until(enough: int, *, stack_bytes: int) -> None:
    release = threading.Event()
    threading.stack_size(stack_bytes)
    done = 0
    try:
        while done < enough:
            threading.Thread(target=release.wait, daemon=True).start()
            done += 1
    except RuntimeError as error:  # "can't start new thread"
        raise MemoryError(str(error)) from error
    finally:
        release.set()
    raise Escaped(f"{done} threads")
