"""Attacks through the descriptors that an executor has: the channels and the log pipes."""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import socket
import struct

from cage import ESCAPES, UNKNOWN, Escaped, Targets, attack, call, number


@attack(at_none=ESCAPES)
def datagram_pair(targets: Targets) -> None:
    """A datagram socketpair is a unix socket in disguise: sendto takes it to any path."""
    ours, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.sendto(b"out", targets.unix_path)
    raise Escaped("sent to a socket outside")


@attack(at_none=ESCAPES)
def raw_pair(targets: Targets) -> None:
    """SOCK_RAW is a datagram socket to AF_UNIX."""
    ours, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_RAW)
    ours.sendto(b"out", targets.unix_path)
    raise Escaped("sent to a socket outside")


@attack()
def events_channel_led_elsewhere(targets: Targets) -> None:
    """A connected stream can be led nowhere else."""
    events = socket.socket(fileno=os.dup(3))
    events.connect("\0" + targets.abstract_name)
    raise Escaped("connected the events channel to another socket")


@attack()
def stream_pair_led_elsewhere(targets: Targets) -> None:
    """Nor can a stream pair of one's own."""
    ours, theirs = socket.socketpair()
    theirs.close()
    ours.connect("\0" + targets.abstract_name)
    raise Escaped("connected a pair to another socket")


@attack()
def descriptors_in_flight(targets: Targets) -> None:
    """Descriptors sent and not received count too: no hoard beyond RLIMIT_NOFILE."""
    ours, theirs = socket.socketpair()
    sent = 0
    while sent < 40 * targets.files:
        rights = array.array("i", [0] * 20)
        ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], socket.MSG_DONTWAIT)
        sent += 20
    raise Escaped(f"{sent} descriptors in flight with {theirs}")


@attack(at_none=ESCAPES)
def filter_on_a_pair(targets: Targets) -> None:
    """SO_ATTACH_FILTER feeds the kernel's compiler, on any socket."""
    ours, _ = socket.socketpair()
    program = ctypes.create_string_buffer(b"\x06\x00\x00\x00\xff\xff\x00\x00", 8)  # accept all
    header = struct.pack("=HxxxxxxQ", 1, ctypes.addressof(program))
    ours.setsockopt(socket.SOL_SOCKET, 26, header)  # SO_ATTACH_FILTER
    raise Escaped("attached a BPF program")


@attack(at_none=ESCAPES)
def lease_on_a_shared_file(targets: Targets) -> None:
    """A lease makes everybody else wait 45 s to open the file."""
    path = os.path.join(targets.scratch, "leased")
    descriptor = os.open(path, os.O_CREAT | os.O_RDONLY, 0o600)
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    raise Escaped("took a lease")


@attack(at_none=ESCAPES)
def notifications_of_a_folder(targets: Targets) -> None:
    """F_NOTIFY (dnotify) is refused."""
    folder = os.open(targets.scratch, os.O_RDONLY)
    fcntl.fcntl(folder, 1026, 0x80000004)
    raise Escaped("dnotify on a folder")


@attack(at_none=ESCAPES)
def pages_given_away(targets: Targets) -> None:
    """vmsplice gifts memory into pipes."""
    import ctypes

    buffer = ctypes.create_string_buffer(4096)
    vector = struct.pack("=QQ", ctypes.addressof(buffer), 4096)
    call(number(278, 75), os.pipe()[1], vector, 1, 0)
    raise Escaped("vmsplice works")


@attack()
def descriptors_of_the_supervisor(targets: Targets) -> None:
    """Nothing comes over the channels but bytes: there is no descriptor to receive."""
    events = socket.socket(fileno=os.dup(3))
    events.setblocking(False)
    _, ancillary, _, _ = events.recvmsg(64, socket.CMSG_SPACE(64))
    if ancillary:
        raise Escaped(f"received {ancillary}")


@attack(at_none=UNKNOWN)
def credentials_forged(targets: Targets) -> None:
    """SCM_CREDENTIALS of another pid is refused by the kernel."""
    events = socket.socket(fileno=os.dup(3))
    forged = struct.pack("=iII", targets.jailer_pid, 0, 0)
    events.sendmsg([b""], [(socket.SOL_SOCKET, 2, forged)])
    raise Escaped("posed as the supervisor")


@attack(at_none=UNKNOWN)
def peer_of_the_channel(targets: Targets) -> None:
    """SO_PEERPIDFD would be a handle on the supervisor."""
    events = socket.socket(fileno=os.dup(3))
    pidfd = events.getsockopt(socket.SOL_SOCKET, 77)
    call(424, pidfd, 0, 0, 0)
    raise Escaped("can signal the supervisor")


@attack()
def channel_reopened(targets: Targets) -> None:
    """The other end of a channel cannot be opened through /proc."""
    for descriptor in (1, 2, 3, 4):
        try:
            os.close(os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK))
        except OSError:
            continue
        if descriptor >= 3:
            raise Escaped(f"opened channel {descriptor} anew")


@attack()
def buffers_of_the_channel(targets: Targets) -> None:
    """SO_SNDBUFFORCE takes a capability; the ordinary size has a bound."""
    events = socket.socket(fileno=os.dup(3))
    try:
        events.setsockopt(socket.SOL_SOCKET, 32, 1 << 30)
        raise Escaped("SO_SNDBUFFORCE")
    except PermissionError:
        pass
    events.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
    if events.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) > 64 << 20:
        raise Escaped("a buffer of 64 MiB in the kernel")
