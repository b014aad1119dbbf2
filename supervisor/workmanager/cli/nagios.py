"""Health in the form of a monitoring plug-in: one line, performance data, an exit code.

    WORKMANAGER WARNING - worker orders: inbox: full: 10000 wait | inbox=10000;;;0;10000

Source:
    Monitoring Plugins Development Guidelines, "Plugin Return Codes" and "Performance data".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workmanager.client.problems import ClientTimeoutError, ConnectionLostError, NoSupervisorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from workmanager.client.problems import ClientError

OK, WARNING, CRITICAL, UNKNOWN = range(4)
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
CODES = {"ok": OK, "degraded": WARNING, "failed": CRITICAL}
UNITS = {"inboxes": "B", "memory": "B", "ping": "s"}


def of_health(whose: str, found: Mapping[str, Any]) -> tuple[int, str]:
    """Return the exit code and the line for a health document."""
    code = CODES.get(str(found["status"]), UNKNOWN)
    data = " ".join(_data(check) for check in found["checks"] if "value" in check)
    line = _line(code, whose, summary(found["checks"]))
    return code, f"{line} | {data}" if data else line


def of_error(whose: str, error: ClientError) -> tuple[int, str]:
    """Return them for a call without an answer: critical if nobody answers, else unknown."""
    is_silent = isinstance(error, NoSupervisorError | ConnectionLostError | ClientTimeoutError)
    code = CRITICAL if is_silent else UNKNOWN
    return code, _line(code, whose, " ".join(str(error).split()))


def summary(checks: Iterable[Mapping[str, Any]]) -> str:
    """Say what is wrong, or, if nothing is, how things stand."""
    found = list(checks)
    bad = [f"{check['name']}: {check['detail']}" for check in found if check["status"] != "ok"]
    good = [str(check["detail"]) for check in found if check["detail"]]
    return "; ".join(bad) or ", ".join(good) or "all is well"


def _line(code: int, whose: str, words: str) -> str:
    return f"WORKMANAGER {WORDS[code]} - {whose}: {words.replace('|', '/')}"


def _data(check: Mapping[str, Any]) -> str:
    limit = check.get("limit", "")
    return f"{check['name']}={check['value']}{UNITS.get(check['name'], '')};;;0;{limit}"
