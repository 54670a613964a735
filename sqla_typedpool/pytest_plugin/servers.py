"""The PostgreSQL server of a test session, and the statements that create and drop databases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sqla_typedpool.check.database_url import read_url
from sqla_typedpool.embedded import EmbeddedServerError, Postgres
from sqla_typedpool.ephemeral.connecting import CONNECTION_ERRORS, driver_message, run_statements
from sqla_typedpool.ephemeral.server import signals_unwind
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.secrets import mask_secrets

# Not DATABASE_URL: tests must not create databases on the server of the application.
URL_VARIABLE = "SQLA_TYPEDPOOL_TEST_DATABASE_URL"


@contextmanager
def running_server() -> Iterator[str]:
    """Yield the URL of the configured server, or start one and stop it at the end."""
    configured = os.environ.get(URL_VARIABLE)
    if configured:
        yield _asyncpg_url(configured)
        return
    # KeyboardInterrupt makes pytest end, and tear down the fixtures.
    with signals_unwind(KeyboardInterrupt), _start_server() as server:
        yield server.url("asyncpg")


def create_database(url: str, name: str, template: str = "template1") -> None:
    """Create a database, or fail the test.

    :param url: the URL of another database on the server.
    """
    try:
        run_statements(url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    except CONNECTION_ERRORS as error:
        raise pytest.fail.Exception(
            f"no database can be created on {mask_secrets(url)}: {driver_message(error)}; next:"
            " check that the server is running and that the role may create databases (ALTER ROLE"
            f" ... CREATEDB), or unset {URL_VARIABLE} to start a temporary server",
            pytrace=False,
        ) from None


def drop_database(url: str, name: str) -> None:
    """Drop a database and end all connections to it."""
    run_statements(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _asyncpg_url(configured: str) -> str:
    try:
        url = read_url(configured, URL_VARIABLE)
    except CannotRun as error:
        pytest.fail(str(error), pytrace=False)
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    pytest.fail(
        f"{URL_VARIABLE} is not the URL of a PostgreSQL database; next: write it as"
        " postgresql+asyncpg://user:password@host/database",
        pytrace=False,
    )


def _start_server() -> Postgres:
    """Start a server; without PostgreSQL skip the test, or fail it if CI is set."""
    try:
        return Postgres.start(settings={"max_connections": "200"})
    except EmbeddedServerError as error:
        message = str(error)
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(f"CI is set, but no PostgreSQL can be started: {message}", pytrace=False)
    pytest.skip(f"typedpool_postgres: {message.splitlines()[0]}")
