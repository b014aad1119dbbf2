"""The policy: what each profile's filter answers, on both machines, call by call."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bpf_machine import evaluate

from workmanager_executor.sandbox.bpf import ALLOW, ERRNO, KILL_PROCESS
from workmanager_executor.sandbox.numbers import numbers_of
from workmanager_executor.sandbox.profile import parse
from workmanager_executor.sandbox.seccomp import pid_offsets, policy_of, program_for

EPERM, ENOSYS = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
NO_FAMILY, NO_PROTOCOL = ERRNO | errno.EAFNOSUPPORT, ERRNO | errno.EPROTONOSUPPORT
THREAD = 0x3D0F00  # what pthread_create asks of clone
FORK = 0x1200011
UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
STREAM, DGRAM, RAW, SEQPACKET = 1, 2, 3, 5
CLOEXEC = 0o2000000


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request):
    return request.param


@pytest.fixture
def answer(machine):
    """`answer(profile fields, name of the call, arguments)`."""

    def ask(fields, name, *arguments, abi=7):
        policy = policy_of(parse({"level": "full", **fields}), abi)._replace(machine=machine)
        return evaluate(program_for(policy), machine, numbers_of(machine)[name], *arguments)

    return ask


def test_ordinary_calls_pass(answer, machine):
    numbers = numbers_of(machine)
    policy = policy_of(parse({"level": "basic"}), 7)._replace(machine=machine)
    program = program_for(policy)
    known = set(numbers.values())
    passing = [number for number in range(300) if number not in known]
    assert {evaluate(program, machine, number) for number in passing} == {ALLOW}
    assert answer({}, "getpid") == answer({}, "read", 0) == answer({}, "uname") == ALLOW


def test_threads_pass_and_forks_do_not(answer):
    assert answer({}, "clone", THREAD) == ALLOW
    assert answer({}, "clone", FORK) == EPERM
    assert answer({"subprocess": "allow"}, "clone", FORK) == ALLOW
    assert answer({}, "clone3") == ENOSYS


@pytest.mark.parametrize("bit", [0x20000, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30])
def test_no_clone_makes_a_namespace(answer, bit):
    for fields in ({}, {"subprocess": "allow"}):
        assert answer(fields, "clone", FORK | bit) == EPERM
        assert answer(fields, "clone", THREAD | bit) == EPERM


def test_kill_of_oneself_ends_the_first_process_of_a_namespace(answer):
    assert answer({}, "kill", 1, 9) == KILL_PROCESS
    assert answer({"subprocess": "allow"}, "kill", 1, 9) == EPERM
    assert answer({}, "kill", 1, 15) == answer({}, "kill", 7, 9) == ALLOW


def test_no_child_becomes_the_parents(answer):
    assert answer({"subprocess": "allow"}, "clone", FORK | 0x8000) == EPERM


def test_exec_waits_for_the_seal_of_a_foreign_interpreter(answer):
    assert answer({}, "execve") == EPERM
    assert answer({"python": ["/opt/python"]}, "execve") == ALLOW
    assert answer({"python": ["/opt/python"]}, "clone", FORK) == EPERM
    assert answer({"subprocess": "allow"}, "execveat") == ALLOW


@pytest.mark.parametrize(
    ("network", "family", "kind", "protocol", "expected"),
    [
        ("none", INET, STREAM, 0, NO_FAMILY),
        ("none", UNIX, STREAM, 0, NO_FAMILY),
        ("none", NETLINK, RAW, 0, NO_FAMILY),
        ("loopback", INET, STREAM | CLOEXEC, 0, ALLOW),
        ("loopback", INET6, DGRAM, 17, ALLOW),
        ("loopback", UNIX, DGRAM, 0, ALLOW),
        ("loopback", INET, RAW, 1, NO_PROTOCOL),
        ("loopback", NETLINK, RAW, 0, NO_FAMILY),
        ("ports", INET, STREAM, 6, ALLOW),
        ("ports", INET6, STREAM | CLOEXEC, 0, ALLOW),
        ("ports", INET, STREAM, 262, NO_PROTOCOL),
        ("ports", INET, DGRAM, 0, NO_PROTOCOL),
        ("ports", UNIX, STREAM, 0, NO_FAMILY),
        ("full", INET, DGRAM, 0, ALLOW),
        ("full", INET6, STREAM, 0, ALLOW),
        ("full", INET, STREAM, 132, NO_PROTOCOL),
        ("full", UNIX, STREAM, 0, ALLOW),
    ],
)
def test_sockets(answer, network, family, kind, protocol, expected):
    assert answer({"network": network}, "socket", family, kind, protocol) == expected


def test_unix_sockets_need_a_place_where_they_lead_nowhere(answer):
    full = {"network": "full"}
    assert answer({**full, "level": "basic"}, "socket", UNIX, STREAM) == NO_FAMILY
    assert answer(full, "socket", UNIX, STREAM, abi=5) == NO_FAMILY  # abstract names, no scope


def test_pairs(answer):
    assert answer({}, "socketpair", UNIX, STREAM | CLOEXEC) == ALLOW
    assert answer({}, "socketpair", UNIX, SEQPACKET) == ALLOW
    assert answer({}, "socketpair", UNIX, DGRAM) == NO_PROTOCOL
    assert answer({}, "socketpair", UNIX, RAW) == NO_PROTOCOL
    assert answer({}, "socketpair", 30, STREAM) == NO_FAMILY
    assert answer({"network": "loopback"}, "socketpair", UNIX, DGRAM) == ALLOW


def test_ports_shut_the_side_doors(answer):
    ports = {"network": "ports"}
    assert answer(ports, "listen") == ERRNO | errno.EACCES
    for name, before in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        assert answer(ports, name, *[0] * before, 0x20000000) == ERRNO | errno.EACCES
        assert answer(ports, name, *[0] * before, 0x4000) == ALLOW
        assert answer({"network": "full"}, name, *[0] * before, 0x20000000) == ALLOW


def test_without_own_pids_only_oneself(machine):
    policy = policy_of(parse({"level": "basic"}), 7)._replace(machine=machine)
    program = bytearray(program_for(policy))
    assert pid_offsets(bytes(program))
    for offset in pid_offsets(bytes(program)):
        program[offset : offset + 4] = (4711).to_bytes(4, "little")
    numbers = numbers_of(machine)

    def ask(name, *arguments):
        return evaluate(bytes(program), machine, numbers[name], *arguments)

    for name in ("kill", "tgkill", "rt_sigqueueinfo", "prlimit64", "sched_setaffinity"):
        assert (ask(name, 4711), ask(name, 0), ask(name, 4712), ask(name, -1)) == (
            ALLOW,
            ALLOW,
            EPERM,
            EPERM,
        )
    assert ask("setpriority", 0, 4711) == ask("setpriority", 0, 0) == ALLOW
    assert ask("setpriority", 2, 0) == ask("setpriority", 0, 1) == EPERM
    assert ask("ioprio_set", 1, 0) == ALLOW
    assert ask("ioprio_set", 3, 0) == EPERM
    assert ask("tkill", 4711) == ask("pidfd_send_signal") == EPERM


def test_own_pids_need_no_filter_on_pids(answer, machine):
    assert answer({}, "kill", 12345) == ALLOW
    policy = policy_of(parse({"level": "full"}), 7)._replace(machine=machine)
    assert pid_offsets(program_for(policy)) == []


def test_without_own_tree_metadata_stays(answer):
    for name in ("fchmodat", "fchown", "utimensat", "setxattr", "inotify_init1"):
        assert answer({"level": "basic"}, name) & ERRNO
        assert answer({}, name) == ALLOW
    assert answer({"level": "basic"}, "truncate", abi=2) == EPERM
    assert answer({"level": "basic"}, "truncate", abi=3) == ALLOW


def test_ioctls(answer):
    basic = {"level": "basic"}
    for command in (0x5412, 0x541C, 0x5423, 0xFFFFFFFF00005412):
        assert answer({}, "ioctl", 0, command) == answer(basic, "ioctl", 0, command) == EPERM
    for command in (0x8901, 0x40086602, 0x401C5820, 0x40806685):  # owner, chattr, verity
        assert answer(basic, "ioctl", 0, command) == EPERM
        assert answer({}, "ioctl", 0, command) == ALLOW
    for command in (0x5401, 0x541B, 0x5421, 0x5451):  # what every program asks of its files
        assert answer({}, "ioctl", 0, command) == answer(basic, "ioctl", 0, command) == ALLOW


def test_fcntl(answer):
    for command in (1024, 1026, 1031):
        assert answer({}, "fcntl", 0, command) == EPERM
    for command in (8, 10, 15):
        assert answer({"level": "basic"}, "fcntl", 0, command) == EPERM
    for command in (1, 2, 3, 4, 6, 1030, 1032):
        assert answer({"level": "basic"}, "fcntl", 0, command) == ALLOW


def test_memory_files_are_for_nobody(answer):
    assert answer({}, "memfd_create") == EPERM
    assert answer({"engine": "dotnet"}, "memfd_create") == EPERM
    assert answer({"engine": "dotnet"}, "memfd_secret") == EPERM


def test_sync_does_nothing_and_succeeds(answer):
    assert answer({}, "sync") == answer({}, "syncfs") == ERRNO


def test_unknown_machine_is_an_error():
    policy = policy_of(parse({"level": "full"}), 7)._replace(machine="riscv64")
    with pytest.raises(OSError, match="riscv64"):
        program_for(policy)


def test_programs_are_made_once():
    policy = policy_of(parse({"level": "full"}), 7)
    assert program_for(policy) is program_for(policy)
