"""Events as the client makes them, and lists read page by page."""

import base64

import pytest

from workmanager.client import new_event
from workmanager.client.paging import each


def test_event_has_all_that_cloudevents_require():
    event = new_event({"a": 1})
    assert event["data"] == {"a": 1}
    assert all(event[name] for name in ("specversion", "id", "source", "type"))


def test_ids_differ():
    assert new_event()["id"] != new_event()["id"]


def test_no_data_is_no_member():
    assert "data" not in new_event()


@pytest.mark.parametrize(
    ("data", "content_type", "members"),
    [
        (b'{"a": 1}', "", {"data": {"a": 1}}),
        (b'{"a": 1}', "application/json", {"data": {"a": 1}}),
        (b"\xc3\xa9", "text/plain", {"data": "\u00e9"}),
        (b"\xff", "text/plain", {"data_base64": base64.b64encode(b"\xff").decode()}),
        (b"\x00", "image/png", {"data_base64": "AA=="}),
        (b"{", "application/json", {"data_base64": base64.b64encode(b"{").decode()}),
    ],
)
def test_bytes_are_written_as_their_type_says(data, content_type, members):
    event = new_event(data, content_type=content_type)
    assert {name: event[name] for name in event if name.startswith("data_") or name == "data"} == (
        members
    )
    assert event.get("datacontenttype", "") == content_type


def test_bytes_without_a_type_that_are_no_json_are_octets():
    assert new_event(b"\xff")["datacontenttype"] == "application/octet-stream"


PAGES = {"": ([1, 2, 3], "b"), "b": ([4, 5, 6], "c"), "c": ([7], "")}


@pytest.mark.parametrize(("limit", "expected"), [(0, 7), (2, 2), (3, 3), (4, 4), (100, 7)])
def test_pages_are_walked_up_to_the_limit(limit, expected):
    asked, cuts = [], []

    def fetch(size, token):
        asked.append((size, token))
        items, following = PAGES[token]
        return {"items": items, "nextPageToken": following}

    found = list(each(fetch, limit=limit, on_cut=lambda: cuts.append(limit)))
    assert found == list(range(1, expected + 1))
    assert bool(cuts) == (expected < 7)
    assert asked[0][1] == ""
