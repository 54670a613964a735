"""Which database the command line means; an ephemeral one is started, and stopped at the end."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqla_typedpool.check.config import Settings
from sqla_typedpool.check.database import database_url
from sqla_typedpool.check.describing import DatabaseTarget
from sqla_typedpool.cli.project import read_env_file
from sqla_typedpool.errors import CannotRun

VARIABLE = "DATABASE_URL"
_SHOW_PROGRESS_AFTER = 1.0  # seconds


def asks_for_database(arguments: argparse.Namespace) -> bool:
    """Whether an option, not the environment, speaks of one."""
    given = (arguments.database_url, arguments.env_file, *_schemas(arguments))
    return arguments.ephemeral or any(each is not None for each in given)


def _schemas(arguments: argparse.Namespace) -> tuple[str | None, ...]:
    return arguments.metadata, arguments.alembic, arguments.schema


@contextlib.contextmanager
def database(arguments: argparse.Namespace, project: Settings) -> Iterator[DatabaseTarget]:
    """The database of this run.

    :raises CannotRun: there is none, or it cannot be started.
    """
    progress = _Progress(is_wanted=not getattr(arguments, "quiet", False))
    common = _Common(arguments.timeout, progress)
    try:
        if not arguments.ephemeral:
            yield common.source(_given_url(arguments))
            return
        with _ephemeral(arguments, project) as url:
            yield common.source(url, "ephemeral")
    finally:
        progress.clear()


@dataclass(frozen=True)
class _Common:
    seconds: float
    progress: Callable[[int, int], None]

    def source(self, url: str, name: str = "") -> DatabaseTarget:
        parsed = database_url(url)
        return DatabaseTarget(parsed, name, self.seconds, self.progress)


def _given_url(arguments: argparse.Namespace) -> str:
    if any(each is not None for each in _schemas(arguments)):
        raise CannotRun("--metadata, --alembic and --schema need --ephemeral")
    if arguments.database_url is not None:
        return _filled(arguments.database_url, "--database-url is empty")
    if arguments.env_file is not None:
        return read_env_file(arguments.env_file, VARIABLE)
    if VARIABLE in os.environ:
        return _filled(os.environ[VARIABLE], f"${VARIABLE} is set, and empty")
    raise CannotRun(
        f"no database; next: give --database-url or ${VARIABLE}, or start a throw-away one with"
        " --ephemeral"
    )


def _filled(url: str, fault: str) -> str:
    """A secret that is missing makes an empty one, which must not pass for none."""
    if not url.strip():
        raise CannotRun(f"{fault}; next: give the database's URL, or leave it out")
    return url


def _ephemeral(
    arguments: argparse.Namespace, project: Settings
) -> contextlib.AbstractContextManager[str]:
    from sqla_typedpool import ephemeral

    if arguments.database_url is not None or arguments.env_file is not None:
        raise CannotRun("--ephemeral starts a database of its own; drop --database-url")
    names = ("metadata", "alembic", "schema")
    given = dict(zip(names, _schemas(arguments), strict=True))
    if not any(given.values()):
        given = {name: getattr(project, name) for name in names}
    return ephemeral.database(**given)


class _Progress:
    """One line on a terminal's standard error, once it takes longer than a second."""

    def __init__(self, *, is_wanted: bool) -> None:
        self._is_wanted = is_wanted and sys.stderr.isatty()
        self._began = time.monotonic()
        self._is_shown = False

    def __call__(self, done: int, total: int) -> None:
        if self._is_wanted and time.monotonic() - self._began > _SHOW_PROGRESS_AFTER:
            print(f"\r{done} of {total} queries", end="", file=sys.stderr, flush=True)
            self._is_shown = True

    def clear(self) -> None:
        if self._is_shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
