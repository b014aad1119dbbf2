"""Sockets that systemd opened for us: they take connections while the service restarts.

Source:
    sd_listen_fds(3); systemd.socket(5).
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from workmanager.api.listeners import ServerError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

FIRST_FD = 3  # SD_LISTEN_FDS_START


def take_inherited(environ: MutableMapping[str, str] = os.environ) -> tuple[socket.socket, ...]:
    """Take over the sockets that were handed to this process; call it before anything is opened.

    What tells of them is taken out of *environ*, and no child inherits them.

    Raises:
        ServerError: One of them is no socket.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return ()
    found = []
    for fd in range(FIRST_FD, FIRST_FD + int(count)):
        try:
            os.set_inheritable(fd, False)
            found.append(socket.socket(fileno=fd))
        except OSError as error:
            raise ServerError(f"descriptor {fd} is no socket to listen on: {error}") from error
    return tuple(found)
