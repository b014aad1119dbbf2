"""Faults in Dapr's component files that lose events or workers; the sidecar does not tell of them.

Each rule was seen with daprd 1.18 and the Redis components of components-contrib 1.18.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from workmanager.config import Settings

Json = dict[str, Any]

POOL_LEAST = 100  # connections; Redis' own number is ten for each core, and each topic takes one


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; *mend* says what to do unless it is ok."""

    name: str
    status: str  # ok, warning (something is slower or weaker) or failed (something is lost)
    detail: str
    mend: str = ""

    def to_json(self) -> Json:
        """Return it as the command prints it."""
        return {
            "name": self.name,
            "status": self.status,
            "detail": self.detail,
            "mend": self.mend,
        }


def check_files(documents: Iterable[Json], settings: Settings, app_id: str) -> Iterator[Check]:
    """Look at the documents of a resources folder, as one app-id sees them."""
    for document in documents:
        scopes = document.get("scopes") or []
        if app_id and scopes and app_id not in scopes:
            continue
        kind = document.get("kind")
        if kind == "Component":
            yield from _component(document, settings)
        elif kind == "Resiliency":
            yield from _resiliency(document, settings)
        elif kind == "Subscription":
            yield from _subscription(document, settings)


def _component(document: Json, settings: Settings) -> Iterator[Check]:
    name, spec = _name(document), document.get("spec") or {}
    values = {item.get("name"): str(item.get("value", "")) for item in spec.get("metadata") or []}
    if name == settings.dapr_pubsub and spec.get("type") == "pubsub.redis":
        yield from _redis_pubsub(name, values)
    if name == settings.dapr_state_store:
        yield from _state(name, values)


def _redis_pubsub(name: str, values: Mapping[str, str]) -> Iterator[Check]:
    place = f"file of {name}"
    interval, timeout = values.get("redeliverInterval", ""), values.get("processingTimeout", "")
    if interval and not interval.isdigit():
        words = f"redeliverInterval {interval!r} is not read, so it is 15 s"
        yield Check(place, "failed", words, "write it in milliseconds, such as 5000")
    if "0" in (interval, timeout):
        words = "redelivery is off: what a host had in hand when it ended never comes again"
        mend = "give processingTimeout and redeliverInterval, in milliseconds"
        yield Check(place, "failed", words, mend)
    pool = values.get("poolSize", "")
    if not pool.isdigit() or int(pool) < POOL_LEAST:
        words = f"poolSize is {pool or 'not given'}: each topic holds a connection, and without one"
        words += " nothing is published or received"
        yield Check(place, "failed", words, "poolSize: more than topics, and 50")
    if values.get("readTimeout", "0") in ("", "0", "-1"):
        words = "readTimeout is not given: a closed stream takes one more batch of events, which"
        words += " come again only after processingTimeout"
        yield Check(place, "warning", words, "readTimeout: 1s")
    for trim in ("maxLenApprox", "streamTTL"):
        if values.get(trim):
            words = f"{trim} removes events that nobody has read yet"
            yield Check(place, "warning", words, "make it much more than the longest outage")


def _state(name: str, values: Mapping[str, str]) -> Iterator[Check]:
    place = f"file of {name}"
    if values.get("ttlInSeconds", "0") not in ("", "0", "-1"):
        words = f"ttlInSeconds {values['ttlInSeconds']}: definitions of workers vanish"
        yield Check(place, "failed", words, "remove ttlInSeconds from the component")
    if values.get("keyPrefix", "appid") not in ("", "appid"):
        words = f"keyPrefix {values['keyPrefix']!r}: other apps see and change the same workers"
        yield Check(place, "warning", words, "remove keyPrefix, unless that is meant")


def _resiliency(document: Json, settings: Settings) -> Iterator[Check]:
    spec = document.get("spec") or {}
    components = (spec.get("targets") or {}).get("components") or {}
    inbound = (components.get(settings.dapr_pubsub) or {}).get("inbound") or {}
    if "retry" in inbound:
        words = "an inbound retry holds up the end of every stream, one after the other"
        mend = f"remove targets.components.{settings.dapr_pubsub}.inbound.retry"
        yield Check(f"resiliency {_name(document)}", "warning", words, mend)


def _subscription(document: Json, settings: Settings) -> Iterator[Check]:
    spec = document.get("spec") or {}
    if spec.get("pubsubname") == settings.dapr_pubsub:
        words = f"topic {spec.get('topic')!r} goes to the app's port too, which drops it"
        mend = "remove the Subscription: WorkManager subscribes by itself"
        yield Check(f"subscription {_name(document)}", "failed", words, mend)


def _name(document: Json) -> str:
    return str((document.get("metadata") or {}).get("name", ""))
