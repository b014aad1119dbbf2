"""Tells systemd how the service is: the protocol of sd_notify(3), one datagram per message.

Twenty-five lines of our own rather than a package: the protocol is a socket and `NAME=value` lines,
and systemd's author advises to write them (systemd, "sd_notify(3)", Notes).
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

MAX_STATUS_CHARS = 200


class Notifier:
    """Sends to `$NOTIFY_SOCKET`; without one every call does nothing.

    Attributes:
        watchdog_s: Seconds without a ping after which systemd kills the service; 0 for never.
    """

    def __init__(self, address: str = "", *, watchdog_s: float = 0.0) -> None:
        self.watchdog_s = watchdog_s
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Notifier:
        """Take what systemd says out of *environ*, so that no child believes it is meant."""
        address = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us = environ.pop("WATCHDOG_USEC", "0")
        is_ours = environ.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        is_usable = address[:1] in ("/", "@") and len(address) > 1
        return cls(
            address if is_usable else "",
            watchdog_s=int(watchdog_us) / 1e6 if is_ours and watchdog_us.isdecimal() else 0.0,
        )

    def tell(self, **facts: str | int) -> None:
        """Send facts such as `READY=1`; a systemd that does not listen is not waited for."""
        if self._socket is not None:
            lines = "\n".join(f"{name}={_on_one_line(value)}" for name, value in facts.items())
            with suppress(OSError):
                self._socket.sendto(lines.encode(), self._address)

    def close(self) -> None:
        """Close the socket; later calls do nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _on_one_line(value: str | int) -> str:
    return " ".join(str(value).split())[:MAX_STATUS_CHARS]
