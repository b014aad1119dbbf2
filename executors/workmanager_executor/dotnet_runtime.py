"""CoreCLR in this process: loaded once, after every fork, never unloaded.

    runtime = load(root, folder)             hostfxr finds and starts the runtime
    answer = runtime.load(body)              the bridge loads a worker; msgpack in, msgpack out
    code = runtime.run()                     the bridge handles events until drained

The bridge hands its functions back as pointers, which cffi calls: 1.6 million calls a second, and
the interpreter lock is released meanwhile. pythonnet has no part in it (dotnet study, section 3).
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Tuple

BRIDGE = "WorkManager.Bridge"
BOOT = ("WorkManager.Host.Bridge", "Boot")
CONFIG = BRIDGE + ".runtimeconfig.json"

_LOAD_TYPE = "int(*)(char *, int, char **, int *)"
_RUN_TYPE = "int(*)(void)"
_POINTERS = 2
_POINTER_BYTES = 8


class RuntimeUnavailableError(Exception):
    """.NET cannot be started here; the message says why, for the operator."""


class Runtime:
    """The bridge's functions."""

    def __init__(self, ffi: Any, load: int, run: int) -> None:  # noqa: ANN401 - cffi is untyped
        self._ffi = ffi
        self._load = ffi.cast(_LOAD_TYPE, load)
        self._run = ffi.cast(_RUN_TYPE, run)

    def load(self, job: bytes) -> Tuple[bool, bytes]:
        """Load a worker; returns whether it is ready, and the body of the frame that says so."""
        answer, size = self._ffi.new("char **"), self._ffi.new("int *")
        is_refused = self._load(job, len(job), answer, size)
        return not is_refused, bytes(self._ffi.buffer(answer[0], size[0]))

    def run(self) -> int:
        """Handle events until drained; returns the exit code."""
        return int(self._run())


def parse_types() -> None:
    """Parse the C types; cffi keeps them, so a zygote does it for all its executors."""
    ffi = _ffi()
    for text in (_LOAD_TYPE, _RUN_TYPE, "char **", "int *"):
        ffi.typeof(text)


def load(dotnet_root: str, folder: str) -> Runtime:
    """Start the runtime in *dotnet_root* and the bridge in *folder*.

    Raises:
        RuntimeUnavailableError: There is none that fits.
    """
    clr_loader = importlib.import_module("clr_loader")
    try:
        # An absolute root, and a configuration of our own: clr_loader 0.3.1 ignores the root with a
        # configuration it makes itself, and hostfxr does not find its parts by a relative one.
        runtime = clr_loader.get_coreclr(
            dotnet_root=os.path.abspath(dotnet_root), runtime_config=os.path.join(folder, CONFIG)
        )
        boot = runtime.get_assembly(os.path.join(folder, BRIDGE + ".dll")).get_function(*BOOT)
        table = bytearray(_POINTERS * _POINTER_BYTES)
        code = boot(table)
    except Exception as error:
        raise RuntimeUnavailableError(_words(error, dotnet_root)) from error
    if code != 0:
        raise RuntimeUnavailableError(f"the bridge in {folder} does not fit this release")
    return Runtime(_ffi(), *memoryview(table).cast("q"))


def _ffi() -> Any:  # noqa: ANN401 - cffi is untyped
    return importlib.import_module("clr_loader.ffi").ffi


def _words(error: BaseException, root: str) -> str:
    """Say what an error of the loader means; its own words are codes of hostfxr."""
    name = getattr(error, "name", None)
    if name == "FrameworkMissingFailure":
        return f"{root} has no .NET runtime 8.0 or later"
    if name == "CoreHostLibMissingFailure":
        return f"{root} is no complete .NET installation: libhostpolicy.so is missing"
    if isinstance(error, RuntimeError) and "hostfxr" in str(error):
        return f"{root} is no .NET installation: it has no host/fxr/*/libhostfxr.so"
    return f".NET in {root} cannot be started: {error}"
