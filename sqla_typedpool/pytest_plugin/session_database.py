"""The database of the test session for the check of the queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from sqla_typedpool.errors import CannotRun


@contextmanager
def session_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a database with the session's schema, as each test gets one.

    :raises CannotRun: there is no schema.
    """
    if request.getfixturevalue("typedpool_schema") is None:
        raise CannotRun(
            "there are no snapshots, and no schema for a test database; next: set"
            " typedpool_metadata, typedpool_alembic or typedpool_schema in pytest's ini-file, or"
            " write snapshots with `sqla-typedpool prepare`"
        )
    with request.getfixturevalue("_typedpool_databases").copy() as database:
        yield database.url


def node_with_schema(session: pytest.Session, tests: Sequence[pytest.Item]) -> pytest.Collector:
    """Return the node whose fixture `typedpool_schema` is the one of the tests.

    A `conftest.py` may override the fixture for the tests in its folder and below. It is the
    folder of the first test that uses `typedpool_database`.
    """
    functions = (each for each in tests if isinstance(each, pytest.Function))
    using = (each for each in functions if "typedpool_database" in each.fixturenames)
    modules = (each.getparent(pytest.Module) for each in using)
    return next((each.parent for each in modules if each is not None and each.parent), session)
