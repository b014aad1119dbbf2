"""Following log lines over connections that end."""

import json
from contextlib import closing
from itertools import islice

import pytest

from workmanager.client import ProblemError
from workmanager.client.light import LightClient

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def lines(*seqs):
    body = b"".join(b"data: " + json.dumps({"seq": seq}).encode() + b"\n\n" for seq in seqs)
    return HEAD + body


def test_follow_goes_on_behind_the_last_line(server):
    server.answers = [lines(3, 4), lines(5)]
    with LightClient(server.url, token="") as wm, closing(wm.tail_logs("a")) as found:
        assert [line["seq"] for line in islice(found, 3)] == [3, 4, 5]
    assert "sinceSeq=0" in server.asked[0].path
    assert "sinceSeq=4" in server.asked[1].path


def test_refusal_ends_it(server):
    server.answers = [b"HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\n{}"]
    with (
        LightClient(server.url, token="") as wm,
        closing(wm.tail_logs("a")) as found,
        pytest.raises(ProblemError),
    ):
        next(found)
