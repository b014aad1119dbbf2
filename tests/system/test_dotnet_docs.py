"""The C# of the README, guides and examples runs; the other blocks are tried by test_docs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from system_harness import Lab, event, manifest, until

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```text (\S+\.cs)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SENT = {
    "hello.cs": ({"name": "Ada"}, [{"text": "Hello Ada!"}]),
    "tax.cs": ({"item": "tea", "net": 10}, [{"item": "tea", "gross": 12}]),
    "stream.cs": ("a b", ["a", "b"]),
    "counted.cs": (None, [{"greeting": "hello", "seen": 1}]),
    "batch.cs": (3, [{"total": 3, "of": 1}]),
    "orders.cs": ({"total": 5}, [{"total": 5}]),
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(dotnet, engine_service):
    return engine_service


GUIDES = "".join((ROOT / n).read_text() for n in ("README.md", "docs/csharp.md", "docs/dll.md"))
BLOCKS = BLOCK.findall(GUIDES)


@pytest.mark.parametrize(("name", "code"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_worker_of_a_guide(lab, name, code):
    data, expected = SENT[name]
    made = manifest(lab.name("a"), code, engine="text/x-csharp")
    lab.client.post("/v1/workers", made)
    headers = {"content-type": "application/cloudevents+json"}
    path = f"/v1/workers/{lab.name('a')}:invoke"
    answer = lab.client.post(path, event(data, id=name), headers=headers)
    found = [output["data"] for output in answer["outputs"]]
    assert [one.get("word", one) for one in found] == expected
    lab.client.call("DELETE", f"/v1/workers/{lab.name('a')}?drain=false")


def test_chain_of_the_examples(shared):
    """Applied from its files by the command line, as a reader would."""
    lab = Lab(shared)
    words = [sys.executable, "-m", "workmanager.cli", "worker", "apply", "-f", "chain.yaml"]
    done = subprocess.run(
        words,
        cwd=ROOT / "docs" / "examples" / "chain",
        env={**os.environ, "WORKMANAGER_TARGET": shared.url},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    sink = manifest(lab.name("sink"), "def process(event): print(event.data)")
    sink["spec"]["triggers"] = [{"topic": "chain.done"}]
    lab.client.post("/v1/workers", sink)
    orders = [{"item": "tea", "quantity": 2}, {"item": "cake", "quantity": 1}]
    lab.client.publish("chain.orders", [event(o, id=i) for i, o in enumerate(orders)])
    said = {"tea for 7.20", "cake for 6.00"}

    def lines():
        items = lab.client.get(f"/v1/workers/{lab.name('sink')}/logs?tail=0")["items"]
        return said <= {line["text"] for line in items}

    until(lines, what=json.dumps(sorted(said)))
    for name in ("price", "tax", "show", lab.name("sink")):
        lab.client.call("DELETE", f"/v1/workers/{name}?drain=false")
    lab.client.close()
