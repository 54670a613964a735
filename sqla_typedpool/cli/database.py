"""The database that the command line names, or a temporary server."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sqla_typedpool.check.config import Settings
from sqla_typedpool.check.database_url import database_url
from sqla_typedpool.check.describing import DatabaseTarget
from sqla_typedpool.cli.colors import can_overwrite
from sqla_typedpool.cli.exits import reason_of
from sqla_typedpool.errors import CannotRun

if TYPE_CHECKING:
    from sqlalchemy import URL

    from sqla_typedpool.ephemeral.server import StartedDatabase

VARIABLE = "DATABASE_URL"
TIMEOUT = "--timeout"
HOW_TO_NAME = f"give --database-url, set ${VARIABLE}, or use a temporary server with --ephemeral"
_SHOW_PROGRESS_AFTER = 1.0  # seconds


def names_database(arguments: argparse.Namespace) -> bool:
    """Return whether an option, and not only the environment, is about a database."""
    schemas = _schemas(arguments).values()
    given = (arguments.database_url, arguments.env_file, arguments.search_path, *schemas)
    return arguments.ephemeral or any(each is not None for each in given)


def _schemas(source: argparse.Namespace | Settings) -> dict[str, str | None]:
    return {name: getattr(source, name) for name in ("metadata", "alembic", "schema")}


@contextlib.contextmanager
def database(arguments: argparse.Namespace, settings: Settings) -> Iterator[DatabaseTarget]:
    """Return the database of this run. A temporary one is stopped at the end.

    :raises CannotRun: there is no database, or it cannot be started.
    """
    progress = _Progress(is_wanted=not getattr(arguments, "quiet", False))
    with contextlib.ExitStack() as stack:
        stack.callback(progress.clear)
        if arguments.ephemeral:
            found = stack.enter_context(_ephemeral(arguments, settings))
            url, name = database_url(found.url), f"ephemeral, {found.source}"
        else:
            url, name = _given_url(arguments), ""
        yield DatabaseTarget(
            url,
            name,
            seconds=arguments.timeout,
            timeout_option=TIMEOUT,
            search_path=arguments.search_path or settings.search_path,
            progress=progress,
        )


@contextlib.contextmanager
def kept_server(arguments: argparse.Namespace) -> Iterator[None]:
    """Start the server of ``--ephemeral`` for many runs with these arguments, and stop it.

    Each run builds the schema in a new database on it.
    """
    from sqla_typedpool.ephemeral import server as ephemeral

    if not arguments.ephemeral:
        yield
        return
    with ephemeral.running(arguments.postgres) as arguments.server:
        yield


def _given_url(arguments: argparse.Namespace) -> URL:
    given = (*_schemas(arguments).values(), arguments.postgres)
    if any(each is not None for each in given):
        raise CannotRun(
            "--metadata, --alembic, --schema and --postgres need --ephemeral; next: add it, or "
            "drop them"
        )
    if arguments.database_url is not None:
        return database_url(arguments.database_url, "--database-url")
    if arguments.env_file is not None:
        written = read_env_file(arguments.env_file, VARIABLE)
        return database_url(written, f"{VARIABLE} in {arguments.env_file}")
    if VARIABLE in os.environ:
        return database_url(os.environ[VARIABLE], f"${VARIABLE}")
    raise CannotRun(f"there is no database; next: {HOW_TO_NAME}")


def read_env_file(path: Path, name: str) -> str:
    """Return a variable from a file of ``NAME=value`` lines.

    :raises CannotRun: the file cannot be read, or does not set the variable.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CannotRun(
            f"--env-file {path} cannot be read: {reason_of(error)}; next: name a file of"
            " NAME=value lines"
        ) from error
    for line in lines:
        key, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and key.strip() == name:
            return value.strip().strip("\"'")
    raise CannotRun(f"--env-file {path} does not set {name}; next: add a line {name}=...")


def _ephemeral(
    arguments: argparse.Namespace, settings: Settings
) -> contextlib.AbstractContextManager[StartedDatabase]:
    from sqla_typedpool.ephemeral import server as ephemeral

    if arguments.database_url is not None or arguments.env_file is not None:
        raise CannotRun("--ephemeral and --database-url exclude each other; next: drop one of them")
    given = _schemas(arguments)
    if not any(given.values()):
        given = _schemas(settings)
    if not any(given.values()):
        raise CannotRun(
            "--ephemeral needs a schema; next: give --metadata, --alembic or --schema, or set one"
            " of them in [tool.sqla_typedpool] of pyproject.toml"
        )
    if arguments.server is not None:
        _read_sources(given["alembic"], given["schema"])
        return ephemeral.rebuilt(arguments.server, **given)
    return ephemeral.started(**given, postgres=arguments.postgres)


def _read_sources(alembic: str | None, schema: str | None) -> None:
    """Read the migrations or the SQL file, so that ``--watch`` has a record of them.

    They are used by other processes.
    """
    from sqla_typedpool.ephemeral.migrations import scripts_of

    files = [Path(each) for each in (alembic, schema) if each is not None]
    files += scripts_of(Path(alembic)) if alembic is not None else []
    for file in files:
        with contextlib.suppress(OSError):  # the build of the schema reports it
            file.read_bytes()


class _Progress:
    """Shows progress in one line on a terminal's standard error, if the run takes longer."""

    def __init__(self, *, is_wanted: bool) -> None:
        self._is_wanted = is_wanted and can_overwrite(sys.stderr)
        self._began = time.monotonic()
        self._is_shown = False

    def __call__(self, done: int, total: int) -> None:
        if self._is_wanted and time.monotonic() - self._began > _SHOW_PROGRESS_AFTER:
            print(f"\r{done} of {total} queries", end="", file=sys.stderr, flush=True)
            self._is_shown = True

    def clear(self) -> None:
        if self._is_shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
