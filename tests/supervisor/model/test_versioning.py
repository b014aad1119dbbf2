import base64

import pytest

from workmanager.errors import CodeError, Reason
from workmanager.model.diff import diff_specs
from workmanager.model.spec import (
    VERSION_FIELDS,
    Code,
    WorkerSpec,
    digest_of,
    put_code,
    spec_digest,
    take_code,
)

BODY = b"def Process(event): pass"
CONTENT = base64.encodebytes(BODY).decode()  # with line breaks, as base64(1) writes it
OTHER = "sha256:" + "0" * 64


def spec_of(**fields):
    return WorkerSpec.model_validate({"code": {"digest": digest_of(BODY)}, **fields})


def changes(old, new):
    return {change.path: (change.old, change.new) for change in diff_specs(old, new)}


def test_code_is_cut_out_and_named_by_its_digest():
    spec, body = take_code(WorkerSpec(code=Code(content=CONTENT)))
    assert body == BODY
    assert (spec.code.content, spec.code.digest) == ("", digest_of(BODY))
    assert take_code(spec) == (spec, None)


def test_fetched_code_keeps_its_url():
    spec = put_code(WorkerSpec(code=Code(url="https://host/a.py")), BODY)
    assert spec.code == Code(url="https://host/a.py", digest=digest_of(BODY))


@pytest.mark.parametrize("source", [{"content": CONTENT}, {"url": "https://host/a.py"}])
def test_pinned_digest_must_match(source):
    spec = WorkerSpec.model_validate({"code": {**source, "digest": OTHER}})
    with pytest.raises(CodeError, match=OTHER) as caught:
        put_code(take_code(spec)[0], BODY)
    assert caught.value.reason is Reason.DIGEST_MISMATCH


def test_digest_is_stable():
    """It names stored versions: another value here means every worker is swapped on upgrade."""
    expected = "sha256:51965777d925ee02f8eefd470f90a2b35411379667f5b865147116ddf0230e2e"
    assert spec_digest(spec_of()) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"engine": "text/x-csharp"},
        {"handler": "m:f"},
        {"python": "/opt/venv"},
        {"code": {"digest": OTHER}},
        {"env": {"A": "1"}},
        {"resources": {"memoryMax": "64Mi"}},
        {"isolation": {"network": "full"}},
        {"group": "g"},
        {"batch": {"size": 2}},
        {"concurrency": {"perExecutor": 2}},
        {"timeouts": {"startToClose": 5}},
        {"retry": {"maximumAttempts": 7}},
        {"outputs": {"maxPerTask": 1}},
    ],
)
def test_version_fields_make_a_new_version(fields):
    assert spec_digest(spec_of(**fields)) != spec_digest(spec_of())


@pytest.mark.parametrize(
    "fields",
    [
        {"triggers": [{"topic": "t"}]},
        {"concurrency": {"executors": 4}},
        {"retry": {"initialInterval": 5}},
        {"rateLimit": {"limit": 5}},
        {"desiredState": "STOPPED"},
        {"code": {"digest": digest_of(BODY), "url": "https://elsewhere/a.py"}},
        {"drain": {"gracePeriod": 1}},
    ],
)
def test_other_fields_do_not(fields):
    assert spec_digest(spec_of(**fields)) == spec_digest(spec_of())


def test_every_version_field_exists():
    wire = spec_of(group="g").model_dump(mode="json", by_alias=True)
    for path in VERSION_FIELDS:
        value = wire
        for key in path.split("."):
            value = value[key]


def test_order_of_env_does_not_matter():
    one, two = spec_of(env={"A": "1", "B": "2"}), spec_of(env={"B": "2", "A": "1"})
    assert spec_digest(one) == spec_digest(two)


def test_digest_needs_resolved_code():
    with pytest.raises(ValueError, match="no digest yet"):
        spec_digest(WorkerSpec(code=Code(url="https://host/a.py")))


def test_diff_names_each_changed_field():
    old = spec_of(triggers=[{"topic": "a"}], env={"A": "1"})
    new = spec_of(
        triggers=[{"topic": "b"}, {"topic": "c"}],
        env={"B": "2"},
        retry={"maximumAttempts": 7},
        group="g",
    )
    found = changes(old, new)
    assert found.pop("group")[0] is None
    assert found == {
        "env.A": ("1", None),
        "env.B": (None, "2"),
        "retry.maximumAttempts": (5, 7),
        "triggers[0].topic": ("a", "b"),
        "triggers[1]": (None, {"topic": "c", "filters": []}),
    }


def test_diff_of_equals_is_empty():
    assert diff_specs(spec_of(), spec_of()) == []


def test_inline_code_is_compared_by_digest():
    stored = spec_of()
    assert changes(stored, WorkerSpec(code=Code(content=CONTENT))) == {}
    other = base64.b64encode(b"other").decode()
    found = changes(stored, WorkerSpec(code=Code(content=other)))
    assert found == {"code.digest": (digest_of(BODY), digest_of(b"other"))}


def test_unpinned_url_counts_as_unchanged_until_fetched():
    stored = put_code(WorkerSpec(code=Code(url="https://host/a.py")), BODY)
    assert changes(stored, WorkerSpec(code=Code(url="https://host/a.py"))) == {}
    assert "code.url" in changes(stored, WorkerSpec(code=Code(url="https://host/b.py")))
