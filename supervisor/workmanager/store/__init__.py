"""The durable state: SQLite with one writer thread and group commit.

`open_store` opens a state folder, `recover` reads what was open in it, `Writer.submit` takes the
loop's commits, `Store.read` runs the functions of `queries`.
"""

from workmanager.store.commit import BadCommitError, Commit
from workmanager.store.open import open_store
from workmanager.store.recovery import Recovered, recover
from workmanager.store.store import Store
from workmanager.store.writer import Writer, WriterOptions

__all__ = [
    "BadCommitError",
    "Commit",
    "Recovered",
    "Store",
    "Writer",
    "WriterOptions",
    "open_store",
    "recover",
]
