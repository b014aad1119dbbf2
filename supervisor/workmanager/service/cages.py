"""What health and conditions say of sandboxes: one record per layer, and the weakest as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workmanager_executor.sandbox import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from workmanager.executors.executor import Executor
    from workmanager.executors.isolation import Isolation

WEAK = ("degraded", "unavailable")

Check = dict[str, Any]  # name, status, detail, as `service.health` has them


def service_checks(isolation: Isolation, wanted: str) -> list[Check]:
    """Return the check of the service's own level, and a record per layer.

    A layer that the host cannot give is no fault of the service's day: it would not have started
    if the layer were required. Having no sandbox at all without having asked for that is one.

    Args:
        wanted: The setting `sandbox_level`.
    """
    level = isolation.level
    if level == "none" and wanted == "auto":
        why = next((f"{name}: {x.detail}" for name, x in isolation.outlook.levels.items()), "")
        whole = _check("degraded", f"none: workers have the service's rights; {why}")
    else:
        whole = _check("ok", f"level {level}{_weak_words(isolation.records())}")
    return [whole, *(_of_layer(record) for record in isolation.records())]


def executor_check(executor: Executor) -> Check:
    """Return the check of one executor's sandbox."""
    return _check("ok", f"level {executor.room.level}{_weak_words(executor.layers)}")


def condition_of(executors: Iterable[Executor]) -> tuple[bool, str, str]:
    """Return the condition `Isolated` of a worker by its weakest executor: holds, reason, message.

    Without an executor there is nothing that could get out.
    """
    weakest = min(executors, key=lambda e: LEVELS.index(e.room.level), default=None)
    if weakest is None:
        return True, "NO_EXECUTOR", ""
    level = weakest.room.level
    return level != "none", level.upper(), f"level {level}{_weak_words(weakest.layers)}"


def _weak_words(records: Iterable[Mapping[str, Any]]) -> str:
    weak = [f"{r['layer']} {r['state']}" for r in records if r.get("state") in WEAK]
    return f"; {', '.join(weak)}" if weak else ""


def _check(status: str, detail: str) -> Check:
    return {"name": "sandbox", "status": status, "detail": detail}


def _of_layer(record: Mapping[str, Any]) -> Check:
    return {"name": f"sandbox/{record['layer']}", "status": "ok", **record}
