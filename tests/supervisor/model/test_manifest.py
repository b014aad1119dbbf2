import base64
import json
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workmanager.errors import ManifestError
from workmanager.model.spec import dump_manifest, parse_manifest, patch_manifest

CONTENT = base64.b64encode(b"def Process(event): return None").decode()


def manifest(name="orders", **spec):
    return {
        "apiVersion": "workmanager/v1",
        "kind": "Worker",
        "metadata": {"name": name},
        "spec": {"code": {"content": CONTENT}, **spec},
    }


def faults(raw, **keywords):
    with pytest.raises(ManifestError) as caught:
        parse_manifest(raw, **keywords)
    assert caught.value.faults[0].detail in str(caught.value)
    return {fault.pointer: fault.detail for fault in caught.value.faults}


def test_full_manifest_is_read():
    found = parse_manifest(manifest(triggers=[{"topic": "in"}], group="g"))
    assert found.metadata.name == "orders"
    assert found.spec.triggers[0].topic == "in"
    assert found.spec.group is not None


def test_manifest_reads_back_what_it_dumped():
    found = parse_manifest(manifest(retry={"jitter": "none"}, env={"A": "b"}))
    assert parse_manifest(json.loads(json.dumps(dump_manifest(found)))) == found


def test_null_counts_as_absent():
    raw = manifest(env=None, group=None, triggers=None, retry={"jitter": None})
    raw["metadata"]["labels"] = None
    assert parse_manifest(raw) == parse_manifest(manifest())


@pytest.mark.parametrize("metadata", [None, {}, {"name": None}, {"name": ""}])
def test_name_comes_from_the_call_else_it_is_a_new_guid(metadata):
    raw = manifest() | {"metadata": metadata}
    assert parse_manifest(raw, name="orders").metadata.name == "orders"
    assert uuid.UUID(parse_manifest(raw).metadata.name).version == 4


def test_name_must_not_contradict_the_call():
    assert parse_manifest(manifest(), name="orders").metadata.name == "orders"
    assert list(faults(manifest(), name="other")) == ["metadata.name"]


@pytest.mark.parametrize(
    ("url", "engine"),
    [
        ("https://host/a.py", "text/x-python"),
        ("https://host/A.CS?raw=1", "text/x-csharp"),
        ("https://host/a.dll#x", "text/x-dll"),
        ("https://host/a", "text/x-python"),
    ],
)
def test_engine_is_inferred_from_the_url(url, engine):
    assert parse_manifest(manifest(code={"url": url})).spec.engine == engine
    assert parse_manifest({"codeSource": {"url": url}}).spec.engine == engine
    named = manifest(code={"url": url}, engine="text/x-csharp")
    assert parse_manifest(named).spec.engine == "text/x-csharp"


def test_every_fault_is_listed_sorted_and_with_its_place():
    raw = manifest(
        timeout={},
        retry={"maxAttempts": 3, "jitter": "some"},
        env={"a b": "x", "PORT": 8080},
        triggers=[{"topic": "ok"}] * 2 + [{"topic": "no topic"}],
        handler=5,
        batch=[],
    ) | {"metadata": {"name": "Orders", "labels": {"a": "ü"}}}
    found = faults(raw)
    assert found == {
        "metadata.labels.a": "must be letters, digits and inner '.', '_', '-', at most 63",
        "metadata.name": "must be a DNS label: lower-case letters, digits, inner '-', "
        "at most 63 characters",
        "spec.batch": "must be an object",
        "spec.env['a b']": "its name must be an environment variable name: letters, digits, '_', "
        "no leading digit",
        "spec.env.PORT": "must be text; put it in quotes",
        "spec.handler": "must be text; put it in quotes",
        "spec.retry.jitter": "must be 'full' or 'none'",
        "spec.retry.maxAttempts": "is unknown; did you mean 'maximumAttempts'?",
        "spec.timeout": "is unknown; did you mean 'timeouts'?",
        "spec.triggers[2].topic": "must be a topic name: letters, digits, '.', '_', '-', "
        "at most 249, no leading '.' or '-'",
    }
    assert list(found) == sorted(found)


def test_places_are_sorted_by_number():
    found = faults(manifest(triggers=[{"topic": "!"}] * 12))
    assert list(found) == [f"spec.triggers[{index}].topic" for index in range(12)]


def test_unknown_field_far_from_any_known_lists_them():
    assert (
        "known are executors, perExecutor" in faults(manifest(concurrency={"zzz": 1})).popitem()[1]
    )


def test_manifest_needs_code():
    for code in (None, {}, {"content": ""}, {"content": None, "url": ""}):
        assert list(faults(manifest(code=code))) == ["spec.code"]
    known = {"digest": "sha256:" + "0" * 64}
    assert parse_manifest(manifest(code=known)).spec.code.digest


def test_faults_are_bounded():
    found = faults(manifest(**{f"field{index}": 1 for index in range(20_000)}))
    assert len(found) == 101
    assert "19900 more" in found[""]


@pytest.mark.parametrize(
    "body",
    [
        {"codeSource": {"Content": CONTENT}},
        {"codesource": {"content": CONTENT}},
        {"CODESOURCE": {"CONTENT": CONTENT, "URL": None}},
        {"CodeSource": {"Content": CONTENT, "Url": ""}, "MimeType": "", "Topic": "", "Group": ""},
        {"codeSource": {"content": CONTENT}, "topic": None, "group": None, "name": None},
    ],
)
def test_seed_body_works_as_it_stands(body):
    found = parse_manifest(body)
    assert uuid.UUID(found.metadata.name).version == 4
    assert found.spec.engine == "text/x-python"
    assert found.spec.code.content == CONTENT
    assert found.spec.triggers == ()
    assert found.spec.group is None


def test_seed_body_with_all_its_fields():
    body = {
        "codeSource": {"Content": CONTENT},
        "mimetype": "application/x-dotnet-dll",
        "Topic": "in",
        "GROUP": "g",
        "name": "orders",
    }
    found = parse_manifest(body)
    assert found.metadata.name == "orders"
    assert found.spec.engine == "text/x-dll"
    assert found.spec.triggers[0].topic == "in"
    assert found.spec.group is not None
    assert found.spec.group.name == "g"


def test_faults_of_a_seed_body_have_its_own_names():
    body = {
        "CodeSource": {"content": "%", "Contents": ""},
        "Topic": "no topic",
        "TOPIC": "x",
        "grp": "g",
        "MimeType": 5,
    }
    assert set(faults(body)) == {
        "CodeSource.content",
        "CodeSource.Contents",
        "Topic",
        "TOPIC",
        "grp",
        "MimeType",
    }
    assert set(faults({"codeSource": {}})) == {"codeSource"}
    assert set(faults({"codeSource": "x"})) == {"codeSource"}


def test_patch_changes_what_it_names_and_null_resets():
    base = parse_manifest(manifest(group="g", env={"A": "1", "B": "2"}))
    patch = {"spec": {"group": None, "env": {"A": None}, "retry": {"maximumAttempts": 7}}}
    patched = patch_manifest(base, patch)
    assert patched.spec.group is None
    assert patched.spec.env == {"B": "2"}
    assert patched.spec.retry.maximum_attempts == 7
    assert patched.spec.code == base.spec.code


def test_patch_with_new_code_drops_the_old_digest_and_url():
    pinned = {"url": "https://host/a.py", "digest": "sha256:" + "0" * 64}
    base = parse_manifest(manifest(code=pinned))
    patched = patch_manifest(base, {"spec": {"code": {"content": CONTENT}}})
    assert (patched.spec.code.url, patched.spec.code.digest) == ("", "")


@pytest.mark.parametrize("patch", [[], None, 5, {"metadata": {"name": "other"}}, {"spec": None}])
def test_patch_that_makes_no_worker_is_refused(patch):
    with pytest.raises(ManifestError):
        patch_manifest(parse_manifest(manifest()), patch)


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"spec": value}
    return value


def looped():
    value = {"metadata": {}}
    value["spec"] = value
    return value


@pytest.mark.parametrize("make", [lambda: nested(100_000), looped], ids=["deep", "looped"])
def test_hostile_nesting_is_refused(make):
    assert "deep" in faults(make())[""]
    with pytest.raises(ManifestError):
        patch_manifest(parse_manifest(manifest()), make())


def test_shared_parts_do_not_unfold():
    """A YAML document of ten aliases to ten aliases ... must not cost what it stands for."""
    value = ["x"]
    for _ in range(40):
        value = [value] * 10
    assert "spec.env" in faults(manifest(env=value))
    found = faults(manifest(triggers=[{"topic": "t", "filters": value}]))
    assert "spec.triggers[0].filters" in found


KEYS = st.sampled_from(
    [
        "apiVersion",
        "kind",
        "metadata",
        "name",
        "labels",
        "spec",
        "code",
        "content",
        "url",
        "digest",
        "triggers",
        "topic",
        "filters",
        "all",
        "any",
        "not",
        "exact",
        "group",
        "key",
        "timeouts",
        "heartbeat",
        "startToClose",
        "retry",
        "env",
        "isolation",
        "ports",
        "outputs",
        "copy",
        "codeSource",
        "Content",
        "mimeType",
        "inbox",
        "maxBytes",
        "engine",
        "python",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["", "1s", "10Mi", CONTENT, "text/x-python", "http://[", "\ud800", "\0"])
    | st.just(10**400)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(), inner, max_size=5)
    ),
    max_leaves=30,
)
SPECS = st.fixed_dictionaries(
    {"spec": st.dictionaries(KEYS, VALUES, max_size=6)}, optional={"metadata": VALUES}
)
SEEDS = st.fixed_dictionaries(
    {"codeSource": VALUES},
    optional={"topic": VALUES, "Group": VALUES, "mimeType": VALUES, "name": VALUES},
)


@settings(max_examples=300, deadline=None)
@given(VALUES | SPECS | SEEDS)
def test_any_json_value_gives_a_manifest_or_faults(value):
    try:
        found = parse_manifest(value)
    except ManifestError as error:
        json.dumps([[fault.pointer, fault.detail] for fault in error.faults]).encode()
        "".join(f"{fault.pointer}{fault.detail}" for fault in error.faults).encode()
        str(error).encode()
        assert error.faults  # noqa: PT017 - both ways out are asserted
    else:
        assert parse_manifest(dump_manifest(found)) == found


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_any_json_value_as_patch_gives_a_manifest_or_faults(value):
    base = parse_manifest(manifest())
    try:
        patched = patch_manifest(base, {"spec": value})
    except ManifestError as error:
        assert error.faults  # noqa: PT017
    else:
        assert patched.metadata.name == "orders"
