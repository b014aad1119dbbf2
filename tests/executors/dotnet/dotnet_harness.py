"""Drives real .NET executors and a real compiler process, as the supervisor would."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import MAIN, MSGPACK_FOLDER, Executor, Peer, ZygoteProcess, become_subreaper, job

if TYPE_CHECKING:
    from dotnet_fixture import Dotnet

REPOSITORY = Path(__file__).resolve().parents[3]
BRIDGE = REPOSITORY / "executors" / "dotnet" / "bin"
MODULES = ("clr_loader", "pythonnet", "cffi", "_cffi_backend", "pycparser")
USINGS = ["System", "System.Collections.Generic", "System.Linq", "System.Threading"]
USINGS += ["System.Threading.Tasks", "System.Text.Json", "WorkManager"]
ENVIRONMENT = {
    "DOTNET_EnableDiagnostics": "0",
    "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",
    "DOTNET_GCHeapHardLimit": hex(192 << 20),
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
}


def packages() -> str:
    """Return the folders that hold what a .NET executor imports."""
    folders = {}
    for name in MODULES:
        spec = importlib.util.find_spec(name)
        place = Path(spec.origin).parent
        folders[str(place.parent if spec.submodule_search_locations else place)] = None
    return os.pathsep.join(folders)


def start_zygote() -> ZygoteProcess:
    become_subreaper()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(20)
    command = [sys.executable, "-I", "-S", str(MAIN), "dotnet", "--packages", packages()]
    command += ["--msgpack", str(MSGPACK_FOLDER)]
    with theirs:
        actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)]
        pid = os.posix_spawn(command[0], command, {}, file_actions=actions)
    return ZygoteProcess(pid, ours)


@dataclass
class Compiler:
    """A compiler process, kept warm."""

    executor: Executor
    version: str
    requests: int = 0

    @classmethod
    def start(cls, zygote: ZygoteProcess, dotnet: Dotnet) -> Compiler:
        executor = zygote.spawn(env=ENVIRONMENT)
        executor.events.expect("hello")
        where = {"root": str(dotnet.root), "roslyn": str(dotnet.roslyn), "bridge": str(BRIDGE)}
        executor.events.send("compiler", where)
        return cls(executor, executor.events.expect("ready")[1]["compiler"])

    def ask(self, *sources: str, name: str = "Worker", references=(), usings=USINGS) -> dict:
        """Compile; returns the answer."""
        self.requests += 1
        files = [[f"worker{i or ''}.cs", textwrap.dedent(text)] for i, text in enumerate(sources)]
        request = {"name": name, "sources": files, "usings": list(usings)}
        request["references"] = list(references)
        self.executor.events.send("compile", self.requests, request)
        kind, number, answer = self.executor.events.receive()
        assert (kind, number) == ("compiled", self.requests), answer
        return answer

    def compile(self, *sources: str, **options) -> bytes:
        """Compile; returns the assembly."""
        answer = self.ask(*sources, **options)
        assert answer["image"], answer["diagnostics"]
        return answer["image"]


@dataclass
class Lab:
    """What a test needs: a zygote, a compiler, executors that are gone when the test is over."""

    zygote: ZygoteProcess
    compiler: Compiler
    dotnet: Dotnet
    executors: list[Executor]

    def spawn(self, **fields) -> Executor:
        env = {**ENVIRONMENT, **fields.pop("env", {})}
        executor = self.zygote.spawn(env=env, **fields)
        self.executors.append(executor)
        return executor

    def load(self, code: str | bytes, *, spawn=None, where=None, **fields) -> tuple[Executor, list]:
        """Start an executor with *code* (C# source, an assembly, or nothing beside a folder)."""
        executor = self.spawn(**(spawn or {}))
        image = self.compiler.compile(code) if isinstance(code, str) else code
        place = {"root": str(self.dotnet.root), "bridge": str(BRIDGE), **(where or {})}
        executor.hello = executor.events.expect("hello")[1]
        executor.events.send("load", job(image, engine="text/x-dll", dotnet=place, **fields))
        answer = executor.events.receive()
        assert answer is not None, f"died while loading: {executor.read_stderr()}"
        return executor, answer

    def ready(self, code: str | bytes, **fields) -> Executor:
        executor, answer = self.load(code, **fields)
        assert answer[0] == "ready", answer
        executor.ready_frame = answer[1]
        return executor

    def refused(self, code: str | bytes, **fields) -> dict:
        executor, answer = self.load(code, **fields)
        assert answer[0] == "refused", answer
        assert executor.wait() == 70
        assert "\n" not in answer[1]["message"]
        return answer[1]

    def close(self) -> None:
        for executor in self.executors:
            executor.__exit__()


__all__ = ["Compiler", "Lab", "Peer", "start_zygote"]
