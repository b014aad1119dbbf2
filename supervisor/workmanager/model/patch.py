"""JSON merge patch (RFC 7396) over decoded JSON values."""

from collections.abc import Iterable, Mapping
from typing import Final

MAX_DEPTH: Final = 64  # of any JSON value that code of ours walks


def merge_patch(base: object, patch: object) -> dict[str, object]:
    """Return *base* changed as the object *patch* says: null removes, objects merge, all else sets.

    Neither argument is changed. *patch* must not be deeper than the stack allows: check it with
    `is_deeper_than` first where it is foreign.

    Source:
        RFC 7396, section 2. There a patch that is no object replaces everything; here it is refused
        by the callers, because a worker is always an object.
    """
    merged: dict[str, object] = dict(base) if isinstance(base, Mapping) else {}
    for key, value in _items(patch):
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = merge_patch(merged.get(key), value)
        else:
            merged[key] = value
    return merged


def is_deeper_than(value: object, limit: int) -> bool:
    """Tell whether objects and lists nest deeper than *limit*, without recursion.

    Parts that are shared (YAML aliases) are looked at once per level, so a small document that
    unfolds into a huge one costs nothing; one that contains itself is deeper than any limit.
    """
    level = {id(value): value}
    for _ in range(limit + 1):
        level = {id(child): child for item in level.values() for child in _children(item)}
        if not level:
            return False
    return True


def _items(value: object) -> Iterable[tuple[str, object]]:
    return value.items() if isinstance(value, Mapping) else ()


def _children(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()
