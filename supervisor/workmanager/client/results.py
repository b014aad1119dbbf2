"""Answers read as the resources of `workmanager.model.resources`.

What a newer service tells besides is passed over, so that an old client goes on working.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from workmanager.client.call import Call
from workmanager.client.problems import ProblemError
from workmanager.model import access, resources

if TYPE_CHECKING:
    from workmanager.client.call import Json, Method

T = TypeVar("T")


def read_result(method: Method[..., Any], answer: object) -> object:
    """Return what *method* is annotated to return.

    Raises:
        ProblemError: The answer is not one of ours (UNKNOWN_ANSWER).
    """
    return _read(_adapter(method.make.__annotations__["return"]), answer)


def read_change(item: Json) -> resources.Change:
    """Return one change of a watch."""
    change: resources.Change = _read(_adapter("Call[Change]"), item)
    return change


def read_line(item: Json) -> resources.LogLine:
    """Return one line of a log."""
    line: resources.LogLine = _read(_adapter("Call[LogLine]"), item)
    return line


def _read(adapter: TypeAdapter[T], answer: object) -> T:
    try:
        return adapter.validate_python(answer, extra="ignore", by_alias=True, by_name=False)
    except ValidationError as error:
        detail = f"the answer is not as expected; is the service of another version? {error}"
        raise ProblemError("UNKNOWN_ANSWER", 0, detail) from error


@cache
def _adapter(annotation: str) -> TypeAdapter[Any]:
    """Return what reads the T of `Call[T]`."""
    holder = SimpleNamespace(__annotations__={"call": annotation})
    hints = get_type_hints(holder, {**vars(resources), **vars(access), "Call": Call})
    return TypeAdapter(get_args(hints["call"])[0])
