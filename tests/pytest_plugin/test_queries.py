"""Declared queries as test items."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from sqla_typedpool.embedded import Postgres
from tests.pytest_plugin.project import Project

pytest.importorskip("asyncpg")


QUERIES = """
from sqla_typedpool import Executor, query

@query("SELECT oid::int8 FROM pg_class WHERE relname = :name LIMIT 1")
async def good(db: Executor, *, name: str) -> int:
    raise NotImplementedError

@query("SELECT relname::text FROM pg_class WHERE oid = 1 UNION ALL SELECT NULL")
async def bad(db: Executor) -> list[str]:
    raise NotImplementedError
"""


@pytest.fixture
def application(project: Project) -> Project:
    """A project with two declared queries, one of them wrong."""
    project.write("app/__init__.py", "")
    project.write("app/queries.py", QUERIES)
    project.ini("typedpool_modules = app", "pythonpath = .", "testpaths = tests")
    project.write("tests/test_one.py", "def test_one(): pass\n")
    return project


def outcomes(output: str) -> dict[str, str]:
    """The outcome of each item of the plugin, from pytest's short summary."""
    found = re.findall(r"^(PASSED|FAILED|ERROR) typedpool::(\S+)", output, re.MULTILINE)
    return {name: outcome for outcome, name in found}


def test_each_query_is_a_separate_test(application: Project, postgres: Postgres) -> None:
    code, output = application.run(
        "--typedpool-check", "--typedpool-database-url", postgres.url("asyncpg")
    )
    assert code == 1, output
    assert outcomes(output) == {
        "app.queries.good": "PASSED",
        "app.queries.bad": "FAILED",
        "other-findings": "PASSED",
    }
    assert "TP101" in output
    assert "Traceback" not in output
    assert "queries.py:8" in output
    assert "PASSED tests/test_one.py::test_one" in output


def test_the_database_url_is_read_from_the_environment(
    application: Project, postgres: Postgres
) -> None:
    application.environment["DATABASE_URL"] = postgres.url("asyncpg")
    code, output = application.run("--typedpool-check", "-k", "good")
    assert code == 0, output
    assert outcomes(output) == {"app.queries.good": "PASSED"}


def test_without_a_database_queries_are_compared_with_snapshots(
    application: Project, postgres: Postgres
) -> None:
    code, output = application.run("--typedpool-check", "-k", "good")
    assert code == 1, output
    application.write("app/queries.py", QUERIES.replace("list[str]", "list[str | None]"))
    ended = subprocess.run(
        [sys.executable, "-m", "sqla_typedpool", "prepare", "app"],
        cwd=application.folder,
        env={**application.environment, "DATABASE_URL": postgres.url("asyncpg")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    code, output = application.run("--typedpool-check")
    assert code == 0, output
    assert set(outcomes(output).values()) == {"PASSED"}


def test_modules_are_read_from_pyproject_toml(application: Project, postgres: Postgres) -> None:
    if sys.version_info < (3, 11):
        pytest.importorskip("tomli")
    application.ini("pythonpath = .")
    application.write("pyproject.toml", '[tool.sqla_typedpool]\nmodules = ["app"]\n')
    code, output = application.run(
        "--typedpool-check", "-k", "good", "--typedpool-database-url", postgres.url("asyncpg")
    )
    assert code == 0, output
    assert outcomes(output) == {"app.queries.good": "PASSED"}


def test_queries_are_not_checked_without_the_option(application: Project) -> None:
    code, output = application.run()
    assert code == 0, output
    assert outcomes(output) == {}


def test_queries_are_not_checked_if_the_command_line_names_tests(application: Project) -> None:
    code, output = application.run("--typedpool-check", "tests/test_one.py::test_one")
    assert code == 0, output
    assert outcomes(output) == {}


def test_modules_are_found_from_the_root_directory_if_pytest_is_started_below_it(
    application: Project, postgres: Postgres
) -> None:
    application.environment["DATABASE_URL"] = postgres.url("asyncpg")
    root = str(application.folder)
    application.folder = application.folder / "tests"
    code, output = application.run("--rootdir", root, "--typedpool-check", "-k", "good")
    assert code == 0, output
    assert "typedpool::app.queries.good" in output


def test_queries_of_one_name_share_a_test(application: Project, postgres: Postgres) -> None:
    application.environment["DATABASE_URL"] = postgres.url("asyncpg")
    again = QUERIES.partition("@query")[2].partition("@query")[0].replace("relname =", "nosuch =")
    application.write("app/queries.py", QUERIES + "kept = good\n\n@query" + again)
    code, output = application.run("--typedpool-check", "-k", "good")
    assert code == 1, output
    assert outcomes(output) == {"app.queries.good": "FAILED"}
    assert "nosuch" in output


def test_the_plugin_and_the_command_report_the_same_findings(
    application: Project, postgres: Postgres
) -> None:
    application.environment["DATABASE_URL"] = postgres.url("asyncpg")
    faulty = "\n\nclass Repo:\n" + "".join(
        f"    @query('SELECT :x')\n    async def {name}(self, db: Executor) -> int: ...\n"
        for name in ("first", "second")
    )
    application.write("app/queries.py", QUERIES + faulty)
    code, output = application.run("--typedpool-check")
    assert code == 1, output
    assert outcomes(output) == {
        "app.queries.good": "PASSED",
        "app.queries.bad": "FAILED",
        "other-findings": "FAILED",
    }
    command = [sys.executable, "-m", "sqla_typedpool", "check", "app", "--format", "json"]
    answer = subprocess.run(
        command,
        cwd=application.folder,
        env=application.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = [
        f"{each['file']}:{each['line']}:{each['column']}: {each['severity']}[{each['code']}]"
        for each in json.loads(answer.stdout)["findings"]
    ]
    assert sorted(re.findall(r"^app/\S+: \w+\[TP\d+\]", output, re.MULTILINE)) == sorted(expected)
    assert len(expected) == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0\n", r"app\.queries cannot be imported: ZeroDivisionError.*queries\.py:1\)"),
        ("", r"nothing to check: no @query in app"),
    ],
)
def test_queries_that_cannot_be_found_are_one_failed_test(
    application: Project, source: str, message: str
) -> None:
    application.write("app/queries.py", source)
    code, output = application.run("--typedpool-check")
    assert code == 1, output
    assert "FAILED" in outcomes(output).values()
    assert re.search(message, output), output
    assert "Traceback" not in output


def test_an_unreachable_database_is_reported_without_a_traceback(application: Project) -> None:
    url = "postgresql+asyncpg://me:geheim@127.0.0.1:1/x"
    code, output = application.run("--typedpool-check", "--typedpool-database-url", url)
    assert code == 1, output
    assert outcomes(output)["app.queries.good"] == "FAILED"
    assert "127.0.0.1" in output
    assert "geheim" not in output
    assert "Traceback" not in output
