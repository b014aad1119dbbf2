"""What a handler may be called with, read from its signature.

Plain functions, the usual case, are read from their code object: `inspect.signature` runs through
so many functions that it would cost every executor 200 KiB of pages shared with the zygote.
"""

from __future__ import annotations

import functools
import inspect
from types import FunctionType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Callable

    UserFunction = Callable[..., object]

MANY = 9  # stands for "as many as you like"

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_ASYNC_FLAGS = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE


def is_async(function: UserFunction) -> bool:
    """Whether calling *function* gives something to await or to iterate asynchronously."""
    code = getattr(underlying(function), "__code__", None)
    return code is not None and bool(code.co_flags & _ASYNC_FLAGS)


def positional_count(function: UserFunction) -> tuple[int, int]:
    """Return how many positional arguments *function* needs, and how many it can take.

    Raises:
        ValueError: It cannot be called with positional arguments alone.
    """
    if type(function) is FunctionType and not function.__dict__:
        return _count_plain(function)
    needed = possible = 0
    for parameter in inspect.signature(function).parameters.values():
        is_needed = parameter.default is inspect.Parameter.empty
        if parameter.kind in _POSITIONAL:
            possible += 1
            needed += is_needed
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            possible = MANY
        elif parameter.kind is inspect.Parameter.KEYWORD_ONLY and is_needed:
            raise _by_name_only(parameter.name)
    return needed, possible


def underlying(function: UserFunction) -> UserFunction:
    """Return the function below decorators, partials and callable objects."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    if not inspect.isroutine(function):
        function = inspect.unwrap(type(function).__call__)
    return function


def _count_plain(function: FunctionType) -> tuple[int, int]:
    code = function.__code__
    by_name = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    for name in by_name:
        if name not in (function.__kwdefaults__ or {}):
            raise _by_name_only(name)
    needed = code.co_argcount - len(function.__defaults__ or ())
    return needed, MANY if code.co_flags & inspect.CO_VARARGS else code.co_argcount


def _by_name_only(name: str) -> ValueError:
    return ValueError(f"parameter {name!r} can only be given by name")
