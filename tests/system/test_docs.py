"""Every code block of README.md and docs/ does what it says.

The first word behind the fence says how a block is tried, a second one names a file:

    bash     is run and must succeed
    console  lines after "$ " are run ("> " goes on with one); what they write must be what stands
             below them, where "..." stands for anything
    python   is run; with a file name it is written, and must load as a worker if it has a handler
    yaml     must be a manifest or a part of a `spec`; with a file name it is written
    json     must be JSON; with a file name it is written
    toml     must be settings of the service; with a file name it is written
    text     is not tried

All blocks of one file share a folder and a service of their own, which they call by its usual
address.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml
from system_harness import manifest, serving

from workmanager.cli.manifests import load_manifests
from workmanager.config import load_settings
from workmanager.model.spec import WorkerSpec, parse_manifest

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
USUAL = "127.0.0.1:5001"
LIMIT_S = 60
HANDLER = re.compile(r"^(async )?def (process|Process|process_batch)\(", re.MULTILINE)
FENCE = re.compile(r"^( *)```(\w*) ?(\S*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("curl") is None, reason="the examples call curl"),
]


@dataclass(frozen=True)
class Block:
    """One fenced block; *place* is its file and line."""

    place: str
    language: str
    file: str
    text: str


def blocks_of(path):
    text = path.read_text()
    for match in FENCE.finditer(text):
        indent, language, file, body = match.groups()
        lines = [line.removeprefix(indent) for line in body.splitlines(keepends=True)]
        line = text.count("\n", 0, match.start()) + 1
        yield Block(f"{path.relative_to(ROOT)}:{line}", language, file, "".join(lines))


class Reader:
    """Does with the blocks of one file what a reader would do."""

    def __init__(self, service, client, folder):
        self.service = service
        self.client = client
        self.folder = folder
        self.address = service.url.removeprefix("http://")
        self.environ = self._environ()

    def _environ(self):
        bin_folder = self.folder.parent / "bin"
        bin_folder.mkdir()
        for name in ("workmanager", "wm"):
            write_script(bin_folder / name, "-m workmanager.cli")
        for name in ("python", "python3"):
            write_script(bin_folder / name, "")
        clean = {k: v for k, v in os.environ.items() if not k.startswith("WORKMANAGER_")}
        return clean | {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "WORKMANAGER_TARGET": self.service.url,
            "COLUMNS": "160",
            "DOCS": str(ROOT / "docs"),
            "HOME": str(self.folder),
        }

    def take(self, block):
        language = block.language or "nothing"
        attempt = getattr(self, f"_{language}", None)
        assert attempt is not None, f"a block is tagged {language}"
        if block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        attempt(block)

    def _text(self, block):
        pass

    def _bash(self, block):
        self._run(["bash", "-euo", "pipefail", "-c", self._at_home(block.text)])

    def _console(self, block):
        for command, expected in conversations(block.text):
            written = self._run(["bash", "-euo", "pipefail", "-c", self._at_home(command)])
            shown = written.replace(self.address, USUAL)
            assert matches(expected, shown), f"{command}\nwrote:\n{shown}\nnot:\n{expected}"

    def _python(self, block):
        if not block.file:
            self._run([sys.executable, "-W", "error", "-c", self._at_home(block.text)])
        elif HANDLER.search(block.text):
            worker = self.client.post("/v1/workers", manifest("example", block.text))
            gone = self.client.call("DELETE", f"/v1/workers/{worker['name']}?drain=false")
            self.client.finish(gone)
        else:
            compile(block.text, block.file, "exec")

    def _yaml(self, block):
        if block.file:
            loaded = load_manifests([str(self.folder / block.file)])
            for each in loaded:
                parse_manifest(each.document)
            return
        for part in yaml.safe_load_all(block.text):
            if "spec" in part:
                parse_manifest(part)
            else:
                WorkerSpec.model_validate(part)

    def _json(self, block):
        json.loads(block.text)

    def _toml(self, block):
        path = self.folder / (block.file or "config.toml")
        path.write_text(block.text)
        load_settings(path)

    def _at_home(self, text):
        return text.replace(USUAL, self.address)

    def _run(self, words):
        ended = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
        )
        assert ended.returncode == 0, f"exit code {ended.returncode}:\n{ended.stdout}"
        return ended.stdout


def write_script(path, words):
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
    path.chmod(0o755)


def conversations(text):
    """Split a console block into commands and what they write."""
    command, written = "", []
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, "\n".join(written)
            command, written = line[2:], []
        elif line.startswith("> ") and not written:
            command += "\n" + line[2:]
        else:
            written.append(line)
    assert command, "a console block begins with '$ '"
    yield command, "\n".join(written)


def matches(expected, written):
    """Compare line by line; "..." stands for anything, two blanks or more part columns."""
    tidy = "\n".join(line.rstrip() for line in written.strip().splitlines())
    parts = (re.escape(part) for part in expected.strip().split("..."))
    parts = (re.sub(r"(?:\\ ){2,}", " {2,}", part) for part in parts)
    return re.fullmatch(".*?".join(parts), tidy, re.DOTALL) is not None


@contextlib.contextmanager
def nothing_left_in(folder):
    """End the processes that blocks started in *folder*; without a failure there are none."""
    try:
        yield
        _, left = psutil.wait_procs(running_in(folder), timeout=10)
        assert not left, f"a block leaves processes behind: {left}"
    finally:
        for process in running_in(folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def running_in(folder):
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(folder):
                found.append(process)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_blocks(path, tmp_path):
    blocks = list(blocks_of(path))
    assert len(blocks) == path.read_text().count("```") // 2, "a fence is not closed"
    if not blocks:
        return
    folder = tmp_path / "reader"
    folder.mkdir()
    with (
        serving(tmp_path / "state") as service,
        contextlib.closing(service.client()) as client,
        nothing_left_in(folder),
    ):
        reader = Reader(service, client, folder)
        for block in blocks:
            try:
                reader.take(block)
            except Exception as error:
                raise AssertionError(f"{block.place}: {error}") from error


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_links(path):
    """Links lead to files and headings that are there."""
    for text, link in re.findall(r"\[([^\]]+)\]\(([^)\s]+)\)", path.read_text()):
        if "://" in link:
            continue
        file, _, heading = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{path.name}: {text}: {link}"
        if heading:
            assert heading in headings_of(target), f"{path.name}: {text}: {link}"


def headings_of(path):
    found = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found}


def test_every_example_loads():
    """The files in docs/examples are manifests with their code, and programs that compile."""
    folder = ROOT / "docs" / "examples"
    for each in load_manifests([str(folder)]):
        parse_manifest(each.document)
    for path in folder.glob("*.py"):
        compile(path.read_bytes(), path, "exec")
