"""Keeps systemd informed: pings its watchdog, shows a line of status, asks for a reload.

The pings come from the loop that does all the work, so a loop that hangs is seen and the service is
started anew (systemd.service(5), WatchdogSec=).
"""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from types import FrameType

    from workmanager.ops.reload import Reloader
    from workmanager.supervisor import Supervisor
    from workmanager.telemetry.sdnotify import Notifier

STATUS_EVERY_S = 10.0

_early: list[int] = []


def prepare_process() -> None:
    """Take signals as a service does: before the first thread and the first child.

    SIGHUP asks for a reload, unless a terminal sends it because it is closed (then it ends us, as
    usual) or `nohup` has it ignored. A watchdog's SIGABRT writes where each thread was.
    """
    faulthandler.enable()
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL and not os.isatty(0):
        # Not SIG_IGN, which children would inherit.
        signal.signal(signal.SIGHUP, _note_early)


async def keep_informed(notifier: Notifier, supervisor: Supervisor) -> None:
    """Ping at half the watchdog's interval, and send the status where it has changed."""
    every_s = min(notifier.watchdog_s / 2 or STATUS_EVERY_S, STATUS_EVERY_S)
    told, told_at = "", 0.0
    while True:
        facts: dict[str, str | int] = {"WATCHDOG": 1} if notifier.watchdog_s else {}
        now = trio.current_time()
        if now - told_at >= STATUS_EVERY_S or not told:
            status = status_of(supervisor)
            if status != told:
                facts["STATUS"] = told = status
            told_at = now
        if facts:
            notifier.tell(**facts)
        await trio.sleep(every_s)


async def reload_at_hangups(notifier: Notifier, reloader: Reloader) -> None:
    """Reload at each SIGHUP, telling systemd when it begins and ends."""
    if signal.getsignal(signal.SIGHUP) is not _note_early:
        return
    with trio.open_signal_receiver(signal.SIGHUP) as hangups:
        if _early:
            reloader.reload()
        async for _ in hangups:
            notifier.tell(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
            notifier.tell(READY=1, STATUS=reloader.reload())


def status_of(supervisor: Supervisor) -> str:
    """Say in a line how the service is, for `systemctl status`."""
    keepers = list(supervisor.keepers.values())
    executors = sum(len(keeper.executors) for keeper in keepers)
    waiting = sum(keeper.dispatch.backlog for keeper in keepers)
    return f"{len(keepers)} workers, {executors} executors, {waiting} tasks wait"


def _note_early(number: int, _frame: FrameType | None) -> None:
    """Remember a SIGHUP that came before the service could reload."""
    _early.append(number)
