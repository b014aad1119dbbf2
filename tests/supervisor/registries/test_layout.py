"""How definitions lie in the state store: what is written is what is read, cut or not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workmanager.errors import SidecarError
from workmanager.registries import layout
from workmanager.registries.layout import Definition, Index, Place
from workmanager.store.rows import VersionRow, WorkerRow

names = st.text(max_size=20)
places = st.builds(Place, names, names)
json_values = st.dictionaries(names, st.none() | st.integers() | names, max_size=3)
workers = st.builds(
    WorkerRow,
    no=st.integers(1, 9),
    uid=names,
    name=names,
    spec=json_values,
    desired_state=names,
    generation=st.integers(1, 99),
    etag=names,
    created_at=st.floats(0, 1e10),
    updated_at=st.floats(0, 1e10),
    labels=json_values,
    stamp=names,
)
versions = st.builds(
    VersionRow,
    worker_no=st.integers(1, 9),
    id=names,
    digest=names,
    code_digest=names,
    engine=names,
    handler=names,
    spec=json_values,
    state=names,
    size_bytes=st.integers(0, 10**9),
    created_at=st.floats(0, 1e10),
    message=names,
)


@given(names, st.integers(0, 10**9), st.dictionaries(names, places, max_size=5))
def test_an_index_is_read_as_it_was_written(epoch, rev, found):
    index = Index(epoch, rev, found)
    assert layout.decode_index(layout.encode_index(index)) == index


@given(workers, st.lists(versions, max_size=3), st.integers(10, 99), names)
def test_a_definition_is_read_with_the_number_of_the_host_that_reads(worker, found, number, stamp):
    written = layout.encode_definition(Definition(worker, tuple(found)))
    read = layout.decode_definition(written, number=number, stamp=stamp)
    assert (read.worker.no, read.worker.stamp) == (number, stamp)
    assert {version.worker_no for version in read.versions} <= {number}
    again = layout.encode_definition(read)
    assert again == written


@pytest.mark.parametrize("size", [0, 1, layout.PART_BYTES, layout.PART_BYTES + 1, 2_000_000])
def test_what_is_large_is_cut_and_the_first_part_is_written_last(size):
    content = bytes(i % 251 for i in range(size))
    entries = layout.parts_of("wm.code.u.d", content)
    assert max(map(len, entries.values())) < 1024 * 1024
    assert list(entries)[-1] == "wm.code.u.d"
    count, first = layout.read_part("wm.code.u.d", entries["wm.code.u.d"])
    assert count == len(entries)
    rest = [
        layout.read_part(key, entries[key])[1]
        for key in (layout.part_key("wm.code.u.d", number) for number in range(1, count))
    ]
    assert first + b"".join(rest) == content


@pytest.mark.parametrize("value", [b"no json", b"[]", b'{"epoch": 1}', b'{"workers": {"u": 1}}'])
def test_something_else_in_the_store_is_told_and_not_taken_for_an_empty_registry(value):
    for read in (
        layout.decode_index,
        lambda v: layout.decode_definition(v, number=1, stamp=""),
        lambda v: layout.read_part("key", v),
    ):
        with pytest.raises(SidecarError, match="cannot be read"):
            read(value)


def test_a_record_of_a_newer_release_is_refused():
    with pytest.raises(SidecarError, match="format 2"):
        layout.decode_definition(json.dumps({"format": 2}).encode(), number=1, stamp="")


def test_no_key_holds_what_the_sidecar_refuses():
    for key in (layout.worker_key("uid", "s"), layout.code_key("uid", "sha256:ab")):
        assert "||" not in key
