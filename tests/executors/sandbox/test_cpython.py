"""CPython's own tests inside a sandbox: honest code does not notice it.

Modules that need neither children nor a network; each runs whole, at the strictest setting.
"""

from __future__ import annotations

import importlib.util

import pytest

MODULES = (
    *("array", "bisect", "bool", "codecs", "collections", "configparser", "contextlib", "copy"),
    *("csv", "dataclasses", "deque", "dict", "difflib", "enum", "fractions", "functools"),
    *("generators", "glob", "hashlib", "heapq", "hmac", "html", "list", "lzma", "mmap", "netrc"),
    *("operator", "pprint", "sched", "shelve", "shlex", "string", "textwrap"),
    *("time", "typing", "xml_etree", "zlib", "zoneinfo"),
)
CODE = """
import io, unittest
import test.support
suite = unittest.defaultTestLoader.loadTestsFromNames({names!r})
result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
tell([result.testsRun, [f"{{case}}: {{text}}" for case, text in result.failures + result.errors]])
"""
LIMITS = {"files": 256, "memoryBytes": 1 << 30, "fileSizeBytes": 256 << 20}
CAP_S = 240.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        importlib.util.find_spec("test.test_array") is None,
        reason="CPython's own tests are not installed",
    ),
]


def test_standard_library_passes_its_tests(jailer):
    count, failures = jailer.run(
        CODE.format(names=[f"test.test_{name}" for name in MODULES]),
        cap_s=CAP_S,
        level="full",
        limits=LIMITS,
        scratchBytes=256 << 20,
        scratchInodes=20_000,
    )
    assert failures == []
    assert count > 4000
