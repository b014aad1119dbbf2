"""Faults to inject into the calls of a fake sidecar, and what it was asked and told."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next calls.

    kind: "refuse" answers *code* at once; "slow" waits *delay_s* first; "lose" does the call and
    then answers *code*; "entries" fails every entry of a bulk whose id or data contains *match*;
    "hang" never answers.
    """

    method: str  # "PublishEvent", "SaveState", ...; "*" is all
    kind: str = "refuse"
    code: str = "UNAVAILABLE"
    delay_s: float = 0.0
    times: int | None = None  # None is until it is taken away
    match: str = ""  # a part of the request's text: a key, a topic, a resource
    app_id: str = ""

    def fits(self, method: str, request: Any, app_id: str) -> bool:
        return (
            self.method in ("*", method)
            and self.app_id in ("", app_id)
            and (self.kind == "entries" or self.match in str(request))
        )


@dataclass(slots=True)
class Faults:
    """The faults in force."""

    active: list[Fault] = field(default_factory=list)

    def take(self, method: str, request: Any, app_id: str, kinds: Sequence[str]) -> Fault | None:
        for fault in self.active:
            if fault.kind in kinds and fault.fits(method, request, app_id):
                if fault.times is not None:
                    fault.times -= 1
                    if not fault.times:
                        self.active.remove(fault)
                return fault
        return None

    async def before(self, method: str, request: Any, app_id: str, context: Any) -> None:
        if fault := self.take(method, request, app_id, ("slow",)):
            await asyncio.sleep(fault.delay_s)
        if self.take(method, request, app_id, ("hang",)):
            await asyncio.Event().wait()
        if fault := self.take(method, request, app_id, ("refuse",)):
            await context.abort(grpc.StatusCode[fault.code], f"injected: {method} refused")

    async def after(self, method: str, request: Any, app_id: str, context: Any) -> None:
        if fault := self.take(method, request, app_id, ("lose",)):
            await context.abort(grpc.StatusCode[fault.code], f"injected: answer of {method} lost")


@dataclass(slots=True)
class Record:
    """What one sidecar has seen since it was made; it outlives a stop and a start."""

    calls: Counter[str] = field(default_factory=Counter)
    deliveries: Counter[str] = field(default_factory=Counter)  # by event id
    answers: dict[str, list[str]] = field(default_factory=dict)  # event id -> SUCCESS, RETRY, DROP
    stray_answers: list[str] = field(default_factory=list)  # ids that nobody waited for
    dead_lettered: int = 0
    lost: list[str] = field(default_factory=list)  # ids acknowledged to Redis without a success
