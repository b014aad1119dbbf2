"""The executor: the child process in which the code of one worker runs.

User code imports its vocabulary from here (`from workmanager_executor import Event, Retry`); the
supervisor imports the frame codec. Nothing outside the standard library and msgpack is needed, and
the code runs on Python 3.8 and later, because a worker may bring its own interpreter.
"""

from __future__ import annotations
