"""The reader of answers, against what h11 writes, and against what nobody should."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workmanager.client.http1 import (
    MAX_HEAD_BYTES,
    AnswerReader,
    MalformedAnswerError,
    encode_request,
)
from workmanager.client.problems import RequestHeaderError

TOKENS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20).map("x-".__add__)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)
OK = b"HTTP/1.1 200 OK\r\n"


def read(raw, cuts=()):
    """Feed *raw*, cut at *cuts*, and the end of the stream; return reader and body."""
    reader = AnswerReader()
    bounds = [0, *sorted(cut for cut in cuts if 0 < cut < len(raw)), len(raw)]
    body = b""
    for start, end in zip(bounds, bounds[1:], strict=False):  # noqa: RUF007 - bounds may repeat
        if start < end:
            body += reader.feed(raw[start:end])
    if not reader.is_done:
        body += reader.feed(b"")
    return reader, body


def written_by_h11(status, headers, pieces, *, interim, is_closed):
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    while not isinstance(server.next_event(), h11.EndOfMessage):
        pass
    raw = b""
    for code in interim:
        raw += server.send(h11.InformationalResponse(status_code=code, headers=[]))
    extra = [("connection", "close")] if is_closed else []
    raw += server.send(h11.Response(status_code=status, headers=[*headers.items(), *extra]))
    for piece in pieces:
        raw += server.send(h11.Data(data=piece))
    return raw + server.send(h11.EndOfMessage())


@given(
    status=st.integers(200, 599),
    headers=st.dictionaries(TOKENS, VALUES, max_size=4),
    pieces=st.lists(st.binary(max_size=300), max_size=4),
    has_length=st.booleans(),
    interim=st.lists(st.sampled_from([100, 103]), max_size=2),
    is_closed=st.booleans(),
    cuts=st.lists(st.integers(0, 1500), max_size=8),
    excess=st.binary(max_size=10),
)
def test_reads_what_h11_writes_however_it_is_cut(
    status, headers, pieces, has_length, interim, is_closed, cuts, excess
):
    if status in (204, 304):
        pieces = []
    framing = {"content-length": str(sum(map(len, pieces)))} if has_length else {}
    raw = written_by_h11(status, headers | framing, pieces, interim=interim, is_closed=is_closed)
    reader, body = read(raw + excess, cuts)
    assert reader.is_done
    assert reader.head.status == status
    assert reader.head.headers.items() >= headers.items()
    assert reader.head.is_kept is not is_closed
    assert body == b"".join(pieces)
    assert reader.excess == excess


@given(st.binary(max_size=400))
def test_garbage_is_refused_or_read_but_never_hangs_or_breaks(raw):
    for prefix in (b"", OK, OK + b"transfer-encoding: chunked\r\n\r\n"):
        try:
            reader, _ = read(prefix + raw)
        except MalformedAnswerError:
            continue
        assert reader.is_done


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b" folded: 1\r\n\r\n",
        OK + b"x : 1\r\n\r\n",
        OK + b"content-length: -1\r\n\r\n",
        OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab",
        OK + b"content-length: 5\r\n\r\nab",
        OK + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n-1\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n" + b"0" * 5000,
        OK + b"x: " + b"y" * (MAX_HEAD_BYTES + 1),
    ],
)
def test_what_is_no_plain_answer_is_refused(raw):
    with pytest.raises(MalformedAnswerError):
        read(raw)


def test_answer_without_a_length_goes_to_the_end_of_the_stream():
    reader, body = read(OK + b"\r\nall of it")
    assert (reader.head.status, body) == (200, b"all of it")


def test_repeated_headers_are_joined():
    reader, _ = read(OK + b"X-A: 1\r\nx-a: 2\r\ncontent-length: 0\r\n\r\n")
    assert reader.head.headers["x-a"] == "1, 2"


@given(st.dictionaries(TOKENS, VALUES, max_size=4), st.binary(max_size=100))
def test_requests_are_what_h11_reads(headers, body):
    server = h11.Connection(h11.SERVER)
    server.receive_data(encode_request("PUT", "/a?b=c", {"host": "x", **headers}, body))
    request = server.next_event()
    assert (request.method, request.target) == (b"PUT", b"/a?b=c")
    assert {(name.encode(), value.encode()) for name, value in headers.items()} <= set(
        request.headers
    )
    read_body = b""
    while isinstance(event := server.next_event(), h11.Data):
        read_body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert read_body == body


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "\x00", "\u20ac"])
def test_headers_cannot_be_smuggled_in(value):
    with pytest.raises(RequestHeaderError):
        encode_request("GET", "/", {"authorization": value}, b"")
