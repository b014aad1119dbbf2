"""A zygote whose executors run .NET: it has clr_loader and cffi imported, but no .NET loaded.

CoreCLR does not survive a fork, neither in the child nor in the parent, so it is loaded after it,
in each executor. Importing its loader is most of what Python does there, and that can be shared.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NoReturn

from workmanager_executor import process, zygote

if TYPE_CHECKING:
    from workmanager_executor.process import ForkHooks

PRELOADED = ("clr_loader", "clr_loader.ffi", "json", "workmanager_executor.dotnet_executor")


def main(fork_hooks: ForkHooks) -> NoReturn:
    """Serve spawn requests as every zygote does."""
    process.executor_module = "workmanager_executor.dotnet_executor"
    for name in PRELOADED:
        importlib.import_module(name)
    importlib.import_module("workmanager_executor.dotnet_runtime").parse_types()
    zygote.main(fork_hooks)
