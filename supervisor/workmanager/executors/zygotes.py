"""The zygotes by kind: Python's runs from the start, .NET's from its first use on.

A host without .NET workers has nothing of .NET in memory; one with a thousand of them has the
loader's pages once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from workmanager.executors.zygote import Zygote

if TYPE_CHECKING:
    from collections.abc import Sequence


class Zygotes:
    """Owns no trio task: zygotes run in the nursery that is given.

    Attributes:
        python: The one that runs from the start.
    """

    def __init__(self, python: Zygote, nursery: trio.Nursery) -> None:
        self.python = python
        self._nursery = nursery
        self._dotnet: Zygote | None = None
        self._starting = trio.Lock()

    async def get(self, kind: str, packages: Sequence[str] = ()) -> Zygote:
        """Return the zygote of a kind of executor, "python" or "dotnet".

        Args:
            packages: Folders of the Python packages that .NET's executors import.
        """
        if kind == "python":
            return self.python
        async with self._starting:
            if self._dotnet is None:
                zygote = Zygote("dotnet", packages)
                await self._nursery.start(zygote.run)
                self._dotnet = zygote
        return self._dotnet

    @property
    def pids(self) -> set[int]:
        """The pids of those that live."""
        return {zygote.pid for zygote in self._all() if zygote.pid is not None}

    @property
    def is_spawning(self) -> bool:
        """Whether an executor may exist that nobody here knows by its pid yet."""
        return any(zygote.is_spawning for zygote in self._all())

    def _all(self) -> list[Zygote]:
        return [self.python] if self._dotnet is None else [self.python, self._dotnet]
