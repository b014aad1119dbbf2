"""Server-sent events, whatever the chunks they come in."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workmanager.client.sse import (
    MAX_EVENT_BYTES,
    EventStreamError,
    EventStreamReader,
    ServerSentEvent,
)

STREAM = (
    b": hello\n\n"
    b'id: 7\r\nevent: line\r\ndata: {"a": 1}\r\n\r\n'
    b"data: two\ndata: lines\nretry: 5\n\n"
    b"data\n\n"
    b"event: nothing\n\n"
    b"data: unfinished"
)
EVENTS = [
    ServerSentEvent('{"a": 1}', "line", "7"),
    ServerSentEvent("two\nlines", "message", "7"),
    ServerSentEvent("", "message", "7"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_do_not_depend_on_how_the_stream_is_cut(cuts):
    reader = EventStreamReader()
    bounds = [0, *sorted(cuts), len(STREAM)]
    found = [event for start, end in pairwise(bounds) for event in reader.feed(STREAM[start:end])]
    assert found == EVENTS


def test_endless_line_is_refused():
    with pytest.raises(EventStreamError):
        EventStreamReader().feed(b"x" * (MAX_EVENT_BYTES + 1))


def test_endless_event_is_refused():
    half = b"data: " + b"x" * (MAX_EVENT_BYTES // 2) + b"\n"
    with pytest.raises(EventStreamError):
        EventStreamReader().feed(half * 3)
