"""Output events: made by the supervisor from what the handler returned.

The executor proposes type, subject, data and extensions; identity and provenance are ours. The id
is UUIDv5(worker uid, input source, input id, index), so that a task that runs twice publishes the
same ids and a consumer that dedupes sees each output once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgpack

from workmanager.dispatch.task import StoredEvent
from workmanager.model.event import validate_attributes
from workmanager.model.names import is_topic

if TYPE_CHECKING:
    from workmanager.dispatch.task import Task
    from workmanager.dispatch.worker import WorkerDispatch

CARRIED = ("traceparent", "tracestate")  # context goes on with the chain
_OURS = frozenset({"id", "specversion", "time", "source", "type", "subject", "datacontenttype"})
_TEXT = (str, type(None))
_packer = msgpack.Packer(use_bin_type=True, autoreset=True)


class OutputError(Exception):
    """A handler's output cannot be an event; the text says which one and why."""


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes the outputs of one version of a worker; what is the same for all is made once."""

    worker: WorkerDispatch
    version: str
    namespace: bytes = field(init=False)
    source: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "namespace", bytes.fromhex(self.worker.uid.replace("-", "")))
        object.__setattr__(self, "source", f"/workmanager/workers/{self.worker.name}")

    def make(self, task: Task, proposals: list[Any], at: str) -> list[StoredEvent]:
        """Make the events of an attempt's outputs, in order; *at* is their time attribute.

        Raises:
            OutputError: A proposal is malformed; then none is made.
        """
        limit = self.worker.spec.outputs.max_per_task
        if len(proposals) > limit:
            raise OutputError(f"{len(proposals)} outputs, outputs.maxPerTask is {limit}")
        given = task.event.attributes
        stem = f"{given['source']!s}\n{given['id']!s}\n".encode()
        return [self._one(task, given, stem, i, p, at) for i, p in enumerate(proposals)]

    def _one(
        self, task: Task, given: dict[str, Any], stem: bytes, index: int, proposal: object, at: str
    ) -> StoredEvent:
        topic, kind, source, subject, content_type, data, extensions = _checked(index, proposal)
        spec = self.worker.spec.outputs
        attributes: dict[str, Any] = {
            "specversion": "1.0",
            "id": _uuid5(self.namespace, stem + b"%d" % index),
            "source": source or self.source,
            "type": kind or spec.type or f"{self.worker.name}.output",
            "time": at,
            "causationid": given["id"],
            "correlationid": given.get("correlationid") or given["id"],
            "wmworker": self.worker.name,
            "wmversion": self.version,
            "wmtask": task.id,
            "wmattempt": task.attempt + 1,
        }
        if content_type is not None:
            attributes["datacontenttype"] = content_type
        if subject is not None:
            attributes["subject"] = subject
        if task.fence is not None:
            attributes["wmfence"] = str(task.fence)  # may grow past CloudEvents' 32-bit integers
        for name in (*CARRIED, *spec.copied_attributes):
            if name in given:
                attributes.setdefault(name, given[name])
        if extensions:
            _add_extensions(attributes, extensions, index)
        if kind or source or subject:
            _check(attributes, index)
        return StoredEvent(topic or spec.topic, _packer.pack((attributes, data)), attributes)


def _checked(index: int, proposal: object) -> list[Any]:
    if not isinstance(proposal, list) or len(proposal) != 7:
        raise OutputError(f"output {index}: not in the form of an output")
    topic, kind, source, subject, content_type, data, extensions = proposal
    if not all(isinstance(text, _TEXT) for text in (topic, kind, source, subject, content_type)):
        raise OutputError(f"output {index}: topic, type, source and subject are text")
    if not isinstance(data, bytes | None) or not isinstance(extensions, dict | None):
        raise OutputError(f"output {index}: data is bytes, extensions are a map")
    if topic and not is_topic(topic):
        raise OutputError(f"output {index}: {topic[:80]!r} is not a topic name")
    return proposal


def _add_extensions(attributes: dict[str, Any], extensions: dict[Any, Any], index: int) -> None:
    for name, value in extensions.items():
        if name in _OURS or str(name).startswith("wm"):
            raise OutputError(f"output {index}: {name!r} is not an extension of the handler's")
        attributes[name] = value
    _check(attributes, index)


def _check(attributes: dict[str, Any], index: int) -> None:
    faults = validate_attributes(attributes)
    if faults:
        raise OutputError(f"output {index}: {faults[0].pointer}: {faults[0].detail}")


def _uuid5(namespace: bytes, name: bytes) -> str:
    """RFC 9562, 5.5; the standard library's takes text and three times as long."""
    digest = bytearray(hashlib.sha1(namespace + name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
