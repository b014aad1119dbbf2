"""The process between zygote and executor: takes a request, forks, tells the pid, exits."""

from __future__ import annotations

import array
import os
import socket
from typing import TYPE_CHECKING, NoReturn

from workmanager_executor import linux
from workmanager_executor.caging import CageError, profile_of, separate
from workmanager_executor.packing import pack
from workmanager_executor.process import Birth, become_executor, has_hung_up
from workmanager_executor.spawning import (
    CHANNELS,
    MAX_DESCRIPTORS,
    MAX_ERROR_CHARS,
    RequestError,
    parse_request,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import List, Optional, Tuple

    from workmanager_executor.caging import Cage, Profile
    from workmanager_executor.process import ForkHooks

MAX_REQUEST_BYTES = 256 * 1024  # the kernel's socket buffer is about as large
MAX_TOLD_BYTES = 60 * 1024
YES = b"y"
TAKEN, MAP_IDS, DONE = "taken", "map_ids", "done"

_ANCILLARY_BYTES = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
_CUT_SHORT = socket.MSG_TRUNC | socket.MSG_CTRUNC


def run_intermediate(
    sock: socket.socket, zygote: socket.socket, zygote_pid: int, fork_hooks: ForkHooks
) -> NoReturn:
    """Wait for a request, fork its executor and exit, so that it is adopted.

    What it tells the zygote, a message each: [TAKEN], [MAP_IDS, uid, gid] if its new user namespace
    needs that, which is answered, and [DONE, reply to the supervisor, sandbox profile]. The profile
    is no secret, and the zygote prepares it for the next executor that has the same.

    Args:
        sock: The supervisor's requests.
        zygote: SEQPACKET socket to the zygote.
    """
    linux.die_with_parent()
    if os.getppid() != zygote_pid:
        os._exit(0)
    message, descriptors = _take(sock)
    zygote.send(pack([TAKEN]))
    reply: dict[str, object] = {"id": None}
    profile: dict[str, object] = {}
    try:
        if message is None:
            raise RequestError("request is too large or has too many descriptors")
        request = parse_request(message, len(descriptors))
        reply["id"] = request.id
        profile = profile_of(request)
        cage, failure = _separate(profile, descriptors[CHANNELS:], zygote)
        own_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            become_executor(
                Birth(
                    request=request,
                    descriptors=descriptors[:CHANNELS],
                    forked_by=own_pid,
                    fork_hooks=fork_hooks,
                    cage=cage,
                    failure=failure,
                )
            )
        reply["pid"] = pid
    except RequestError as error:
        reply = {"id": error.request_id, "error": str(error)[:MAX_ERROR_CHARS]}
    except BaseException as error:  # noqa: BLE001 - nothing may get back into the zygote's loop
        reply["error"] = f"cannot fork: {error}"[:MAX_ERROR_CHARS]
    done = pack([DONE, pack(reply), profile])
    zygote.send(done if len(done) <= MAX_TOLD_BYTES else pack([DONE, pack(reply), {}]))
    os._exit(0)


def receive(sock: socket.socket, limit_bytes: int) -> Tuple[Optional[bytes], List[int]]:
    """Return a message and its descriptors; None for one that is longer, or brings too many."""
    body, ancillary, flags, _ = sock.recvmsg(limit_bytes, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return None if flags & _CUT_SHORT else body, list(descriptors)


def _take(sock: socket.socket) -> Tuple[Optional[bytes], List[int]]:
    """Wait for the next request; exit if the supervisor has gone."""
    while True:
        message, descriptors = receive(sock, MAX_REQUEST_BYTES)
        if message or message is None or descriptors:
            return message, descriptors
        if has_hung_up(sock.fileno()):
            os._exit(0)


def _separate(
    profile: Profile, cgroup_fds: Sequence[int], zygote: socket.socket
) -> Tuple[Optional[Cage], str]:
    """Return the cage, or why there is none: a failure is the executor's to tell, on its stderr."""

    def map_ids(identity: Tuple[int, int]) -> bool:
        zygote.send(pack([MAP_IDS, *identity]))
        return zygote.recv(len(YES)) == YES

    try:
        return separate(profile, cgroup_fds, map_ids), ""
    except CageError as error:
        return None, str(error)
