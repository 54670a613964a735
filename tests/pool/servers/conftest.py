"""The database of a test, for the driver in its parameter `driver`."""

from __future__ import annotations

import pytest

from tests.support.databases import Database, database_of


@pytest.fixture
def database(driver: str, request: pytest.FixtureRequest) -> Database:
    """The database of the test's driver."""
    return database_of(driver, request)


@pytest.fixture
def stoppable_database(driver: str, request: pytest.FixtureRequest) -> Database:
    """The same, for a test that stops, freezes or reconfigures the server.

    PostgreSQL is started for this test alone. MariaDB is the one of the test session: the test must
    leave it running.
    """
    return database_of(driver, request, "own_postgres")
