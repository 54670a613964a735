"""A schema from Alembic's migrations, run in a process of their own.

An ``env.py`` configures logging, runs event loops and keeps settings in modules: nothing of that
may stay behind here. What runs in the process is in migrate.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from sqla_typedpool.ephemeral.building import BUILD_SECONDS
from sqla_typedpool.errors import CannotRun

URL_VARIABLE = "SQLA_TYPEDPOOL_MIGRATE_URL"
"""Tells the process its database: an argument would show a password to everybody."""

_SHOWN_LINES = 12


def upgrade(url: str, ini: Path) -> None:
    """`alembic upgrade heads` in the database at `url`, as it would run in this directory.

    :raises CannotRun: no Alembic, no such file, or a migration failed; shows its last lines.
    """
    if not ini.is_file():
        raise CannotRun(f"There is no file {ini}. Next: name the alembic.ini of the application.")
    if find_spec("alembic") is None:
        raise CannotRun("Alembic is not installed here. Next: pip install alembic")
    command = [sys.executable, "-m", f"{__package__}.migrate", str(ini)]
    # The same path as here: the application is found as it is found by us.
    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    environment = {**os.environ, "PYTHONPATH": path, URL_VARIABLE: url}
    try:
        ended = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise CannotRun(
            f"The migrations of {ini} took over {BUILD_SECONDS:g} s. Next: see what they wait for."
        ) from None
    if ended.returncode != 0:
        raise CannotRun(_failure(ini, ended.stdout))


def _failure(ini: Path, output: str) -> str:
    lines = [line for line in output.rstrip().splitlines() if line.strip()] or ["(no output)"]
    before = "".join(f"\n    {line}" for line in lines[-_SHOWN_LINES:-1])
    return f"The migrations of {ini} failed: {lines[-1]}" + (
        f"\nThe last lines before it:{before}" if before else ""
    )
