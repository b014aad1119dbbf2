"""The probe: does the whole chain, says what failed and why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import workmanager_executor

MAIN = Path(workmanager_executor.__file__).parent / "sandbox" / "__main__.py"


def probe(*, before=(), **extra):
    command = [*before, sys.executable, "-I", "-S", str(MAIN), json.dumps(extra)]
    result = subprocess.run(command, capture_output=True, env={}, timeout=60, check=True)
    return json.loads(result.stdout)


def test_highest_level_is_found():
    answer = probe()
    passed = [level for level in ("uid", "full", "basic") if answer["levels"][level]["ok"]]
    assert answer["highest"] == (passed[0] if passed else "none")
    assert answer["landlockAbi"] >= 0


def test_passing_levels_come_with_their_records():
    for answer in probe()["levels"].values():
        assert answer["ok"] == bool(answer["records"])
        assert answer["ok"] or answer["layer"]


@pytest.mark.skipif(os.geteuid() != 0, reason="root has all levels")
def test_root_has_every_level_here():
    answer = probe()
    assert {level: found["ok"] for level, found in answer["levels"].items()} == {
        "uid": True,
        "full": True,
        "basic": True,
    }


def test_ordinary_user_has_no_level_uid(ordinary_jailer):
    answer = json.loads(
        ordinary_jailer.run(
            f"""
            import subprocess, sys
            tell(subprocess.run([sys.executable, "-I", "-S", {str(MAIN)!r}],
                 capture_output=True, text=True).stdout)
            """,
            level="none",
            limits={"files": 256},
        )
    )
    assert answer["levels"]["uid"]["layer"] == "uid"
    assert "root" in answer["levels"]["uid"]["detail"]
    assert answer["levels"]["basic"]["ok"]


def test_without_namespaces_basic_is_what_is_left(ordinary_jailer):
    """As in a container: its own filter refuses namespaces, and ours stack on top of it."""
    answer = json.loads(
        ordinary_jailer.run(
            f"""
            import subprocess, sys
            from sandbox import bpf, capabilities, numbers, seccomp, steps, syscalls
            import ctypes, errno
            known = numbers.numbers_of(numbers.machine())
            refused = bpf.refuse(errno.EPERM)
            rules = {{known[name]: refused for name in ("unshare", "mount", "setns")}}
            program = bpf.assemble(bpf.whole_filter(numbers.machine(), rules))
            buffer = ctypes.create_string_buffer(program, len(program))
            steps.run([capabilities.no_new_privs_step(), syscalls.seccomp_step("seccomp", buffer)])
            tell(subprocess.run([sys.executable, "-I", "-S", {str(MAIN)!r}],
                 capture_output=True, text=True).stdout)
            """,
            level="none",
            limits={"files": 256},
        )
    )
    assert answer["highest"] == "basic"
    assert answer["levels"]["full"]["layer"] == "namespaces"
    assert "unshare" in answer["levels"]["full"]["detail"]


def test_required_layer_decides():
    answer = probe(required=["memory"], limits={"memoryBytes": 1 << 28})
    assert {found["layer"] for found in answer["levels"].values()} == {"memory"}
    assert answer["highest"] == "none"


def test_profile_faults_are_told():
    answer = probe(network="wifi")
    assert "network" in answer["levels"]["basic"]["detail"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mask /proc")
def test_masked_proc_degrades_the_layer():
    """As in a container: a user namespace may not uncover what lies below /proc/sys."""
    mask = "mount --bind /proc/sys /proc/sys && exec setpriv --reuid 65533 --regid 65533 "
    shell = ["unshare", "--mount", "sh", "-c", mask + '--clear-groups "$@"', "sh"]
    python = "/usr/bin/python3"
    command = [*shell, python, "-I", "-S", str(MAIN)]
    if not os.access(python, os.X_OK) or not all(p.stat().st_mode & 1 for p in MAIN.parents):
        pytest.skip("an ordinary user cannot reach an interpreter")
    result = subprocess.run(
        command, capture_output=True, env={"PATH": os.environ["PATH"]}, check=True
    )
    answer = json.loads(result.stdout)["levels"]["full"]
    states = {record["layer"]: record["state"] for record in answer["records"]}
    assert answer["ok"], answer
    assert states["proc"] == "degraded"
