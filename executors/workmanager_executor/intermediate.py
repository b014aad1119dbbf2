"""The process between zygote and executor: reads the request, forks, tells the pid, exits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from workmanager_executor.caging import CageError, profile_of, separate
from workmanager_executor.packing import pack
from workmanager_executor.process import Birth, become_executor
from workmanager_executor.spawning import CHANNELS, MAX_ERROR_CHARS, RequestError, parse_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager_executor.process import ForkHooks
    from workmanager_executor.spawning import SpawnRequest

MAX_TOLD_BYTES = 60 * 1024  # below what a pipe holds, pipe(7): nobody reads before we have gone


def run_intermediate(
    message: bytes | None, descriptors: Sequence[int], tell_fd: int, fork_hooks: ForkHooks
) -> NoReturn:
    """Fork the executor of the request in *message* and exit, so that it is adopted.

    What it tells the zygote is [reply to the supervisor, sandbox profile]: the profile is no
    secret, and the zygote prepares it for the next executor that has the same.

    Args:
        message: None if the request was cut short on its way.
        tell_fd: Pipe to the zygote.
    """
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
