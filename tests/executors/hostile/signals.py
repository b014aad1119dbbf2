"""Attacks on other processes: signals, scheduling, limits."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import socket
import struct

from cage import (
    ESCAPES,
    LIBC,
    NOT_RUN,
    SIGNAL,
    UNKNOWN,
    Escaped,
    Targets,
    attack,
    call,
    number,
)


@attack(at_none=ESCAPES, aims_at_victim=True)
def kill_one(targets: Targets) -> None:
    """kill(2) reaches nobody outside."""
    os.kill(targets.victim_pid, signal.SIGKILL)


@attack(at_none=ESCAPES, aims_at_victim=True)
def stop_one(targets: Targets) -> None:
    """Nor does SIGSTOP, which would freeze the supervisor without a trace."""
    os.kill(targets.victim_pid, signal.SIGSTOP)


@attack(aims_at_victim=True)
def signal_everybody(targets: Targets) -> None:
    """kill(-1) reaches nobody; a harmless signal, for it would reach the whole machine."""
    os.kill(-1, signal.SIGURG)


@attack(at_none=ESCAPES, aims_at_victim=True)
def signal_a_group(targets: Targets) -> None:
    """killpg of the victim's process group."""
    os.killpg(targets.victim_group, SIGNAL)


@attack(at_none=ESCAPES, aims_at_victim=True)
def signal_a_thread(targets: Targets) -> None:
    """tgkill and tkill by their numbers."""
    for arguments in (
        (number(234, 131), targets.victim_pid, targets.victim_pid, SIGNAL),
        (number(200, 130), targets.victim_pid, SIGNAL),
    ):
        try:
            call(*arguments)
        except OSError:
            continue


@attack(at_none=ESCAPES, aims_at_victim=True)
def queue_a_signal(targets: Targets) -> None:
    """rt_sigqueueinfo with a forged sender."""
    info = ctypes.create_string_buffer(struct.pack("=iii", SIGNAL, 0, -1), 128)
    call(number(129, 138), targets.victim_pid, SIGNAL, info)


@attack(at_none=ESCAPES, aims_at_victim=True)
def signal_by_pidfd(targets: Targets) -> None:
    """pidfd_send_signal."""
    pidfd = call(434, targets.victim_pid, 0)
    call(424, pidfd, SIGNAL, 0, 0)


@attack(at_none=ESCAPES, aims_at_victim=True)
def signal_by_descriptor_owner(targets: Targets) -> None:
    """F_SETOWN and F_SETSIG let the kernel send the signal in one's name."""
    read_end, write_end = os.pipe()
    fcntl.fcntl(read_end, fcntl.F_SETOWN, targets.victim_pid)
    fcntl.fcntl(read_end, 10, SIGNAL)  # F_SETSIG
    fcntl.fcntl(read_end, fcntl.F_SETFL, os.O_ASYNC)
    os.write(write_end, b"x")


@attack(at_none=ESCAPES, aims_at_victim=True)
def signal_by_ioctl_owner(targets: Targets) -> None:
    """FIOSETOWN is the same by another door, with SIGIO."""
    ours, theirs = socket.socketpair()
    fcntl.ioctl(ours, 0x8901, struct.pack("=i", targets.victim_pid))
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC)
    theirs.send(b"x")


@attack(at_none=UNKNOWN, aims_at_victim=True)
def join_another_group(targets: Targets) -> None:
    """setpgid into the group of somebody else, then signal one's own group."""
    os.setpgid(0, targets.victim_group)
    os.kill(0, SIGNAL)


@attack(at_none=ESCAPES)
def limits_of_another(targets: Targets) -> None:
    """prlimit on a process of the same uid would starve it."""
    resource.prlimit(targets.victim_pid, resource.RLIMIT_NOFILE, (64, 64))
    raise Escaped("changed its limit of files")


@attack(at_none=ESCAPES)
def affinity_of_another(targets: Targets) -> None:
    """sched_setaffinity pins others to one processor."""
    os.sched_setaffinity(targets.victim_pid, {0})
    raise Escaped("pinned the victim to processor 0")


@attack(at_none=ESCAPES)
def policy_of_another(targets: Targets) -> None:
    """sched_setscheduler to SCHED_IDLE lets others starve."""
    os.sched_setscheduler(targets.victim_pid, os.SCHED_IDLE, os.sched_param(0))
    raise Escaped("the victim runs when nobody else does")


@attack(at_none=ESCAPES)
def attributes_of_another(targets: Targets) -> None:
    """sched_setattr is the same by another number."""
    attributes = struct.pack("=IIQiIQQQ", 48, 5, 0, 0, 0, 0, 0, 0)  # SCHED_IDLE
    call(number(314, 274), targets.victim_pid, attributes, 0)
    raise Escaped("the victim runs when nobody else does")


@attack(at_none=ESCAPES)
def nice_value_of_another(targets: Targets) -> None:
    """setpriority on one process."""
    os.setpriority(os.PRIO_PROCESS, targets.victim_pid, 15)
    raise Escaped("nice 15 for the victim")


@attack(at_none=NOT_RUN)
def nice_value_of_all(targets: Targets) -> None:
    """setpriority on everybody of the uid."""
    before = _nice_of_victim(targets)
    try:
        os.setpriority(os.PRIO_USER, 0, 12)
    finally:
        if before is not None and _nice_of_victim(targets) != before:
            raise Escaped("changed the victim's nice value")


@attack(at_none=ESCAPES)
def disk_priority_of_another(targets: Targets) -> None:
    """ioprio_set to idle."""
    call(number(251, 30), 1, targets.victim_pid, 3 << 13)
    raise Escaped("the victim's disk requests come last")


@attack(at_none=ESCAPES)
def oom_score_of_another(targets: Targets) -> None:
    """Whom the kernel kills first is not the executor's choice."""
    score = os.open(f"/proc/{targets.victim_pid}/oom_score_adj", os.O_WRONLY)
    os.write(score, b"1000")
    raise Escaped("the victim dies first")


@attack(at_none=UNKNOWN)
def core_cookie_of_another(targets: Targets) -> None:
    """PR_SCHED_CORE groups processes on a core."""
    if LIBC.prctl(62, 1, targets.victim_pid, 0, 0) == 0:  # CREATE
        raise Escaped("a core scheduling cookie for the victim")


@attack(at_none=ESCAPES)
def memory_placement_of_another(targets: Targets) -> None:
    """migrate_pages and move_pages on another process."""
    mask = ctypes.c_ulong(1)
    call(number(256, 238), targets.victim_pid, 64, ctypes.byref(mask), ctypes.byref(mask))
    raise Escaped("migrate_pages")


@attack(at_none=UNKNOWN)
def memory_advice_for_another(targets: Targets) -> None:
    """process_madvise(MADV_COLD or PAGEOUT) pushes others out of memory."""
    pidfd = call(434, targets.victim_pid, 0)
    vector = struct.pack("=QQ", 0x1000, 0x1000)
    call(440, pidfd, vector, 1, 21, 0)
    raise Escaped("process_madvise")


@attack(at_none=ESCAPES)
def own_parent_death_signal(targets: Targets) -> None:
    """PR_SET_PDEATHSIG 0 would outlive the supervisor."""
    if LIBC.prctl(1, 0, 0, 0, 0) == 0:
        raise Escaped("took the parent-death signal off")


@attack(at_none=ESCAPES)
def own_dumpability(targets: Targets) -> None:
    """PR_SET_DUMPABLE 0 would hide from the supervisor's accounting."""
    if LIBC.prctl(4, 0, 0, 0, 0) == 0:
        raise Escaped("no longer readable in /proc")


def _nice_of_victim(targets: Targets) -> object:
    try:
        return os.getpriority(os.PRIO_PROCESS, targets.victim_pid)
    except OSError:
        return None


@attack(at_none=ESCAPES)
def nice_value_of_a_group(targets: Targets) -> None:
    """setpriority on a process group."""
    os.setpriority(os.PRIO_PGRP, targets.victim_group, 16)
    if _nice_of_victim(targets) == 16:
        raise Escaped("nice 16 for the victim's group")


@attack(at_none=ESCAPES, aims_at_victim=True)
def processor_time_of_another(targets: Targets) -> None:
    """RLIMIT_CPU of another process would kill it."""
    resource.prlimit(targets.victim_pid, resource.RLIMIT_CPU, (1000, 1000))
    raise Escaped("set a limit of its processor time")


@attack(at_none=ESCAPES)
def disk_priority_of_a_group(targets: Targets) -> None:
    """ioprio_set on a process group."""
    call(number(251, 30), 2, targets.victim_group, 3 << 13)
    raise Escaped("the disk requests of the victim's group come last")


@attack(at_none=UNKNOWN, aims_at_victim=True)
def timer_for_another(targets: Targets) -> None:
    """A timer signals only threads of its own process."""
    event = struct.pack("=QiiiI", 0, SIGNAL, 4, targets.victim_pid, 0).ljust(64, b"\0")
    timer = ctypes.c_int()  # SIGEV_THREAD_ID
    call(number(222, 107), 1, event, ctypes.byref(timer))
    call(number(223, 110), timer.value, 0, struct.pack("=qqqq", 0, 0, 0, 1), None)


@attack(at_none=ESCAPES, aims_at_victim=True)
def signal_by_queue_to_a_thread(targets: Targets) -> None:
    """rt_tgsigqueueinfo names process and thread."""
    info = ctypes.create_string_buffer(struct.pack("=iii", SIGNAL, 0, -1), 128)
    call(number(297, 240), targets.victim_pid, targets.victim_pid, SIGNAL, info)


@attack(aims_at_victim=True)
def signal_storm(targets: Targets) -> None:
    """Thousands of signals to every number that may be somebody reach nobody."""
    for pid in range(2, 4000):
        try:
            os.kill(pid, 0)
        except OSError:
            continue
        if pid == os.getpid():  # where it shares the host's numbers, it may be among them
            continue
        raise Escaped(f"process {pid} can be signalled")


@attack(at_none=UNKNOWN, aims_at_victim=True)
def foreground_of_a_terminal(targets: Targets) -> None:
    """There is no terminal to take, and none can be made one's own."""
    for command in (0x540E, 0x5410, 0x5424):  # TIOCSCTTY, TIOCSPGRP, TIOCSIG
        try:
            fcntl.ioctl(0, command, struct.pack("=i", 0))
        except OSError:
            continue
        raise Escaped(f"ioctl {command:#x} worked")


@attack(at_none=UNKNOWN)
def session_of_another(targets: Targets) -> None:
    """What group and session others are in stays unknown."""
    raise Escaped(
        f"group {os.getpgid(targets.victim_pid)}, session {os.getsid(targets.victim_pid)}"
    )
