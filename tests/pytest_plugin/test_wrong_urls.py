"""A wrong database URL is reported by the plugin as by the command: where it is, what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pytest_plugin.project import URL_VARIABLE, Project

QUERIES = """
from sqla_typedpool import Executor, query

@query("SELECT 1 AS one")
async def one(db: Executor) -> int:
    raise NotImplementedError
"""


@pytest.mark.parametrize(
    ("arguments", "variables", "fault"),
    [
        (
            ["--typedpool-database-url", "postgresql+asynpg://me:s3cret@h/d"],
            {"DATABASE_URL": "sqlite://"},
            "--typedpool-database-url cannot be used: there is no driver 'asynpg' for postgresql",
        ),
        (
            [],
            {"DATABASE_URL": '"postgresql://me:s3cret@h/d"'},
            "$DATABASE_URL is not a database URL: it contains the quotes around it",
        ),
        ([], {"DATABASE_URL": ""}, "$DATABASE_URL is empty; next: set it to the URL"),
    ],
)
def test_a_wrong_url_fails_each_query_with_what_is_wrong(
    arguments: list[str], variables: dict[str, str], fault: str, tmp_path: Path
) -> None:
    project = Project(tmp_path, None)
    project.environment |= variables
    project.ini("typedpool_modules = queries", "pythonpath = .")
    project.write("queries.py", QUERIES)
    code, output = project.run("--typedpool-check", *arguments)
    assert code == 1, output
    assert fault in output
    assert "s3cret" not in output


def test_a_wrong_url_of_the_server_fails_the_test_with_what_is_wrong(tmp_path: Path) -> None:
    project = Project(tmp_path, None)
    project.environment[URL_VARIABLE] = "postgresql://me:s3cr@t@h/d"
    project.test("def test_it(typedpool_postgres):\n    pass\n")
    code, output = project.run()
    assert code == 1, output
    assert f"{URL_VARIABLE} cannot be used: its user or password contains an @" in output
    assert "s3cr" not in output
