"""What became of each layer: the records that HELLO carries and health shows."""

from __future__ import annotations

from typing import Dict, List, Mapping, Sequence, Union

from .errors import SandboxError

ACTIVE = "active"
DEGRADED = "degraded"  # something weaker stands in; the detail says what
UNAVAILABLE = "unavailable"  # this host cannot give it
OFF = "off"  # not part of the level, or switched off by the profile

LAYERS = (
    "fds",
    "cgroups",
    "namespaces",
    "root",
    "proc",
    "scratch",
    "network",
    "rlimits",
    "memory",
    "uid",
    "capabilities",
    "no_new_privs",
    "landlock",
    "seccomp",
    "subprocess",
)

Record = Dict[str, Union[str, bool]]


class Ledger:
    """Collects one record per layer and refuses a required layer that is not active."""

    def __init__(self, required: Sequence[str]) -> None:
        unknown = sorted(set(required) - set(LAYERS))
        if unknown:
            raise SandboxError("profile", f"required names unknown layers: {', '.join(unknown)}")
        self._required = frozenset(required)
        self._records: Dict[str, Record] = {}

    def note(self, layer: str, state: str, detail: str = "") -> None:
        """Write down the state of *layer*; the last word counts.

        Raises:
            SandboxError: The profile requires the layer, and it is not active.
        """
        required = layer in self._required
        if required and state != ACTIVE:
            raise SandboxError(layer, f"required, but {state}: {detail}")
        self._records[layer] = {
            "layer": layer,
            "state": state,
            "detail": detail,
            "required": required,
        }

    def reworded(self, words: Mapping[str, str]) -> Ledger:
        """A copy of its own, with other words in the details."""
        found = Ledger(tuple(self._required))
        for layer, record in self._records.items():
            detail = str(record["detail"])
            for old, new in words.items():
                detail = detail.replace(old, new)
            found._records[layer] = {**record, "detail": detail}
        return found

    def records(self) -> List[Record]:
        """All layers in their fixed order; one that nobody spoke of is off."""
        for layer in LAYERS:
            if layer not in self._records:
                self.note(layer, OFF)
        return [self._records[layer] for layer in LAYERS]
