"""A request of `context.http`, as it comes from an executor: its form is checked, nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from workmanager.executors.channel import ChannelError, check_item

MAX_TIMEOUT_S = 600.0
_FORM = ((str,), (int,), (str,), (str,), (list,), (bytes, type(None)), (float, int))


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What an executor asks for; *id* is its own number for it."""

    id: int
    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    timeout_s: float


def read_request(frame: list[object]) -> HttpRequest:
    """Read the frame `["http", id, method, url, headers, body, timeout_s]`.

    Raises:
        ChannelError: It is not of this form.
    """
    _, number, method, url, headers, body, timeout_s = check_item(frame, _FORM)
    assert isinstance(number, int)  # noqa: S101 - as `check_item` has seen; so are the others
    assert isinstance(headers, list)  # noqa: S101
    assert isinstance(body, bytes | None)  # noqa: S101
    return HttpRequest(
        id=number,
        method=str(method),
        url=str(url)[:8192],
        headers=tuple(_header(pair) for pair in headers),
        body=body,
        timeout_s=_seconds(timeout_s),
    )


def _header(pair: object) -> tuple[str, str]:
    name, value = check_item(pair, ((str,), (str,)))
    return str(name), str(value)


def _seconds(value: object) -> float:
    if not isinstance(value, float | int) or not 0 < value <= MAX_TIMEOUT_S:
        raise ChannelError("a timeout is a number of seconds up to 600")
    return float(value)
