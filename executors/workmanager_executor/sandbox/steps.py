"""A chain of system calls as data: made in the zygote, run in the executor's child.

Every Python function that a fork calls for the first time costs it time and some 16 KiB of pages
that it shared with the zygote until then. So the child runs one loop over calls whose arguments
were built before the fork, and the order of the layers can be tested without making one.
"""

from __future__ import annotations

import ctypes
import os
from typing import Callable, Iterable, List, NamedTuple, Optional, Tuple

from .errors import SandboxError

# The child has 0-4 by contract and keeps at 5 what tells of its parent's end; all else is closed.
# So the kernel gives these two numbers to what a step opens first and second.
PARENT_FD = 5
OPENED_FD = 6
OPENED_SECOND_FD = 7


class Step(NamedTuple):
    """One call, and the result that it has to have.

    `fallback` is run if the call fails, and the layer counts as degraded; None: failing is fatal.
    """

    layer: str
    what: str
    call: Callable[..., object]
    arguments: Tuple[object, ...]
    expected: object = 0
    fallback: Optional[Tuple[Step, ...]] = None


def run(steps: Iterable[Step]) -> List[str]:
    """Make the calls in order.

    Returns:
        The layers where a fallback stood in.

    Raises:
        SandboxError: A call without a fallback failed.
    """
    degraded: List[str] = []
    for layer, what, call, arguments, expected, fallback in steps:
        try:
            result = call(*arguments)
            if result == expected:
                continue
            reason = _reason(result)
        except (OSError, ValueError) as error:
            reason = str(error)
        if fallback is None:
            raise SandboxError(layer, f"{what}: {reason}")
        degraded += [layer, *run(fallback)]
    return degraded


def writing(layer: str, path: str, data: bytes, *, flags: int = 0) -> List[Step]:
    """Steps that write *data* to *path* in one call, as the kernel's files want it."""
    mode = os.O_WRONLY | os.O_CLOEXEC | flags
    steps = [Step(layer, f"open {path}", os.open, (path, mode, 0o644), OPENED_FD)]
    if data:
        steps.append(Step(layer, f"write {path}", os.write, (OPENED_FD, data), len(data)))
    return [*steps, Step(layer, f"close {path}", os.close, (OPENED_FD,), None)]


def _reason(result: object) -> str:
    number = ctypes.get_errno()
    return os.strerror(number) if result == -1 else f"unexpected result {result!r}"
