"""What the service lends its engines: settings, a cache folder, a compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workmanager.engines import bundle, csharp, dotnet_common
from workmanager.executors.compiler import Compiler
from workmanager.executors.zygote import SpawnRequest
from workmanager.model.spec import Resources, WorkerSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import trio

    from workmanager.config import Settings
    from workmanager.executors.isolation import Isolation
    from workmanager.executors.zygote import Spawned
    from workmanager.executors.zygotes import Zygotes

CACHE_BYTES = 2**30
COMPILER = WorkerSpec(
    engine=csharp.MEDIA_TYPE,
    env={},
    resources=Resources(memory_max_bytes=dotnet_common.COMPILER_BYTES, files_max=512, pids_max=128),
)
ENVIRONMENT = {"LANG": "C.UTF-8", "HOME": "/tmp", "TMPDIR": "/tmp"}  # noqa: S108 - its scratch


class Workshop:
    """An `engines.driver.Workshop`.

    Args:
        settings: Returns them as they are at the moment.
        cache: A folder of the service's own.
        alive: Pids that nobody else may reap.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        cache: Path,
        zygotes: Zygotes,
        isolation: Isolation,
        *,
        nursery: trio.Nursery,
        alive: set[int],
    ) -> None:
        self._settings = settings
        self._cache = cache
        self._zygotes = zygotes
        self._isolation = isolation
        self._compiler = Compiler(self._spawn_compiler, nursery, alive)

    @property
    def settings(self) -> Settings:
        """The service's settings."""
        return self._settings()

    @property
    def cache(self) -> Path:
        """The folder; what lies in it can be made again."""
        return self._cache

    def tidy(self) -> None:
        """Delete what was used longest ago; only while no executor runs."""
        for name in ("csharp", "dll"):
            bundle.prune(self._cache / name, max_bytes=CACHE_BYTES)

    async def compile(
        self, where: Mapping[str, str], request: Mapping[str, object]
    ) -> Mapping[str, Any]:
        """Compile C#.

        Raises:
            CodeError: It took too long, or the compiler failed.
        """
        return await self._compiler.compile(where, request)

    async def _spawn_compiler(self, where: Mapping[str, str]) -> Spawned:
        found = dotnet_common.find(self.settings)
        paths = dotnet_common.paths(found, where["roslyn"])
        zygote = await self._zygotes.get("dotnet", [str(folder) for folder in found.packages])
        return await zygote.spawn(
            SpawnRequest(
                id="compiler",
                python=None,
                env={**ENVIRONMENT, **dotnet_common.environment(dotnet_common.COMPILER_BYTES)},
                limits={},
                sandbox=self._isolation.profile(
                    COMPILER, worker_no=0, executor="compiler", paths=paths
                ),
                title="wm-compiler",
            )
        )
