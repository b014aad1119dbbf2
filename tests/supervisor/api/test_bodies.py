"""Request bodies: bounded in size, time and number of values."""

import pytest
import trio
from starlette.datastructures import Headers

from workmanager.api.problems import status_of
from workmanager.api.rest.bodies import MAX_JSON_MARKS, Limits, check_no_body, parse_json, read_body
from workmanager.errors import InvalidArgumentError, Reason, WorkManagerError


def receiving(*chunks, ends=True, pause_s=0.0):
    """Make a `receive` that gives *chunks* one by one, each after a pause."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if ends:
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    waiting = iter(messages)

    async def receive():
        await trio.sleep(pause_s)
        message = next(waiting, None)
        if message is None:
            await trio.sleep_forever()
        return message

    return receive


async def read(receive, *, max_bytes=100, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await read_body(Headers(named), receive, max_bytes=max_bytes)


async def refusal(receive, **options):
    with pytest.raises(WorkManagerError) as caught:
        await read(receive, **options)
    return caught.value


async def test_chunks_are_joined():
    assert await read(receiving(b"ab", b"", b"cd")) == b"abcd"
    assert await read(receiving(b"x" * 100)) == b"x" * 100


async def test_a_declared_length_is_refused_unread():
    error = await refusal(receiving(ends=False), content_length="101")
    assert error.reason is Reason.PAYLOAD_TOO_LARGE
    assert error.metadata == {"limitBytes": "100"}


async def test_a_body_is_bounded_while_it_streams():
    error = await refusal(receiving(*[b"x" * 60] * 1000, ends=False))
    assert error.reason is Reason.PAYLOAD_TOO_LARGE


async def test_a_body_that_pauses_is_not_waited_for(autojump_clock):
    assert status_of(await refusal(receiving(b"x", ends=False))) == 408


async def test_a_body_that_trickles_is_not_waited_for(autojump_clock):
    assert status_of(await refusal(receiving(*[b"x"] * 50, pause_s=20))) == 408


async def test_a_slow_body_may_take_its_time(autojump_clock):
    assert await read(receiving(*[b"x"] * 10, pause_s=20)) == b"x" * 10


async def test_a_body_cut_off_is_refused():
    async def receive():
        return {"type": "http.disconnect"}

    assert isinstance(await refusal(receive), InvalidArgumentError)


async def test_encoded_bodies_are_refused():
    error = await refusal(receiving(b"x"), content_encoding="gzip")
    assert error.reason is Reason.UNSUPPORTED_MEDIA_TYPE
    assert await read(receiving(b"x"), content_encoding="identity") == b"x"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"NaN",
        b"[1,]",
        b'"\xff"',
        b'"\\ud800"',
        b"[" * 10_000,
        b"[" + b"0," * (MAX_JSON_MARKS + 1) + b"0]",
    ],
    ids=lambda body: repr(body[:8]),
)
def test_what_is_no_json_or_too_much_of_it_is_refused(body):
    with pytest.raises(InvalidArgumentError):
        parse_json(body)


def test_no_body_is_no_body():
    for body in (b"", b"{}", b" { }\n"):
        check_no_body(body)
    with pytest.raises(InvalidArgumentError):
        check_no_body(b'{"a":1}')


def test_a_manifest_may_hold_the_largest_code():
    limits = Limits.for_code(3 * 2**20)
    assert limits.of("code") == 3 * 2**20
    assert limits.of("manifest") >= 4 * 2**20
    assert Limits().manifest >= Limits.for_code(Limits().code).manifest
