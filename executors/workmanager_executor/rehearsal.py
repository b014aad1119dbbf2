"""Lives an executor's life a few times in the zygote, so that no executor has to warm up.

CPython writes into the code object of every function that is called for the first times, and into
the caches of every type that is looked at, until both have settled. Done here, once, these pages
stay shared with all executors: a third less memory and time for each of them.
"""

from __future__ import annotations

import linecache
import os
import socket
import sys

from workmanager_executor.executor import live, open_channels
from workmanager_executor.frames import encode
from workmanager_executor.loading import FILE_NAME, MODULE_NAME
from workmanager_executor.logs import capture_output
from workmanager_executor.packing import pack
from workmanager_executor.spawning import CHANNELS, parse_request

_TIMES = 20  # a function settles within 8 calls, the places inside of it a little later
_WIRE = pack([{"id": "e", "source": "/rehearsal", "type": "rehearsal"}, b"{}"])
_JOB = {
    "code": b"def process(event, context):\n    return None\n",
    "handler": "",
    "worker": "rehearsal",
    "workerUid": "",
    "version": "",
    "perExecutor": 1,
    "batchSize": 1,
    "startToCloseS": 0.0,
    "maxAttempts": 1,
    "maxOutputs": 1,
    "maxOutputBytes": 1,
    "logLimitBytes": 64 * 1024,
}
_LIFE = (
    encode(["load", _JOB])
    + encode(["run", [[1, 1, 1, _WIRE, None], [2, 2, 1, _WIRE, None]]])
    + encode(["drain"])
)
_REQUEST = pack({"op": "spawn", "id": "", "env": {"A": "B"}, "limits": {"files": 1}})


def rehearse() -> None:
    """Warm up all that an executor does between its birth and its first events."""
    for _ in range(_TIMES):
        parse_request(_REQUEST, CHANNELS)
        os.environ["A"] = "B"
        os.environ.clear()
        _live_once()
    del sys.modules[MODULE_NAME]
    linecache.cache.pop(FILE_NAME, None)


def _live_once() -> None:
    events, their_events = socket.socketpair()
    control, their_control = socket.socketpair()
    with events, their_events, control, their_control:
        events.sendall(_LIFE)
        channels = open_channels(their_events.fileno(), their_control.fileno())
        live(channels)
        channels.waker.close()
    capture_output().connect(None)
