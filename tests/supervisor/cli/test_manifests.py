"""Manifests as files: YAML, JSON, folders, several documents, code from files beside them."""

import base64
import json

import click
import pytest
from click.testing import CliRunner

from workmanager.cli.commands.worker_create import Definition, manifest_of
from workmanager.cli.manifests import load_manifests, parse_documents
from workmanager.cli.root import root

WORKER = "kind: Worker\nmetadata: {name: %s}\nspec: {code: {file: ./x.py}}\n"


def write(folder, name, text):
    (folder / name).write_text(text)
    return str(folder / name)


def test_code_file_is_read_beside_the_manifest(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    write(tmp_path, "x.py", "def process(event): ...")
    [manifest] = load_manifests([write(tmp_path, "w.yaml", WORKER % "a")])
    spec = manifest.document["spec"]
    assert base64.b64decode(spec["code"]["content"]) == b"def process(event): ..."
    assert "file" not in spec["code"]
    assert spec["engine"] == "text/x-python"


def test_engine_that_is_named_wins_over_the_suffix(tmp_path):
    write(tmp_path, "x.py", "")
    text = "metadata: {name: a}\nspec: {engine: text/x-other, code: {file: x.py}}"
    [manifest] = load_manifests([write(tmp_path, "w.yaml", text)])
    assert manifest.document["spec"]["engine"] == "text/x-other"


def test_documents_folders_and_json(tmp_path):
    write(tmp_path, "x.py", "")
    write(tmp_path, "1.yaml", "---\n" + WORKER % "a" + "---\n# nothing\n---\n" + WORKER % "b")
    write(tmp_path, "2.json", json.dumps({"metadata": {"name": "c"}, "spec": {}}))
    write(tmp_path, "notes.txt", "not a manifest")
    assert [manifest.name for manifest in load_manifests([str(tmp_path)])] == ["a", "b", "c"]


def test_yaml_means_what_it_means_to_the_service():
    """`no` and dates are text, as in YAML 1.2; numbers and true are not."""
    [document] = parse_documents(b"{a: no, b: 2026-11-21, c: 1, d: true, e: null}")
    assert document == {"a": "no", "b": "2026-11-21", "c": 1, "d": True, "e": None}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- a\n", "a manifest is a mapping"),
        ("kind: Job\nmetadata: {name: a}\n", "'Job' is not known"),
        ("kind: Worker\n", "metadata.name: is required"),
        ("metadata: {name: a}\nmetadata: {name: b}\n", "line 2, column 1"),
        ("a: [1\n", "line 2, column 1"),
        ("metadata: {name: a}\nspec: {code: {file: none.py}}\n", "No such file"),
        ("metadata: {name: a}\nspec: {code: {file: x, url: y}}\n", "one of file, content and url"),
        ("# only a comment\n", "no manifest is in there"),
        ("\udcff", "utf-8"),
    ],
)
def test_what_is_no_manifest_is_refused_with_its_place(tmp_path, text, fault):
    (tmp_path / "w.yaml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(click.UsageError) as caught:
        load_manifests([str(tmp_path / "w.yaml")])
    assert fault in caught.value.message
    assert "w.yaml" in caught.value.message


def test_all_faults_of_all_files_are_told(tmp_path):
    first = write(tmp_path, "1.yaml", "kind: Worker\n---\n- a\n")
    second = write(tmp_path, "x.py", "")
    with pytest.raises(click.UsageError) as caught:
        load_manifests([first, second])
    message = caught.value.message
    assert "1.yaml, document 1: metadata.name" in message
    assert "1.yaml, document 2: a manifest is a mapping" in message
    assert "worker create NAME --code" in message


def test_broken_manifest_ends_with_usage_before_anything_is_sent(tmp_path):
    path = write(tmp_path, "w.yaml", "- a\n")
    result = CliRunner().invoke(root, ["--target", "/none", "worker", "apply", "-f", path])
    assert result.exit_code == 2


def test_manifest_of_options_leaves_out_what_was_not_given(tmp_path):
    code = write(tmp_path, "x.cs", "class A {}")
    blank = {"url": "", "engine": "", "handler": "", "python": "", "group": "", "output_topic": ""}
    definition = Definition(**blank, code=code, topics=["t"], executors=None, env=[], labels=[])
    manifest = manifest_of("a", definition)
    assert manifest["metadata"] == {"name": "a"}
    assert set(manifest["spec"]) == {"engine", "code", "triggers"}
    assert manifest["spec"]["engine"] == "text/x-csharp"


def test_manifest_of_options_is_what_the_service_takes(tmp_path):
    from workmanager.model.manifest import parse_manifest

    code = write(tmp_path, "x.py", "def process(event): ...")
    definition = Definition(
        code=code,
        url="",
        engine="",
        handler="process",
        python="",
        topics=["in", "more"],
        output_topic="out",
        group="g",
        executors=2,
        env=[("A", "1")],
        labels=[("team", "x")],
    )
    assert parse_manifest(manifest_of("a", definition))


@pytest.mark.parametrize(
    "words", [["a"], ["a", "--code", "x", "--url", "y"], ["a", "-f", "w.yaml"], ["--code", "none"]]
)
def test_create_wants_one_source_of_code(words):
    assert CliRunner().invoke(root, ["worker", "create", *words]).exit_code == 2
