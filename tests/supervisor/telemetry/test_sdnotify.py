"""What systemd is told, on a real datagram socket, and which of its words are taken away."""

import os
import socket

import pytest

from workmanager.telemetry.sdnotify import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    """Listen as systemd does; gives the socket and its address."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@wm-{os.urandom(8).hex()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + address[1:] if address[0] == "@" else address)
        listening.settimeout(5)
        yield listening, address


def test_facts_are_lines_of_one_datagram(systemd):
    listening, address = systemd
    notifier = Notifier(address)
    notifier.tell(READY=1, STATUS="3 workers\nREADY=0 \x07")
    assert listening.recv(4096) == b"READY=1\nSTATUS=3 workers READY=0 \x07"
    notifier.close()
    notifier.tell(READY=1)  # nobody to tell: no error


def test_the_environment_is_taken(systemd):
    _, address = systemd
    environ = {
        "NOTIFY_SOCKET": address,
        "WATCHDOG_USEC": "400000",
        "WATCHDOG_PID": str(os.getpid()),
        "PATH": "/bin",
    }
    notifier = Notifier.from_environment(environ)
    assert notifier.watchdog_s == 0.4
    assert environ == {"PATH": "/bin"}
    notifier.close()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "400000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "relative"},
        {"NOTIFY_SOCKET": "@"},
    ],
)
def test_what_is_not_meant_for_us_is_left_alone(environ):
    notifier = Notifier.from_environment(environ)
    assert notifier.watchdog_s == 0
    notifier.tell(READY=1)
    assert environ == {}


def test_a_systemd_that_does_not_read_is_not_waited_for(systemd):
    listening, address = systemd
    notifier = Notifier(address)
    for _ in range(2000):  # more than a socket's queue holds
        notifier.tell(STATUS="x" * 200)
    assert listening.recv(4096).startswith(b"STATUS=x")
    notifier.close()
