"""Programs that a test runs in a separate process, with all warnings as errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

COMMAND = [sys.executable, "-X", "dev", "-W", "error"]
"""The start of the command that runs a program."""

# printed by asyncio's debug mode when the machine is busy or the process was stopped
DEBUG_MESSAGES = r"(?m)^Executing <.* took .*\n"
# printed by asyncpg when a connect is cancelled between its socket and its handshake, by psycopg
# when a statement is cancelled twice, with any pool; see docs/reference/drivers.md (f)
DRIVER_MESSAGES = (
    r"(?s)Future exception was never retrieved\n.*?connection_lost\(\) call\n(?!source_)",
    r"(query cancellation|query not terminated)[^\n]*closing connection\n",
)
# logged by SQLAlchemy, with any pool, when the ROLLBACK of a return is cancelled
ROLLBACK_CANCELLED = (
    r"(?m)^Exception during reset or similar\n(?:(?!Exception ).*\n)*?.*CancelledError[^\n]*\n"
    r"(?=\Z|\S)"
)


def environment(**more: str) -> dict[str, str]:
    """The environment of a program, in which it can import this package and the tests."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def run_program(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end: `COMMAND` with further `arguments`."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )


def without(output: str, *expected: str) -> str:
    """Remove the messages that these regular expressions match."""
    for pattern in expected:
        output = re.sub(pattern, "", output)
    return output
