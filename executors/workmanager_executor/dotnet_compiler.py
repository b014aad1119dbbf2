"""A compiler of C# in a process of its own, kept warm: frames in, frames out.

request: ["compile", id, {name, sources: [[file, text]], references: [bin], usings: [text]}]
answer:  ["compiled", id, {image: bin, diagnostics: [[file, line, column, code, message, isError]]}]
         ["failed", id, {message}]

Source code is foreign input, and the compiler is a large program: so it runs where an executor
would, in the same sandbox, under the same limits, and its supervisor ends it when it takes too
long.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from workmanager_executor.exits import EXIT_DRAINED, EXIT_REFUSED
from workmanager_executor.frames import FrameTooLargeError, encode
from workmanager_executor.job import ProtocolError
from workmanager_executor.process import EVENTS_FD
from workmanager_executor.receiving import FrameReader
from workmanager_executor.writer import write_all

if TYPE_CHECKING:
    from typing import Dict, List

    from workmanager_executor.dotnet_roslyn import Diagnostic, Roslyn
    from workmanager_executor.frames import Frame


def serve(body: Dict[str, object]) -> int:
    """Load the compiler, say so, and compile what is asked until drained.

    Args:
        body: `{root, roslyn, bridge}`: three folders.
    """
    from workmanager_executor import dotnet_roslyn, dotnet_runtime

    bridge = str(body["bridge"])
    try:
        roslyn = dotnet_roslyn.Roslyn(
            str(body["root"]), str(body["roslyn"]), os.path.join(bridge, dotnet_runtime.CONFIG)
        )
    except Exception as error:  # noqa: BLE001 - whatever .NET threw, the supervisor is told
        write_all(EVENTS_FD, encode(["refused", {"message": f"{type(error).__name__}: {error}"}]))
        return EXIT_REFUSED
    write_all(EVENTS_FD, encode(["ready", {"compiler": f"Roslyn {roslyn.version}"}]))
    own = os.path.join(bridge, "WorkManager.Abstractions.dll")
    reader = FrameReader(EVENTS_FD)
    while True:
        for frame in reader.read():
            if frame[0] == "drain":
                return EXIT_DRAINED
            _answer(roslyn, frame, own)


def _answer(roslyn: Roslyn, frame: Frame, own: str) -> None:
    if frame[0] != "compile" or len(frame) != 3 or not isinstance(frame[2], dict):
        raise ProtocolError(f"frame {frame[0]!r:.50} is not understood here")
    number = frame[1]
    try:
        answer: List[object] = ["compiled", number, _compile(roslyn, frame[2], own)]
    except Exception as error:  # noqa: BLE001 - a compiler that fails must answer all the same
        answer = ["failed", number, {"message": f"{type(error).__name__}: {error}"[:4096]}]
    try:
        write_all(EVENTS_FD, encode(answer))
    except FrameTooLargeError as error:
        write_all(EVENTS_FD, encode(["failed", number, {"message": str(error)}]))


def _compile(roslyn: Roslyn, request: Dict[str, object], own: str) -> Dict[str, object]:
    from workmanager_executor.dotnet_roslyn import Plan, Source

    built = roslyn.compile(
        Plan(
            name=str(request["name"]),
            sources=[
                Source(str(source[0]), str(source[1]))
                for source in _list(request, "sources")
                if isinstance(source, list) and len(source) == 2
            ],
            references=[own],
            images=[image for image in _list(request, "references") if isinstance(image, bytes)],
            usings=[str(namespace) for namespace in _list(request, "usings")],
            allow_unsafe=True,
        )
    )
    return {"image": built.image, "diagnostics": [_row(one) for one in built.diagnostics]}


def _list(request: Dict[str, object], name: str) -> List[object]:
    value = request.get(name)
    return value if isinstance(value, list) else []


def _row(one: Diagnostic) -> List[object]:
    return [one.file, one.line, one.column, one.code, one.message, one.is_error]
