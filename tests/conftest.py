"""Options of the whole suite."""

from __future__ import annotations

import os
import signal

LEVELS = ("auto", "uid", "full", "basic", "none")


def pytest_addoption(parser):
    parser.addoption(
        "--sandbox-level",
        choices=LEVELS,
        default=os.environ.get("TEST_SANDBOX_LEVEL", "auto"),
        help="level of the sandbox in system tests; auto takes the highest, as the service does",
    )
    parser.addoption(
        "--backend",
        choices=("embedded", "dapr"),
        default="embedded",
        help="what the services of tests/system run on; dapr: a fake sidecar, or DAPRD's",
    )


def pytest_configure(config):
    os.environ["TEST_SANDBOX_LEVEL"] = config.getoption("--sandbox-level")
    # A shell ignores Ctrl-C for what it starts in the background, and children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config):
    return f"sandbox level of system tests: {config.getoption('--sandbox-level')}"
