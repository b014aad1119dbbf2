"""The process between zygote and executor: reads the request, forks, tells the pid, exits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from workmanager_executor.packing import pack
from workmanager_executor.process import become_executor
from workmanager_executor.spawning import MAX_ERROR_CHARS, RequestError, parse_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager_executor.process import ForkHooks


def run_intermediate(
    message: bytes | None, descriptors: Sequence[int], tell_fd: int, fork_hooks: ForkHooks
) -> NoReturn:
    """Fork the executor of the request in *message* and exit, so that it is adopted.

    Args:
        message: None if the request was cut short on its way.
        tell_fd: Pipe for the reply.
    """
    reply: dict[str, object] = {"id": None}
    try:
        if message is None:
            raise RequestError("request is too large or has too many descriptors")
        request = parse_request(message, len(descriptors))
        reply["id"] = request.id
        own_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            become_executor(request, descriptors, forked_by=own_pid, fork_hooks=fork_hooks)
        reply["pid"] = pid
    except RequestError as error:
        reply = {"id": error.request_id, "error": str(error)[:MAX_ERROR_CHARS]}
    except BaseException as error:  # noqa: BLE001 - nothing may get back into the zygote's loop
        reply["error"] = f"cannot fork: {error}"[:MAX_ERROR_CHARS]
    os.write(tell_fd, pack(reply))
    os._exit(0)
