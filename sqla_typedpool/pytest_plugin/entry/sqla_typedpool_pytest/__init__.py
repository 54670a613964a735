"""The part of the pytest plugin that pytest loads in every run: options and fixtures.

It is installed beside `sqla_typedpool`, not inside. An import of anything inside would import the
whole package, and SQLAlchemy, in every test run of every project that has it installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from sqla_typedpool.pytest_plugin import Database
    from sqla_typedpool.pytest_plugin.databases import Databases
    from sqla_typedpool.pytest_plugin.leaks import ConnectionsInUse

_FAILED = pytest.StashKey[bool]()
_IN_USE: pytest.StashKey[ConnectionsInUse] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("typedpool", "sqla-typedpool")
    group.addoption(
        "--typedpool-check",
        action="store_true",
        help="check each query declared with @query, as a separate test",
    )
    group.addoption(
        "--typedpool-database-url",
        metavar="URL",
        help="check against this database (default: $DATABASE_URL, else the snapshots, else the"
        " database of the tests)",
    )
    parser.addini("typedpool_modules", "modules with declared queries to check", type="args")
    parser.addini("typedpool_snapshots", "folder of the snapshots (default: .sqla_typedpool)")
    parser.addini("typedpool_metadata", "schema of typedpool_database: app.models:Base.metadata")
    parser.addini("typedpool_alembic", "schema of typedpool_database: alembic.ini")
    parser.addini("typedpool_schema", "schema of typedpool_database: schema.sql")


@pytest.hookimpl(tryfirst=True)  # before options such as -k and -m select items
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    config = session.config
    names_tests = any("::" in each for each in config.args)  # then only those tests are run
    if config.getoption("typedpool_check") and not names_tests:
        from sqla_typedpool.pytest_plugin.queries import query_items

        items += query_items(session, items)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    outcome = yield
    if outcome.get_result().failed:
        item.stash[_FAILED] = True


@pytest.fixture(scope="session")
def typedpool_postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server on which databases may be created and dropped.

    It is $SQLA_TYPEDPOOL_TEST_DATABASE_URL, else the URL of a temporary server: the installed
    PostgreSQL, or the wheel of `sqla-typedpool[embedded]`. If there is no PostgreSQL, the test is
    skipped; with CI=true it fails.
    """
    from sqla_typedpool.pytest_plugin.servers import running_server

    with running_server() as url:
        yield url


@pytest.fixture(scope="session")
def typedpool_schema(pytestconfig: pytest.Config) -> Any:
    """The schema of each test's database. Override this fixture to define it in code.

    It returns a MetaData or declarative base, the path of an `alembic.ini` or of a SQL file, a
    function (plain or async) that is called with the URL of an empty database, or None for an
    empty database. By default it returns the schema of the ini-file (typedpool_metadata,
    typedpool_alembic or typedpool_schema), else of [tool.sqla_typedpool] in pyproject.toml.
    """
    from sqla_typedpool.pytest_plugin.schemas import configured_schema

    return configured_schema(pytestconfig)


@pytest.fixture(scope="session")
def _typedpool_databases(typedpool_postgres: str, typedpool_schema: Any) -> Iterator[Databases]:
    from sqla_typedpool.pytest_plugin.databases import Databases

    with Databases.on(typedpool_postgres, typedpool_schema) as databases:
        yield databases


@pytest.fixture
def typedpool_database(
    request: pytest.FixtureRequest, _typedpool_databases: Databases
) -> Iterator[Database]:
    """A database for this test alone, with the schema; it is dropped after the test.

    ``url`` is its URL for asyncpg, ``engine(**options)`` creates an engine with TypedPool. If
    connections are still open after the test and its fixtures, the test gets an error.
    """
    with _typedpool_databases.fresh() as (database, leak_report):
        yield database
        report = leak_report()
    _report_leaks(request.node, report)


@pytest.fixture
def typedpool_no_leaks(request: pytest.FixtureRequest) -> None:
    """Report connections that are still in use after the test and its fixtures, as its error.

    It works with every database and with every pool of SQLAlchemy. The error names the line at
    which each connection was checked out. Connections of fixtures with a wider scope are not
    reported, since those begin before.
    """
    from sqla_typedpool.pytest_plugin.leaks import ConnectionsInUse

    request.node.stash[_IN_USE] = ConnectionsInUse()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, None]:
    """Report for `typedpool_no_leaks`, after all fixtures of the test, in whatever order."""
    outcome = yield
    connections = item.stash.get(_IN_USE, None)
    if connections is None:
        return
    if outcome.excinfo is not None:
        item.stash[_FAILED] = True
    del item.stash[_IN_USE]
    try:
        report = connections.report()
    finally:
        connections.close()
    try:
        _report_leaks(item, report)
    except pytest.fail.Exception as error:
        outcome.force_exception(error)


def _report_leaks(item: pytest.Item, report: str) -> None:
    """Fail the teardown. A failed test gets a section in its report, and no second error.

    So does a test that uses both fixtures, of which each has a report.
    """
    if report and item.stash.get(_FAILED, False):
        item.add_report_section("teardown", "connections", report)
    elif report:
        item.stash[_FAILED] = True
        pytest.fail(report, pytrace=False)
