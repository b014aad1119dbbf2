"""Generates from proto/: Python code into supervisor/, and the reference docs/grpc.md.

`make proto` runs it; a test runs it into a temporary folder and compares. Everything generated is
committed and never edited.
"""

from __future__ import annotations

import argparse
import sys
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

sys.path.insert(0, str(Path(__file__).parent))
from proto_reference import write_reference

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
CODE = Path("supervisor")
REFERENCE = Path("docs/grpc.md")
PACKAGES = ("workmanager/v1", "workmanager/cloudevents/v1")
INIT = '"""Generated from proto/{package} by `make proto`; import its modules."""\n'


def generate(out: Path) -> FileDescriptorSet:
    """Generate everything below the folder *out*; returns what the proto files declare."""
    (out / CODE).mkdir(parents=True, exist_ok=True)
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    with TemporaryDirectory() as folder:
        described = Path(folder) / "files"
        _protoc(out / CODE, described, sources)
        found = FileDescriptorSet.FromString(described.read_bytes())
    for package in PACKAGES:
        for part in (package, str(Path(package).parent)):
            if part != "workmanager":
                (out / CODE / part / "__init__.py").write_text(INIT.format(package=part))
    _drop_empty_services(out / CODE)
    reference = out / REFERENCE
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(write_reference(found), encoding="utf-8")
    return found


def _protoc(code: Path, described: Path, sources: list[str]) -> None:
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={PROTO}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--python_out={code}",
            f"--grpc_python_out={code}",
            f"--mypy_out=quiet:{code}",
            f"--mypy_grpc_out=quiet:{code}",
            *_plugins("mypy", "mypy_grpc"),
            f"--descriptor_set_out={described}",
            "--include_source_info",
            *sources,
        ]
    )
    if status:
        raise SystemExit(f"protoc failed with status {status}")


def _plugins(*names: str) -> list[str]:
    """Name the plugins beside the interpreter: its folder need not be on PATH."""
    folder = Path(sys.executable).parent
    return [f"--plugin=protoc-gen-{name}={folder / f'protoc-gen-{name}'}" for name in names]


def _drop_empty_services(code: Path) -> None:
    """Remove the gRPC modules of files that declare no service."""
    for path in code.rglob("*_pb2_grpc.py"):
        if "class " not in path.read_text():
            path.unlink()
            path.with_suffix(".pyi").unlink(missing_ok=True)


def main() -> None:
    """Generate into the checkout, or below the folder that --out names."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, default=ROOT)
    generate(options.parse_args().out)


if __name__ == "__main__":
    main()
