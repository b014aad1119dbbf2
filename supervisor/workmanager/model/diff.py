"""What differs between two specifications, field by field."""

from collections.abc import Iterator, Mapping
from typing import Final

from workmanager.model.code import take_code
from workmanager.model.resources import FieldChange
from workmanager.model.spec_worker import WorkerSpec

_ABSENT: Final = object()


def diff_specs(old: WorkerSpec, new: WorkerSpec) -> list[FieldChange]:
    """List the fields in which *new* differs from *old*, sorted by path (`retry.maximumAttempts`).

    Inline code counts by its digest. A URL that is unchanged and not pinned says nothing about the
    digest, which is known only after a fetch; it counts as unchanged.

    Raises:
        CodeError: DIGEST_MISMATCH between inline code and its pinned digest.
    """
    return sorted(_changes("", _wire(old, new), _wire(new, old)), key=lambda change: change.path)


def _wire(spec: WorkerSpec, other: WorkerSpec) -> dict[str, object]:
    spec, other = take_code(spec)[0], take_code(other)[0]
    code = spec.code
    if not code.digest and code.url == other.code.url:
        spec = spec.model_copy(update={"code": other.code})
    return spec.model_dump(mode="json", by_alias=True)


def _changes(path: str, old: object, new: object) -> Iterator[FieldChange]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in {**old, **new}:
            place = f"{path}.{key}" if path else str(key)
            yield from _changes(place, old.get(key, _ABSENT), new.get(key, _ABSENT))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            yield from _changes(f"{path}[{index}]", _item(old, index), _item(new, index))
    elif old != new:
        yield FieldChange(path=path, old=_shown(old), new=_shown(new))


def _item(values: list[object], index: int) -> object:
    return values[index] if index < len(values) else _ABSENT


def _shown(value: object) -> object:
    return None if value is _ABSENT else value
