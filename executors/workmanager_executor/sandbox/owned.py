"""What differs between two executors of the same profile: the uid, the scratch folder.

A chain is prepared once, in the zygote, with marks in their places; the intermediate process of an
executor puts its own there. Preparing anew would cost it milliseconds and more than a megabyte.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

if TYPE_CHECKING:
    from .prepared import Prepared
    from .steps import Step

ANY_UID = 1_594_847_233  # nobody's: no one finds these digits in a chain by chance
ANY_SCRATCH = "/scratch-of-this-executor-1594847233"

_UID_TEXT, _UID_BYTES = str(ANY_UID), b"%d" % ANY_UID
_UIDS = range(1, 2**31)


class Own(NamedTuple):
    """Of one executor; None: the chain has no mark for it."""

    uid: Optional[int]
    scratch: Optional[str]


def generalise(fields: Mapping[str, object]) -> Tuple[Dict[str, object], Optional[Own]]:
    """Put marks into a profile; None for the rest if it says nothing of its own."""
    general = dict(fields)
    uid, scratch = fields.get("uid"), fields.get("scratchPath")
    if type(uid) is not int or uid not in _UIDS or fields.get("gid") not in (None, uid):
        uid = None
    else:
        general.update(uid=ANY_UID, gid=None)
    if not isinstance(scratch, str) or not _is_plain(scratch):
        scratch = None
    else:
        general["scratchPath"] = ANY_SCRATCH
    return general, Own(uid, scratch) if uid or scratch else None


def places(steps: Sequence[Step]) -> Tuple[int, ...]:
    """Where the marks are."""
    own = Own(1, "/")
    return tuple(index for index, step in enumerate(steps) if _filled(step, own) != step)


def changes(prepared: Prepared, own: Own) -> Dict[str, Any]:
    """Fill in what is the executor's own; returns the fields of *prepared* that change."""
    shed, lock = list(prepared.shed_steps), list(prepared.lock_steps)
    for index in prepared.own_shed:
        shed[index] = _filled(shed[index], own)
    for index in prepared.own_lock:
        lock[index] = _filled(lock[index], own)
    found: Dict[str, Any] = {"shed_steps": tuple(shed), "lock_steps": tuple(lock)}
    words = {}
    if own.uid is not None:
        words[_UID_TEXT] = str(own.uid)
        if prepared.identity is not None and prepared.identity[0] == ANY_UID:
            found["identity"] = own.uid, own.uid
    if own.scratch is not None:
        words[ANY_SCRATCH] = own.scratch
        if prepared.scratch == ANY_SCRATCH:
            found["scratch"] = own.scratch
    return {**found, "ledger": prepared.ledger.reworded(words)}


def _is_plain(path: str) -> bool:
    """Whether there is nothing to say against a scratch; else the profile's check says it."""
    top = path.split("/")[1:2]
    is_normal = os.path.normpath(path) == path and "\0" not in path
    return os.path.isabs(path) and is_normal and top not in ([""], ["proc"], ["sys"], ["dev"])


def _filled(step: Step, own: Own) -> Step:
    arguments = tuple([_value(item, own) for item in step.arguments])
    expected = step.expected
    if arguments and isinstance(expected, int) and isinstance(arguments[-1], bytes):
        before = step.arguments[-1]
        if isinstance(before, bytes) and expected == len(before):  # os.write
            expected = len(arguments[-1])
    return step._replace(arguments=arguments, expected=expected, what=_text(step.what, own))


def _value(item: object, own: Own) -> object:
    if own.uid is not None and item == ANY_UID:
        return own.uid
    if own.uid is not None and isinstance(item, bytes):
        return item.replace(_UID_BYTES, b"%d" % own.uid)
    if own.scratch is not None and item == ANY_SCRATCH:
        return own.scratch
    return item


def _text(what: str, own: Own) -> str:
    if own.scratch is not None:
        what = what.replace(ANY_SCRATCH, own.scratch)
    return what if own.uid is None else what.replace(_UID_TEXT, str(own.uid))
