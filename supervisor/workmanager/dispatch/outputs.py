"""Output events: made by the supervisor from what the handler returned.

The executor proposes type, subject, data and extensions; identity and provenance are ours. The id
is UUIDv5(worker uid, input source, input id, index), so that a task that runs twice publishes the
same ids and a consumer that dedupes sees each output once.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Any

import msgpack

from workmanager.dispatch.task import StoredEvent
from workmanager.model.event import validate_attributes
from workmanager.model.names import is_topic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workmanager.dispatch.task import Task
    from workmanager.dispatch.worker import WorkerDispatch
    from workmanager.model.event import Attributes

CARRIED = ("traceparent", "tracestate")  # context goes on with the chain
_OURS = frozenset({"id", "specversion", "time", "source", "type", "subject", "datacontenttype"})
_USUAL_TYPES = frozenset({None, "application/json", "application/octet-stream"})
# topic, type, source, subject, datacontenttype, data, extensions: each may be absent.
_FORMS = frozenset(
    itertools.product(*((kind, type(None)) for kind in (str, str, str, str, str, bytes, dict)))
)
MAX_TASK_BYTES = 4 * 1024 * 1024  # of all outputs of a task; the executor is told, and not trusted
MAX_ENVELOPES_BYTES = 1024 * 1024  # beside it, for attributes
KNOWN_TOPICS = 4096  # names found good once; bounded, since a child chooses them
_known_topics: set[str] = set()
_VARIANT = {f"{digit:x}": f"{digit & 0x3 | 0x8:x}" for digit in range(16)}
_sha1 = hashlib.sha1
_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


class OutputError(Exception):
    """A handler's output cannot be an event; the text says which one and why."""


class Maker:
    """Makes the outputs of one version of a worker; what is the same for all is made once.

    Attributes:
        contexts: The `traceparent` of the outputs of traced tasks, by task number.
    """

    __slots__ = ("_base", "_carried", "_limit", "_namespace", "_topic", "contexts", "version")

    def __init__(self, worker: WorkerDispatch, version: str) -> None:
        spec = worker.spec.outputs
        self.version = version
        self.contexts: Mapping[int, str] = {}
        self._limit = spec.max_per_task
        self._topic = spec.topic
        self._carried = (*CARRIED, *spec.copied_attributes)
        self._namespace = bytes.fromhex(worker.uid.replace("-", ""))
        self._base: Attributes = {
            "specversion": "1.0",
            "id": "",
            "source": f"/workmanager/workers/{worker.name}",
            "type": spec.type or f"{worker.name}.output",
            "wmworker": worker.name,
            "wmversion": version,
        }

    def make(self, task: Task, proposals: list[Any], at: str) -> list[StoredEvent]:
        """Make the events of an attempt's outputs, in order; *at* is their time attribute.

        Raises:
            OutputError: A proposal is malformed; then none is made.
        """
        if len(proposals) > self._limit:
            raise OutputError(f"{len(proposals)} outputs, outputs.maxPerTask is {self._limit}")
        given = task.event.attributes
        base = self._base.copy()
        base["time"] = at
        base["causationid"] = given["id"]
        base["correlationid"] = given.get("correlationid") or given["id"]
        base["wmtask"] = task.id
        base["wmattempt"] = task.attempt + 1
        if task.fence is not None:
            base["wmfence"] = str(task.fence)  # may grow past CloudEvents' 32-bit integers
        for name in self._carried:
            if name in given:
                base[name] = given[name]
        if self.contexts and task.number in self.contexts:
            base["traceparent"] = self.contexts[task.number]
        stem = f"{given['source']!s}\n{given['id']!s}\n".encode()
        if len(proposals) == 1:
            made = [self._one(base, stem, 0, proposals[0])]
        else:
            made = [self._one(base, stem, index, p) for index, p in enumerate(proposals)]
        if sum([len(each.wire) for each in made]) > MAX_TASK_BYTES + MAX_ENVELOPES_BYTES:
            raise OutputError(f"outputs of more than {MAX_TASK_BYTES} bytes")
        return made

    def _one(self, base: Attributes, stem: bytes, index: int, proposal: object) -> StoredEvent:
        topic, kind, source, subject, content_type, data, extensions = _checked(index, proposal)
        attributes = base.copy()
        attributes["id"] = _uuid5(self._namespace, stem + b"%d" % index)
        if content_type is not None:
            attributes["datacontenttype"] = content_type
        if kind or source or subject or extensions or content_type not in _USUAL_TYPES:
            _take_over(attributes, (kind, source, subject), extensions, index)
        return StoredEvent(topic or self._topic, _pack((attributes, data)), attributes)


def _checked(index: int, proposal: object) -> list[Any]:
    if type(proposal) is not list or tuple(map(type, proposal)) not in _FORMS:
        raise OutputError(f"output {index}: not in the form of an output")
    topic = proposal[0]
    if topic and topic not in _known_topics:
        if not is_topic(topic):
            raise OutputError(f"output {index}: {topic[:80]!r} is not a topic name")
        if len(_known_topics) < KNOWN_TOPICS:
            _known_topics.add(topic)
    return proposal


def _take_over(
    attributes: Attributes,
    texts: tuple[str | None, str | None, str | None],
    extensions: dict[Any, Any] | None,
    index: int,
) -> None:
    """Put what the handler chose into the attributes, and check them as a whole."""
    for name, text in zip(("type", "source", "subject"), texts, strict=True):
        if text:
            attributes[name] = text
    if extensions:
        _add_extensions(attributes, extensions, index)
    _check(attributes, index)


def _add_extensions(attributes: Attributes, extensions: dict[Any, Any], index: int) -> None:
    for name, value in extensions.items():
        if name in _OURS or str(name).startswith("wm"):
            raise OutputError(f"output {index}: {name!r} is not an extension of the handler's")
        attributes[name] = value


def _check(attributes: Attributes, index: int) -> None:
    faults = validate_attributes(attributes)
    if faults:
        raise OutputError(f"output {index}: {faults[0].pointer}: {faults[0].detail}")


def _uuid5(namespace: bytes, name: bytes) -> str:
    """RFC 9562, 5.5; the standard library's takes text and three times as long."""
    text = _sha1(namespace + name).hexdigest()
    variant = _VARIANT[text[16]]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"
