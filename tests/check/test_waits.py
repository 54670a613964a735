"""The commands end if a table is locked, a server does not answer, or the user interrupts."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from sqla_typedpool.embedded import Postgres
from tests.support.commands import ROOT

APP = """
from sqla_typedpool import Executor, query


@query("SELECT id FROM users")
async def ids(db: Executor) -> list[int]:
    raise NotImplementedError
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A folder with an application of one query."""
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def plain(url: str) -> str:
    return url.replace("+asyncpg", "")


@asynccontextmanager
async def locked_users(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Lock a table exclusively."""
    connection = await asyncpg.connect(plain(url))
    await connection.execute("CREATE TABLE IF NOT EXISTS users (id int PRIMARY KEY)")
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE users")
            yield connection
    finally:
        connection.terminate()


async def waits(connection: asyncpg.Connection) -> None:
    """Wait until a check waits for the lock."""
    blocked = (
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE NOT granted AND application_name = 'sqla-typedpool check'"
    )
    for _ in range(500):
        if await connection.fetchval(blocked):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the checker does not wait for the lock")


async def check_while(
    folder: Path,
    url: str,
    then: Callable[[asyncio.subprocess.Process], Awaitable[None]],
    *arguments: str,
) -> tuple[int | None, str, str]:
    """Run `check` in a separate process; return its exit code and its output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "sqla_typedpool",
            "check",
            "app",
            "--database-url",
            url,
            *arguments,
        ),
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await then(process)
        out, err = await asyncio.wait_for(process.communicate(), 40)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, out.decode(), err.decode()


async def nothing(process: asyncio.subprocess.Process) -> None:
    """Do nothing until the process ends."""


def test_a_locked_table_ends_the_run_and_names_the_statement(app: Path, postgres_url: str) -> None:
    async def main() -> None:
        async with locked_users(postgres_url):
            code, out, err = await check_while(app, postgres_url, nothing, "--timeout", "1")
        assert (code, out) == (2, "")
        assert "did not describe 'SELECT id FROM users' within 1 s" in err
        assert "another session has locked a table, or set a longer --timeout" in err
        assert len(err.splitlines()) == 1

    asyncio.run(main())


def test_a_server_that_stops_answering_ends_the_run(app: Path, own_postgres: Postgres) -> None:
    url = own_postgres.url("asyncpg")

    async def main() -> None:
        async with locked_users(url) as connection:

            async def freeze(process: asyncio.subprocess.Process) -> None:
                await waits(connection)
                own_postgres.freeze()

            began = time.monotonic()
            try:
                code, _, err = await check_while(app, url, freeze, "--timeout", "2")
            finally:
                own_postgres.thaw()
        assert code == 2
        assert "within 2 s" in err
        assert len(err.splitlines()) == 1
        assert time.monotonic() - began < 20

    asyncio.run(main())


def test_a_server_that_never_answers_ends_the_run(app: Path, own_postgres: Postgres) -> None:
    async def main() -> None:
        own_postgres.freeze()
        try:
            url = own_postgres.url("asyncpg")
            code, _, err = await check_while(app, url, nothing, "--timeout", "1")
        finally:
            own_postgres.thaw()
        assert code == 2
        assert "did not answer within 1 s" in err
        assert len(err.splitlines()) == 1

    asyncio.run(main())


def test_an_interrupt_ends_the_run_and_leaves_no_session(app: Path, postgres_url: str) -> None:
    async def main() -> None:
        async with locked_users(postgres_url) as connection:

            async def interrupt(process: asyncio.subprocess.Process) -> None:
                await waits(connection)
                process.send_signal(signal.SIGINT)

            code, out, err = await check_while(app, postgres_url, interrupt)
            assert (code, out) == (130, "")
            assert err == "sqla-typedpool: Interrupted; nothing was left running.\n"

    asyncio.run(main())
