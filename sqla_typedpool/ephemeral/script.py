"""Build a schema from a SQL file, with psql, or with asyncpg if there is no psql."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sqlalchemy import make_url

from sqla_typedpool.embedded import EmbeddedServerError
from sqla_typedpool.embedded.binaries import find_bindir
from sqla_typedpool.ephemeral.connecting import (
    CONNECT_SECONDS,
    CONNECTION_ERRORS,
    connection_to,
    libpq_variables,
    run_in_thread,
    run_program,
)
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.secrets import mask_secrets

# Written by pg_dump since August 2025. They change no table, and an older psql rejects them.
_RESTRICT = re.compile(r"^\\(?:un)?restrict [A-Za-z0-9]+[ \t]*$", re.MULTILINE)
_CONNECT = re.compile(r"^\\c(?:onnect)?\b.*$", re.MULTILINE)
_META_COMMAND = re.compile(r"^[ \t]*\\[A-Za-z!?.]\S*", re.MULTILINE)
_COPY_DATA = re.compile(r"^COPY .* FROM stdin\b.*;", re.MULTILINE | re.IGNORECASE)
_HINTS = {
    "role .* does not exist": "dump with --no-owner --no-privileges",
    "extension .* is not available": "install the package of that extension for this PostgreSQL,"
    " or check against a database that has it",
}
_PSQL_ERROR = re.compile(r"^psql:<stdin>:(\d+): (?:ERROR|FATAL|error):\s*(.*)$", re.MULTILINE)


def run_script(url: str, file: Path) -> None:
    """Run all statements of a SQL file in the database at `url`.

    :raises CannotRun: the file cannot be read, or a statement failed. The message names the
        file and, if known, the line.
    """
    script = _read(file)
    reason = "connects to another database; next: dump one database, without --create"
    _refuse_line(_CONNECT, file, script, reason)
    script = _RESTRICT.sub("", script)
    psql = _find_psql()
    if psql is not None:
        _run_with_psql(psql, url, file, script)
    else:
        _run_with_asyncpg(url, file, script)


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CannotRun(
            f"{file}:{line}: not UTF-8 (byte {error.object[error.start]:#04x} at {error.start});"
            " next: dump it with --encoding=UTF8, or convert it"
        ) from None
    except OSError as error:
        raise CannotRun(
            f"{file} cannot be read: {error.strerror or error}; next: name a readable SQL file"
        ) from None


def _refuse_line(pattern: re.Pattern[str], file: Path, script: str, reason: str) -> None:
    """Raise CannotRun for the first line that matches the pattern.

    :param reason: why the line is refused, and the next step.
    """
    found = pattern.search(script)
    if found is not None:
        raise CannotRun(
            f"{_location(file, script, found.start())}: {mask_secrets(found[0].strip())!r} {reason}"
        )


def _find_psql() -> str | None:
    """Return the psql beside the PostgreSQL server's programs, else the one on the PATH."""
    with suppress(EmbeddedServerError):
        beside = find_bindir() / "psql"
        if os.access(beside, os.X_OK):
            return str(beside)
    return shutil.which("psql")


def _run_with_psql(psql: str, url: str, file: Path, script: str) -> None:
    ended = run_program(
        file,
        [psql, "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-f", "-"],
        input=script.encode(),
        env=_psql_environment(url),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=file.resolve().parent,  # \i finds files relative to it
    )
    if ended.returncode != 0:
        output = ended.stderr.decode(errors="replace").strip()
        raise CannotRun(_psql_failure(file, output or _exit_status(psql, ended.returncode)))


def _psql_environment(url: str) -> Mapping[str, str]:
    """Return the environment for psql, without the user's own PG variables."""
    target = make_url(url)
    ssl = target.query.get("ssl", target.query.get("sslmode"))
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
        **libpq_variables(target),
        **({"PGSSLMODE": ssl} if isinstance(ssl, str) else {}),
        "PGCLIENTENCODING": "UTF8",
        "PGCONNECT_TIMEOUT": str(int(CONNECT_SECONDS)),
        "LC_ALL": "C",
    }


def _psql_failure(file: Path, output: str) -> str:
    found = _PSQL_ERROR.search(output)
    if found is None:
        return f"{file}: psql failed: {mask_secrets(output)}"
    return f"{file}:{found[1]}: {_with_hint(mask_secrets(found[2]))}"


def _exit_status(psql: str, code: int) -> str:
    end = f"was ended by signal {-code}" if code < 0 else f"exited with {code}"
    return f"{psql} {end} and printed nothing; next: check that `{psql} --version` runs"


def _run_with_asyncpg(url: str, file: Path, script: str) -> None:
    import asyncpg

    reason = "needs psql, which is not on the PATH; next: install psql, or remove the line"
    for pattern in (_COPY_DATA, _META_COMMAND):  # in this order: data may look like a command
        _refuse_line(pattern, file, script, reason)
    try:
        run_in_thread(lambda: _execute(url, script))
    except asyncpg.PostgresError as error:
        position = getattr(error, "position", None)
        place = _location(file, script, int(position) - 1) if position else str(file)
        raise CannotRun(f"{place}: {_with_hint(mask_secrets(str(error)))}") from error
    except CONNECTION_ERRORS as error:
        reason = mask_secrets(f"{type(error).__name__}: {error}")
        raise CannotRun(f"{file} cannot be run: {reason}") from error


async def _execute(url: str, script: str) -> None:
    """Run all statements in one message of the simple query protocol: the server splits them."""
    async with connection_to(url, isolation_level="AUTOCOMMIT") as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        # asyncpg fails on a script of comments alone, so a statement is added.
        await driver.execute(f"{script}\n;SELECT 1")


def _location(file: Path, script: str, offset: int) -> str:
    """Return ``file:line`` of an offset, in characters from 0."""
    return f"{file}:{script.count(chr(10), 0, offset) + 1}"


def _with_hint(message: str) -> str:
    """Return PostgreSQL's message, with the next step if there is one for this message."""
    hints = [hint for pattern, hint in _HINTS.items() if re.search(pattern, message)]
    return "; next: ".join([message, *hints])
