"""From code to a handler, or to a refusal that names file and line.

The code becomes the module `worker`, from "worker.py": known to `sys.modules`, so that dataclasses
and pickle find it, and to `linecache`, so that tracebacks show its lines.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import linecache
import sys
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workmanager_executor.faults import text_of, user_line, user_traceback
from workmanager_executor.signatures import is_async, positional_count, underlying

if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from workmanager_executor.job import Job

    UserFunction = Callable[..., object]
    Hook = Optional[UserFunction]

MODULE_NAME = "worker"
FILE_NAME = "worker.py"
LOOKED_UP = ("process_batch", "process", "Process")
FORMS = {"process_batch": "batch", "Process": "seed"}  # by name; any other name is an event handler

BUILD_FAILED = "BUILD_FAILED"
HANDLER_NOT_FOUND = "HANDLER_NOT_FOUND"


class RefusedError(Exception):
    """The code cannot be run; the version is refused.

    Attributes:
        reason: `BUILD_FAILED` or `HANDLER_NOT_FOUND`.
        file: File at fault; None if it is none of the code's.
        line: Line in that file; None if unknown.
        traceback: Frames of user code, if it raised.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = BUILD_FAILED,
        file: str | None = None,
        line: int | None = None,
        trace: str = "",
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.file = file
        self.line = line
        self.traceback = trace


@dataclass(frozen=True)
class Handler:
    """The function that handles events, and how it wants to be called.

    Attributes:
        form: "event" (`process`), "seed" (`Process`) or "batch" (`process_batch`).
        start: Hook called once before the first event; None if there is none. Likewise *stop*.
    """

    function: UserFunction
    name: str
    form: str
    takes_context: bool
    is_async: bool
    start: Hook
    stop: Hook


def load(job: Job) -> Handler:
    """Load the code of *job* and find its handler.

    Raises:
        RefusedError: Syntax error, import error, no handler, or a wrong signature.
    """
    module = load_module(job.code)
    module_name, _, path = job.handler.rpartition(":")
    if module_name and module_name != MODULE_NAME:
        module = _import_installed(module_name)
    name, function = _look_up(module, path)
    return Handler(
        function=function,
        name=name,
        form=FORMS.get(name, "event"),
        takes_context=_takes_context(function, name),
        is_async=is_async(function),
        start=_hook(module, "start"),
        stop=_hook(module, "stop"),
    )


def load_module(code: bytes) -> types.ModuleType:
    """Run *code* as the module `worker`.

    Raises:
        RefusedError: It does not compile, or raises while it runs.
    """
    program = _compile(code)
    module = types.ModuleType(MODULE_NAME)
    module.__file__ = FILE_NAME
    sys.modules[MODULE_NAME] = module
    try:
        exec(program, module.__dict__)  # noqa: S102 - running it is what this process is for
    except BaseException as error:  # noqa: BLE001 - SystemExit, too, is a reason to refuse
        raise _refusal(error) from None
    return module


def _compile(code: bytes) -> types.CodeType:
    try:
        linecache.cache[FILE_NAME] = _lazy_source(code)
        return compile(code, FILE_NAME, "exec", dont_inherit=True)
    except SyntaxError as error:
        trace = user_traceback(error)
        line = error.lineno or 1
        raise RefusedError(_named(error), file=FILE_NAME, line=line, trace=trace) from None
    except (ValueError, MemoryError, RecursionError) as error:  # NUL bytes, nested too deeply
        raise RefusedError(_named(error), file=FILE_NAME, line=1) from None


def _lazy_source(code: bytes) -> Any:  # noqa: ANN401 - linecache's own kind of entry
    """Return a linecache entry that decodes *code* when a traceback first needs it."""
    return (lambda: importlib.util.decode_source(code),)


def _import_installed(name: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except BaseException as error:  # noqa: BLE001 - as above
        raise _refusal(error) from None


def _refusal(error: BaseException) -> RefusedError:
    line = user_line(error, FILE_NAME)
    file = FILE_NAME if line is not None else None
    return RefusedError(_named(error), file=file, line=line, trace=user_traceback(error))


def _look_up(module: types.ModuleType, path: str) -> tuple[str, UserFunction]:
    """Return the handler at *path*, or the first of the known names."""
    for candidate in (path,) if path else LOOKED_UP:
        value: object = module
        for part in candidate.split("."):
            value = getattr(value, part, None)
        if value is not None:
            return candidate.rpartition(".")[2], _checked_function(value, candidate)
    wanted = f"no {path!r}" if path else f"none of {', '.join(LOOKED_UP)}"
    raise _not_found(module, f"{wanted} in the code", path or "process")


def _checked_function(value: object, name: str) -> UserFunction:
    if not callable(value) or inspect.isclass(value):
        kind = "a class" if inspect.isclass(value) else f"of type {type(value).__name__}"
        file, line = _location(value)
        raise RefusedError(
            f"handler {name!r} is {kind}, not a function",
            reason=HANDLER_NOT_FOUND,
            file=file or FILE_NAME,
            line=line or 1,
        )
    return value


def _not_found(module: types.ModuleType, message: str, wanted: str) -> RefusedError:
    import difflib

    found = [name for name, value in vars(module).items() if inspect.isfunction(value)]
    line = 1
    for name in difflib.get_close_matches(wanted, found, n=1):
        line = _location(getattr(module, name))[1] or 1
        message += f"; did you mean {name!r} in line {line}?"
    return RefusedError(message, reason=HANDLER_NOT_FOUND, file=FILE_NAME, line=line)


def _takes_context(function: UserFunction, name: str) -> bool:
    """Tell whether *function* takes (event, context) rather than (event).

    Raises:
        RefusedError: It takes neither.
    """
    try:
        needed, possible = positional_count(function)
        if needed > 2 or possible < 1:
            raise ValueError(f"it needs {needed} positional parameters")
    except (ValueError, TypeError) as error:
        file, line = _location(function)
        raise RefusedError(
            f"handler {name!r} has to take (event) or (event, context): {error}",
            reason=HANDLER_NOT_FOUND,
            file=file,
            line=line,
        ) from None
    return possible >= 2


def _hook(module: types.ModuleType, name: str) -> Hook:
    """Return start or stop, called with the context.

    Raises:
        RefusedError: It takes more than a context.
    """
    function = getattr(module, name, None)
    if not callable(function) or inspect.isclass(function):
        return None
    try:
        needed, possible = positional_count(function)
        if needed > 1:
            raise ValueError(f"it needs {needed} positional parameters")
    except (ValueError, TypeError) as error:
        file, line = _location(function)
        message = f"{name}() has to take (context) or nothing: {error}"
        raise RefusedError(message, file=file, line=line) from None
    return function if possible else _ignoring_context(function)


def _ignoring_context(function: UserFunction) -> UserFunction:
    @functools.wraps(function)
    def call(_context: object) -> object:
        return function()

    return call


def _location(value: object) -> tuple[str | None, int | None]:
    if inspect.isclass(value):
        value = next((item for item in vars(value).values() if inspect.isfunction(item)), None)
    if not callable(value):
        return None, None
    code = getattr(underlying(value), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else (None, None)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {text_of(error)}"
