"""Fixtures shared by all tests.

Tests that are marked `postgres` or `mariadb` need a real server, which the test session starts on
127.0.0.1. If it cannot be started, they are skipped with the reason; with CI=true they fail. All
other tests need only Python.

Async tests are plain functions that call `asyncio.run(...)`, so that no plugin chooses the loop.
"""

from __future__ import annotations

import gc
import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

import pytest

from sqla_typedpool.embedded import EmbeddedServerError, Postgres
from sqla_typedpool.ephemeral.server import signals_unwind
from tests.support.drivers import SERVER_OF_DRIVER
from tests.support.servers.mariadb import MariaDB
from tests.support.servers.pgbouncer import PgBouncer

if TYPE_CHECKING:
    from collections.abc import Iterator

# A shell without job control starts background jobs with SIGINT ignored. The programs that the
# tests interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The fixtures that need a server, and the marker of the tests that use them. Tests that request
# such a fixture by its name at run time have the marker in their source.
SERVER_FIXTURES = {
    "postgres": "postgres",
    "postgres_url": "postgres",
    "own_postgres": "postgres",
    "pgbouncer": "postgres",
    "mariadb": "mariadb",
}

# The fixtures that start the server of the test's parameter `driver`.
FIXTURES_BY_DRIVER = {"database", "stoppable_database"}


def pytest_configure(config: pytest.Config) -> None:
    """Make a SIGTERM end the session as a Ctrl-C does: the fixtures stop their servers."""
    unwinding = ExitStack()
    unwinding.enter_context(signals_unwind(KeyboardInterrupt))
    config.add_cleanup(unwinding.close)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the servers that it needs."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        for fixture in fixtures & SERVER_FIXTURES.keys():
            item.add_marker(SERVER_FIXTURES[fixture])
        if fixtures & FIXTURES_BY_DRIVER:
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            server = SERVER_OF_DRIVER.get(str(parameters.get("driver")))
            if server is not None:
                item.add_marker(server)


def pytest_collection_finish() -> None:
    """Exclude the imported modules from garbage collection, which then takes only milliseconds."""
    gc.collect()
    gc.freeze()


def no_server(error: EmbeddedServerError) -> NoReturn:
    """Skip the test that needs this server; with CI=true, fail it."""
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(f"CI=true, but a server is missing: {error}", pytrace=False)
    pytest.skip(str(error).splitlines()[0])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for the whole session. Tests must leave it running and not frozen."""
    try:
        server = Postgres.start(settings={"max_connections": "200"})
    except EmbeddedServerError as error:
        no_server(error)
    with server:
        yield server


@pytest.fixture(scope="module", params=["system", "wheel"])
def server(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """The session's PostgreSQL, then the one of the wheel, which is the newest."""
    if request.param == "system":
        yield request.getfixturevalue("postgres")
        return
    try:
        started = Postgres.start(binaries="wheel")
    except EmbeddedServerError as error:
        no_server(error)
    with started:
        yield started


@pytest.fixture(scope="session")
def postgres_url(postgres: Postgres) -> str:
    """The URL of the session's PostgreSQL for asyncpg."""
    return postgres.url("asyncpg")


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL for one test, which may stop, freeze or reconfigure it."""
    try:
        server = Postgres.start()
    except EmbeddedServerError as error:
        no_server(error)
    with server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgres: Postgres) -> Iterator[PgBouncer]:
    """A PgBouncer in transaction mode in front of the session's PostgreSQL."""
    try:
        bouncer = PgBouncer.start(postgres)
    except EmbeddedServerError as error:
        no_server(error)
    try:
        yield bouncer
    finally:
        bouncer.stop()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """One MariaDB for the whole session. Tests must leave it running and not frozen."""
    try:
        server = MariaDB.start()
    except EmbeddedServerError as error:
        no_server(error)
    try:
        yield server
    finally:
        server.stop()
