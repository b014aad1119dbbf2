"""Refusals as `google.rpc.Status`: ErrorInfo always, BadRequest and RetryInfo where they say more.

    trailer grpc-status-details-bin = Status{code, message, [ErrorInfo, BadRequest, RetryInfo]}

Clients take 8 KiB of trailers by default and break the call beyond that. So everything is cut to
fit: long facts first, then the last faults, whose number is told.

Source: google/rpc/error_details.proto; gRPC A7 "Richer error model".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

    from workmanager.errors import Fault, WorkManagerError

DOMAIN = "workmanager"
TRAILER = "grpc-status-details-bin"
MESSAGE_BYTES = 640  # it is sent twice, once percent-encoded: up to three bytes for each
FACT_BYTES = 1024
STATUS_BYTES = 3600  # 4.8 KiB in base64

_CODES = {code.name: code for code in grpc.StatusCode}


def code_of(error: WorkManagerError) -> grpc.StatusCode:
    """Return the gRPC code of *error*."""
    return _CODES[error.reason.grpc_code]


def message_of(error: WorkManagerError) -> str:
    """Return what *error* says, as long as it may be."""
    return _head(str(error), MESSAGE_BYTES)


def trailers_of(error: WorkManagerError) -> tuple[tuple[str, bytes], ...]:
    """Return the trailing metadata of a call that is refused with *error*."""
    return ((TRAILER, status_of(error).SerializeToString()),)


def status_of(error: WorkManagerError) -> Status:
    """Return the rich status of *error*, cut to fit."""
    details: list[Message] = [_info(error)]
    if error.retry_after_s is not None:
        retry = RetryInfo()
        retry.retry_delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(retry)
    status = Status(code=code_of(error).value[0], message=message_of(error))
    status.details.extend(_packed(detail) for detail in details)
    if error.faults:
        room = STATUS_BYTES - status.ByteSize()
        status.details.insert(1, _packed(_bad_request(error.faults, room)))
    return status


def _info(error: WorkManagerError) -> ErrorInfo:
    facts = {key: _cut(key, value, FACT_BYTES) for key, value in error.metadata.items()}
    info = ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=facts)
    while info.ByteSize() > STATUS_BYTES - MESSAGE_BYTES - 200:
        longest = max(facts, key=lambda key: len(facts[key]))
        facts[longest] = _cut(longest, facts[longest], len(facts[longest].encode()) // 2)
        info = ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=facts)
    return info


def _bad_request(faults: Sequence[Fault], room_bytes: int) -> BadRequest:
    bad = BadRequest()
    for index, fault in enumerate(faults):
        before = len(bad.field_violations)
        bad.field_violations.add(
            field=_head(fault.pointer, 256), description=_head(fault.detail, 512)
        )
        if bad.ByteSize() > room_bytes - 100:
            del bad.field_violations[before:]
            bad.field_violations.add(description=f"and {len(faults) - index} more")
            break
    return bad


def _packed(detail: Message) -> Any:
    packed = Any()
    packed.Pack(detail)
    return packed


def _cut(key: str, text: str, max_bytes: int) -> str:
    """Keep the end of a traceback, which names the fault, and the beginning of anything else."""
    return _tail(text, max_bytes) if key == "traceback" else _head(text, max_bytes)


def _head(text: str, max_bytes: int) -> str:
    raw = text.encode("utf-8", "replace")
    if len(raw) <= max_bytes:
        return raw.decode()
    return raw[: max_bytes - 3].decode("utf-8", "ignore") + "…"


def _tail(text: str, max_bytes: int) -> str:
    raw = text.encode("utf-8", "replace")
    if len(raw) <= max_bytes:
        return raw.decode()
    return "…" + raw[3 - max_bytes :].decode("utf-8", "ignore")
