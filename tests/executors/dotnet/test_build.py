"""The checked-in assemblies are what their sources build to."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dotnet_fixture

REPOSITORY = dotnet_fixture.REPOSITORY
BUILD = """
import sys
sys.path[:0] = [{executors!r}, {folder!r}]
from pathlib import Path
from build import build
built = build(Path({root!r}), Path({roslyn!r}), Path({references!r}))
for name, image in built.items():
    Path({target!r}, name + ".dll").write_bytes(image)
"""


@pytest.mark.slow
def test_building_again_gives_the_same_bytes(tmp_path):
    try:
        root, roslyn = dotnet_fixture.runtime(), dotnet_fixture.roslyn()
        references = dotnet_fixture.references()
    except dotnet_fixture.UnavailableError as error:
        pytest.skip(f"the pinned compiler is not to be had: {error}")
    folder = REPOSITORY / "executors" / "dotnet"
    script = BUILD.format(
        executors=str(REPOSITORY / "executors"),
        folder=str(folder),
        root=str(root),
        roslyn=str(roslyn),
        references=str(references),
        target=str(tmp_path),
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr.decode()
    for path in sorted(tmp_path.iterdir()):
        assert path.read_bytes() == (folder / "bin" / path.name).read_bytes(), path.name
    assert len(list(tmp_path.iterdir())) == 2
