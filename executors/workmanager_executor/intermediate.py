"""The process between zygote and executor: takes a request, forks, tells the pid, exits."""

from __future__ import annotations

import array
import os
import select
import socket
from typing import TYPE_CHECKING, NoReturn

from workmanager_executor import linux
from workmanager_executor.caging import CageError, profile_of, separate
from workmanager_executor.packing import pack
from workmanager_executor.process import Birth, become_executor
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

    from workmanager_executor.process import ForkHooks
    from workmanager_executor.spawning import SpawnRequest

MAX_TOLD_BYTES = 60 * 1024  # below what a pipe holds, pipe(7): nobody reads before we have gone
MAX_REQUEST_BYTES = 256 * 1024  # the kernel's socket buffer is about as large
TAKEN = b"t"

_ANCILLARY_BYTES = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
_CUT_SHORT = socket.MSG_TRUNC | socket.MSG_CTRUNC


def run_intermediate(
    sock: socket.socket, tell_fd: int, zygote_pid: int, fork_hooks: ForkHooks
) -> NoReturn:
    """Wait for a request, fork its executor and exit, so that it is adopted.

    What it tells the zygote is `TAKEN`, then [reply to the supervisor, sandbox profile]: the
    profile is no secret, and the zygote prepares it for the next executor that has the same.

    Args:
        sock: The supervisor's requests.
        tell_fd: Pipe to the zygote.
    """
    linux.die_with_parent()
    if os.getppid() != zygote_pid:
        os._exit(0)
    message, descriptors = _take(sock)
    os.write(tell_fd, TAKEN)
    reply: dict[str, object] = {"id": None}
    profile: dict[str, object] = {}
    try:
        if message is None:
            raise RequestError("request is too large or has too many descriptors")
        request = parse_request(message, len(descriptors))
        reply["id"] = request.id
        profile = profile_of(request)
        reply["pid"] = _fork_executor(request, profile, descriptors, fork_hooks)
    except RequestError as error:
        reply = {"id": error.request_id, "error": str(error)[:MAX_ERROR_CHARS]}
    except BaseException as error:  # noqa: BLE001 - nothing may get back into the zygote's loop
        reply["error"] = f"cannot fork: {error}"[:MAX_ERROR_CHARS]
    told = pack([pack(reply), profile])
    os.write(tell_fd, told if len(told) <= MAX_TOLD_BYTES else pack([pack(reply), {}]))
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
        if _has_peer_gone(sock):
            os._exit(0)


def _has_peer_gone(sock: socket.socket) -> bool:
    """Tell an empty message from the end of the stream; SEQPACKET reads both as no bytes."""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))


def _fork_executor(
    request: SpawnRequest,
    profile: dict[str, object],
    descriptors: Sequence[int],
    fork_hooks: ForkHooks,
) -> int:
    """Return the executor's pid; a sandbox that fails is the executor's to tell, on its stderr."""
    cage, failure = None, ""
    try:
        cage = separate(profile, descriptors[CHANNELS:])
    except CageError as error:
        failure = str(error)
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
    return pid
