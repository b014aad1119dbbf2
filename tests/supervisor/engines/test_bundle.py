"""Zip files as foreign input; folders of the cache that are whole or not there."""

from __future__ import annotations

import io
import os
import stat
import zipfile

import pytest

from workmanager.engines import bundle
from workmanager.engines.assemblies import kind_of
from workmanager.engines.csharp import parse
from workmanager.errors import CodeError


def zipped(files, *, method=zipfile.ZIP_DEFLATED):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return packed.getvalue()


def test_files_by_path():
    assert bundle.read(zipped({"a.dll": b"1", "deep/b.dll": b"2"})) == {
        "a.dll": b"1",
        "deep/b.dll": b"2",
    }


def test_one_folder_around_all_is_left_out():
    assert bundle.read(zipped({"publish/a": b"1", "publish/b/c": b"2"})) == {"a": b"1", "b/c": b"2"}


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../a", "a/../../b", "a\\b", "a:b", "x" * 300, "/".join("a" * 20), "a\nb"],
)
def test_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(CodeError, match="no plain file below"):
        bundle.read(zipped({name: b""}))


def test_link_is_refused():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(CodeError, match="no plain file below"):
        bundle.read(packed.getvalue())


def test_bomb_is_refused_while_it_unpacks(monkeypatch):
    monkeypatch.setattr(bundle, "MAX_BYTES", 1 << 20)
    with pytest.raises(CodeError, match="unpacks to more than 1 MiB"):
        bundle.read(zipped({"a": bytes(1 << 19), "b": bytes((1 << 19) + 1)}))


def test_too_many_files_are_refused(monkeypatch):
    monkeypatch.setattr(bundle, "MAX_FILES", 3)
    with pytest.raises(CodeError, match="4 files; 3 are allowed"):
        bundle.read(zipped(dict.fromkeys("abcd", b"")))


@pytest.mark.parametrize("damage", [lambda z: z[:-30], lambda z: z[:10] + b"\xff" * 40 + z[50:]])
def test_damaged_zip_is_refused(damage):
    with pytest.raises(CodeError, match="damaged"):
        bundle.read(damage(zipped({"a": os.urandom(100)})))


def test_folder_appears_whole_and_once(tmp_path):
    folder = tmp_path / "cache" / "key"
    folder.parent.mkdir()
    bundle.write({"a": b"1", "b/c": b"2"}, folder)
    bundle.write({"a": b"other"}, folder)
    assert (folder / "a").read_bytes() == b"1"
    assert (folder / "b" / "c").read_bytes() == b"2"
    assert [path.name for path in folder.parent.iterdir()] == ["key"]


def test_prune_keeps_what_was_used_last_and_drops_what_is_half_made(tmp_path):
    for number, name in enumerate(("old", "middle", "new")):
        bundle.write({"a": bytes(100)}, tmp_path / name)
        os.utime(tmp_path / name, (number, number))
    bundle.write({"a": b""}, tmp_path / ".half")
    bundle.prune(tmp_path, max_bytes=250)
    assert {path.name for path in tmp_path.iterdir()} == {"middle", "new"}
    bundle.prune(tmp_path / "absent", max_bytes=1)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (b"", "other"),
        (b"MZ", "other"),
        (b"\x7fELF", "native"),
        (b"PK\x03\x04", "other"),
        (b"MZ" + bytes(58) + b"\xff\xff\xff\x7f", "other"),
    ],
)
def test_header_of_what_is_no_assembly(image, kind):
    assert kind_of(image) == kind


def test_our_own_assembly_is_managed():
    from workmanager.engines.dotnet import bridge_folder

    assert kind_of((bridge_folder() / "WorkManager.Bridge.dll").read_bytes()) == "managed"


def test_source_alone_or_zipped():
    assert parse("\ufeffclass A { }".encode()).sources == {"worker.cs": "class A { }"}
    project = parse(zipped({"b.cs": b"B", "a/c.cs": b"C", "readme.md": b""}))
    assert list(project.sources) == ["a/c.cs", "b.cs"]


def test_reference_lines_are_taken_out_and_lines_keep_their_numbers():
    text = '#r "System.Text.Json"\n  #r "Microsoft.CSharp"\nclass A { }\n'
    assert parse(text.encode()).sources["worker.cs"] == "\n\nclass A { }\n"


def test_reference_that_is_missing_has_its_line():
    with pytest.raises(CodeError) as caught:
        parse(b'class A { }\n#r "lib/Gone.dll"\n')
    assert caught.value.faults[0].pointer == "worker.cs:2"


def test_too_much_source_is_refused():
    with pytest.raises(CodeError, match="source files of"):
        parse(b"/" * (5 << 20))
