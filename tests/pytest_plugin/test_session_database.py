"""`--typedpool-check` without a database and without snapshots: the database of the tests."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from sqla_typedpool.embedded import Postgres
from tests.pytest_plugin.project import SCHEMA, Project, databases
from tests.pytest_plugin.test_queries import outcomes

pytest.importorskip("asyncpg")

QUERIES = """
from sqla_typedpool import Executor, query

@query("SELECT id FROM users")
async def good(db: Executor) -> list[int]:
    raise NotImplementedError

@query("SELECT name FROM users")
async def bad(db: Executor) -> list[str]:
    raise NotImplementedError
"""
EXPECTED = {"app.good": "PASSED", "app.bad": "FAILED", "other-findings": "PASSED"}
TEST = "def test_it(typedpool_database): assert asyncio.run(users(typedpool_database.url)) == 1\n"


@pytest.fixture
def application(project: Project) -> Project:
    """A project with two declared queries, one of them wrong, and no snapshots."""
    project.write("app.py", QUERIES)
    project.write("schema.sql", SCHEMA)
    project.ini("typedpool_modules = app", "typedpool_schema = schema.sql", "pythonpath = .")
    return project


def test_queries_are_compared_with_the_schema_of_the_tests(
    application: Project, postgres: Postgres
) -> None:
    application.test(TEST)
    code, output = application.run("--typedpool-check")
    assert code == 1, output
    assert outcomes(output) == EXPECTED
    assert "(the database of the tests)" in output
    assert 'column "name" does not exist' in output
    assert "PASSED test_it.py::test_it" in output
    assert databases(postgres) == []


def test_a_project_without_tests_is_checked(application: Project, postgres: Postgres) -> None:
    code, output = application.run("--typedpool-check")
    assert code == 1, output
    assert outcomes(output) == EXPECTED
    assert databases(postgres) == []


def test_only_the_queries_are_checked_if_they_are_selected(application: Project) -> None:
    application.test("def test_it(typedpool_database): assert False\n")
    code, output = application.run("--typedpool-check", "-k", "good")
    assert code == 0, output
    assert outcomes(output) == {"app.good": "PASSED"}


def test_the_schema_is_the_one_of_the_conftest_beside_the_tests(application: Project) -> None:
    application.ini("typedpool_modules = app", "pythonpath = .")
    application.write(
        "tests/conftest.py",
        "import pytest\n"
        "@pytest.fixture(scope='session')\n"
        "def typedpool_schema(): return 'schema.sql'\n",
    )
    application.write("a_first/test_other.py", "def test_other(): pass\n")
    application.write("tests/test_it.py", "def test_it(typedpool_database): pass\n")
    code, output = application.run("--typedpool-check")
    assert code == 1, output
    assert outcomes(output) == EXPECTED


def test_without_a_schema_it_is_an_error_that_names_both_ways(application: Project) -> None:
    application.ini("typedpool_modules = app", "pythonpath = .")
    code, output = application.run("--typedpool-check")
    assert code == 1, output
    assert set(outcomes(output).values()) == {"FAILED"}
    assert "there are no snapshots, and no schema for a test database; next: set " in output
    assert "Traceback" not in output


def test_without_postgresql_the_queries_are_skipped_with_the_reason(application: Project) -> None:
    del application.environment["SQLA_TYPEDPOOL_TEST_DATABASE_URL"]
    application.environment["SQLA_TYPEDPOOL_PG_BINDIR"] = "/nowhere"
    code, output = application.run("--typedpool-check")
    assert code == 0, output
    assert "3 skipped" in output
    assert "pip install 'sqla-typedpool[embedded]'" in output


@pytest.mark.parametrize(
    ("module", "plugin", "line"),
    [
        ("pytest", "no:nothing", ""),
        ("pytest_asyncio", "pytest_asyncio.plugin", "asyncio_mode = auto"),
        ("anyio", "anyio.pytest_plugin", "anyio_mode = auto"),
    ],
)
def test_fixtures_of_the_tests_are_not_used_for_the_queries(
    application: Project, module: str, plugin: str, line: str
) -> None:
    if find_spec(module) is None:
        pytest.skip(f"no {module} here")
    application.ini("typedpool_modules = app", "typedpool_schema = schema.sql", line)
    application.write(
        "conftest.py",
        "import sys, pytest\n"
        "sys.path.insert(0, '.')\n"
        "@pytest.fixture(autouse=True)\n"
        "def fixture(request): assert request.node.name == 'test_it'\n",
    )
    application.test(TEST)
    code, output = application.run("--typedpool-check", "-p", plugin, "-W", "ignore")
    assert code == 1, output
    assert outcomes(output) == EXPECTED
    assert "1 failed, 3 passed" in output


@pytest.mark.slow
def test_each_xdist_worker_checks_the_queries_that_it_runs(
    application: Project, postgres: Postgres
) -> None:
    if find_spec("xdist") is None:
        pytest.skip("no pytest-xdist here")
    application.test(TEST)
    code, output = application.run("--typedpool-check", "-p", "xdist.plugin", "-n2")
    assert code == 1, output
    assert "2 failed" not in output
    assert "1 failed, 3 passed" in output
    assert databases(postgres) == []
