"""Both APIs have the same verbs, the same fields, the same words and the same reasons.

REST is taken from its OpenAPI document, which FastAPI makes of the pydantic models; gRPC from the
descriptors of the generated code and the comments of the proto files. A field, verb, word or reason
that one has and the other lacks fails here.
"""

import importlib
import pkgutil
import re
from types import SimpleNamespace

import pytest

import workmanager.v1
from workmanager.api.auth import Auth
from workmanager.api.rest.app import create_app
from workmanager.errors import Reason
from workmanager.v1 import reason_pb2

# Probes: their twin is grpc.health.v1, which takes no credentials either.
NOT_IN_GRPC = {"GET /livez", "GET /readyz", "GET /startupz"}
# Carried by other means in gRPC: metadata, another rpc, a field of that rpc.
NOT_FIELDS = {"Idempotency-Key", "Last-Event-ID", "follow"}
FIELD_OF_HEADER = {"If-Match": "ifMatch"}
# Bodies that are no JSON object of fields: the rpc's fields that carry them.
BODIES = {
    "CreateWorker": {"manifest": "ManifestInput", "seed": "SeedForm"},
    "ApplyWorker": {"manifest": "ManifestInput"},
    "DiffWorker": {"manifest": "ManifestInput"},
    "PatchWorker": {"patch": None},
    "CreateVersion": {"content": None, "mediaType": None},
    "Publish": {"event": "CloudEvent"},
    "PublishBatch": {"events": "CloudEvent"},
    "Invoke": {"event": "CloudEvent"},
}
# Answers that are no JSON object.
RAW_ANSWERS = {"GetCode": {"content", "mediaType"}, "GetMetrics": {"text"}}
# Messages of streams: the field that holds the things REST sends one by one.
ITEMS = {"WatchWorkers": "changes", "WatchTasks": "changes", "TailLogs": "lines"}
EVENT = "io.cloudevents.v1.CloudEvent"
INT32_MAX = 2**31 - 1
WORDS = re.compile(r"(?:One|Any) of: (.+?)\.(?:\s|$)", re.DOTALL)


@pytest.fixture(scope="module")
def rest():
    """The OpenAPI document; no call is made, so nothing stands behind it."""
    nothing = SimpleNamespace(publish=None)
    return create_app(nothing, Auth(dev=True), answers=nothing).openapi()


@pytest.fixture(scope="module")
def rpcs():
    """Every rpc by its name: the method's descriptor."""
    found = {}
    for module in pkgutil.iter_modules(workmanager.v1.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"workmanager.v1.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                found |= {method.name: method for method in service.methods}
    return found


@pytest.fixture(scope="module")
def compare(rest, generated):
    comments = generated.reference.comments_by_name(generated.found)
    return Comparison(rest["components"]["schemas"], comments)


def routes_of(rest):
    return {
        f"{method.upper()} {path}": operation
        for path, entry in rest["paths"].items()
        for method, operation in entry.items()
    }


def twins_of(generated):
    """Each rpc's REST routes by its bare name."""
    twins = generated.reference.rest_twins(generated.found)
    return {
        rpc.partition(".")[2]: [route.partition("?")[0] for route in routes]
        for rpc, routes in twins.items()
    }


def test_every_verb_of_one_is_in_the_other(rest, rpcs, generated):
    twins = twins_of(generated)
    assert twins.keys() == rpcs.keys(), "names are unique over all services"
    of_grpc = {route for routes in twins.values() for route in routes}
    of_rest = set(routes_of(rest)) - NOT_IN_GRPC
    assert of_rest - of_grpc == set(), "REST has what gRPC lacks"
    assert of_grpc - of_rest == set(), "gRPC has what REST lacks"


def test_every_call_takes_the_same_fields(rest, rpcs, generated, compare):
    differences = []
    for name, routes in twins_of(generated).items():
        operations = [routes_of(rest)[route] for route in routes]
        schema = {"type": "object", "properties": inputs_of(name, operations, rest)}
        differences += compare.objects(
            schema, rpcs[name].input_type, f"{name} takes", is_input=True
        )
    assert not differences, "\n".join(["", *differences])


def test_every_call_gives_the_same_fields(rest, rpcs, generated, compare):
    differences = []
    for name, routes in twins_of(generated).items():
        for route in routes:
            schema = answer_of(routes_of(rest)[route])
            message = rpcs[name].output_type
            if name in RAW_ANSWERS:
                assert {field.json_name for field in message.fields} == RAW_ANSWERS[name]
            elif schema is None:
                assert message.full_name == "google.protobuf.Empty", name
            else:
                if name in ITEMS:
                    assert [field.name for field in message.fields] == [ITEMS[name]]
                    message = message.fields[0].message_type
                if name == "TailLogs":
                    schema = {"$ref": "#/components/schemas/LogLine"}  # what one event holds
                differences += compare.objects(schema, message, f"{name} gives")
    assert not differences, "\n".join(["", *differences])


def test_reasons_are_the_same_with_the_same_codes(generated):
    comments = generated.reference.comments_by_name(generated.found)
    of_grpc = set(reason_pb2.Reason.keys()) - {"REASON_UNSPECIFIED"}
    assert of_grpc == set(Reason.__members__)
    for reason in Reason:
        said = comments[f"workmanager.v1.Reason.{reason.name}"]
        assert said.startswith(f"{reason.grpc_code}, {reason.status}: "), reason.name


def inputs_of(name, operations, rest):
    """Every field that the routes of one rpc take, with its schema."""
    fields = {}
    for operation in operations:
        for parameter in operation.get("parameters", ()):
            if parameter["name"] not in NOT_FIELDS:
                field = FIELD_OF_HEADER.get(parameter["name"], parameter["name"])
                fields[field] = parameter["schema"]
        body = operation.get("requestBody")
        if body is not None and name not in BODIES:
            schema = next(iter(body["content"].values()))["schema"]
            if "$ref" in schema:
                schema = rest["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            fields |= schema["properties"]
    for field, model in BODIES.get(name, {}).items():
        ref = {"$ref": f"#/components/schemas/{model}"} if model else None
        fields[field] = {"type": "array", "items": ref} if field == "events" else ref
    return fields


def answer_of(operation):
    """The schema of a route's success; None for an empty one."""
    status = next(status for status in operation["responses"] if status.startswith("2"))
    content = operation["responses"][status].get("content", {})
    if "application/json" in content:
        return content["application/json"]["schema"]
    if "text/event-stream" in content:  # what one event holds
        return {"$ref": "#/components/schemas/Change"}
    return None


class Comparison:
    """Compares JSON schemas with messages; differences are sentences."""

    def __init__(self, schemas, comments):
        self._schemas = schemas
        self._comments = comments

    def objects(self, schema, message, place, *, is_input=False, seen=()):
        """Compare an object's properties with a message's fields."""
        schema, _ = self._plain(schema)
        if message.full_name == EVENT or message in seen:
            return []
        of_rest = schema["properties"]
        if message.name == "SeedCodeSource":  # its keys are in any case
            of_rest = {name.lower(): property_ for name, property_ in of_rest.items()}
        of_grpc = {field.json_name: field for field in message.fields}
        found = [f"{place} {name}: only REST" for name in of_rest.keys() - of_grpc.keys()]
        found += [f"{place} {name}: only gRPC" for name in of_grpc.keys() - of_rest.keys()]
        for name in of_rest.keys() & of_grpc.keys():
            found += self.fields(
                of_rest[name],
                of_grpc[name],
                f"{place} {name}",
                is_input=is_input,
                seen=(*seen, message),
            )
        return found

    def fields(self, schema, field, place, *, is_input, seen):
        """Compare a property with a field."""
        if schema is None:
            return []  # a raw body
        schema, is_nullable = self._plain(schema)
        found = []
        if is_nullable and not (field.has_presence or field.is_repeated) and not is_input:
            found.append(f"{place}: null in REST, but no presence in gRPC")
        if place.endswith(" kinds") and schema.get("type") == "string":
            return found  # a list, by commas in REST
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if (schema.get("type") == "array") != (field.is_repeated and not is_map):
            return [*found, f"{place}: a list in one only"]
        if schema.get("type") == "array":
            schema, _ = self._plain(schema["items"])
        kind = self._kind(schema)
        found += self._types(schema, kind, field, place)
        if kind == "object" and schema.get("properties") is not None:
            found += self.objects(schema, field.message_type, place, is_input=is_input, seen=seen)
        return found + self._words(schema, field, place)

    def _types(self, schema, kind, field, place):
        own = kind_of(field)
        if own == "event" and kind in ("free", "object"):
            return []
        if (kind, own) == ("string", "bytes") and field.name == "content":
            return []  # base64 in JSON, as protobuf's JSON mapping has it
        if (kind, own, field.name) == ("free", "object", "filters"):
            return []  # what is shown has a serializer of its own; what is taken is compared
        if kind == "integer" and own == "int32" and schema.get("maximum", 0) > INT32_MAX:
            return [f"{place}: may exceed 32 bits"]
        wanted = {"integer": {"int32", "int64"}}.get(kind, {kind})
        return [] if own in wanted else [f"{place}: {kind} in REST, {own} in gRPC"]

    def _words(self, schema, field, place):
        """A closed set of words stands in the field's comment."""
        words = schema.get("enum", ())
        said = WORDS.search(self._comments.get(field.full_name, ""))
        if not words or True in words:
            return []
        listed = set() if said is None else {word.strip() for word in said[1].split(",")}
        wanted = {word for word in words if word}
        return [] if listed == wanted else [f"{place}: {wanted} in REST, {listed} in the comment"]

    def _kind(self, schema):
        if "anyOf" in schema:  # a duration or a size, which REST takes as text, too
            kinds = {part["type"] for part in schema["anyOf"]} - {"string"}
            assert len(kinds) == 1, schema
            return kinds.pop()
        if schema.get("format") == "date-time":
            return "time"
        if True in schema.get("enum", ()):
            return "boolean"  # a flag of a query, which may be 1 or nothing, too
        if schema.get("type") == "object" and "properties" not in schema:
            values = schema.get("additionalProperties")
            return "map" if isinstance(values, dict) and values.get("type") else "free"
        return schema.get("type", "any") if schema.get("type") or "enum" not in schema else "string"

    def _plain(self, schema):
        """Follow references; tell whether null is among the values."""
        is_nullable = False
        while True:
            if "$ref" in schema:
                schema = self._schemas[schema["$ref"].rpartition("/")[2]]
            elif {"type": "null"} in schema.get("anyOf", ()):
                is_nullable = True
                left = [part for part in schema["anyOf"] if part != {"type": "null"}]
                schema = left[0] if len(left) == 1 else {**schema, "anyOf": left}
            else:
                return schema, is_nullable


def kind_of(field):
    """Name a field's type in the words of JSON Schema."""
    if field.message_type is not None:
        if field.message_type.GetOptions().map_entry:
            return "map"
        special = {
            EVENT: "event",
            "google.protobuf.Timestamp": "time",
            "google.protobuf.Struct": "free",
            "google.protobuf.Value": "any",
        }
        return special.get(field.message_type.full_name, "object")
    names = {
        field.TYPE_STRING: "string",
        field.TYPE_BOOL: "boolean",
        field.TYPE_DOUBLE: "number",
        field.TYPE_BYTES: "bytes",
        field.TYPE_INT32: "int32",
        field.TYPE_INT64: "int64",
    }
    return names[field.type]
