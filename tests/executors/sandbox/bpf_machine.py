"""A machine for seccomp filters: what the kernel would answer, without installing anything."""

from __future__ import annotations

import struct

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
STEPS_MAX = 5000


def evaluate(program: bytes, machine: str | int, number: int, *arguments: int) -> int:
    """Run *program* for one system call and return its verdict."""
    arch = machine if isinstance(machine, int) else AUDIT_ARCH[machine]
    words = [argument & 0xFFFFFFFFFFFFFFFF for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, arch, 0, *words)
    instructions = list(struct.iter_unpack("=HBBI", program))
    accumulator = at = 0
    for _ in range(STEPS_MAX):
        code, if_true, if_false, constant = instructions[at]
        at += 1
        if code == 0x20:  # load a word
            accumulator = struct.unpack_from("=I", data, constant)[0]
        elif code == 0x54:  # and
            accumulator &= constant
        elif code == 0x05:  # jump
            at += constant
        elif code == 0x06:  # return
            return constant
        else:
            compare = {
                0x15: accumulator == constant,
                0x35: accumulator >= constant,
                0x45: bool(accumulator & constant),
            }
            at += if_true if compare[code] else if_false
    raise AssertionError("the filter does not end")
