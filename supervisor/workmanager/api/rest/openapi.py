"""What the API says of itself: complete enough to generate clients from and to test it against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from workmanager.api.problems import MEDIA_TYPE, Problem
from workmanager.model.manifest import Manifest
from workmanager.model.resources import PublishResult

if TYPE_CHECKING:
    from collections.abc import Iterator

Document = dict[str, Any]

DESCRIPTION = """Runs event-driven workers in isolated, sandboxed, supervised processes.

Refusals are problem documents (RFC 9457) with a stable `reason`. Unknown query parameters and
unknown fields are refused. POST and PATCH take an `Idempotency-Key`, which is kept for a day;
events need none: a worker knows an event by its source and id."""

_WHY = {
    304: "Unchanged",
    400: "The request is malformed; `errors` lists every fault",
    401: "No or wrong credentials",
    403: "The caller may not",
    404: "There is no such thing",
    408: "The body did not arrive in time",
    409: "The state forbids it, or the Idempotency-Key is in use",
    410: "What happened since the token is forgotten; begin without one",
    412: "The thing has changed since it was read",
    413: "The body is too large",
    415: "The media type is not taken",
    422: "The code is refused or failed, or the Idempotency-Key was used for another request",
    429: "An inbox or a quota is full; nothing was accepted",
    500: "The service failed; its log has the cause",
    503: "The service cannot do this now",
    504: "The task did not settle in time",
}
_ALWAYS = (400, 401, 403, 500, 503)
_WITH_BODY = (408, 413, 415)
_METHODS = frozenset({"get", "put", "post", "patch", "delete"})
_PUBLIC = frozenset({"/livez", "/readyz", "/startupz"})
_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}

IF_MATCH: Document = {
    "parameters": [
        {
            "name": "If-Match",
            "in": "header",
            "required": False,
            "description": "Refuse (412) if the worker's etag is another.",
            "schema": {"type": "string", "maxLength": 256},
        }
    ]
}
_IDEMPOTENCY_KEY: Document = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same request under the same key is done once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


def refuses(*statuses: int) -> dict[int | str, Document]:
    """Describe refusals of a route beyond those that any may give."""
    return {status: {"description": _WHY[status], "content": _PROBLEM} for status in statuses}


def complete(document: Document) -> Document:
    """Add to FastAPI's *document* what it cannot know, and take out what is not so."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):  # ours are problems, with status 400
        schemas.pop(unused, None)
    schemas |= _own_schemas()
    document["paths"] |= {"/v1/topics/{topic}:publish": {"post": _publish()}}
    for path, method, operation in _operations(document):
        _complete_operation(operation, path, method)
    document["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "The state folder's token."}
    }
    document["security"] = [{"token": []}]
    document["paths"] = dict(sorted(document["paths"].items()))
    return document


def _operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, entry in document["paths"].items():
        for method, operation in entry.items():
            if method in _METHODS:
                yield path, method, operation


def _complete_operation(operation: Document, path: str, method: str) -> None:
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422", "")):
        del responses["422"]
    if path in _PUBLIC:
        operation["security"] = [{}]
    keyed = method in ("post", "patch") and not path.endswith(":publish")
    if keyed:
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    statuses = [
        *_ALWAYS,
        *((404,) if "{" in path else ()),
        *(_WITH_BODY if method in ("post", "put", "patch") else ()),
        *((409, 422) if keyed else ()),
    ]
    for status, entry in refuses(*statuses).items():
        responses.setdefault(str(status), entry)
    responses["default"] = {"description": "Any other refusal", "content": _PROBLEM}
    operation["responses"] = dict(sorted(responses.items()))


def _own_schemas() -> Document:
    _, top = models_json_schema(
        [(Manifest, "validation"), (Problem, "serialization"), (PublishResult, "serialization")],
        by_alias=True,
        ref_template="#/components/schemas/{model}",
    )
    definitions: Document = top["$defs"]
    own = {"Problem", "ProblemFault", "PublishResult"}
    renamed = {name: name if name in own else f"{name}Input" for name in definitions}
    return {
        **{renamed[name]: _renamed(schema, renamed) for name, schema in definitions.items()},
        "SeedForm": _SEED_FORM,
        "ManifestOrSeed": {
            "anyOf": [
                {"$ref": "#/components/schemas/ManifestInput"},
                {"$ref": "#/components/schemas/SeedForm"},
            ]
        },
        "CloudEvent": _CLOUD_EVENT,
    }


def _renamed(value: Any, names: dict[str, str]) -> Any:  # noqa: ANN401 - any part of a schema
    """Rename the schemas that *value* refers to: a manifest asked for differs from one shown."""
    if isinstance(value, dict):
        return {
            key: _renamed_ref(str(part), names) if key == "$ref" else _renamed(part, names)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [_renamed(part, names) for part in value]
    return value


def _renamed_ref(ref: str, names: dict[str, str]) -> str:
    base, _, name = ref.rpartition("/")
    return f"{base}/{names[name]}"


def _publish() -> Document:
    event = {"$ref": "#/components/schemas/CloudEvent"}
    batch = {"type": "array", "items": event}
    return {
        "tags": ["events"],
        "summary": "Publish",
        "description": (
            "Publish one CloudEvent, in binary (`ce-*` headers) or structured mode, or a batch. "
            "The answer comes after the commit: all events are accepted, or none."
        ),
        "operationId": "publish",
        "parameters": [
            {
                "name": "topic",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]{0,248}$"},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/cloudevents-batch+json": {"schema": batch},
                "application/cloudevents+json": {"schema": event},
                "*/*": {},
            },
        },
        "responses": {
            "200": {
                "description": "Committed",
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/PublishResult"}}
                },
            },
            **{str(status): entry for status, entry in refuses(429).items()},
        },
    }


_TEXT = {"type": "string", "minLength": 1, "maxLength": 1024}
_CLOUD_EVENT: Document = {
    "type": "object",
    "description": "A CloudEvents 1.0 event in the JSON format; further members are extensions.",
    "required": ["id", "source", "type"],
    "properties": {
        "specversion": {"type": "string", "const": "1.0", "default": "1.0"},
        "id": _TEXT,
        "source": _TEXT,
        "type": _TEXT,
        "subject": _TEXT,
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": _TEXT,
        "dataschema": _TEXT,
        "data": {"description": "Any JSON value, or the text of another media type."},
        "data_base64": {"type": "string", "contentEncoding": "base64"},
    },
    "additionalProperties": {"type": ["string", "integer", "boolean"]},
}
_SEED_FORM: Document = {
    "type": "object",
    "description": "The short form; its keys may be in any case.",
    "required": ["codeSource"],
    "properties": {
        "codeSource": {
            "type": "object",
            "properties": {
                "Content": {"type": "string", "contentEncoding": "base64"},
                "Url": {"type": "string"},
            },
        },
        "mimeType": {"type": "string"},
        "topic": {"type": "string"},
        "group": {"type": "string"},
        "name": {"type": "string"},
    },
}
