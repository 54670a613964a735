"""Connections that a test leaves open are reported."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest

from sqla_typedpool.embedded import Postgres
from tests.pytest_plugin.project import Project, databases

pytest.importorskip("asyncpg")


LEAKS = {
    "a connection of a stock pool": (
        "    engine = create_async_engine(typedpool_database.url)\n"
        "    connection = await engine.connect()\n"
        "    await connection.execute(text('SELECT 4711'))\n"
        "    kept.append((engine, connection))\n",
        r"session \d+, checked out at test_it\.py:LINE in leak: idle in transaction, "
        r"last statement: SELECT 4711",
    ),
    "an engine that is not disposed of": (
        "    engine = create_async_engine(typedpool_database.url)\n"
        "    async with engine.begin() as connection:\n"
        "        await connection.execute(text('SELECT 4711'))\n"
        "    kept.append(engine)\n",
        r"session \d+, checked out at test_it\.py:LINE in leak: idle, last statement: COMMIT",
    ),
    "a connection of a TypedPool": (
        "    engine = typedpool_database.engine()\n"
        "    connection = await engine.connect()\n"
        "    kept.append((engine, connection))\n",
        r"checked out in a TypedPool at test_it\.py:LINE in leak",
    ),
}


def line_of(project: Project, code: str) -> int:
    """The number of the last line of the project's tests that contains this code."""
    lines = (project.folder / "test_it.py").read_text().splitlines()
    return max(number for number, line in enumerate(lines, 1) if code in line)


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leaked_connection_is_an_error_that_describes_it(
    project: Project, postgres: Postgres, leak: str
) -> None:
    body, message = LEAKS[leak]
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
    line = line_of(project, "engine.connect()" if "connection" in leak else "engine.begin()")
    assert re.search(message.replace("LINE", str(line)), output), output
    assert "next: close what the test opens" in output
    assert databases(postgres) == []


@pytest.mark.parametrize(
    "engine",
    [
        "typedpool_database.engine()",
        "create_async_engine(typedpool_database.url, poolclass=TypedPool)",
    ],
    ids=["the fixture's", "the application's"],
)
def test_the_report_names_a_holder_in_a_running_loop(project: Project, engine: str) -> None:
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
    assert re.search(r"held in a TypedPool: Task-\d+ for ", output), output
    place = rf"at test_it\.py:{line_of(project, 'kept.append')} in test_leaking"
    assert re.search(f"checked out (in a TypedPool )?{place}", output), output


def test_a_leak_is_found_although_anyio_cancels_the_task_of_the_test(project: Project) -> None:
    if find_spec("anyio") is None:
        pytest.skip("no anyio here")
    project.test(
        "kept = []\n"
        "@pytest.fixture\n"
        "def anyio_backend(): return 'asyncio'\n"
        "async def leak(engine):\n"
        "    connection = await engine.connect()\n"
        "    await connection.execute(text('SELECT 1'))\n"
        "    return connection\n"
        "@pytest.mark.anyio\n"
        "async def test_leaking(typedpool_database):\n"
        "    kept.append(await leak(typedpool_database.engine()))\n"
        "@pytest.mark.anyio\n"
        "async def test_no_reference_is_kept(typedpool_database):\n"
        "    await leak(typedpool_database.engine())\n"
    )
    code, output = project.run("-p", "anyio.pytest_plugin", "-W", "ignore")
    assert code == 1, output
    assert "2 passed, 1 error" in output
    line = line_of(project, "engine.connect()")
    assert f"checked out in a TypedPool at test_it.py:{line} in leak" in output


def test_a_failed_test_gets_no_second_error_for_its_leaks(project: Project) -> None:
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
    _, section = output.split("Captured connections teardown")
    assert f"checked out at test_it.py:{line_of(project, 'engine.begin()')} in leak" in section


@pytest.mark.parametrize("fixtures", ["typedpool_database", "typedpool_database and no_leaks"])
def test_a_leak_of_a_typed_pool_is_one_error_and_is_described_once(
    project: Project, fixtures: str
) -> None:
    body, _ = LEAKS["a connection of a TypedPool"]
    has_both = fixtures != "typedpool_database"
    project.ini("usefixtures = typedpool_no_leaks" if has_both else "")
    project.test(
        "kept = []\n"
        f"async def leak(typedpool_database):\n{body}\n"
        "def test_leaking(typedpool_database): asyncio.run(leak(typedpool_database))\n"
    )
    code, output = project.run("-W", "ignore")
    assert code == 1, output
    assert "Exception Group" not in output
    reports = output.split("were left open by this test:\n")[1:]
    assert len(reports) == 1, output
    line = line_of(project, "engine.connect()")
    place = f"checked out in a TypedPool at test_it.py:{line} in leak"
    assert reports[0].partition("\nnext: ")[0].strip() == place
    assert ("Captured connections teardown" in output) is has_both


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
def test_a_test_that_closes_its_connections_passes(
    project: Project, module: str | None, plugin: str, code: str
) -> None:
    if module is not None and find_spec(module) is None:
        pytest.skip(f"no {module} here")
    if module == "pytest_asyncio":
        project.ini("asyncio_default_fixture_loop_scope = function")
    project.test(code)
    exit_code, output = project.run("-p", plugin)
    assert exit_code == 0, output
