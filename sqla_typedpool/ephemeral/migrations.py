"""Build a schema from Alembic's migrations, in a separate process.

An ``env.py`` configures logging, runs event loops and stores settings in modules. None of that
may affect this process. The module migrate.py runs in the separate process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from sqla_typedpool.ephemeral.connecting import run_program
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.secrets import mask_secrets

# The environment variable with the URL. A command-line argument would show the password in the
# list of processes.
URL_VARIABLE = "SQLA_TYPEDPOOL_MIGRATE_URL"

_SHOWN_LINES = 12


def upgrade(url: str, ini: Path) -> None:
    """Run `alembic upgrade heads` in the database at `url`, in the working directory.

    :raises CannotRun: Alembic is not installed, there is no such file, or a migration failed.
        The message ends with the last lines of the output.
    """
    if not ini.is_file():
        raise CannotRun(f"there is no file {ini}; next: name the application's alembic.ini")
    if find_spec("alembic") is None:
        raise CannotRun("Alembic is not installed; next: pip install alembic")
    # The same import path as in this process, so that the application can be imported.
    path = os.pathsep.join(each or os.getcwd() for each in sys.path)
    ended = run_program(
        ini,
        [sys.executable, "-m", f"{__package__}.migrate", str(ini)],
        env={**os.environ, "PYTHONPATH": path, URL_VARIABLE: url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if ended.returncode != 0:
        raise CannotRun(_failure(ini, ended.stdout.decode(errors="replace")))


def scripts_of(ini: Path) -> list[Path]:
    """Return the Python files below the ``script_location`` of an alembic.ini.

    There are none if the location is not the path of a folder.
    """
    config = ConfigParser({"here": str(ini.parent.resolve())})
    with suppress(ConfigError, OSError, UnicodeDecodeError):
        config.read(ini, encoding="utf-8")
        location = config.get("alembic", "script_location", fallback="")
        return sorted(Path(location).rglob("*.py")) if location else []
    return []


def _failure(ini: Path, output: str) -> str:
    lines = [line for line in mask_secrets(output).splitlines() if line.strip()] or ["(no output)"]
    before = "".join(f"\n    {line}" for line in lines[-_SHOWN_LINES:-1])
    earlier = f"\nThe lines of the output before it:{before}" if before else ""
    return f"the migrations of {ini} failed: {lines[-1]}{earlier}"
