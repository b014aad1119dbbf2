"""What an engine is to the service: it says what it needs, checks code, and makes it loadable.

    describe(settings)                      whether it can run here, and if not, what to install
    await prepare(spec, code, workshop)     at each start of an executor; cheap where nothing is new

A plug-in is a module or object of this form under the entry point group `workmanager.engines`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from workmanager.config import Settings
    from workmanager.model.resources import Engine
    from workmanager.model.spec import WorkerSpec

Kind = Literal["python", "dotnet"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Code as an executor takes it.

    Attributes:
        code: Body of the LOAD frame; empty where the code lies in a folder.
        kind: Which zygote the executor is forked from.
        fields: Further fields of the LOAD frame.
        environment: Variables of the process; the worker's own go before them.
        paths: Files and folders that the executor has to read.
        packages: Folders of Python packages that the zygote of this kind imports.
    """

    code: bytes
    kind: Kind = "python"
    fields: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    paths: Sequence[str] = ()
    packages: Sequence[str] = ()


class Workshop(Protocol):
    """What the service lends an engine for its work.

    Attributes:
        settings: As they are at the moment.
        cache: A folder of the service's own; what lies in it can be made again.
    """

    @property
    def settings(self) -> Settings:
        """The service's settings."""
        ...

    @property
    def cache(self) -> Path:
        """The folder."""
        ...

    async def compile(
        self, where: Mapping[str, str], request: Mapping[str, object]
    ) -> Mapping[str, Any]:
        """Compile C# in a process of its own; see the executor's `dotnet_compiler`.

        Args:
            where: The folders `root`, `roslyn` and `bridge`.

        Raises:
            CodeError: It took too long, or the compiler failed.
        """
        ...


class Driver(Protocol):
    """An engine."""

    @property
    def media_type(self) -> str:
        """The media type of its code."""
        ...

    def describe(self, settings: Settings) -> Engine:
        """Say whether the engine can run here; called often, must not block for long."""
        ...

    async def prepare(self, spec: WorkerSpec, code: bytes, workshop: Workshop) -> Prepared:
        """Make *code* loadable.

        Raises:
            CodeError: It is refused; every fault with its place.
        """
        ...
