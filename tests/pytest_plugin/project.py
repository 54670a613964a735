"""Projects whose tests use the plugin, each run by a separate pytest process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from sqla_typedpool.embedded import Postgres

ROOT = Path(__file__).parents[2]
ENTRY = ROOT / "sqla_typedpool" / "pytest_plugin" / "entry"
URL_VARIABLE = "SQLA_TYPEDPOOL_TEST_DATABASE_URL"

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
    """A directory with tests, which a separate pytest process runs."""

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
        """Run pytest; return its exit code and its output."""
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


def databases(postgres: Postgres) -> list[str]:
    """The names of the plugin's databases that are on the server."""

    async def main() -> list[str]:
        engine = create_async_engine(postgres.url(), poolclass=NullPool)
        async with engine.connect() as connection:
            found = "SELECT datname::text FROM pg_database WHERE datname ~ '^typedpool_'"
            return list((await connection.execute(text(found))).scalars())

    return asyncio.run(main())
