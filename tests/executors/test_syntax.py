"""What runs in a worker's own interpreter parses on Python 3.8, msgpack's fallback included."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import msgpack
import pytest

import workmanager_executor

OUR_FILES = sorted(Path(workmanager_executor.__file__).parent.rglob("*.py"))
MSGPACK_FILES = sorted(Path(msgpack.__file__).parent.glob("*.py"))
ALLOWED = {*sys.stdlib_module_names, "workmanager_executor", "msgpack", "_workmanager_msgpack"}


@pytest.mark.parametrize("path", [*OUR_FILES, *MSGPACK_FILES], ids=lambda path: path.name)
def test_file_parses_on_python_3_8(path):
    ast.parse(path.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("path", OUR_FILES, ids=lambda path: path.name)
def test_file_imports_only_standard_library_and_msgpack(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        for name in names:
            assert name.partition(".")[0] in ALLOWED, f"line {node.lineno}: {name}"
