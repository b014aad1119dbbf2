"""CloudEvents in their JSON format, as a publisher makes them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_SOURCE = "/workmanager/client"
DEFAULT_TYPE = "event"
BATCH_MEDIA_TYPE = "application/cloudevents-batch+json"
EVENT_MEDIA_TYPE = "application/cloudevents+json"


def new_event(
    data: object = None,
    *,
    attributes: Mapping[str, str | int | bool] | None = None,
    content_type: str = "",
) -> dict[str, Any]:
    """Make an event in the CloudEvents JSON format.

    Args:
        data: Any JSON value; bytes are read as *content_type* says: JSON, text, else base64.
        attributes: Attributes and extensions; `id`, `source` and `type` have defaults.
        content_type: Media type of *data*; empty means JSON.
    """
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": os.urandom(16).hex(),
        "source": DEFAULT_SOURCE,
        "type": DEFAULT_TYPE,
        **(attributes or {}),
    }
    if content_type:
        event["datacontenttype"] = content_type
    if isinstance(data, bytes):
        return event | _members(data, content_type)
    return event if data is None else event | {"data": data}


def _members(data: bytes, content_type: str) -> dict[str, Any]:
    base = content_type.partition(";")[0].strip().lower()
    try:
        if not base or base.endswith(("/json", "+json")):
            return {"data": json.loads(data)}
        if base.startswith("text/"):
            return {"data": data.decode()}
    except ValueError:
        if not base:
            return {"data_base64": _base64(data), "datacontenttype": "application/octet-stream"}
    return {"data_base64": _base64(data)}


def _base64(data: bytes) -> str:
    import base64  # rarely needed, and a command has 100 ms in all

    return base64.b64encode(data).decode()
