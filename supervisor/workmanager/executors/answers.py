"""What an executor answers, checked: nothing that comes from a child is believed before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workmanager.executors.channel import ChannelError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

MAX_DURATION_US = 1 << 52  # 142 years; a child can write any number
_NONE = type(None)
OUTCOME_FORMS = frozenset({(int, int, int, list, _NONE), (int, int, int, list, list)})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an executor refused to run the code it was given."""

    reason: str
    message: str
    file: str | None
    line: int | None
    traceback: str


def check_outcomes(
    outcomes: Iterable[Any], hand: Container[int], before: Iterable[Sequence[Any]]
) -> int:
    """Check outcomes `[no, status, duration_us, outputs, error]`; return how long they took, in us.

    Args:
        outcomes: As they came.
        hand: Deliveries that the executor has.
        before: Outcomes that it has told already and that are not taken yet.

    Raises:
        ChannelError: One is malformed, or of a delivery that the executor does not have.
    """
    busy_us = 0
    answered: set[int] = {outcome[0] for outcome in before}
    for outcome in outcomes:
        if type(outcome) is not list or tuple(map(type, outcome)) not in OUTCOME_FORMS:
            raise ChannelError("an outcome is not of the form of one")
        no, _, duration_us, _, _ = outcome
        if no not in hand or no in answered:
            raise ChannelError(f"it answers delivery {no}, which it does not have")
        if not 0 <= duration_us < MAX_DURATION_US:
            raise ChannelError(f"delivery {no} cannot have taken {duration_us} us")
        answered.add(no)
        busy_us += duration_us
    return busy_us


def read_body(frame: Sequence[Any]) -> Mapping[str, Any]:
    """Return the map that a frame carries; an empty one where it carries none."""
    if len(frame) > 1 and isinstance(frame[1], dict):
        return frame[1]
    return {}


def read_refusal(body: Mapping[str, Any]) -> Refusal:
    """Read a refusal; whatever a child put there becomes bounded text."""
    line = body.get("line")
    return Refusal(
        str(body.get("reason", "BUILD_FAILED")),
        str(body.get("message", ""))[:4096],
        str(body["file"]) if body.get("file") else None,
        line if isinstance(line, int) else None,
        str(body.get("traceback", ""))[:16384],
    )
