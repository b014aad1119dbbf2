"""Which level executors get, and whether that is enough. Pure.

    none < basic < full < uid       in the order of workmanager_executor.sandbox.LEVELS

The service takes the strongest level that passes, or the one it is told to. A worker may ask for
another one; what cannot be had is refused, never weakened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workmanager.errors import Fault, IsolationError
from workmanager.executors.isolation.remedies import remedy
from workmanager_executor.sandbox import LAYERS, LEVELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workmanager.executors.isolation.outlook import Outlook, Record
    from workmanager.model.spec import WorkerSpec

PORTS_ABI = 4  # Landlock can tell TCP ports apart from here on


def choose(outlook: Outlook, wanted: str) -> str:
    """Return the level of executors whose worker asks for none.

    Args:
        wanted: A level, or "auto" for the strongest that passes.

    Raises:
        IsolationError: *wanted* does not pass.
    """
    if wanted == "auto":
        return outlook.highest
    if not outlook.passes(wanted):
        raise missing(outlook, wanted, f"sandbox_level is {wanted}")
    return wanted


def check_required(
    outlook: Outlook, level: str, records: Sequence[Record], required: Sequence[str]
) -> None:
    """See to it that the service gives what *required* names: levels at least, layers active.

    Raises:
        IsolationError: With the first layer that is missing, and how to get it.
    """
    floor = floor_of(required)
    if rank(level) < rank(floor):
        if outlook.passes(floor):
            raise IsolationError(
                f"sandbox_require asks for level {floor}, but sandbox_level is {level}; raise"
                " sandbox_level, or set it to auto",
                layer="level",
            )
        raise missing(outlook, floor, f"sandbox_require asks for level {floor}")
    found = {str(record["layer"]): record for record in records}
    for layer in layers_of(required):
        record = found.get(layer, {"state": "off", "detail": ""})
        if record["state"] != "active":
            words = (
                f"{record['state']} ({record['detail']})" if record["detail"] else record["state"]
            )
            raise IsolationError(
                f"sandbox_require asks for layer {layer}, which at level {level} is {words};"
                f" to get it: {remedy(layer)}",
                layer=layer,
            )


def level_for(spec: WorkerSpec, outlook: Outlook, *, default: str, floor: str) -> str:
    """Return the level of a worker's executors.

    Raises:
        IsolationError: What the worker asks for cannot be had, or is less than the service allows.
    """
    asked = spec.isolation.level
    level = default if asked == "auto" else asked
    if not outlook.passes(level):
        error = missing(outlook, level, f"isolation.level is {level}")
        raise with_fault(error, "spec.isolation.level")
    if rank(level) < rank(floor):
        text = f"isolation.level {level} is less than {floor}, which this service requires"
        raise with_fault(IsolationError(text, layer="level"), "spec.isolation.level")
    return level


def check_wishes(spec: WorkerSpec, outlook: Outlook, level: str, required: Sequence[str]) -> None:
    """Refuse what a worker wishes for beside its level and cannot have.

    Raises:
        IsolationError: With the layer in question.
    """
    isolation = spec.isolation
    layers = layers_of(required)
    if isolation.network == "loopback" and level in ("none", "basic"):
        raise _refused("network", f"loopback needs a network of its own: level full, not {level}")
    if isolation.network == "ports" and level != "none" and outlook.landlock_abi < PORTS_ABI:
        text = f"ports needs Landlock ABI {PORTS_ABI} (kernel 6.7), here is {outlook.landlock_abi}"
        raise _refused("network", text)
    if isolation.network == "full" and "network" in layers:
        raise _refused("network", "this service requires layer network, so full is not allowed")
    if isolation.subprocess == "allow" and "subprocess" in layers:
        raise _refused("subprocess", "this service requires layer subprocess: deny")


def rank(level: str) -> int:
    """Return the place of *level*: more is stronger."""
    return LEVELS.index(level)


def floor_of(required: Sequence[str]) -> str:
    """Return the strongest level among *required*; "none" if there is none."""
    return max((word for word in required if word in LEVELS), key=rank, default="none")


def layers_of(required: Sequence[str]) -> tuple[str, ...]:
    """Return the layers among *required*."""
    return tuple(word for word in required if word in LAYERS)


def missing(outlook: Outlook, level: str, why: str) -> IsolationError:
    """Make the error of a level that does not pass: which layer is missing, how to get it."""
    found = outlook.levels[level]
    return IsolationError(
        f"{why}, but layer {found.layer} cannot be had on this host: {found.detail};"
        f" to get it: {remedy(found.layer)}",
        layer=found.layer,
    )


def with_fault(error: IsolationError, pointer: str) -> IsolationError:
    """Return *error* with the place of the manifest that it is about."""
    return IsolationError(
        f"{pointer}: {error}", layer=error.layer, faults=[Fault(pointer, str(error))]
    )


def _refused(word: str, text: str) -> IsolationError:
    return with_fault(IsolationError(text, layer=word), f"spec.isolation.{word}")
