"""The fixtures of the plugin: a server, and a database with a schema for each test."""

from __future__ import annotations

import asyncio
import re
from importlib.util import find_spec

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool.embedded import Postgres
from tests.pytest_plugin.project import SCHEMA, URL_VARIABLE, Project, databases

pytest.importorskip("asyncpg")


# ---------------------------------------------------------------------------- the server


def test_a_configured_server_that_is_not_running_fails_the_test(serverless: Project) -> None:
    serverless.environment[URL_VARIABLE] = "postgresql://me:geheim@127.0.0.1:1/x"
    serverless.test("def test_it(typedpool_database): pass")
    code, output = serverless.run()
    assert code == 1
    assert "no database can be created on postgresql+asyncpg://me:***@127.0.0.1:1/x" in output
    assert "geheim" not in output
    assert "During handling" not in output
    assert "Traceback" not in output


@pytest.mark.parametrize("url", ["mysql://me:geheim@here/x", "postgresql://me:geheim@here:x/y"])
def test_a_configured_server_other_than_postgresql_fails_the_test(
    serverless: Project, url: str
) -> None:
    serverless.environment[URL_VARIABLE] = url
    serverless.test("def test_it(typedpool_database): pass")
    code, output = serverless.run()
    assert code == 1
    assert f"{URL_VARIABLE} is not " in output
    assert "geheim" not in output


def test_without_postgresql_the_test_is_skipped_with_the_reason(serverless: Project) -> None:
    serverless.environment["SQLA_TYPEDPOOL_PG_BINDIR"] = "/nowhere"
    serverless.test("def test_it(typedpool_database): pass")
    code, output = serverless.run()
    assert code == 0
    assert re.search(r"SKIPPED .*pip install 'sqla-typedpool\[embedded\]'", output)


def test_without_postgresql_the_test_fails_if_ci_is_set(serverless: Project) -> None:
    serverless.environment |= {"SQLA_TYPEDPOOL_PG_BINDIR": "/nowhere", "CI": "true"}
    serverless.test("def test_it(typedpool_database): pass")
    code, output = serverless.run()
    assert code == 1
    assert "pip install 'sqla-typedpool[embedded]'" in output


@pytest.mark.slow
def test_a_server_is_started_if_none_is_configured(serverless: Project, postgres: Postgres) -> None:
    serverless.test(
        "def test_it(typedpool_postgres, typedpool_database):\n"
        "    assert typedpool_postgres != typedpool_database.url\n"
        "    with open('url', 'w') as file: file.write(typedpool_postgres)\n"
    )
    code, output = serverless.run()
    assert code == 0, output
    url = (serverless.folder / "url").read_text()
    with pytest.raises(OSError, match=r".+"):
        asyncio.run(create_async_engine(url).connect().__aenter__())


# ---------------------------------------------------------------------------- databases


def test_each_test_has_a_fresh_copy_of_the_schema(project: Project, postgres: Postgres) -> None:
    project.write("schema.sql", SCHEMA)
    project.ini("typedpool_schema = schema.sql")
    project.test(
        "@pytest.mark.parametrize('number', [1, 2])\n"
        "def test_it(typedpool_database, number):\n"
        "    more = f'INSERT INTO users VALUES ({number + 1})'\n"
        "    assert asyncio.run(users(typedpool_database.url, more)) == 1\n"
        "    assert asyncio.run(users(typedpool_database.url)) == 2\n"
    )
    code, output = project.run()
    assert code == 0, output
    assert databases(postgres) == []


@pytest.mark.slow
def test_each_xdist_worker_has_its_own_databases(project: Project, postgres: Postgres) -> None:
    if find_spec("xdist") is None:
        pytest.skip("no pytest-xdist here")
    project.write("schema.sql", SCHEMA)
    project.ini("typedpool_schema = schema.sql")
    project.test(
        "@pytest.mark.parametrize('number', range(6))\n"
        "def test_it(typedpool_database, number, worker_id):\n"
        "    assert worker_id in typedpool_database.name\n"
        "    more = f'INSERT INTO users VALUES ({number + 2})'\n"
        "    assert asyncio.run(users(typedpool_database.url, more)) == 1\n"
    )
    code, output = project.run("-p", "xdist.plugin", "-n2")
    assert code == 0, output
    assert databases(postgres) == []


SCHEMAS = {
    "nothing": ("return None", 0),
    "metadata": (
        "metadata = MetaData(); Table('users', metadata, Column('id', Integer)); return metadata",
        0,
    ),
    "sql": ("return Path(__file__).with_name('schema.sql')", 1),
    "name": ("return 'models:metadata'", 0),
    "plain function": (
        "def build(url):\n        asyncio.run(make(url))\n    return build",
        1,
    ),
    "async function": ("return make", 1),
}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_an_overridden_fixture_defines_the_schema(project: Project, kind: str) -> None:
    body, rows = SCHEMAS[kind]
    project.write("schema.sql", SCHEMA)
    project.write(
        "models.py",
        "from sqlalchemy import *\n"
        "metadata = MetaData(); Table('users', metadata, Column('id', Integer))\n",
    )
    project.write(
        "conftest.py",
        "import asyncio, pytest\n"
        "from pathlib import Path\n"
        "from sqlalchemy import *\n"
        "from sqlalchemy.ext.asyncio import create_async_engine\n"
        "async def make(url):\n"
        "    engine = create_async_engine(url)\n"
        "    async with engine.begin() as connection:\n"
        "        await connection.execute(text('CREATE TABLE users (id int)'))\n"
        "        await connection.execute(text('INSERT INTO users VALUES (1)'))\n"
        "    await engine.dispose()\n"
        "@pytest.fixture(scope='session')\n"
        "def typedpool_schema():\n"
        f"    {body}\n",
    )
    if kind == "nothing":
        project.test(
            "def test_it(typedpool_database): assert 'typedpool' in typedpool_database.url"
        )
    else:
        project.test(
            "def test_it(typedpool_database):\n"
            f"    assert asyncio.run(users(typedpool_database.url)) == {rows}\n"
        )
    code, output = project.run()
    assert code == 0, output


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("'nowhere.sql'", "nowhere.sql cannot be read: No such file or directory"),
        ("7", "the fixture returned 7; next: return a MetaData"),
    ],
)
def test_a_wrong_schema_is_reported_without_a_traceback(
    project: Project, postgres: Postgres, returned: str, message: str
) -> None:
    project.test(
        f"@pytest.fixture(scope='session')\ndef typedpool_schema(): return {returned}\n"
        "def test_it(typedpool_database): pass\n"
    )
    code, output = project.run()
    assert code == 1
    assert "typedpool_schema: " in output
    assert message in output
    assert "During handling" not in output
    assert "Traceback" not in output
    assert databases(postgres) == []
