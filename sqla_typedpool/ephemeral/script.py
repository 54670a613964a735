"""A schema from a file of SQL: run by psql, or by asyncpg where there is no psql."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from sqla_typedpool.embedded import EmbeddedServerError
from sqla_typedpool.embedded.binaries import find_bindir
from sqla_typedpool.ephemeral.building import (
    BUILD_SECONDS,
    CONNECT_SECONDS,
    connection_to,
    run_apart,
)
from sqla_typedpool.errors import CannotRun

if TYPE_CHECKING:
    from collections.abc import Mapping

# pg_dump of August 2025 and later; a psql of before does not know them, and they change no table.
_RESTRICT = re.compile(r"^\\(?:un)?restrict [A-Za-z0-9]+[ \t]*$", re.MULTILINE)
_CONNECT = re.compile(r"^\\c(?:onnect)?\b.*$", re.MULTILINE)
_META_COMMAND = re.compile(r"^[ \t]*\\[A-Za-z!?.]\S*", re.MULTILINE)
_COPY_DATA = re.compile(r"^COPY .* FROM stdin\b.*;", re.MULTILINE | re.IGNORECASE)
_PSQL_ERROR = re.compile(r"^psql:<stdin>:(\d+): (?:ERROR|FATAL|error):\s*(.*)$", re.MULTILINE)


def run_script(url: str, file: Path) -> None:
    """Run all statements of a file in the database at `url`.

    :raises CannotRun: the file cannot be read, or a statement failed; names file and line.
    """
    script = _text_of(file)
    connect = _CONNECT.search(script)
    if connect is not None:
        raise CannotRun(
            f"{_place(file, script, connect.start())}: {connect[0]!r} goes to another database."
            " Next: dump one database, without --create."
        )
    script = _RESTRICT.sub("", script)
    psql = _find_psql()
    if psql is not None:
        _run_with_psql(psql, url, file, script)
    else:
        _run_with_asyncpg(url, file, script)


def _text_of(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CannotRun(
            f"{file}:{line}: not UTF-8 (byte {error.object[error.start]:#04x} at {error.start})."
            " Next: dump it with --encoding=UTF8, or convert it."
        ) from None
    except OSError as error:
        raise CannotRun(
            f"The schema cannot be read: {error.strerror or error}: {file}. Next: name a file."
        ) from None


def _find_psql() -> str | None:
    """The one that came with the server, else the one of the machine."""
    with suppress(EmbeddedServerError):
        beside = find_bindir() / "psql"
        if os.access(beside, os.X_OK):
            return str(beside)
    return shutil.which("psql")


def _run_with_psql(psql: str, url: str, file: Path, script: str) -> None:
    command = [psql, "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-f", "-"]
    try:
        ended = subprocess.run(
            command,
            input=script.encode(),
            env=_libpq_environment(url),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=file.resolve().parent,  # where its \i looks
            check=False,
            timeout=BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise CannotRun(
            f"The statements of {file} took over {BUILD_SECONDS:g} s. Next: see what they wait for."
        ) from None
    except OSError as error:
        raise CannotRun(
            f"{file}: {psql} cannot be run: {error.strerror or error}. Next: mend or remove it."
        ) from None
    if ended.returncode != 0:
        output = ended.stderr.decode(errors="replace").strip()
        raise CannotRun(_psql_failure(file, output or _silent_end(psql, ended.returncode)))


def _libpq_environment(url: str) -> Mapping[str, str]:
    """Where psql connects to; nothing of the user's own PG variables, which may lead elsewhere."""
    target = make_url(url)
    ssl = target.query.get("ssl", target.query.get("sslmode"))
    values = {
        "PGHOST": target.host,
        "PGPORT": target.port,
        "PGUSER": target.username,
        "PGPASSWORD": target.password,
        "PGDATABASE": target.database,
        "PGSSLMODE": ssl if isinstance(ssl, str) else None,
        "PGCLIENTENCODING": "UTF8",
        "PGCONNECT_TIMEOUT": int(CONNECT_SECONDS),
        "LC_ALL": "C",
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return others | {name: str(value) for name, value in values.items() if value is not None}


def _psql_failure(file: Path, output: str) -> str:
    found = _PSQL_ERROR.search(output)
    if found is None:
        return f"{file}: psql failed: {output}"
    detail = " ".join(line.strip() for line in output[found.end() :].splitlines()[:1])
    return _failure(f"{file}:{found[1]}", found[2], detail)


def _silent_end(psql: str, code: int) -> str:
    end = f"was ended by signal {-code}" if code < 0 else f"exited with {code}"
    return f"{psql} {end}, without a word. Next: see whether `{psql} --version` runs."


def _run_with_asyncpg(url: str, file: Path, script: str) -> None:
    import asyncpg

    # Data of a COPY would look like commands, so it is looked for first.
    for pattern in (_COPY_DATA, _META_COMMAND):
        needs_psql = pattern.search(script)
        if needs_psql is not None:
            raise CannotRun(
                f"{_place(file, script, needs_psql.start())}: {needs_psql[0].strip()!r} needs psql,"
                " and there is none on the PATH. Next: install PostgreSQL's client, or take the"
                " line out."
            )
    try:
        run_apart(lambda: _execute(url, script))
    except asyncpg.PostgresError as error:
        position = getattr(error, "position", None)
        place = _place(file, script, int(position) - 1) if position else str(file)
        raise CannotRun(_failure(place, str(error), "")) from error
    except (OSError, SQLAlchemyError, asyncio.TimeoutError) as error:
        raise CannotRun(f"{file} cannot be run: {type(error).__name__}: {error}") from error


async def _execute(url: str, script: str) -> None:
    """All statements in one message: the simple query protocol knows where each ends."""
    async with connection_to(url, isolation_level="AUTOCOMMIT") as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        # asyncpg fails on a script of comments alone, so that a statement is added.
        await driver.execute(f"{script}\n;SELECT 1")


def _place(file: Path, script: str, offset: int) -> str:
    return f"{file}:{script.count(chr(10), 0, offset) + 1}"


def _failure(place: str, says: str, detail: str) -> str:
    hint = ""
    if re.search(r"role .* does not exist", says):
        hint = " Next: dump with --no-owner --no-privileges."
    elif "extension" in says and "not available" in says:
        hint = (
            " Next: install that extension's package for this PostgreSQL, or check against a"
            " database that has it."
        )
    return f"{place}: {says}{f' ({detail})' if detail else ''}.{hint}"
