"""What the doctor says of the sandbox: the probe's result as a document, without a service.

    {"level", "highest", "ok", "fault", "host": {...}, "levels": [...], "layers": [...]}

Control groups are looked at from where this runs, and a shell's are not those of a unit: the record
says so, and nothing is moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workmanager.errors import IsolationError
from workmanager.executors.cgroups import find_base
from workmanager.executors.isolation import levels
from workmanager.executors.isolation.host import Isolation, survey
from workmanager.executors.isolation.remedies import remedy
from workmanager.executors.isolation.scratch import Scratch
from workmanager_executor.sandbox import LEVELS

if TYPE_CHECKING:
    from workmanager.config import Settings
    from workmanager.executors.isolation.outlook import Outlook, Record

GOOD = ("active", "off")


def examine(settings: Settings) -> dict[str, Any]:
    """Probe the host and say what *settings* would get; takes some 0.1 s."""
    outlook, uid_base = survey(settings)
    base, grouping = find_base()
    words = grouping if base is not None else f"{grouping} (seen from here)"
    fault = ""
    level = outlook.highest
    try:
        level = levels.choose(outlook, settings.sandbox_level)
    except IsolationError as error:
        fault = str(error)
    scratch = Scratch(settings.state / "scratch")
    required = settings.sandbox_require
    isolation = Isolation(outlook, level, required, uid_base, None, words, scratch)
    records = isolation.records()
    if not fault:
        try:
            levels.check_required(outlook, level, records, required)
        except IsolationError as error:
            fault = str(error)
    return {
        "level": level,
        "highest": outlook.highest,
        "ok": not fault,
        "fault": fault,
        "host": {
            "kernel": outlook.kernel,
            "machine": outlook.machine,
            "landlockAbi": outlook.landlock_abi,
        },
        "levels": [_level(outlook, name) for name in reversed(LEVELS)],
        "layers": [_layer(record) for record in records],
    }


def _level(outlook: Outlook, name: str) -> dict[str, Any]:
    found = outlook.levels.get(name)
    if found is None or found.passes:
        return {"level": name, "passes": True, "layer": "", "detail": "", "remedy": ""}
    facts = {"level": name, "passes": False, "layer": found.layer, "detail": found.detail}
    return {**facts, "remedy": remedy(found.layer)}


def _layer(record: Record) -> dict[str, Any]:
    is_good = record["state"] in GOOD
    return {**record, "remedy": "" if is_good else remedy(str(record["layer"]))}
