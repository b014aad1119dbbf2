"""A seccomp filter as a decision tree, and its translation into BPF.

Each node ends in a verdict and no two paths join, so the translation needs no labels: a test is its
jump, the code of the one branch, then the code of the other. The search for the call's number is a
balanced tree too: the kernel runs the filter for every number when it is installed (its action
cache, 5.11), so a long list would cost at each start.

Source: Documentation/userspace-api/seccomp_filter.rst; include/uapi/linux/{bpf_common,seccomp}.h.
"""

from __future__ import annotations

import errno
import struct
from typing import Iterable, List, Mapping, NamedTuple, Sequence, Tuple, Union

from .numbers import NEWEST_NUMBER

ALLOW = 0x7FFF0000
ERRNO = 0x00050000  # | errno; errno 0 makes the call do nothing and succeed
KILL_PROCESS = 0x80000000

_LOAD, _AND, _RETURN, _JUMP = 0x20, 0x54, 0x06, 0x05
EQUAL, AT_LEAST, ANY_BIT = 0x15, 0x35, 0x45

_NUMBER_OFFSET, _ARCH_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16  # struct seccomp_data
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


class Verdict(NamedTuple):
    """What the kernel does with the call."""

    action: int


class Load(NamedTuple):
    """Load a word of struct seccomp_data, masked, and go on."""

    offset: int
    mask: int
    then: Node


class Branch(NamedTuple):
    """Compare the loaded word with a constant."""

    operator: int
    constant: int
    yes: Node
    no: Node


Node = Union[Verdict, Load, Branch]
Instruction = Tuple[int, int, int, int]  # code, jump if true, jump if false, constant

PASS = Verdict(ALLOW)


def refuse(errno: int) -> Verdict:
    """The call fails with *errno* and does nothing."""
    return Verdict(ERRNO | errno)


def argument(index: int, then: Node, *, mask: int = 0xFFFFFFFF, is_high: bool = False) -> Node:
    """Load the low 32 bits of an argument: for ints the kernel looks at no more either.

    Args:
        is_high: Load the high ones, of a pointer.
    """
    return Load(_ARGUMENTS_OFFSET + 8 * index + 4 * is_high, mask, then)


def one_of(constants: Iterable[int], yes: Node, no: Node) -> Node:
    """*yes* if the loaded word is one of *constants*."""
    node = no
    for constant in sorted(constants, reverse=True):
        node = Branch(EQUAL, constant, yes, node)
    return node


def whole_filter(machine_name: str, rules: Mapping[int, Node]) -> Node:
    """The filter around *rules* (number -> node): foreign machine, unknown numbers, then the rules.

    The x32 calls of x86_64 have a high bit set, so the ceiling refuses them too.
    """
    search = _search([*_intervals(rules), (NEWEST_NUMBER + 1, refuse(errno.ENOSYS))])
    numbered = Load(_NUMBER_OFFSET, 0xFFFFFFFF, search)
    native = Branch(EQUAL, _AUDIT_ARCH[machine_name], numbered, Verdict(KILL_PROCESS))
    return Load(_ARCH_OFFSET, 0xFFFFFFFF, native)


def assemble(node: Node) -> bytes:
    """Translate the tree into struct sock_filter[]."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in _translate(node))


def _intervals(rules: Mapping[int, Node]) -> List[Tuple[int, Node]]:
    """Neighbouring numbers with the same node make one interval; the gaps pass."""
    found: List[Tuple[int, Node]] = [(0, PASS)]
    for number in range(NEWEST_NUMBER + 1):
        node = rules.get(number, PASS)
        if node != found[-1][1]:
            found.append((number, node))
    return found


def _search(intervals: Sequence[Tuple[int, Node]]) -> Node:
    if len(intervals) == 1:
        return intervals[0][1]
    middle = len(intervals) // 2
    below, above = _search(intervals[:middle]), _search(intervals[middle:])
    return Branch(AT_LEAST, intervals[middle][0], above, below)


def _translate(node: Node) -> List[Instruction]:
    if isinstance(node, Verdict):
        return [(_RETURN, 0, 0, node.action)]
    if isinstance(node, Load):
        load = [(_LOAD, 0, 0, node.offset)]
        mask = [] if node.mask == 0xFFFFFFFF else [(_AND, 0, 0, node.mask)]
        return load + mask + _translate(node.then)
    yes, no = _translate(node.yes), _translate(node.no)
    if len(yes) <= 255:  # conditional jumps have eight bits
        return [(node.operator, 0, len(yes), node.constant), *yes, *no]
    return [(node.operator, 1, 0, node.constant), (_JUMP, 0, 0, len(yes)), *yes, *no]
