"""Which rlimits a profile means."""

from __future__ import annotations

import resource

from workmanager_executor.sandbox.limits import bounds_for, describe_memory, steps

MIB, GIB = 1 << 20, 1 << 30


def bounds(limits=None, **options):
    return dict(bounds_for(limits or {}, **options))


def test_nothing_to_lock_to_dump_or_to_rise_with():
    found = bounds()
    for name in ("MEMLOCK", "MSGQUEUE", "NICE", "RTPRIO"):
        assert found[getattr(resource, f"RLIMIT_{name}")] == 0
    assert found[resource.RLIMIT_CORE] == 1  # 0 would not stop a pipe, core(5)
    assert found[resource.RLIMIT_SIGPENDING] == 256


def test_processes_are_counted_only_where_the_count_is_ones_own():
    assert resource.RLIMIT_NPROC not in bounds({"processes": 5})
    assert bounds({"processes": 5}, own_processes=True)[resource.RLIMIT_NPROC] == 5
    assert bounds(own_processes=True)[resource.RLIMIT_NPROC] == 64
    assert bounds(own_processes=True, engine="dotnet")[resource.RLIMIT_NPROC] == 128


def test_memory_is_bounded_twice():
    found = bounds({"memoryBytes": 256 * MIB})
    assert found[resource.RLIMIT_DATA] == 256 * MIB
    assert found[resource.RLIMIT_AS] == 2 * GIB
    assert bounds({"memoryBytes": 4 * GIB})[resource.RLIMIT_AS] == 5 * GIB


def test_dotnet_gets_room_to_start():
    found = bounds({"memoryBytes": 256 * MIB}, engine="dotnet")
    assert found[resource.RLIMIT_DATA] == 768 * MIB
    assert found[resource.RLIMIT_AS] == 8 * GIB


def test_a_memory_cgroup_frees_the_address_space():
    found = bounds({"memoryBytes": 256 * MIB, "addressSpaceBytes": 0})
    assert resource.RLIMIT_AS not in found
    assert found[resource.RLIMIT_DATA] == 256 * MIB


def test_memory_without_a_limit_is_told():
    assert describe_memory(bounds_for({})) == ""
    assert "RLIMIT_DATA 1048576" in describe_memory(bounds_for({"memoryBytes": MIB}))


def test_a_lower_hard_limit_stays():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    (step,) = steps([(resource.RLIMIT_NOFILE, hard + 1)])
    assert step.arguments == (resource.RLIMIT_NOFILE, (hard, hard))
