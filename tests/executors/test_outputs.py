"""Results of user code as outputs in wire form."""

from __future__ import annotations

import pytest
from harness import wire

from workmanager_executor import Event, OutputError, OutputTooLarge
from workmanager_executor.event import received
from workmanager_executor.outputs import (
    Outputs,
    add_batch_result,
    add_result,
    add_seed_result,
)

TOPIC, TYPE, SOURCE, SUBJECT, MEDIA_TYPE, DATA, EXTENSIONS = range(7)
JSON = "application/json"


def outputs_of(add, result, max_count=100, max_bytes=1 << 20):
    outputs = Outputs(max_count, max_bytes)
    add(outputs, result)
    return outputs.items


@pytest.mark.parametrize(
    ("result", "body"),
    [
        ({"type": "is data", "source": 1}, b'{"type":"is data","source":1}'),
        ([1, {"a": 2}], b'[1,{"a":2}]'),
        ([], b"[]"),
        ("text", b'"text"'),
        (0, b"0"),
        (False, b"false"),
        ((1, 2), b"[1,2]"),
    ],
)
def test_plain_result_is_the_data_of_one_event(result, body):
    assert outputs_of(add_result, result) == [[None, None, None, None, JSON, body, None]]


def test_none_is_no_output():
    for add in (add_result, add_seed_result, add_batch_result):
        assert outputs_of(add, None) == []


def test_bytes_go_out_as_they_are():
    (output,) = outputs_of(add_result, b"\x00\xff")
    assert (output[MEDIA_TYPE], output[DATA]) == ("application/octet-stream", b"\x00\xff")


def test_event_carries_its_attributes():
    event = Event("t", {"a": 1}, topic="out", subject="s", source="/x", partitionkey="k", n=1)
    assert outputs_of(add_result, event) == [
        ["out", "t", "/x", "s", JSON, b'{"a":1}', {"partitionkey": "k", "n": 1}]
    ]


def test_list_of_events_is_several_outputs():
    items = outputs_of(add_result, [Event("a"), Event("b", 2)])
    assert [(item[TYPE], item[DATA]) for item in items] == [("a", None), ("b", b"2")]


def test_list_that_mixes_events_and_data_is_refused():
    with pytest.raises(OutputError, match=r"\$\[1\].*dict"):
        outputs_of(add_result, [Event("a"), {"b": 1}])


def test_text_type_takes_text():
    (output,) = outputs_of(add_result, Event("t", "grün", datacontenttype="text/plain"))
    assert output[DATA] == "grün".encode()


def test_foreign_type_needs_bytes_or_text():
    with pytest.raises(OutputError, match="image/png has to be bytes or text"):
        outputs_of(add_result, Event("t", {"a": 1}, datacontenttype="image/png"))


def test_received_event_is_passed_on_as_it_came():
    body = b'{"a":  1}'
    event = received(wire(body, datacontenttype=JSON, tenant="x", time="2026-01-01T00:00:00Z"))
    assert outputs_of(add_result, event) == [
        [None, "test.event", "/test", None, JSON, body, {"tenant": "x"}]
    ]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (Event(""), "type: a text that is not empty"),
        (Event(7), "type: a text that is not empty"),
        (Event("\ud800"), "type: text with a lone surrogate"),
        (Event("t", Some_Name=1), "'Some_Name' is no attribute name"),
        (Event("t", x=1.5), "x: an attribute is"),
        (Event("t", x=2**31), "x: an attribute is"),
        (Event("t", x="\ud800"), "x: text with a lone surrogate"),
        (Event("t", {"a": {1}}), r"\$\.a: set"),
    ],
)
def test_faulty_event_is_refused(event, message):
    with pytest.raises(OutputError, match=message):
        outputs_of(add_result, event)


@pytest.mark.parametrize(
    "result",
    [
        {"Type": "t", "Source": "/s", "Data": 1, "Topic": "out", "Subject": "x", "Tenant": "y"},
        {"TYPE": "t", "SOURCE": "/s", "DATA": 1, "TOPIC": "out", "SUBJECT": "x", "TENANT": "y"},
        {"type": "t", "source": "/s", "data": 1, "topic": "out", "subject": "x", "tenant": "y"},
    ],
)
def test_seed_dict_has_keys_in_any_case(result):
    wanted = ["out", "t", "/s", "x", JSON, b"1", {"tenant": "y"}]
    assert outputs_of(add_seed_result, result) == [wanted]


def test_seed_dict_that_was_an_input_goes_on_without_what_we_set():
    result = {"id": "e", "specversion": "1.0", "time": "now", "type": "t", "data": {"a": 1}}
    assert outputs_of(add_seed_result, result) == [[None, "t", None, None, JSON, b'{"a":1}', None]]


def test_seed_dict_without_event_keys_is_data():
    (output,) = outputs_of(add_seed_result, {"total": 3, "id": 7})
    assert output == [None, None, None, None, JSON, b'{"total":3,"id":7}', None]


def test_seed_list_is_several_events():
    items = outputs_of(add_seed_result, [{"Type": "a"}, {"total": 1}, None, Event("b"), 5])
    assert [(item[TYPE], item[DATA]) for item in items] == [
        ("a", None),
        (None, b'{"total":1}'),
        ("b", None),
        (None, b"5"),
    ]


def test_batch_list_is_several_outputs():
    items = outputs_of(add_batch_result, [{"a": 1}, Event("t"), None, 2])
    assert [(item[TYPE], item[DATA]) for item in items] == [
        (None, b'{"a":1}'),
        ("t", None),
        (None, b"2"),
    ]


def test_number_of_outputs_is_bounded():
    with pytest.raises(OutputTooLarge, match="more than 3 outputs"):
        outputs_of(add_seed_result, [1, 2, 3, 4], max_count=3)


def test_size_of_outputs_is_bounded_together():
    with pytest.raises(OutputTooLarge, match="1000 are allowed"):
        outputs_of(add_seed_result, ["x" * 400, "y" * 400, "z" * 400], max_bytes=1000)


def test_attributes_count_as_size():
    with pytest.raises(OutputTooLarge):
        outputs_of(add_result, Event("t", subject="s" * 900, tenant="x" * 200), max_bytes=1000)
