"""The pytest plugin, in test sessions of its own: fixtures, leaks, queries as items."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.embedded import Postgres

ROOT = Path(__file__).parents[2]
ENTRY = ROOT / "sqla_typedpool" / "pytest_plugin" / "entry"
URL_VARIABLE = "SQLA_TYPEDPOOL_TEST_DATABASE_URL"
pytest.importorskip("asyncpg")

HEAD = """
import asyncio
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
"""

SCHEMA = "CREATE TABLE users (id int PRIMARY KEY);\nINSERT INTO users VALUES (1);\n"

COUNT = """
async def users(url, then="SELECT 1"):
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            found = (await connection.execute(text("SELECT count(*) FROM users"))).scalar_one()
            await connection.execute(text(then))
            return found
    finally:
        await engine.dispose()
"""


class Project:
    """A folder with tests, run by a pytest of its own."""

    def __init__(self, folder: Path, server: str | None) -> None:
        self.folder = folder
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in {"CI", "DATABASE_URL", URL_VARIABLE, "PYTEST_ADDOPTS"}
        }
        self.environment |= {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ENTRY}",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        if server is not None:
            self.environment[URL_VARIABLE] = server
        self.write("pytest.ini", "[pytest]\n")

    def write(self, name: str, content: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    def ini(self, *lines: str) -> None:
        self.write("pytest.ini", "\n".join(["[pytest]", *lines]))

    def test(self, code: str) -> None:
        self.write("test_it.py", HEAD + COUNT + code)

    def run(self, *arguments: str) -> tuple[int, str]:
        """The exit code, and everything that was printed."""
        command = [sys.executable, "-m", "pytest", "-p", "sqla_typedpool_pytest", "-rA"]
        ended = subprocess.run(
            [*command, "-p", "no:cacheprovider", "-W", "error", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=50,
        )
        return ended.returncode, ended.stdout


@pytest.fixture
def project(tmp_path: Path, postgres: Postgres) -> Project:
    """A project whose tests use the session's server."""
    return Project(tmp_path, postgres.url("psycopg"))


@pytest.fixture
def lone(tmp_path: Path) -> Project:
    """A project without a server."""
    return Project(tmp_path, None)


def databases(postgres: Postgres) -> list[str]:
    """The databases of the plugin that are on the server now."""

    async def main() -> list[str]:
        engine = create_async_engine(postgres.url(), poolclass=NullPool)
        async with engine.connect() as connection:
            found = "SELECT datname::text FROM pg_database WHERE datname ~ '^typedpool_'"
            return list((await connection.execute(text(found))).scalars())

    return asyncio.run(main())


# ---------------------------------------------------------------------------- weight


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    program = (
        "import sys, pytest, sqla_typedpool_pytest\n"
        "heavy = {'sqlalchemy', 'sqla_typedpool', 'asyncpg', 'greenlet'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or None)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": f"{ROOT}{os.pathsep}{ENTRY}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_what_pytest_loads_is_shipped_beside_the_package() -> None:
    if sys.version_info < (3, 11):
        pytest.skip("no tomllib here")
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (name,) = project["project"]["entry-points"]["pytest11"].values()
    found = project["tool"]["setuptools"]["packages"]["find"]
    assert [path.name for path in ENTRY.iterdir() if path.name != "__pycache__"] == [name]
    assert found["where"] == [".", ENTRY.relative_to(ROOT).as_posix()]
    assert found["exclude"] == ["sqla_typedpool.pytest_plugin.entry*"]


def test_a_session_that_uses_nothing_of_it_imports_nothing_heavy(lone: Project) -> None:
    lone.write(
        "test_it.py", "import sys\ndef test_it():\n    assert 'sqlalchemy' not in sys.modules\n"
    )
    code, output = lone.run()
    assert code == 0, output


# ---------------------------------------------------------------------------- the server


def test_a_named_server_that_is_not_there_fails_the_test(lone: Project) -> None:
    lone.environment[URL_VARIABLE] = "postgresql://me:geheim@127.0.0.1:1/x"
    lone.test("def test_it(typedpool_database): pass")
    code, output = lone.run()
    assert code == 1
    assert "No database can be made on postgresql+asyncpg://me:***@127.0.0.1:1/x" in output
    assert "geheim" not in output
    assert "During handling" not in output
    assert "Traceback" not in output


@pytest.mark.parametrize("url", ["mysql://me:geheim@here/x", "postgresql://me:geheim@here:x/y"])
def test_a_named_server_that_is_no_postgresql_fails_the_test(lone: Project, url: str) -> None:
    lone.environment[URL_VARIABLE] = url
    lone.test("def test_it(typedpool_database): pass")
    code, output = lone.run()
    assert code == 1
    assert f"{URL_VARIABLE} is not " in output
    assert "geheim" not in output


def test_without_a_server_the_test_is_skipped_with_the_reason(lone: Project) -> None:
    lone.environment["SQLA_TYPEDPOOL_PG_BINDIR"] = "/nowhere"
    lone.test("def test_it(typedpool_database): pass")
    code, output = lone.run()
    assert code == 0
    assert re.search(r"SKIPPED .*pip install 'sqla-typedpool\[embedded\]'", output)


def test_without_a_server_the_test_fails_where_servers_were_promised(lone: Project) -> None:
    lone.environment |= {"SQLA_TYPEDPOOL_PG_BINDIR": "/nowhere", "CI": "true"}
    lone.test("def test_it(typedpool_database): pass")
    code, output = lone.run()
    assert code == 1
    assert "pip install 'sqla-typedpool[embedded]'" in output


@pytest.mark.slow
def test_a_server_is_started_where_none_is_named(lone: Project, postgres: Postgres) -> None:
    lone.test(
        "def test_it(typedpool_postgres, typedpool_database):\n"
        "    assert typedpool_postgres != typedpool_database.url\n"
        "    with open('url', 'w') as file: file.write(typedpool_postgres)\n"
    )
    code, output = lone.run()
    assert code == 0, output
    url = (lone.folder / "url").read_text()
    with pytest.raises(OSError, match=r".+"):
        asyncio.run(create_async_engine(url).connect().__aenter__())


# ---------------------------------------------------------------------------- databases


def test_each_test_has_a_fresh_copy(project: Project, postgres: Postgres) -> None:
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
def test_workers_have_databases_of_their_own(project: Project, postgres: Postgres) -> None:
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


@pytest.mark.parametrize("way", SCHEMAS)
def test_the_schema_is_said_by_overriding_a_fixture(project: Project, way: str) -> None:
    body, rows = SCHEMAS[way]
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
    if way == "nothing":
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
    ("returned", "says"),
    [
        ("'nowhere.sql'", "No such file or directory: nowhere.sql"),
        ("7", "it returned 7. Next: return a MetaData"),
    ],
)
def test_a_wrong_schema_is_one_sentence(
    project: Project, postgres: Postgres, returned: str, says: str
) -> None:
    project.test(
        f"@pytest.fixture(scope='session')\ndef typedpool_schema(): return {returned}\n"
        "def test_it(typedpool_database): pass\n"
    )
    code, output = project.run()
    assert code == 1
    assert "typedpool_schema: " in output
    assert says in output
    assert "During handling" not in output
    assert "Traceback" not in output
    assert databases(postgres) == []


# ---------------------------------------------------------------------------- leaks

LEAKS = {
    "a connection of a stock pool": (
        "    engine = create_async_engine(typedpool_database.url)\n"
        "    connection = await engine.connect()\n"
        "    await connection.execute(text('SELECT 4711'))\n"
        "    kept.append((engine, connection))\n",
        r"session \d+: idle in transaction, last statement: SELECT 4711",
    ),
    "an engine that is not disposed of": (
        "    engine = create_async_engine(typedpool_database.url)\n"
        "    async with engine.begin() as connection:\n"
        "        await connection.execute(text('SELECT 4711'))\n"
        "    kept.append(engine)\n",
        r"session \d+: idle, last statement: COMMIT",
    ),
    "a connection of a TypedPool": (
        "    engine = typedpool_database.engine(pool_leak_threshold=60)\n"
        "    connection = await engine.connect()\n"
        "    kept.append((engine, connection))\n",
        r"leak: the event loop ends while 1 connections are out; held by .*test_it\.py:\d+",
    ),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_is_an_error_that_names_its_holder(
    project: Project, postgres: Postgres, leak: str
) -> None:
    body, says = LEAKS[leak]
    project.test(
        "kept = []\n"
        f"async def leak(typedpool_database):\n{body}\n"
        "def test_leaking(typedpool_database): asyncio.run(leak(typedpool_database))\n"
        "def test_the_next_one(typedpool_database): pass\n"
    )
    code, output = project.run("-W", "ignore")
    assert code == 1, output
    assert "ERROR test_it.py::test_leaking" in output
    assert "PASSED test_it.py::test_the_next_one" in output
    assert re.search(says, output), output
    assert "Next: close what the test opens" in output
    assert databases(postgres) == []


@pytest.mark.parametrize(
    "engine",
    [
        "typedpool_database.engine(pool_leak_threshold=60)",
        "create_async_engine(typedpool_database.url, poolclass=TypedPool, pool_leak_threshold=60)",
    ],
    ids=["the fixture's", "the application's"],
)
def test_a_holder_in_a_running_loop_is_named(project: Project, engine: str) -> None:
    if find_spec("pytest_asyncio") is None:
        pytest.skip("no pytest-asyncio here")
    project.ini(
        "asyncio_default_fixture_loop_scope = session", "asyncio_default_test_loop_scope = session"
    )
    project.test(
        "from sqla_typedpool import TypedPool\n"
        "kept = []\n"
        "@pytest.mark.asyncio\n"
        "async def test_leaking(typedpool_database):\n"
        f"    engine = {engine}\n"
        "    kept.append((engine, await engine.connect()))\n"
        "@pytest.mark.asyncio\n"
        "async def test_the_next_one(typedpool_database): pass\n"
    )
    code, output = project.run("-p", "pytest_asyncio.plugin", "-W", "ignore")
    assert code == 1, output
    assert "ERROR test_it.py::test_leaking" in output
    assert "PASSED test_it.py::test_the_next_one" in output
    assert re.search(r"held in a TypedPool: .*test_it\.py:\d+ in test_leaking", output), output


def test_a_test_that_failed_anyway_gets_no_second_error(project: Project) -> None:
    body, _ = LEAKS["an engine that is not disposed of"]
    project.test(
        "kept = []\n"
        f"async def leak(typedpool_database):\n{body}\n"
        "def test_leaking(typedpool_database):\n"
        "    asyncio.run(leak(typedpool_database))\n"
        "    assert False\n"
    )
    code, output = project.run("-W", "ignore")
    assert code == 1, output
    assert "1 failed" in output
    assert "error" not in output.splitlines()[-1]


PLAIN = """
def test_it(typedpool_database):
    async def main():
        engine = typedpool_database.engine(pool_size=2)
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    asyncio.run(main())
"""

ASYNC = """
@pytest.{mark}
async def test_it(typedpool_database):
    engine = typedpool_database.engine(pool_size=2)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1

@pytest.fixture
async def engine(typedpool_database):
    engine = create_async_engine(typedpool_database.url)
    yield engine
    await engine.dispose()

@pytest.{mark}
async def test_with_a_fixture(engine):
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
"""


@pytest.mark.parametrize(
    ("module", "plugin", "code"),
    [
        (None, "no:nothing", PLAIN),
        (
            "pytest_asyncio",
            "pytest_asyncio.plugin",
            ASYNC.format(mark="mark.asyncio").replace(
                "@pytest.fixture", "import pytest_asyncio\n@pytest_asyncio.fixture"
            ),
        ),
        (
            "anyio",
            "anyio.pytest_plugin",
            ASYNC.format(mark="mark.anyio")
            + "\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n",
        ),
    ],
    ids=["plain", "pytest-asyncio", "anyio"],
)
def test_a_test_that_cleans_up_passes(
    project: Project, module: str | None, plugin: str, code: str
) -> None:
    if module is not None and find_spec(module) is None:
        pytest.skip(f"no {module} here")
    if module == "pytest_asyncio":
        project.ini("asyncio_default_fixture_loop_scope = function")
    project.test(code)
    exit_code, output = project.run("-p", plugin)
    assert exit_code == 0, output


# ---------------------------------------------------------------------------- queries

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
    """What the short summary says of each item of ours."""
    found = re.findall(r"^(PASSED|FAILED|ERROR) typedpool::(\S+)", output, re.MULTILINE)
    return {name: outcome for outcome, name in found}


def test_each_query_is_a_test_of_its_own(application: Project, postgres: Postgres) -> None:
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


def test_the_database_may_come_from_the_environment(
    application: Project, postgres: Postgres
) -> None:
    application.environment["DATABASE_URL"] = postgres.url("asyncpg")
    code, output = application.run("--typedpool-check", "-k", "good")
    assert code == 0, output
    assert outcomes(output) == {"app.queries.good": "PASSED"}


def test_without_a_database_the_snapshots_decide(application: Project, postgres: Postgres) -> None:
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


def test_modules_may_be_configured_for_the_command_alone(
    application: Project, postgres: Postgres
) -> None:
    if sys.version_info < (3, 11):
        pytest.importorskip("tomli")
    application.ini("pythonpath = .")
    application.write("pyproject.toml", '[tool.sqla_typedpool]\nmodules = ["app"]\n')
    code, output = application.run(
        "--typedpool-check", "-k", "good", "--typedpool-database-url", postgres.url("asyncpg")
    )
    assert code == 0, output
    assert outcomes(output) == {"app.queries.good": "PASSED"}


def test_queries_are_left_alone_unless_asked_for(application: Project) -> None:
    code, output = application.run()
    assert code == 0, output
    assert outcomes(output) == {}


def test_queries_are_left_out_where_tests_are_named(application: Project) -> None:
    code, output = application.run("--typedpool-check", "tests/test_one.py::test_one")
    assert code == 0, output
    assert outcomes(output) == {}


def test_modules_are_found_from_the_root_wherever_pytest_is_started(
    application: Project, postgres: Postgres
) -> None:
    application.environment["DATABASE_URL"] = postgres.url("asyncpg")
    root = str(application.folder)
    application.folder = application.folder / "tests"
    code, output = application.run("--rootdir", root, "--typedpool-check", "-k", "good")
    assert code == 0, output
    assert "typedpool::app.queries.good" in output


def test_queries_of_one_name_are_one_test(application: Project, postgres: Postgres) -> None:
    application.environment["DATABASE_URL"] = postgres.url("asyncpg")
    again = QUERIES.partition("@query")[2].partition("@query")[0].replace("relname =", "nosuch =")
    application.write("app/queries.py", QUERIES + "kept = good\n\n@query" + again)
    code, output = application.run("--typedpool-check", "-k", "good")
    assert code == 1, output
    assert outcomes(output) == {"app.queries.good": "FAILED"}
    assert "nosuch" in output


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("1 / 0\n", r"app\.queries cannot be imported: ZeroDivisionError.*queries\.py:1\)"),
        ("", r"nothing to check: no @query in app"),
    ],
)
def test_queries_that_cannot_be_found_are_one_failure(
    application: Project, broken: str, says: str
) -> None:
    application.write("app/queries.py", broken)
    code, output = application.run("--typedpool-check")
    assert code == 1, output
    assert "FAILED" in outcomes(output).values()
    assert re.search(says, output), output
    assert "Traceback" not in output


def test_an_unreachable_database_is_one_sentence(application: Project) -> None:
    url = "postgresql+asyncpg://me:geheim@127.0.0.1:1/x"
    code, output = application.run("--typedpool-check", "--typedpool-database-url", url)
    assert code == 1, output
    assert outcomes(output)["app.queries.good"] == "FAILED"
    assert "127.0.0.1" in output
    assert "geheim" not in output
    assert "Traceback" not in output
