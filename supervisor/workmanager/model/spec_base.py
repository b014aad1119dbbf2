"""The base of every part of a worker's specification: naming, strictness, rules between fields.

A field's name carries its unit (`start_to_close_s`, `memory_max_bytes`); on the wire the unit is
gone and the name is camelCase (`startToClose`, `memoryMax`), because there a value may be text with
its own unit. Rules between fields are data (`Rule`), so that a manifest with one broken field still
gets told everything else that is wrong with it: a rule runs whenever the fields it reads are sound.
A field that is null counts as absent, as in protobuf's JSON mapping and in an empty YAML section.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from workmanager.model.units import Duration

YEAR_S = 365 * 86_400
UNIT_SUFFIXES = ("_s", "_bytes", "_cores")

Flag = Annotated[bool, Field(strict=True)]  # lax mode would take "yes" and 1
Whole = Annotated[int, Field(strict=True)]  # lax mode would take "5", 5.0 and true
Interval = Annotated[Duration, Field(ge=0, le=YEAR_S)]
PositiveInterval = Annotated[Duration, Field(ge=0.001, le=YEAR_S)]
Loc = tuple[str | int, ...]
Breaches = Iterable[tuple[Loc, str]]


def to_wire_name(name: str) -> str:
    """Turn `start_to_close_s` into `startToClose`."""
    for suffix in UNIT_SUFFIXES:
        name = name.removesuffix(suffix)
    return to_camel(name)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule between fields: *check* yields `(location, message)` for each breach of it.

    It runs when none of the fields in *needs* (attribute names) has a fault of its own.
    """

    needs: frozenset[str]
    check: Callable[[Any], Breaches]  # Any: each rule takes its own model


def _tidy_schema(schema: dict[str, Any]) -> None:
    """Give bounds their JSON Schema names, which pydantic 2.14 loses beside a text form."""
    for field in schema.get("properties", {}).values():
        field.pop("title", None)  # "Starttoclose": says less than the name
        for own, standard in (("ge", "minimum"), ("le", "maximum")):
            if own in field:
                field[standard] = field.pop(own)


class Model(BaseModel):
    """Base of every part of a specification: immutable, camelCase on the wire, no unknown field."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_wire_name,
        validate_by_alias=True,
        validate_by_name=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        json_schema_extra=_tidy_schema,
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="wrap")
    @classmethod
    def _apply_rules(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        data = _without_nulls(cls, data)
        try:
            model = handler(data)
        except ValidationError as error:
            breaches = _breaches_beside(cls, data, handler, error)
            if not breaches:
                raise
            found = [_as_details(line) for line in error.errors(include_url=False)]
            raise ValidationError.from_exception_data(cls.__name__, found + breaches) from None
        breaches = _breaches(cls, model, frozenset())
        if breaches:
            raise ValidationError.from_exception_data(cls.__name__, breaches)
        return model


def _without_nulls(cls: type[Model], data: object) -> object:
    if not isinstance(data, Mapping):
        return data
    known = {alias for name, field in cls.model_fields.items() for alias in (name, field.alias)}
    return {key: value for key, value in data.items() if value is not None or key not in known}


def _breaches(cls: type[Model], model: Model, broken: frozenset[str]) -> list[InitErrorDetails]:
    return [
        InitErrorDetails(
            type=PydanticCustomError("rule", "{text}", {"text": text}), loc=loc, input=None
        )
        for rule in cls.rules
        if not rule.needs & broken
        for loc, text in rule.check(model)
    ]


def _breaches_beside(
    cls: type[Model],
    data: object,
    handler: ModelWrapValidatorHandler[Model],
    error: ValidationError,
) -> list[InitErrorDetails]:
    """Find the breaches among the sound fields of *data*, by validating it without the others."""
    if not cls.rules or not isinstance(data, Mapping):
        return []
    keys = {line["loc"][0] for line in error.errors(include_url=False) if line["loc"]}
    broken = {name for name, field in cls.model_fields.items() if {name, field.alias} & keys}
    try:
        model = handler({key: value for key, value in data.items() if key not in keys})
    except ValidationError:  # a required field is broken or missing
        return []
    return _breaches(cls, model, frozenset(broken))


def _as_details(line: ErrorDetails) -> InitErrorDetails:
    """Make an error again from its report; a type of our own cannot be named by its text."""
    error = PydanticCustomError(line["type"], "{text}", {"text": line["msg"]})
    return InitErrorDetails(type=error, loc=line["loc"], input=None)
