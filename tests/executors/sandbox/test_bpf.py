"""The assembler: trees become programs that answer as the trees would."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from bpf_machine import AUDIT_ARCH, evaluate

from workmanager_executor.sandbox.bpf import (
    ALLOW,
    ANY_BIT,
    ERRNO,
    KILL_PROCESS,
    PASS,
    Branch,
    argument,
    assemble,
    one_of,
    refuse,
    whole_filter,
)
from workmanager_executor.sandbox.numbers import NEWEST_NUMBER

MACHINES = ("x86_64", "aarch64")


@given(
    machine=st.sampled_from(MACHINES),
    refused=st.dictionaries(st.integers(0, NEWEST_NUMBER), st.integers(1, 130), max_size=150),
    asked=st.integers(0, NEWEST_NUMBER),
)
def test_search_finds_each_number(machine, refused, asked):
    rules = {number: refuse(error) for number, error in refused.items()}
    program = assemble(whole_filter(machine, rules))
    for number in (asked, *refused):
        expected = ERRNO | refused[number] if number in refused else ALLOW
        assert evaluate(program, machine, number) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_above_the_table_do_not_exist(machine):
    program = assemble(whole_filter(machine, {}))
    for number in (NEWEST_NUMBER + 1, 1000, 0x40000000 | 39, 0xFFFFFFFF):
        assert evaluate(program, machine, number) == ERRNO | errno.ENOSYS
    assert evaluate(program, machine, NEWEST_NUMBER) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_another_machine_kill(machine):
    program = assemble(whole_filter(machine, {}))
    others = {0x40000003, *AUDIT_ARCH.values()} - {AUDIT_ARCH[machine]}  # i386 and the other one
    assert {evaluate(program, arch, 1) for arch in others} == {KILL_PROCESS}


@given(constants=st.sets(st.integers(0, 2**32 - 1), max_size=20), value=st.integers(0, 2**64 - 1))
def test_one_of_compares_the_low_half(constants, value):
    node = argument(1, one_of(constants, refuse(1), PASS))
    program = assemble(whole_filter("x86_64", {7: node}))
    expected = ERRNO | 1 if value & 0xFFFFFFFF in constants else ALLOW
    assert evaluate(program, "x86_64", 7, 0, value) == expected


def test_mask_and_bits():
    node = argument(0, Branch(ANY_BIT, 0x0C, refuse(1), PASS), mask=0xF7)
    program = assemble(whole_filter("x86_64", {7: node}))
    assert evaluate(program, "x86_64", 7, 0x04) == ERRNO | 1
    assert evaluate(program, "x86_64", 7, 0x08) == ALLOW


def test_branches_longer_than_a_jump():
    """A conditional jump reaches 255 instructions; behind a longer branch a plain jump helps."""
    far = one_of(range(400), refuse(2), refuse(3))
    node = argument(0, Branch(ANY_BIT, 1 << 31, far, refuse(4)))
    program = assemble(whole_filter("x86_64", {7: node}))
    assert evaluate(program, "x86_64", 7, 1) == ERRNO | 4
    assert evaluate(program, "x86_64", 7, 1 << 31) == ERRNO | 3


def test_neighbours_with_the_same_verdict_share_an_interval():
    scattered = assemble(whole_filter("x86_64", {number: refuse(1) for number in range(0, 100, 2)}))
    together = assemble(whole_filter("x86_64", {number: refuse(1) for number in range(50)}))
    assert len(together) < len(scattered) / 10
