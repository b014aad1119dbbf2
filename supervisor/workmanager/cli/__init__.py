"""The `workmanager` command (alias `wm`), built on `workmanager.client`.

Nothing here imports pydantic, trio or rich before it is needed: a command has 100 ms before its
work begins (house style, "Command line").
"""

from workmanager.cli.root import main

__all__ = ["main"]
