"""Exit codes of an executor; anything else is a crash. The supervisor reads them from here."""

from __future__ import annotations

EXIT_DRAINED = 0  # drained, or never started anything
EXIT_CRASHED = 1  # user code ended the event loop, or a bug of ours; its traceback is on stderr
EXIT_REFUSED = 70  # the code was refused; the reason went out as a frame
EXIT_SETUP = 71  # limits or sandbox could not be applied; the reason is on stderr
EXIT_PROTOCOL = 72  # the supervisor broke the protocol or has gone
