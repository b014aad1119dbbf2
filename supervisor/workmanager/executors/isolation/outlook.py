"""What sandbox this host can give: the executor's own probe, run in a process of its own.

The probe applies every level's whole chain in throw-away children, for versions and sysctls answer
wrongly. It needs a process without threads and with the credentials of the zygote, so it is the
zygote's interpreter that runs it, at start-up, while nothing else runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import workmanager_executor
from workmanager_executor.sandbox import LEVELS

if TYPE_CHECKING:
    from collections.abc import Mapping

Record = dict[str, str | bool]  # layer, state, detail, required

PROBE_TIMEOUT_S = 30.0
# The sandbox imports nothing but the standard library, so its folder is enough.
_RUN = """
import sys
sys.path.append(sys.argv.pop(1))
from sandbox.probe import main
main(sys.argv[1:])
"""
_WORDS_OF_STDERR = 300


@dataclass(frozen=True, slots=True)
class LevelOutlook:
    """How far the chain of one level got.

    Attributes:
        layer: The layer that failed; "" if it passes.
        records: What each layer became, if it passes.
    """

    passes: bool
    layer: str = ""
    detail: str = ""
    records: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the probe found.

    Attributes:
        landlock_abi: 0 without Landlock.
        levels: By name; `none` is not among them, it always passes.
    """

    machine: str = ""
    kernel: str = ""
    landlock_abi: int = 0
    levels: Mapping[str, LevelOutlook] = field(default_factory=dict)

    @property
    def highest(self) -> str:
        """The strongest level that passes."""
        passing = [level for level in LEVELS if self.passes(level)]
        return passing[-1]

    def passes(self, level: str) -> bool:
        """Whether executors can be put into *level* here."""
        found = self.levels.get(level)
        return level == "none" if found is None else found.passes


def probe(fields: Mapping[str, object]) -> Outlook:
    """Run the probe and wait for it, some 0.1 s; a probe that fails is an outlook without levels.

    Args:
        fields: Of the profile to try, beside its level.
    """
    folder = Path(workmanager_executor.__file__).parent
    command = [sys.executable, "-I", "-S", "-c", _RUN, str(folder), json.dumps(dict(fields))]
    try:
        ended = subprocess.run(
            command,
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _failed(str(error))
    try:
        return read(json.loads(ended.stdout))
    except (ValueError, KeyError, TypeError) as error:
        said = ended.stderr.decode("utf-8", "replace").strip()[-_WORDS_OF_STDERR:]
        return _failed(f"{type(error).__name__}: {error}; it wrote: {said or 'nothing'}")


def read(answer: Mapping[str, Any]) -> Outlook:
    """Read the answer of `workmanager_executor.sandbox.probe`.

    Raises:
        KeyError, TypeError: It is not of its form.
    """
    levels = {
        name: LevelOutlook(
            passes=bool(found["ok"]),
            layer=found["layer"] or "",
            detail=found["detail"],
            records=tuple(dict(record) for record in found["records"]),
        )
        for name, found in answer["levels"].items()
    }
    return Outlook(
        machine=str(answer["machine"]),
        kernel=str(answer["kernel"]),
        landlock_abi=int(answer["landlockAbi"]),
        levels=levels,
    )


def _failed(detail: str) -> Outlook:
    why = f"the probe could not be run: {detail}"
    return Outlook(levels={level: LevelOutlook(False, "profile", why) for level in LEVELS[1:]})
