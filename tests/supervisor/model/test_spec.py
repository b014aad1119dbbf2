import json

import pytest
from pydantic import ValidationError

from workmanager.model.spec import Filter, Ordering, WorkerSpec


def faults(raw):
    with pytest.raises(ValidationError) as caught:
        WorkerSpec.model_validate(raw, by_alias=True, by_name=False)
    return {".".join(map(str, line["loc"])): line["msg"] for line in caught.value.errors()}


def test_defaults_are_those_of_the_manifest_reference():
    spec = WorkerSpec()
    assert spec.engine == "text/x-python"
    assert spec.retry.maximum_attempts == 5
    assert spec.timeouts.start_to_close_s == 60
    assert spec.dead_letter.retention_s == 14 * 86_400
    assert spec.inbox.max_bytes == 256 * 2**20
    assert spec.resources.memory_max_bytes == 256 * 2**20
    assert spec.isolation.network == "none"
    assert spec.group is None


def test_wire_names_are_camel_case_without_units_and_values_are_numbers():
    spec = WorkerSpec.model_validate(
        {
            "timeouts": {"startToClose": "5m"},
            "resources": {"memoryMax": "64Mi"},
            "inbox": {"maxBytes": "10k"},
            "outputs": {"copy": ["subject"]},
        }
    )
    wire = spec.model_dump(mode="json", by_alias=True)
    assert wire["timeouts"]["startToClose"] == 300.0
    assert wire["resources"]["memoryMax"] == 64 * 2**20
    assert wire["inbox"]["maxBytes"] == 10_000
    assert wire["outputs"]["copy"] == ["subject"]
    assert "startSeconds" in wire["restart"]
    assert WorkerSpec.model_validate(json.loads(json.dumps(wire))) == spec


def test_schema_states_bounds_and_both_forms_of_a_duration():
    schema = WorkerSpec.model_json_schema(by_alias=True)["$defs"]["Timeouts"]["properties"]
    assert schema["startToClose"] == {
        "anyOf": [{"type": "number"}, {"type": "string"}],
        "default": 60.0,
        "minimum": 0.001,
        "maximum": 365 * 86_400,
    }


def test_specification_is_immutable():
    with pytest.raises(ValidationError, match="frozen"):
        WorkerSpec().handler = "x"


def test_snake_case_is_no_wire_name():
    assert "timeouts.start_to_close_s" in faults({"timeouts": {"start_to_close_s": 5}})


@pytest.mark.parametrize(
    ("raw", "name"),
    [("g", "g"), ({"name": "g"}, "g"), ({"name": "g", "key": "event.subject"}, "g")],
)
def test_group_has_a_short_and_a_long_form(raw, name):
    group = WorkerSpec.model_validate({"group": raw}).group
    assert group is not None
    assert group.name == name
    assert (group.limit, group.delivery, group.scope) == (1, "once", "auto")


@pytest.mark.parametrize("raw", ["", None])
def test_empty_group_is_no_group(raw):
    assert WorkerSpec.model_validate({"group": raw}).group is None


def test_engine_alias_is_resolved():
    assert WorkerSpec(engine="Application/X-DotNet-DLL").engine == "text/x-dll"
    assert WorkerSpec(engine="text/x-python; charset=utf-8").engine == "text/x-python"


@pytest.mark.parametrize(
    "handler", ["f", "m:f", "N.Outer+Type.Run", "N.Type::Run", "My-App.Core::N.Type::Run"]
)
def test_handler_of_every_engine(handler):
    assert WorkerSpec(handler=handler).handler == handler


def test_ordering_by_key_defaults_to_partitionkey():
    assert Ordering(mode="key").key_expression == "partitionkey"
    assert Ordering(mode="key", key="event.subject").key_expression == "event.subject"
    assert Ordering(mode="strict").key_expression == ""


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ({"timeouts": {"heartbeat": "60s"}}, "timeouts.heartbeat"),
        ({"timeouts": {"startToClose": "2h"}}, "timeouts.startToClose"),
        ({"timeouts": {"scheduleToStart": "2h"}}, "timeouts.scheduleToStart"),
        ({"timeouts": {"startToClose": 0}}, "timeouts.startToClose"),
        ({"retry": {"initialInterval": "2m"}}, "retry.initialInterval"),
        ({"retry": {"maximumAttempts": 0}}, "retry.maximumAttempts"),
        ({"retry": {"maximumAttempts": True}}, "retry.maximumAttempts"),
        ({"retry": {"maximumAttempts": "5"}}, "retry.maximumAttempts"),
        ({"batch": {"window": "1s"}}, "batch.window"),
        ({"batch": {"bisectOnError": "yes"}}, "batch.bisectOnError"),
        ({"batch": {"size": 2}, "handler": "m:process"}, "batch.size"),
        ({"batch": {"size": 2}, "group": {"name": "g", "key": "subject"}}, "batch.size"),
        ({"ordering": {"key": "subject"}}, "ordering.key"),
        ({"ordering": {"mode": "key", "key": "event.data.x"}}, "ordering.key"),
        ({"rateLimit": {"burst": 5}}, "rateLimit.burst"),
        ({"triggers": [{"topic": "a b"}]}, "triggers.0.topic"),
        ({"triggers": [{"topic": "a"}, {"topic": "a"}]}, "triggers.1.topic"),
        ({"triggers": [{}]}, "triggers.0.topic"),
        ({"outputs": {"copy": ["id"]}}, "outputs.copy.0"),
        ({"python": "venv/bin/python"}, "python"),
        ({"python": "/usr/bin/python3", "engine": "text/x-csharp"}, "python"),
        ({"handler": "a:b:c"}, "handler"),
        ({"handler": "A::B::C::D"}, "handler"),
        ({"handler": "A::B-C::D"}, "handler"),
        ({"handler": "A::"}, "handler"),
        ({"handler": "os.system('x')"}, "handler"),
        ({"engine": "python"}, "engine"),
        ({"code": {"content": "%%"}}, "code.content"),
        ({"code": {"content": "YQ==", "url": "https://a/b.py"}}, "code.url"),
        ({"code": {"url": "file:///etc/passwd"}}, "code.url"),
        ({"code": {"url": "http://u:p@host/a.py"}}, "code.url"),
        ({"code": {"url": "http://host:99999/"}}, "code.url"),
        ({"code": {"url": "http://[::1"}}, "code.url"),
        ({"code": {"digest": "sha256:12"}}, "code.digest"),
        ({"isolation": {"network": "ports"}}, "isolation.ports"),
        ({"isolation": {"ports": [80]}}, "isolation.ports"),
        ({"isolation": {"readPaths": ["../x"]}}, "isolation.readPaths.0"),
        ({"probes": {"liveness": {"period": 1, "timeout": 2}}}, "probes.liveness.timeout"),
        ({"restart": {"backoffInitial": "2m"}}, "restart.backoffInitial"),
        ({"resources": {"memoryMax": "1Mi"}}, "resources.memoryMax"),
        ({"resources": {"cpuMax": float("nan")}}, "resources.cpuMax"),
        ({"env": {"A": 1}}, "env.A"),
        ({"env": {"A": "x\0"}}, "env"),
        ({"env": {"A": "x" * 200_000}}, "env"),
        ({"desiredState": "running"}, "desiredState"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_each_fault_is_found_at_its_place(raw, where):
    assert list(faults(raw)) == [where]


def test_rules_between_fields_are_told_beside_other_faults():
    """A broken field hides no rule that does not read it."""
    found = faults(
        {
            "timeouts": {"heartbeat": "2m", "start": "soon"},
            "batch": {"size": 5},
            "handler": "m:Process",
            "env": {"A": 3},
        }
    )
    assert set(found) == {"timeouts.heartbeat", "timeouts.start", "batch.size", "env.A"}


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"exact": {"type": "a"}, "prefix": {"type": "a"}},
        {"exact": {}},
        {"exact": {"Type": "a"}},
        {"exact": {"type": ""}},
        {"all": []},
        {"sql": "x"},
        {"not": {}},
    ],
)
def test_filter_holds_exactly_one_dialect(raw):
    assert faults({"triggers": [{"topic": "t", "filters": [raw]}]})


def test_filter_goes_out_as_it_came():
    raw = {"all": [{"not": {"exact": {"type": "a"}}}, {"any": [{"suffix": {"subject": ".x"}}]}]}
    assert Filter.model_validate(raw).model_dump(mode="json", by_alias=True) == raw


def test_filters_are_bounded_in_depth_and_number():
    deep = {"exact": {"type": "a"}}
    for _ in range(100_000):
        deep = {"not": deep}
    assert "deep" in faults({"triggers": [{"topic": "t", "filters": [deep]}]})["triggers.0.filters"]
    many = [{"any": [{"exact": {"type": "a"}}] * 200}] * 20
    found = faults({"triggers": [{"topic": "t", "filters": many}]})
    assert "at most" in found["triggers.0.filters"]
