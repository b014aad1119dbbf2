"""The reference says what the code says: tables, routes, metrics, settings."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT / "tools"))

import write_tables  # noqa: E402 - a tool, not a package


@pytest.fixture(scope="module")
def served(shared):
    """The OpenAPI document as the running service gives it."""
    client = shared.client()
    try:
        yield client.get("/openapi.json")
    finally:
        client.close()


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_tables_are_as_the_code_has_them(path, served):
    text = path.read_text()
    assert write_tables.updated(text, served) == text, "run: make docs"
    tables = "".join(match[4] for match in write_tables._TABLE.finditer(text))
    assert "| ? |" not in tables, "a row has no meaning yet"


def test_every_route_is_in_the_reference(served):
    text = (DOCS / "rest.md").read_text()
    for path, entry in served["paths"].items():
        for method in write_tables._METHODS:
            if method in entry:
                assert f"`{method.upper()} {path}`" in text


def test_every_object_of_the_manifest_is_in_the_reference():
    text = (DOCS / "manifest.md").read_text()
    objects = write_tables.Manifest.model_json_schema(by_alias=True)["$defs"].values()
    parts = sum(part["type"] == "object" for part in objects)
    assert text.count("<!-- table: manifest") == 1 + parts


def test_every_metric_is_in_the_reference(lab):
    lab.worker("metered", "def process(event): pass")
    served = lab.client.send("GET", "/metrics")[1].decode()
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", served, re.MULTILINE))
    text = (DOCS / "observability.md").read_text()
    kind = "counter|gauge|histogram|summary"
    documented = dict(re.findall(rf"^\| `(\w+)` \| ({kind}) \|", text, re.MULTILINE))
    dapr = {name for name in documented if name.startswith("workmanager_dapr_")}
    kinds |= {name: documented[name] for name in dapr}  # served with that backend only
    assert documented == kinds
