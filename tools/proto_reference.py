"""Writes the gRPC reference from the comments of the proto files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.descriptor_pb2 import (
        DescriptorProto,
        EnumDescriptorProto,
        FileDescriptorProto,
        FileDescriptorSet,
        MethodDescriptorProto,
        ServiceDescriptorProto,
    )

HEAD = """<!-- Generated from proto/ by `make proto`; edit the comments there. -->

# gRPC reference

Service `workmanager.v1` on 127.0.0.1:5002 (`grpc_bind`) and on the Unix socket `grpc.sock` of the
state folder (`grpc_socket`). Over TCP every call carries `authorization: Bearer <token>` in its
metadata, the token of the state folder; the Unix socket asks for none, for only the service's own
user and root can open it. `--dev` asks for none on loopback. TLS and mutual TLS follow the settings
of the REST API. A `POST` or `PATCH` of the REST API takes `idempotency-key` in its metadata here.

Without credentials: `grpc.health.v1.Health` (Check and Watch of `""` and `workmanager.v1`; of
`workers/NAME` with them) and server reflection (`grpc.reflection.v1` and `v1alpha`).

A refused call has a [reason](#reason) in the `google.rpc.ErrorInfo` of its status details, with
every fault of the input as a `BadRequest` violation, and `RetryInfo` where the same call may
succeed later. A deadline, or a client that goes, ends the operation too. A stream that the service
ends says why: `SLOW_READER`, or `SHUTTING_DOWN`. A client to begin from:
[examples/grpc_client.py](examples/grpc_client.py).

A message has the names of the REST API's JSON: the protobuf JSON mapping of a message is the REST
answer, but for 64-bit integers, which that mapping writes as text, and for events, which stand in
their own format. Words such as a state are text, so that a new one never breaks an old client.
Times are UTC.

"""
REST = re.compile(r"^REST: (.+)$", re.MULTILINE)
_SCALARS = {
    number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()
}
_FILE_SYNTAX, _MESSAGE, _ENUM, _SERVICE = 12, 4, 5, 6  # field numbers of FileDescriptorProto
_FIELD, _NESTED, _ONEOF, _VALUE, _METHOD = 2, 3, 8, 2, 2  # and of what stands in it


class Part(NamedTuple):
    """A declaration by its place in its file, which is how comments are found."""

    path: tuple[int, ...]
    name: str


class Comments:
    """The comments of one file."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._found = {
            tuple(location.path): location.leading_comments
            for location in file.source_code_info.location
        }
        detached = [
            comment
            for location in file.source_code_info.location
            if tuple(location.path) == (_FILE_SYNTAX,)
            for comment in (*location.leading_detached_comments, location.leading_comments)
        ]
        self.head = _tidy("\n\n".join(detached))

    def of(self, *path: int) -> str:
        """Return the comment of the declaration at *path*."""
        return _tidy(self._found.get(path, ""))


def write_reference(found: FileDescriptorSet) -> str:
    """Return the reference as Markdown."""
    own = sorted(found.file, key=lambda file: (not file.service, file.name))
    parts = [HEAD]
    for file in own:
        comments = Comments(file)
        parts.append(f"## {file.name}\n\n{comments.head}\n\n")
        for index, service in enumerate(file.service):
            parts.append(_service(service, comments, index))
        for index, message in enumerate(file.message_type):
            parts.append(_message(message, comments, (_MESSAGE, index), message.name))
        for index, enum in enumerate(file.enum_type):
            parts.append(_enum(enum, comments, index))
    return "".join(parts).rstrip() + "\n"


def undocumented(found: FileDescriptorSet) -> list[str]:
    """List every declaration without a comment, by its full name."""
    missing: list[str] = []
    for file in found.file:
        comments = Comments(file)
        missing += [
            f"{file.package}.{part.name}"
            for part in _declarations(file)
            if not REST.sub("", comments.of(*part.path)).strip()
        ]
    return missing


def comments_by_name(found: FileDescriptorSet) -> dict[str, str]:
    """Map every declaration, by its full name, to its comment."""
    texts: dict[str, str] = {}
    for file in found.file:
        comments = Comments(file)
        for part in _declarations(file):
            texts[f"{file.package}.{part.name}"] = comments.of(*part.path)
    return texts


def rest_twins(found: FileDescriptorSet) -> dict[str, list[str]]:
    """Map each rpc, as `Service.Method`, to the REST routes its comment names."""
    twins: dict[str, list[str]] = {}
    for file in found.file:
        comments = Comments(file)
        for index, service in enumerate(file.service):
            for number, method in enumerate(service.method):
                text = comments.of(_SERVICE, index, _METHOD, number)
                match = REST.search(text)
                routes = match[1].split(", ") if match else []
                twins[f"{service.name}.{method.name}"] = routes
    return twins


def _declarations(file: FileDescriptorProto) -> Iterator[Part]:
    for index, service in enumerate(file.service):
        yield Part((_SERVICE, index), service.name)
        for number, method in enumerate(service.method):
            yield Part((_SERVICE, index, _METHOD, number), f"{service.name}.{method.name}")
    for index, enum in enumerate(file.enum_type):
        yield Part((_ENUM, index), enum.name)
        for number, value in enumerate(enum.value):
            yield Part((_ENUM, index, _VALUE, number), f"{enum.name}.{value.name}")
    for index, message in enumerate(file.message_type):
        yield from _members((_MESSAGE, index), message, message.name)


def _members(path: tuple[int, ...], message: DescriptorProto, name: str) -> Iterator[Part]:
    if message.options.map_entry:
        return
    yield Part(path, name)
    for number, field in enumerate(message.field):
        yield Part((*path, _FIELD, number), f"{name}.{field.name}")
    for number, oneof in enumerate(message.oneof_decl):
        if not oneof.name.startswith("_"):
            yield Part((*path, _ONEOF, number), f"{name}.{oneof.name}")
    for number, nested in enumerate(message.nested_type):
        yield from _members((*path, _NESTED, number), nested, f"{name}.{nested.name}")


def _service(service: ServiceDescriptorProto, comments: Comments, index: int) -> str:
    parts = [f"### service {service.name}\n\n{comments.of(_SERVICE, index)}\n\n"]
    parts += ["| call | REST | what |\n|---|---|---|\n"]
    for number, method in enumerate(service.method):
        text = comments.of(_SERVICE, index, _METHOD, number)
        match = REST.search(text)
        routes = ", ".join(f"`{route}`" for route in match[1].split(", ")) if match else ""
        parts.append(f"| {_signature(method)} | {routes} | {_line(REST.sub('', text))} |\n")
    return "".join([*parts, "\n"])


def _signature(method: MethodDescriptorProto) -> str:
    stream = "stream " if method.server_streaming else ""
    asked, given = _short(method.input_type), _short(method.output_type)
    return f"`{method.name}({asked}) returns ({stream}{given})`"


def _message(message: DescriptorProto, comments: Comments, path: tuple[int, ...], name: str) -> str:
    parts = [f"### {name}\n\n{comments.of(*path)}\n\n"]
    if message.field:
        parts.append("| field | type | what |\n|---|---|---|\n")
    for number, field in enumerate(message.field):
        what = _line(comments.of(*path, _FIELD, number))
        parts.append(f"| `{field.name}` = {field.number} | {_type(field, message)} | {what} |\n")
    parts.append("\n" if message.field else "")
    for number, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            parts.append(
                _message(nested, comments, (*path, _NESTED, number), f"{name}.{nested.name}")
            )
    return "".join(parts)


def _enum(enum: EnumDescriptorProto, comments: Comments, index: int) -> str:
    parts = [f"### {enum.name}\n\n{comments.of(_ENUM, index)}\n\n| value | what |\n|---|---|\n"]
    for number, value in enumerate(enum.value):
        what = _line(comments.of(_ENUM, index, _VALUE, number))
        parts.append(f"| `{value.name}` = {value.number} | {what} |\n")
    return "".join([*parts, "\n"])


def _type(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    name = _short(field.type_name) if field.type_name else _SCALARS[field.type]
    entry = _entry_of(field, message.nested_type)
    if entry is not None:
        key, value = entry.field
        return f"map of {_type(key, entry)} to {_type(value, entry)}"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {name}"
    return f"{name}, optional" if field.proto3_optional else name


def _entry_of(
    field: FieldDescriptorProto, nested: Sequence[DescriptorProto]
) -> DescriptorProto | None:
    return next(
        (n for n in nested if n.options.map_entry and field.type_name.endswith(f".{n.name}")), None
    )


def _short(type_name: str) -> str:
    return type_name.removeprefix(".").removeprefix("workmanager.v1.")


def _tidy(comment: str) -> str:
    return "\n".join(line.removeprefix(" ").rstrip() for line in comment.splitlines()).strip()


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
