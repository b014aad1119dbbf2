"""Event filters as functions: compiled once when a worker is configured, called per event.

Values that are no text compare by their canonical text. An attribute that an event lacks matches
nothing, so `not` over it matches (CloudEvents Subscriptions 1.0, 3.2.4).
"""

from collections.abc import Callable, Mapping, Sequence

from workmanager.model.spec_filters import Filter
from workmanager.policy.keys import text_of

Matches = Callable[[Mapping[str, object]], bool]


def compile_filters(filters: Sequence[Filter]) -> Matches | None:
    """Return a function that tells whether an event's attributes pass all *filters*.

    Returns:
        None where there are no filters: then no code has to run for the worker at all.
    """
    return _all([_compile(item) for item in filters]) if filters else None


def _compile(item: Filter) -> Matches:
    if item.exact is not None:
        return _all([_exact(name, text) for name, text in item.exact.items()])
    if item.prefix is not None:
        return _all([_prefix(name, text) for name, text in item.prefix.items()])
    if item.suffix is not None:
        return _all([_suffix(name, text) for name, text in item.suffix.items()])
    if item.all_of is not None:
        return _all([_compile(inner) for inner in item.all_of])
    if item.any_of is not None:
        return _any([_compile(inner) for inner in item.any_of])
    if item.not_ is not None:
        return _not(_compile(item.not_))
    raise ValueError("a filter without a dialect")  # the model refuses it


def _exact(name: str, text: str) -> Matches:
    def matches(attributes: Mapping[str, object]) -> bool:
        value = attributes.get(name)
        return value == text or (
            value is not None and value.__class__ is not str and text_of(value) == text
        )

    return matches


def _prefix(name: str, text: str) -> Matches:
    def matches(attributes: Mapping[str, object]) -> bool:
        value = attributes.get(name)
        return value is not None and text_of(value).startswith(text)

    return matches


def _suffix(name: str, text: str) -> Matches:
    def matches(attributes: Mapping[str, object]) -> bool:
        value = attributes.get(name)
        return value is not None and text_of(value).endswith(text)

    return matches


def _all(parts: list[Matches]) -> Matches:
    if len(parts) == 1:
        return parts[0]

    def matches(attributes: Mapping[str, object]) -> bool:
        for part in parts:  # noqa: SIM110 - all() over a generator costs three times as much
            if not part(attributes):
                return False
        return True

    return matches


def _any(parts: list[Matches]) -> Matches:
    if len(parts) == 1:
        return parts[0]

    def matches(attributes: Mapping[str, object]) -> bool:
        for part in parts:  # noqa: SIM110 - as above
            if part(attributes):
                return True
        return False

    return matches


def _not(part: Matches) -> Matches:
    return lambda attributes: not part(attributes)
