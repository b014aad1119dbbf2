"""Attacks on the network; the jailer lives in an empty one, so nothing leaves the machine."""

from __future__ import annotations

import ctypes
import os
import socket
import struct

from cage import (
    ESCAPES,
    ISOLATED,
    ROOT_ESCAPES,
    UNKNOWN,
    Escaped,
    Targets,
    attack,
    call,
)

PORTS: dict[str, object] = {"network": "ports", "ports": [1]}
LOOPBACK: dict[str, object] = {"network": "loopback"}
FULL: dict[str, object] = {"network": "full"}


@attack(at_none=ESCAPES)
def control_port(targets: Targets) -> None:
    """The supervisor's port on the loopback interface is out of reach."""
    _connect(targets)


@attack(at_none=ESCAPES)
def udp(targets: Targets) -> None:
    """Datagrams too."""
    _send_datagram(targets)


@attack(at_none=UNKNOWN)
def metadata_address(targets: Targets) -> None:
    """The address where clouds keep credentials."""
    with socket.socket() as sock:
        sock.settimeout(0.5)
        sock.connect(("169.254.169.254", 80))
    raise Escaped("reached the metadata service")


@attack(at_none=ESCAPES)
def listen(targets: Targets) -> None:
    """No port can be opened."""
    _listen()


@attack(at_none=ESCAPES)
def listen_on_ipv6(targets: Targets) -> None:
    """Nor on the other family."""
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.listen()
    raise Escaped("listens on IPv6")


@attack(at_none=ESCAPES)
def abstract_socket(targets: Targets) -> None:
    """Abstract unix sockets belong to the network namespace, or are Landlock's."""
    _connect_abstract(targets)


@attack(at_none=ESCAPES)
def path_socket(targets: Targets) -> None:
    """Unix sockets in the file system: docker.sock, the supervisor's own."""
    _send_to_path(targets)


@attack(at_none=ESCAPES)
def exotic_families(targets: Targets) -> None:
    """Families that nobody needs and that make the kernel load modules."""
    for family in (socket.AF_NETLINK, socket.AF_ALG, socket.AF_VSOCK, 17, 9, 3, 5, 30, 31, 44):
        try:
            socket.socket(
                family, socket.SOCK_RAW if family == socket.AF_NETLINK else socket.SOCK_DGRAM
            )
        except OSError:
            continue
        raise Escaped(f"a socket of family {family}")


@attack(at_none=ROOT_ESCAPES)
def raw_socket(targets: Targets) -> None:
    """Raw and packet sockets."""
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raise Escaped("a raw socket")


@attack(at_none=UNKNOWN)
def tipc_pair(targets: Targets) -> None:
    """socketpair makes other families than AF_UNIX too."""
    socket.socketpair(30, socket.SOCK_STREAM)
    raise Escaped("a TIPC pair")


@attack(levels=ISOLATED, profile=LOOPBACK)
def control_port_from_own_loopback(targets: Targets) -> None:
    """network=loopback is a loopback of its own: the host's is another one."""
    _connect(targets)


@attack(levels=ISOLATED, profile=LOOPBACK)
def abstract_socket_from_own_loopback(targets: Targets) -> None:
    """The abstract names are others there."""
    _connect_abstract(targets)


@attack(levels=ISOLATED, profile=LOOPBACK)
def path_socket_from_own_loopback(targets: Targets) -> None:
    """And the paths lead nowhere."""
    _send_to_path(targets)


@attack(levels=ISOLATED, profile=LOOPBACK)
def raw_socket_on_own_loopback(targets: Targets) -> None:
    """Also there only TCP and UDP."""
    raw_socket(targets)


@attack(profile=PORTS)
def port_that_is_not_listed(targets: Targets) -> None:
    """network=ports: Landlock knows the list."""
    _connect(targets)


@attack(profile=PORTS)
def port_by_fast_open(targets: Targets) -> None:
    """MSG_FASTOPEN connects without the connect hook: the filter refuses the flag."""
    with socket.socket() as sock:
        sock.settimeout(1)
        sock.sendto(b"out", 0x20000000, ("127.0.0.1", targets.tcp_port))
    raise Escaped("connected by TCP fast open")


@attack(profile=PORTS)
def port_by_fast_open_message(targets: Targets) -> None:
    """The same by sendmsg."""
    with socket.socket() as sock:
        sock.settimeout(1)
        sock.sendmsg([b"out"], [], 0x20000000, ("127.0.0.1", targets.tcp_port))
    raise Escaped("connected by TCP fast open")


@attack(profile=PORTS)
def port_by_multipath(targets: Targets) -> None:
    """Multipath TCP is not TCP to Landlock."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as sock:
        sock.settimeout(1)
        sock.connect(("127.0.0.1", targets.tcp_port))
    raise Escaped("connected by multipath TCP")


@attack(profile=PORTS)
def udp_beside_the_ports(targets: Targets) -> None:
    """Landlock does not know UDP: the filter refuses it."""
    _send_datagram(targets)


@attack(profile=PORTS)
def listen_beside_the_ports(targets: Targets) -> None:
    """listen() without bind() would choose a port by itself."""
    _listen()


@attack(profile=PORTS)
def abstract_socket_beside_the_ports(targets: Targets) -> None:
    """Ports are TCP ports, nothing else."""
    _connect_abstract(targets)


@attack(levels=ISOLATED, profile=FULL)
def abstract_socket_with_the_hosts_network(targets: Targets) -> None:
    """network=full: abstract names outside of the domain are still refused."""
    _connect_abstract(targets)


@attack(profile=FULL)
def path_socket_with_the_hosts_network(targets: Targets) -> None:
    """And so are paths: they are not in the tree, or there are no unix sockets."""
    _send_to_path(targets)


@attack(profile=FULL)
def raw_socket_with_the_hosts_network(targets: Targets) -> None:
    """Packets are not made by hand."""
    raw_socket(targets)


@attack(profile=FULL)
def netlink_with_the_hosts_network(targets: Targets) -> None:
    """The kernel's own network interface stays closed."""
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
    raise Escaped("a netlink socket")


@attack(at_none=UNKNOWN)
def socket_by_io_uring(targets: Targets) -> None:
    """io_uring has its own socket call, which no filter sees."""
    parameters = ctypes.create_string_buffer(120)
    call(425, 4, parameters)
    raise Escaped("an io_uring")


def _connect(targets: Targets) -> None:
    with socket.create_connection(("127.0.0.1", targets.tcp_port), timeout=1):
        raise Escaped("connected to the supervisor's port")


def _send_datagram(targets: Targets) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"out", ("127.0.0.1", targets.udp_port))
    raise Escaped("sent a datagram")


def _listen() -> None:
    with socket.socket() as sock:
        sock.listen()
        raise Escaped(f"listens on {sock.getsockname()}")


def _connect_abstract(targets: Targets) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0" + targets.abstract_name)
    raise Escaped("connected to an abstract socket")


def _send_to_path(targets: Targets) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"out", targets.unix_path)
    raise Escaped("sent to a unix socket")


@attack(at_none=ESCAPES)
def every_family(targets: Targets) -> None:
    """No socket of any family, of any type: each makes the kernel load or run other code."""
    for family in range(1, 46):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            try:
                socket.socket(family, kind)
            except OSError:
                continue
            raise Escaped(f"a socket of family {family}, type {kind}")


@attack(at_none=UNKNOWN)
def every_pair(targets: Targets) -> None:
    """Of pairs only streams and packets of AF_UNIX: they cannot be sent anywhere."""
    for family in range(1, 46):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            allowed = family == socket.AF_UNIX and kind in (1, 5)
            try:
                socket.socketpair(family, kind)
            except OSError:
                continue
            if not allowed:
                raise Escaped(f"a pair of family {family}, type {kind}")


@attack(at_none=UNKNOWN)
def routing_by_netlink(targets: Targets) -> None:
    """Each netlink protocol is a door of its own into the kernel."""
    for protocol in range(23):
        try:
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        except OSError:
            continue
        raise Escaped(f"netlink protocol {protocol}")


@attack(at_none=UNKNOWN)
def virtual_machine_socket(targets: Targets) -> None:
    """vsock reaches the host of a virtual machine."""
    door = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    door.connect((socket.VMADDR_CID_HOST, 1))
    raise Escaped("reached the hypervisor")


@attack(at_none=UNKNOWN)
def address_of_an_interface(targets: Targets) -> None:
    """The addresses of the host's interfaces are not told."""
    import fcntl

    pair, _ = socket.socketpair()
    for name in (b"eth0", b"ens3", b"enp0s3"):
        try:
            fcntl.ioctl(pair, 0x8915, struct.pack("16s24x", name))  # SIOCGIFADDR
        except OSError:
            continue
        raise Escaped(f"the address of {name!r}")


@attack(at_none=UNKNOWN)
def interfaces_in_sys(targets: Targets) -> None:
    """Nor by /sys, with their hardware addresses."""
    names = [name for name in os.listdir("/sys/class/net") if name != "lo"]
    raise Escaped(f"saw {names}")


@attack(levels=ISOLATED, profile=LOOPBACK)
def interfaces_of_own_loopback(targets: Targets) -> None:
    """A network of one's own holds lo and nothing else, and it cannot be given an address."""
    import fcntl

    names = [name for _, name in socket.if_nameindex()]
    if names != ["lo"]:
        raise Escaped(f"saw {names}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8916, struct.pack("16sHH4s16x", b"lo", 2, 0, b"\x0a\0\0\1"))
    raise Escaped("gave lo another address")


@attack(levels=ISOLATED, profile=LOOPBACK)
def ping_socket_on_own_loopback(targets: Targets) -> None:
    """ICMP by a datagram socket, UDP-Lite, SCTP: other protocols than TCP and UDP."""
    for kind, protocol in ((2, 1), (2, 136), (1, 132), (5, 132), (1, 33), (1, 262)):
        try:
            socket.socket(socket.AF_INET, kind, protocol)
        except OSError:
            continue
        raise Escaped(f"protocol {protocol}")
