"""Follows log lines: one server-sent event each, taken up again where the connection was lost."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workmanager.client.problems import (
    ClientError,
    ClientTimeoutError,
    ConnectionLostError,
    NoSupervisorError,
)
from workmanager.client.sse import EventStreamReader

if TYPE_CHECKING:
    from collections.abc import Generator

    from workmanager.client.session import Call, Session

RECONNECT_DELAYS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 2.0, 2.0, 2.0)  # a restarted service is back by then
STEADY_S = 5.0  # a stream that held so long did not fail at its start
SILENCE_S = 60.0  # the service sends a comment every 15 s; a peer that sends nothing is gone


def follow(session: Session, call: Call) -> Generator[dict[str, Any]]:
    """Yield the lines that *call* streams, and go on after a lost connection; close it to end.

    Raises:
        ClientError: The service did not come back within about ten seconds, or refused the call.
    """
    seq = 0
    delays_s = iter(RECONNECT_DELAYS_S)
    while True:
        began_at_s = time.monotonic()
        lost: ClientError = ConnectionLostError(str(session.target), "the stream ended")
        try:
            for line in _lines(session, _resumed(call, seq)):
                seq = int(line.get("seq", seq))
                yield line
        except (ConnectionLostError, ClientTimeoutError, NoSupervisorError) as error:
            lost = error
        if time.monotonic() - began_at_s > STEADY_S:
            delays_s = iter(RECONNECT_DELAYS_S)
        delay_s = next(delays_s, None)
        if delay_s is None:
            raise lost
        time.sleep(delay_s)


def _lines(session: Session, call: Call) -> Generator[dict[str, Any]]:
    reader = EventStreamReader()
    with session.stream(call) as chunks:
        for chunk in chunks:
            for event in reader.feed(chunk):
                yield json.loads(event.data)


def _resumed(call: Call, seq: int) -> Call:
    """Ask for what came after line *seq*, all of it; 0 is the first call, as it was given."""
    call = replace(call, timeout_s=SILENCE_S)
    if not seq:
        return call
    return replace(call, query={**call.query, "sinceSeq": seq, "tail": 0})
