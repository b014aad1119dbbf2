"""An executor that runs .NET: what its process does instead of `executor`.

Python sets the process up, loads CoreCLR and hands the worker to the bridge. From READY on the
bridge speaks on both channels itself; this thread is inside of it until the worker is drained.
A process may also be made a compiler (`dotnet_compiler`), which is told by its first frame.
"""

from __future__ import annotations

import gc
import os
import traceback
from typing import TYPE_CHECKING, NoReturn

from workmanager_executor.endings import supervisor_gone
from workmanager_executor.exits import EXIT_PROTOCOL, EXIT_REFUSED
from workmanager_executor.frames import MAX_FRAME_BYTES, encode
from workmanager_executor.job import ProtocolError
from workmanager_executor.packing import pack, unpack
from workmanager_executor.process import CONTROL_FD, EVENTS_FD
from workmanager_executor.sandbox import end_on_signals
from workmanager_executor.secrets import take_secrets
from workmanager_executor.writer import write_all

if TYPE_CHECKING:
    from typing import Dict, List

HEADER_BYTES = 4


def main() -> NoReturn:
    """Run the executor on descriptors 3 and 4, already set up and greeted with HELLO."""
    try:
        code = _live()
    except ProtocolError as error:
        os.write(2, f"protocol error: {error}\n".encode())
        code = EXIT_PROTOCOL
    except OSError:
        code = EXIT_PROTOCOL  # the supervisor has gone
    except BaseException:  # noqa: BLE001 - whatever it is, it must not reach the zygote's loop
        os.write(2, traceback.format_exc().encode("utf-8", "replace"))
        code = 1
    os._exit(code)  # without the end of CoreCLR, which waits for threads of user code


def _live() -> int:
    for fd in (EVENTS_FD, CONTROL_FD):
        os.set_inheritable(fd, False)
    gc.disable()
    kind, body = _first_frame()
    if kind == "compiler":
        from workmanager_executor.dotnet_compiler import serve

        return serve(body)
    take_secrets(body)
    return _run_worker(body)


def _first_frame() -> tuple[str, Dict[str, object]]:
    """Read the first frame and not a byte more: what follows is for the bridge."""
    size = int.from_bytes(_read_exactly(HEADER_BYTES), "big")
    if size > MAX_FRAME_BYTES:
        raise ProtocolError(f"frame of {size} bytes")
    frame = unpack(_read_exactly(size))
    if not isinstance(frame, list) or len(frame) != 2 or frame[0] not in ("load", "compiler"):
        raise ProtocolError("expected load or compiler")
    if not isinstance(frame[1], dict):
        raise ProtocolError(f"{frame[0]}: a map is needed")
    return frame[0], frame[1]


def _read_exactly(size: int) -> bytes:
    body = bytearray()
    while len(body) < size:
        chunk = os.read(EVENTS_FD, size - len(body))
        if not chunk:
            supervisor_gone()
        body += chunk
    return bytes(body)


def _run_worker(job: Dict[str, object]) -> int:
    from workmanager_executor import dotnet_runtime

    where = job.pop("dotnet", None)
    if not isinstance(where, dict):
        raise ProtocolError("load: dotnet is missing")
    try:
        runtime = dotnet_runtime.load(str(where["root"]), str(where["bridge"]))
    except dotnet_runtime.RuntimeUnavailableError as error:
        write_all(EVENTS_FD, encode(_refused("ENGINE_UNAVAILABLE", str(error))))
        return EXIT_REFUSED
    # CoreCLR has put handlers of its own in place; SIGTERM has to end even a loop in user code.
    end_on_signals()
    body = pack(job)
    job.clear()  # the code is the bridge's now
    is_ready, answer = runtime.load(body)
    del body
    write_all(EVENTS_FD, len(answer).to_bytes(HEADER_BYTES, "big") + answer)
    return runtime.run() if is_ready else EXIT_REFUSED


def _refused(reason: str, message: str) -> List[object]:
    report = {"reason": reason, "message": message, "file": None, "line": None, "traceback": ""}
    return ["refused", report]
