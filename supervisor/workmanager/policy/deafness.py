"""Whether a stream that is open may be deaf: nothing comes on it, and nothing ever will.

A broker's client can lose its place without ending the stream (dapr/dapr#10228 is one way). Nobody
says so; what can be seen from here is that the sidecar does not list the subscription, that what
was published here does not come back, or that it has been silent for long. None of that is proof,
so a stream is opened anew less and less often while that brings nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

SETTLE_S = 3.0  # after which an open stream must be in the list of subscriptions
LIST_S = 1.0  # by how much that list must be younger than the stream
AWAITED_S = 20.0  # for what was published here to come back, if it comes to this host at all
DOUBLINGS = 8


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of an open stream.

    Attributes:
        open_s: How long it is open.
        silent_s: Since when nothing has come.
        awaited_s: Since when something is awaited that was published here; 0 for nothing.
        list_s: How much younger the sidecar's list is than the stream.
        is_listed: Whether that list has it, or cannot be trusted to.
        is_hung: Whether one of its deliveries can never be answered.
        fruitless: How often in a row it was opened anew for nothing.
    """

    open_s: float
    silent_s: float
    awaited_s: float
    list_s: float
    is_listed: bool
    is_hung: bool
    fruitless: int


def why_deaf(seen: Seen, *, silence_s: float) -> str:
    """Return why to open the stream anew, in words; empty if it may stay."""
    patience = 2 ** min(seen.fruitless, DOUBLINGS)
    if seen.open_s < SETTLE_S * patience:
        return ""
    if seen.is_hung:
        return "two deliveries had one id, of which one can never be answered"
    if not seen.is_listed and seen.list_s > LIST_S:
        return "the sidecar does not list it"
    if seen.awaited_s > AWAITED_S * patience:
        return f"what was published here has not come for {seen.awaited_s:.0f} s"
    if seen.silent_s > silence_s:
        return f"nothing has come for {seen.silent_s:.0f} s"
    return ""
