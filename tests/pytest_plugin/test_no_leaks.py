"""`typedpool_no_leaks`: connections in use after a test, on any database and with any pool."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest

from tests.pytest_plugin.project import Project
from tests.pytest_plugin.test_leaks import line_of

pytest.importorskip("aiosqlite")

ENGINES = {
    "TypedPool": "create_async_engine('sqlite+aiosqlite:///db', poolclass=TypedPool)",
    "the stock pool": "create_async_engine('sqlite+aiosqlite:///db')",
    "NullPool": "create_async_engine('sqlite+aiosqlite:///db', poolclass=NullPool)",
}
IMPORTS = "from sqla_typedpool import TypedPool\nfrom sqlalchemy.pool import NullPool\nkept = []\n"
# aiosqlite's thread would keep the process alive after a leak.
END = """
@pytest.fixture(autouse=True, scope="session")
def end_threads():
    yield
    for connection in kept:
        driver = getattr(connection.sync_connection, "connection", None)
        if driver is not None and driver.dbapi_connection is not None:
            driver.dbapi_connection.driver_connection.stop()
"""


@pytest.fixture
def leaking(serverless: Project) -> Project:
    serverless.ini("usefixtures = typedpool_no_leaks")
    return serverless


def write_test(project: Project, engine: str, body: str) -> None:
    project.test(
        f"{IMPORTS}{END}\n"
        "async def leak():\n"
        f"    engine = {engine}\n{body}"
        "    await engine.dispose()\n"
        "def test_leaking(): asyncio.run(leak())\n"
        "def test_the_next_one(): pass\n"
    )


@pytest.mark.parametrize("kind", ENGINES)
def test_a_connection_in_use_is_an_error_that_names_its_line(leaking: Project, kind: str) -> None:
    write_test(
        leaking,
        ENGINES[kind],
        "    async with engine.connect(): pass  # returned\n"
        "    kept.append(await engine.connect())\n",
    )
    code, output = leaking.run("-W", "ignore")
    assert code == 1, output
    assert "ERROR test_it.py::test_leaking" in output
    assert "PASSED test_it.py::test_the_next_one" in output
    line = line_of(leaking, "kept.append")
    found = re.findall(r"checked out at test_it\.py:(\d+) in leak", output)
    assert found == [str(line)], output


@pytest.mark.parametrize("kind", ENGINES)
def test_a_test_that_returns_its_connections_passes(leaking: Project, kind: str) -> None:
    write_test(leaking, ENGINES[kind], "    async with engine.connect(): pass\n")
    code, output = leaking.run()
    assert code == 0, output


@pytest.mark.parametrize("arguments", ["connection, typedpool_no_leaks", "connection"])
def test_a_connection_that_a_fixture_returns_is_no_leak_whatever_the_order_of_the_fixtures(
    serverless: Project, arguments: str
) -> None:
    serverless.ini("" if "no_leaks" in arguments else "usefixtures = typedpool_no_leaks")
    serverless.test(
        "from sqlalchemy import create_engine\n"
        "@pytest.fixture(autouse=True)\n"
        "def connection():\n"
        "    engine = create_engine('sqlite:///db')\n"
        "    opened = []\n"
        "    yield lambda: opened.append(engine.connect())\n"
        "    opened[0].close()\n"
        "    engine.dispose()\n"
        f"def test_it({arguments}): connection()\n"
    )
    code, output = serverless.run()
    assert code == 0, output


def test_an_error_of_a_fixture_is_reported_with_the_leak(serverless: Project) -> None:
    serverless.ini("usefixtures = typedpool_no_leaks")
    serverless.test(
        "from sqlalchemy import create_engine\n"
        "kept = []\n"
        "@pytest.fixture\n"
        "def failing():\n"
        "    yield\n"
        "    raise ValueError('of the fixture')\n"
        "def test_it(failing):\n"
        "    kept.append(create_engine('sqlite:///db').connect())\n"
    )
    code, output = serverless.run("-W", "ignore")
    assert code == 1, output
    assert "1 passed, 1 error" in output
    assert "ValueError: of the fixture" in output
    line = line_of(serverless, "kept.append")
    assert f"checked out at test_it.py:{line} in test_it" in output


def test_each_of_several_leaks_names_its_own_line(leaking: Project) -> None:
    write_test(
        leaking,
        ENGINES["the stock pool"],
        "    kept.append(await engine.connect())\n    kept.append(await engine.connect())\n",
    )
    code, output = leaking.run("-W", "ignore")
    assert code == 1, output
    line = line_of(leaking, "kept.append")
    found = re.findall(r"checked out at test_it\.py:(\d+) in leak", output)
    assert found == [str(line - 1), str(line)], output


def test_a_typed_pool_takes_the_fast_path_while_connections_are_watched(leaking: Project) -> None:
    leaking.test(
        "import logging\n"
        "from sqla_typedpool import TypedPool, fetch_one\n"
        "def test_it(caplog):\n"
        "    caplog.set_level(logging.DEBUG, 'sqla_typedpool')\n"
        "    async def main():\n"
        f"        engine = {ENGINES['TypedPool']}\n"
        "        for _ in range(2):\n"
        "            await fetch_one(engine, int, 'SELECT 1')\n"
        "        await engine.dispose()\n"
        "    asyncio.run(main())\n"
        "    assert 'fast path' in caplog.text\n"
    )
    code, output = leaking.run()
    assert code == 0, output


def test_leaks_are_reported_by_xdist(leaking: Project) -> None:
    if find_spec("xdist") is None:
        pytest.skip("no pytest-xdist here")
    write_test(leaking, ENGINES["NullPool"], "    kept.append(await engine.connect())\n")
    code, output = leaking.run("-W", "ignore", "-p", "xdist.plugin", "-n2")
    assert code == 1, output
    assert re.search(r"checked out at test_it\.py:\d+ in leak", output), output
