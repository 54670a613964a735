"""Start the server of an ephemeral database, and stop it however the block ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

from sqlalchemy import MetaData, make_url

from sqla_typedpool.embedded import EmbeddedServerError, Postgres
from sqla_typedpool.ephemeral.building import build, exactly_one_source, require_asyncpg
from sqla_typedpool.ephemeral.connecting import CONNECTION_ERRORS, driver_message, run_statements
from sqla_typedpool.errors import CannotRun

_REBUILT = "rebuilt"  # the name of the database
_SIGNALS = {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}


class StartedDatabase(NamedTuple):
    """A database on a server that was started for it."""

    url: str
    # The folder of the server's programs, or the name of the wheel.
    source: str


@contextmanager
def database(
    *,
    metadata: str | MetaData | None = None,
    alembic: str | os.PathLike[str] | None = None,
    schema: str | os.PathLike[str] | None = None,
    postgres: int | None = None,
) -> Iterator[str]:
    """Start an embedded PostgreSQL, build a schema in it, and yield its URL.

    The server is stopped at the end of the block, also after an error, a Ctrl-C or a SIGTERM.
    Exactly one of the three sources is given.

    :param metadata: a MetaData, or its name such as ``"app.models:Base.metadata"``; see `build`.
    :param alembic: the path of an ``alembic.ini``. All its migrations are run.
    :param schema: the path of a SQL file, such as `pg_dump --schema-only` writes.
    :param postgres: the major version of PostgreSQL; None = the newest that is installed.
    :raises CannotRun: no server could be started, or the schema could not be built.

    Example::

        >>> with database(metadata="app.models:Base.metadata") as url:
        ...     print(url)
        postgresql+asyncpg://postgres@127.0.0.1:40123/postgres
    """
    given: dict[str, Any] = {"metadata": metadata, "alembic": alembic, "schema": schema}
    with started(**given, postgres=postgres) as found:
        yield found.url


@contextmanager
def started(
    *,
    metadata: str | MetaData | None = None,
    alembic: str | os.PathLike[str] | None = None,
    schema: str | os.PathLike[str] | None = None,
    postgres: int | None = None,
) -> Iterator[StartedDatabase]:
    """Do the same as `database`, and yield where the server comes from as well."""
    # Check the arguments before a server is started.
    exactly_one_source(metadata=metadata, alembic=alembic, schema=schema)
    with running(postgres) as found:
        build(found.url, metadata=metadata, alembic=alembic, schema=schema)
        yield found


@contextmanager
def running(postgres: int | None = None) -> Iterator[StartedDatabase]:
    """Start a server, yield its empty database ``postgres``, and stop the server.

    :param postgres: the major version of PostgreSQL; None = the newest that is installed.
    :raises CannotRun: no server could be started.
    """
    with signals_unwind(SystemExit), _start(postgres) as server:
        yield StartedDatabase(server.url("asyncpg"), server.source)


def _start(version: int | None) -> Postgres:
    try:
        return Postgres.start(version=version or "newest")
    except EmbeddedServerError as error:
        raise CannotRun(f"no PostgreSQL server could be started: {error}") from None


@contextmanager
def rebuilt(
    server: StartedDatabase,
    *,
    metadata: str | MetaData | None = None,
    alembic: str | os.PathLike[str] | None = None,
    schema: str | os.PathLike[str] | None = None,
) -> Iterator[StartedDatabase]:
    """Create a new database on a running server, build a schema in it, and yield it.

    The next call drops it. The arguments are those of `database`.

    :raises CannotRun: the schema could not be built.
    """
    require_asyncpg()
    drop = f"DROP DATABASE IF EXISTS {_REBUILT} WITH (FORCE)"
    try:
        run_statements(server.url, drop, f"CREATE DATABASE {_REBUILT}")
    except CONNECTION_ERRORS as error:
        raise CannotRun(
            f"the temporary server has ended: {driver_message(error)}; next: run the command again"
        ) from None
    url = make_url(server.url).set(database=_REBUILT).render_as_string(hide_password=False)
    build(url, metadata=metadata, alembic=alembic, schema=schema)
    yield server._replace(url=url)


@contextmanager
def signals_unwind(raised: type[BaseException]) -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise an exception, so that ``finally`` blocks stop the server.

    Signal handlers of the application are not replaced. In a thread other than the main
    thread nothing is changed, because only the main thread may set signal handlers.

    :param raised: the exception class. It is called with the exit code, 128 + the signal's
        number.
    """
    owner = os.getpid()

    def unwind(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            raise raised(128 + number)
        signal.signal(number, signal.SIG_DFL)  # in a forked child: end as it would by default
        os.kill(os.getpid(), number)

    is_main = threading.current_thread() is threading.main_thread()
    replaced = [each for each in _SIGNALS if is_main and signal.getsignal(each) is signal.SIG_DFL]
    for each in replaced:
        signal.signal(each, unwind)
    try:
        yield
    finally:
        for each in replaced:
            signal.signal(each, signal.SIG_DFL)
