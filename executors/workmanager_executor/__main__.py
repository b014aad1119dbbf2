"""Where every process of ours begins: `python -I [-S] <this file> ROLE --msgpack DIR`.

It is run by path, because nothing of ours is installed in a worker's own interpreter. The package
is registered from its own folder, and msgpack from *DIR* under a private name, so that `sys.path`
of the worker holds what the worker's interpreter put there and nothing else.
"""

from __future__ import annotations

import importlib
import os
import sys

TYPE_CHECKING = False  # not from typing: nothing more than needed is loaded before the hooks
if TYPE_CHECKING:
    from typing import Callable, Dict, List

    ForkHooks = List[Dict[str, Callable[[], object]]]

PACKAGE = "workmanager_executor"
PRIVATE_MSGPACK = "_workmanager_msgpack"  # read by packing.py
OLDEST_PYTHON = (3, 8)
EXIT_SETUP = 71  # as in exits.py, which cannot be imported as yet
MODULES = {"executor": "executor", "zygote": "zygote", "dotnet": "dotnet_zygote"}
USAGE = "usage: __main__.py zygote|executor|dotnet [--packages DIRS] --msgpack DIR [--seal]"


def main(arguments: list[str]) -> None:
    """Run the named role until it ends; neither role returns to the caller in normal life."""
    if sys.version_info < OLDEST_PYTHON:
        sys.stderr.write("an executor needs Python 3.8 or later, not " + sys.version.split()[0])
        sys.exit(EXIT_SETUP)
    packages = arguments[2] if arguments[1:2] == ["--packages"] else ""
    if packages:  # where clr_loader is; an interpreter started with -S does not see it
        arguments = [arguments[0], *arguments[3:]]
    needs_seal = arguments[3:] == ["--seal"]
    is_known = arguments[:1] and arguments[0] in MODULES and arguments[1:2] == ["--msgpack"]
    if len(arguments) != 3 + needs_seal or not is_known:
        sys.exit(USAGE)
    role, _, folder = arguments[:3]
    fork_hooks = None if role == "executor" else hold_fork_hooks()
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    if not _has_own_msgpack():
        _register_private_msgpack(os.path.join(folder, "msgpack"))
    register(PACKAGE, here)
    if needs_seal:
        importlib.import_module(PACKAGE + ".sandbox").seal()
    elif fork_hooks is None and os.getpid() == 1:  # another interpreter in a sandbox of its own
        importlib.import_module(PACKAGE + ".sandbox.signals").end_on_signals()
    sys.path += [folder for folder in packages.split(os.pathsep) if folder]
    module = importlib.import_module(f"{PACKAGE}.{MODULES[role]}")
    if fork_hooks is None:
        module.main()
    else:
        module.main(fork_hooks)


def hold_fork_hooks() -> ForkHooks:
    """Keep modules from registering what runs at each fork; return what they would have.

    The hooks of threading, logging and random cost a millisecond and 600 KiB of unshared pages at
    each of the two forks of an executor, to reset locks that a single-threaded zygote never holds.
    The executor registers them for forks of its own, see `process.py`.
    """
    held: ForkHooks = []
    os.register_at_fork = lambda **hooks: held.append(hooks)
    return held


def register(name: str, folder: str) -> None:
    """Import the package in *folder* as *name*, whatever `sys.path` says.

    Raises:
        OSError: There is no package in that folder.
    """
    import importlib.util  # loads threading from 3.12 on, so after the hooks are held back

    path = os.path.join(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[folder])
    if spec is None or spec.loader is None:
        raise OSError(path + " cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _has_own_msgpack() -> bool:
    """Tell whether the interpreter brings a msgpack that speaks our dialect (1.0 and later)."""
    try:
        version: tuple[int, ...] = importlib.import_module("msgpack").version
    except Exception:  # noqa: BLE001 - a broken package of the worker must not stop its executor
        return False
    return version >= (1, 0)


def _register_private_msgpack(folder: str) -> None:
    """Register our msgpack; its C part is used where it fits the interpreter, else the Python one.

    The C part also puts itself into `sys.modules` under its public name, where it would be picked
    up by a msgpack of another release that the worker imports later.
    """
    register(PRIVATE_MSGPACK, folder)
    sys.modules.pop("msgpack._cmsgpack", None)


if __name__ == "__main__":
    main(sys.argv[1:])
