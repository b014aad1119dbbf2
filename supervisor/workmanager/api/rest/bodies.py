"""Request bodies: bounded while they arrive, then read as JSON or YAML.

What a route takes is declared once, in its OpenAPI entry (`manifest_body()` and its siblings); the
route reads its limit from there, so that the description cannot drift from what is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

import msgspec
import trio
from pydantic import BaseModel

from workmanager.api.problems import HttpProblemError
from workmanager.api.validation import read_model
from workmanager.errors import InvalidArgumentError, Reason, WorkManagerError
from workmanager.model.yaml_values import load_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.types import Receive

M = TypeVar("M", bound=BaseModel)

KIND = "x-workmanager-body"  # OpenAPI extension: the kind of body, a field of Limits
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
YAML = ("application/yaml", "application/x-yaml", "text/yaml")
CHUNK_TIMEOUT_S = 30.0
BODY_TIMEOUT_S = 300.0
MAX_JSON_MARKS = 1_000_000  # commas, colons and brackets: each may cost 60 bytes of memory
THREAD_FROM_BYTES = 64 * 1024  # YAML takes 30 ms a megabyte: too long for the loop

_yaml_limiter = trio.CapacityLimiter(2)  # "yaml": more threads would only wait for each other


@dataclass(frozen=True, slots=True)
class Limits:
    """How many bytes a body of each kind may have."""

    MANIFEST_REST_BYTES: ClassVar[int] = 5 * 1024 * 1024  # of a manifest besides its code

    none: int = 1024  # calls that take no body: empty or {}
    small: int = 1024 * 1024
    manifest: int = 48 * 1024 * 1024  # 32 MiB of code in base64
    code: int = 32 * 1024 * 1024
    events: int = 16 * 1024 * 1024

    @classmethod
    def for_code(cls, max_bytes: int) -> Limits:
        """Return the limits where code may have *max_bytes*: a manifest holds it in base64."""
        return cls(code=max_bytes, manifest=max_bytes * 4 // 3 + cls.MANIFEST_REST_BYTES)

    def of(self, kind: str) -> int:
        """Return the limit of a kind of body."""
        return cast("int", getattr(self, kind))


async def read_body(headers: Mapping[str, str], receive: Receive, *, max_bytes: int) -> bytes:
    """Receive a whole body of at most *max_bytes*.

    Raises:
        WorkManagerError: It is longer (PAYLOAD_TOO_LARGE), encoded (UNSUPPORTED_MEDIA_TYPE), too
            slow (status 408) or cut off.
    """
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise WorkManagerError(
            "send the body without Content-Encoding", reason=Reason.UNSUPPORTED_MEDIA_TYPE
        )
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    with trio.CancelScope() as scope:
        return await _receive_all(receive, max_bytes, scope)
    raise HttpProblemError(
        "the body did not arrive in time", reason=Reason.INVALID_ARGUMENT, status=408
    )


async def _receive_all(receive: Receive, max_bytes: int, scope: trio.CancelScope) -> bytes:
    """Receive all; *scope*, one because each costs 10 us, ends a body that pauses or trickles."""
    ends_at = trio.current_time() + BODY_TIMEOUT_S
    chunks: list[bytes] = []
    size = 0
    while True:
        scope.deadline = min(ends_at, trio.current_time() + CHUNK_TIMEOUT_S)
        message = await receive()
        if message["type"] != "http.request":
            raise InvalidArgumentError("the request ended before its body was complete")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > max_bytes:
            raise _too_large(max_bytes)
        if not message.get("more_body", False):
            return b"".join(chunks)


def check_no_body(body: bytes) -> None:
    """Refuse a body where none is taken; `{}` is as good as none."""
    if b"".join(body.split()) not in (b"", b"{}"):
        raise InvalidArgumentError("this call takes no body")


async def parse_document(request: Request, *media_types: str) -> object:
    """Read the request's body as JSON or YAML, whichever its Content-Type says.

    Scripts of the seed era (and curl without -H) send JSON under no or a form's media type.

    Raises:
        WorkManagerError: It is neither, or another media type than *media_types*.
    """
    body: bytes = request.state.body
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in ("", "application/x-www-form-urlencoded") and body.lstrip()[:1] == b"{":
        media_type = media_types[0]
    if media_type not in media_types:
        raise WorkManagerError(
            f"Content-Type is {media_type or 'missing'}; send one of {', '.join(media_types)}",
            reason=Reason.UNSUPPORTED_MEDIA_TYPE,
        )
    if media_type not in YAML:
        return parse_json(body)
    if len(body) < THREAD_FROM_BYTES:
        return load_yaml(body)
    return await trio.to_thread.run_sync(load_yaml, body, limiter=_yaml_limiter)


def parse_json(body: bytes) -> object:
    """Read strict JSON (RFC 8259).

    Raises:
        InvalidArgumentError: It is none, or has too many values.
    """
    if sum(body.count(mark) for mark in (b",", b":", b"[", b"{")) > MAX_JSON_MARKS:
        raise InvalidArgumentError(f"the body has more than {MAX_JSON_MARKS} values")
    try:
        return cast("object", msgspec.json.decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidArgumentError(f"the body is not JSON: {exc}") from exc


async def parse_object(request: Request, *media_types: str) -> dict[str, object]:
    """Read the request's body, which must be an object; see `parse_document`."""
    value = await parse_document(request, *media_types)
    if not isinstance(value, dict):
        raise InvalidArgumentError("the body must be an object")
    return value


async def parse_model(request: Request, model: type[M]) -> M:
    """Read a small JSON body as *model*; an empty body is `{}`.

    Raises:
        WorkManagerError: With every fault.
    """
    value = await parse_object(request, JSON) if request.state.body.strip() else {}
    return read_model(model, value)


def manifest_body() -> dict[str, object]:
    """Describe the body of calls that take a manifest."""
    schema = {"$ref": "#/components/schemas/ManifestOrSeed"}
    return _described("manifest", dict.fromkeys((JSON, *YAML), schema))


def merge_patch_body() -> dict[str, object]:
    """Describe a JSON merge patch (RFC 7396) of a manifest."""
    return _described(
        "manifest", {media_type: {"type": "object"} for media_type in (MERGE_PATCH, JSON)}
    )


def code_body() -> dict[str, object]:
    """Describe raw code; the engines installed decide which media types there are."""
    raw = {"type": "string", "format": "binary"}
    known = ("text/x-python", "text/x-csharp", "text/x-dll", "application/x-dotnet-dll")
    return _described("code", dict.fromkeys(known, raw))


def event_body() -> dict[str, object]:
    """Describe one event in binary or structured mode."""
    structured = {"$ref": "#/components/schemas/CloudEvent"}
    return _described("events", {"application/cloudevents+json": structured, "*/*": {}})


def json_body(model: type[BaseModel], *, required: bool = False) -> dict[str, object]:
    """Describe a small JSON body."""
    schema = model.model_json_schema(by_alias=True)
    return _described("small", {JSON: schema}, required=required)


def kind_of(extra: Mapping[str, object] | None) -> str:
    """Return the kind of body that a route's OpenAPI entry declares."""
    return str((extra or {}).get(KIND, "none"))


def _described(
    kind: str, content: Mapping[str, object], *, required: bool = True
) -> dict[str, object]:
    entries = {media_type: {"schema": schema} for media_type, schema in content.items()}
    return {KIND: kind, "requestBody": {"required": required, "content": entries}}


def _too_large(max_bytes: int) -> WorkManagerError:
    return WorkManagerError(
        f"the body has more than {max_bytes} bytes",
        reason=Reason.PAYLOAD_TOO_LARGE,
        metadata={"limitBytes": str(max_bytes)},
    )
