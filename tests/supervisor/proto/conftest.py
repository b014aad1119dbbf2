"""What the proto files declare, with their comments: everything generated anew, once."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    """Generate into a folder of its own; `found` is what protoc read, `out` where it wrote."""
    sys.path.insert(0, str(ROOT / "tools"))
    import generate_proto
    import proto_reference

    out = tmp_path_factory.mktemp("generated")
    found = generate_proto.generate(out)
    return SimpleNamespace(found=found, out=out, reference=proto_reference, root=ROOT)
