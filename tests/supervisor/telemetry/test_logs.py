"""What the service's log must not hold."""

import subprocess
import sys

import pytest

PROGRAM = """
import structlog
from workmanager.telemetry import logs
logs.configure(log_format={form!r}, level="info")
def handle(headers):
    raise ValueError("broken")
try:
    handle({{"authorization": "Bearer s3cr3t-token"}})
except ValueError:
    structlog.get_logger().exception("request_failed")
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "console"])
def test_tracebacks_do_not_hold_the_values_of_variables(form):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(form=form)], capture_output=True, text=True
    )
    assert "ValueError" in done.stderr
    assert "handle" in done.stderr
    assert "s3cr3t" not in done.stderr
