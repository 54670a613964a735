"""The PostgreSQL server of a test session, and statements that databases are made with."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from sqla_typedpool.embedded import EmbeddedServerError, Postgres
from sqla_typedpool.ephemeral.building import connection_to, run_apart
from sqla_typedpool.ephemeral.server import unwinding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import RowMapping

URL_VARIABLE = "SQLA_TYPEDPOOL_TEST_DATABASE_URL"
"""Not DATABASE_URL: tests must not make databases where the application has its own."""

ADMIN_SECONDS = 60.0
"""The longest that making or dropping a database may take."""


@contextmanager
def running_server() -> Iterator[str]:
    """The URL of the server that is named, or of one that is started and stopped here."""
    named = os.environ.get(URL_VARIABLE)
    if named:
        yield _for_asyncpg(named)
        return
    server = _started()
    with unwinding(KeyboardInterrupt), server:  # what pytest ends a session by
        yield server.url("asyncpg")


def ask(url: str, *statements: str, **values: Any) -> Sequence[RowMapping]:
    """Run statements, each on its own, and return the rows of the last one.

    :raises SQLAlchemyError: or OSError, as the driver raises it.
    """

    async def main() -> Sequence[RowMapping]:
        async with connection_to(url, isolation_level="AUTOCOMMIT") as connection:
            rows: Sequence[RowMapping] = ()
            for statement in statements:
                result = await connection.execute(text(statement), values)
                rows = result.mappings().all() if result.returns_rows else ()
            return rows

    return run_apart(main, ADMIN_SECONDS)


def make_database(url: str, name: str, template: str = "template1") -> None:
    """Create a database, or fail the test with the reason."""
    try:
        ask(url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return
    except (OSError, SQLAlchemyError) as error:
        says = _words_of(error)
    # Out of the block: pytest shows the error that another one was raised in.
    shown = make_url(url).render_as_string(hide_password=True)
    pytest.fail(
        f"No database can be made on {shown}: {says}. Next: see that the server runs and the role"
        f" may create databases (ALTER ROLE ... CREATEDB), or unset {URL_VARIABLE} to have a"
        " throw-away server.",
        pytrace=False,
    )


def drop_database(url: str, name: str) -> None:
    """Drop a database with whatever is connected to it."""
    ask(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _for_asyncpg(given: str) -> str:
    scheme, separator, rest = given.partition("://")
    if separator and scheme == "postgres":
        given = f"postgresql://{rest}"
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.get_backend_name() != "postgresql":
        # The text is not repeated: what does not parse may still hold a password.
        pytest.fail(f"{URL_VARIABLE} is not the URL of a PostgreSQL database.", pytrace=False)
    return url.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


def _words_of(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return " ".join(str(getattr(cause, "__cause__", None) or cause).split())


def _started() -> Postgres:
    try:
        return Postgres.start(settings={"max_connections": "200"})
    except EmbeddedServerError as error:
        says = str(error)
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(f"CI is set, and there is no PostgreSQL: {says}", pytrace=False)
    pytest.skip(f"typedpool_postgres: {says.splitlines()[0]}")
