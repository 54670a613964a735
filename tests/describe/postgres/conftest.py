"""A database of PostgreSQL with enums, composites, domains and a sequence."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from sqla_typedpool.embedded import Postgres
from tests.describe.postgres.people import DRIVERS, People


@pytest.fixture(scope="module")
def people(server: Postgres) -> Iterator[People]:
    """One database for the tests of a module, which leave it as it is, used by asyncpg."""
    found = People(server.url("asyncpg", "people"))
    asyncio.run(found.create())
    yield found
    asyncio.run(found.drop())


@pytest.fixture(params=DRIVERS)
def people_by_driver(people: People, request: pytest.FixtureRequest) -> People:
    """The same database, used by each driver."""
    return people.using(request.param)


@pytest.fixture(params=DRIVERS)
def own_people(server: Postgres, request: pytest.FixtureRequest) -> Iterator[People]:
    """A database for one test, which may change it, used by each driver."""
    found = People(server.url(request.param, "own_people"))
    asyncio.run(found.create())
    yield found
    asyncio.run(found.drop())
