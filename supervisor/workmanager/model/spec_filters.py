"""Event filters: the dialects of the CloudEvents subscriptions API that need no language.

Source: CloudEvents Subscriptions 1.0 (working draft), 3.2.4 "Filter Dialects". A filter is an
object with exactly one dialect; `{"exact": {"type": "a", "subject": "b"}}` asks for both. This
module holds the checked form, `workmanager.policy.filters` turns it into a function.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer

from workmanager.model.names import AttributeName
from workmanager.model.spec_base import Loc, Model, Rule

DIALECTS = ("exact", "prefix", "suffix", "all", "any", "not")
_FIELDS = frozenset({"exact", "prefix", "suffix", "all_of", "any_of", "not_"})
MAX_DEPTH = 8
MAX_FILTERS = 256  # of one `all` or `any`
MAX_NODES = 2048  # objects, lists and patterns of one trigger

Pattern = Annotated[str, Field(min_length=1, max_length=1024)]
Patterns = Annotated[dict[AttributeName, Pattern], Field(min_length=1, max_length=32)]


def _one_dialect(model: "Filter") -> Iterable[tuple[Loc, str]]:
    given = len(model.model_fields_set)
    if given != 1:
        yield (), f"must hold exactly one dialect of {', '.join(DIALECTS)}, not {given}"


class Filter(Model):
    """One dialect: patterns over attributes, or other filters combined."""

    exact: Patterns | None = None
    prefix: Patterns | None = None
    suffix: Patterns | None = None
    all_of: Annotated[
        "tuple[Filter, ...] | None", Field(alias="all", min_length=1, max_length=MAX_FILTERS)
    ] = None
    any_of: Annotated[
        "tuple[Filter, ...] | None", Field(alias="any", min_length=1, max_length=MAX_FILTERS)
    ] = None
    not_: Annotated["Filter | None", Field(alias="not")] = None

    rules: ClassVar[tuple[Rule, ...]] = (Rule(_FIELDS, _one_dialect),)

    @model_serializer(mode="wrap")
    def _drop_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        return {key: value for key, value in handler(self).items() if value is not None}


def check_bounds(raw: object) -> object:
    """Refuse filters too deep or too many, before anything recursive looks at them."""
    level: list[object] = [raw]
    seen = 0
    for _ in range(2 * MAX_DEPTH + 2):  # a list and an object make one level, patterns half of one
        level = [child for item in level for child in _children(item)]
        seen += len(level)
        if seen > MAX_NODES:
            raise ValueError(f"must hold at most {MAX_NODES} filters and patterns in all")
        if not level:
            return raw
    raise ValueError(f"must be nested at most {MAX_DEPTH} deep")


def _children(item: object) -> Iterable[object]:
    if isinstance(item, Mapping):
        return item.values()
    if isinstance(item, Sequence) and not isinstance(item, str | bytes):
        return item
    return ()


Filters = Annotated[tuple[Filter, ...], Field(max_length=32), BeforeValidator(check_bounds)]
"""The filters of one trigger; all of them must pass."""
