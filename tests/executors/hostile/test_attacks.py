"""Every attack, at every level that this host can give, as root and as an ordinary user.

What a correct system shows is written with each attack. At level none those that prove a layer have
to get through: an attack that never works proves nothing.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cage import ATTACKS, ESCAPES, NOT_RUN, ROOT_ESCAPES, UNKNOWN
from jailer import GROUPS
from warden import Jailer, can_be_ordinary

for group in GROUPS:
    importlib.import_module(group)

AS_ROOT, AS_USER = "root", "user"
CASES = [
    pytest.param(name, level, who, id=f"{name}-{level}-{who}")
    for who, levels in ((AS_ROOT, ("basic", "full", "uid")), (AS_USER, ("basic", "full")))
    for name, attack in ATTACKS.items()
    for level in levels
    if level in attack.levels
]
PROOFS = [
    pytest.param(name, who, id=f"{name}-none-{who}")
    for who in (AS_ROOT, AS_USER)
    for name, attack in ATTACKS.items()
    if attack.at_none != NOT_RUN
]


@pytest.fixture(scope="module")
def jailers():
    running = {}
    try:
        yield running
    finally:
        for jailer in running.values():
            jailer.close()


def jailer_for(jailers, who):
    if who == AS_ROOT and os.geteuid() != 0:
        pytest.skip("needs root")
    if who == AS_USER and not can_be_ordinary():
        pytest.skip("an ordinary user cannot reach the interpreter or the tests")
    if who not in jailers:
        jailers[who] = Jailer(ordinary=who == AS_USER)
    return jailers[who]


@pytest.mark.parametrize(("name", "level", "who"), CASES)
def test_is_contained(jailers, name, level, who):
    attack = ATTACKS[name]
    answer = jailer_for(jailers, who).ask(name, level)
    if answer["verdict"] == "unavailable":
        pytest.skip(f"level {level}: {answer['detail']}")
    expected = "escaped" if level in attack.leaks else "contained"
    assert answer["verdict"] == expected, f"{attack.promise} But: {answer}"


@pytest.mark.parametrize(("name", "who"), PROOFS)
def test_gets_through_without_a_sandbox(jailers, name, who):
    attack = ATTACKS[name]
    answer = jailer_for(jailers, who).ask(name, "none")
    assert answer["verdict"] in ("contained", "escaped"), answer
    if attack.at_none == UNKNOWN:
        return
    proves = attack.at_none == ESCAPES or (attack.at_none == ROOT_ESCAPES and who == AS_ROOT)
    assert answer["verdict"] == ("escaped" if proves else "contained"), answer


def test_documentation_names_what_gets_through_and_how_many_there_are():
    text = (Path(__file__).parents[3] / "docs" / "security.md").read_text(encoding="utf-8")
    table = text.partition("<!-- leaks -->")[2].partition("<!-- end -->")[0]
    named = {row.split("`")[1] for row in table.splitlines() if row.startswith("| `")}
    assert named == {name for name, attack in ATTACKS.items() if attack.leaks}
    assert f"`tests/executors/hostile`: {len(ATTACKS)} of them" in text


def test_there_are_enough_attacks_of_each_group():
    counts = {group: sum(attack.group == group for attack in ATTACKS.values()) for group in GROUPS}
    assert min(counts.values()) >= 8
    assert all(attack.promise for attack in ATTACKS.values())
