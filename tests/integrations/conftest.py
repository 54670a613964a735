"""The programs that the tests need beside databases."""

from __future__ import annotations

import pytest

from sqla_typedpool.embedded.process import EmbeddedServerError
from tests.conftest import no_server
from tests.support.databases import Database, database_of
from tests.support.servers.mariadb import find_program


def installed(program: str) -> str:
    """Return a program; the test is skipped without it, and fails with CI=true."""
    try:
        return find_program(program)
    except EmbeddedServerError as error:
        no_server(error)


@pytest.fixture
def prometheus() -> str:
    """The server of Prometheus."""
    return installed("prometheus")


@pytest.fixture
def promtool() -> str:
    """The program that tests rules of Prometheus."""
    return installed("promtool")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser; the test is skipped without it, and fails with CI=true."""
    try:
        return find_program("chromium", "chromium-browser", "google-chrome")
    except EmbeddedServerError as error:
        no_server(error)


@pytest.fixture
def database(driver: str, request: pytest.FixtureRequest) -> Database:
    """The database of the test's driver."""
    return database_of(driver, request)
