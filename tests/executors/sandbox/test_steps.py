"""The loop that makes the calls."""

from __future__ import annotations

import os

import pytest

from workmanager_executor.sandbox import SandboxError, prepare
from workmanager_executor.sandbox.steps import Step, run


def test_calls_are_made_in_order():
    seen = []
    assert run(Step("root", "", seen.append, (number,), None) for number in range(5)) == []
    assert seen == [0, 1, 2, 3, 4]


def test_refused_call_names_its_layer_and_reason():
    with pytest.raises(SandboxError, match=r"'root': mkdir: .*No such file") as caught:
        run([Step("root", "mkdir", os.mkdir, ("/nowhere/at/all",), None)])
    assert caught.value.layer == "root"


def test_unexpected_result_is_a_failure():
    with pytest.raises(SandboxError, match="unexpected result 7"):
        run([Step("fds", "open", int, ("7",), 6)])


def test_fallback_degrades_the_layer():
    seen = []
    substitute = Step("proc", "", seen.append, ("substitute",), None)
    failing = Step("proc", "", int, ("x",), 0, (substitute,))
    after = Step("root", "", seen.append, ("after",), None)
    assert run([failing, after]) == ["proc"]
    assert seen == ["substitute", "after"]


def layers_of(**fields):
    prepared = prepare({"level": "full", **fields})
    steps = (*prepared.shed_steps, *prepared.lock_steps)
    return [step.layer for step in steps], [step.what for step in steps]


def test_the_order_is_the_one_that_holds():
    layers, calls = layers_of()
    assert layers[-1] == "seccomp"
    assert layers.index("no_new_privs") < layers.index("landlock")
    assert calls.index("pivot_root") < layers.index("capabilities")
    assert max(at for at, layer in enumerate(layers) if layer == "capabilities") < layers.index(
        "no_new_privs"
    )
    oom_score = next(at for at, call in enumerate(calls) if "oom_score_adj" in call)
    assert oom_score < calls.index("mount proc on /proc/proc")


def test_limits_come_after_the_user_namespace_and_before_the_uid():
    layers, calls = layers_of(uid=64999)
    first_limit = next(at for at, call in enumerate(calls) if call.startswith("setrlimit"))
    assert calls.index("pivot_root") < first_limit < layers.index("capabilities")


def test_level_none_changes_nothing_but_limits():
    layers, _ = layers_of(level="none")
    assert set(layers) == {"rlimits"}


def test_the_same_profile_is_prepared_once():
    fields = {"level": "full", "scratchInodes": 777}
    assert prepare(fields) is prepare(dict(fields))
