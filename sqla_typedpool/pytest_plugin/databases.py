"""Fresh databases: one template for the session, and a copy of it for each test."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.pytest_plugin.leaks import Watch
from sqla_typedpool.pytest_plugin.schemas import build_schema
from sqla_typedpool.pytest_plugin.servers import ask, drop_database, make_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine


class Database:
    """The database of one test. Attributes: `name`, and `url` for asyncpg.

    Example::

        def test_a_user_is_found(typedpool_database):
            async def main():
                engine = typedpool_database.engine()
                assert await get_user(engine, user_id=1) is None
                await engine.dispose()

            asyncio.run(main())
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = make_url(url).database or ""
        self.engines: list[AsyncEngine] = []

    def engine(self, **options: Any) -> AsyncEngine:
        """A new engine of this database, with TypedPool and asyncpg.

        Connections that are idle in its pool at the end of the test are no leak; they are closed.

        :param options: those of `create_async_engine`.

        Example::

            engine = typedpool_database.engine(pool_size=2)
        """
        arguments = dict(options.pop("connect_args", {}))
        settings = {"application_name": self.application_name}
        arguments["server_settings"] = settings | arguments.get("server_settings", {})
        options = {"poolclass": TypedPool, **options}
        engine = create_async_engine(self.url, connect_args=arguments, **options)
        self.engines.append(engine)
        return engine

    @property
    def application_name(self) -> str:
        """What the connections of its own engines are known by on the server."""
        return f"{self.name} engine"

    def __repr__(self) -> str:
        return f"<Database {make_url(self.url).render_as_string(hide_password=True)}>"


class Databases:
    """The databases of one test process: their names are its own on a shared server."""

    def __init__(self, server: str) -> None:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        self._server = server
        self._prefix = f"typedpool_{secrets.token_hex(4)}_{worker}"
        self._numbers = count(1)
        self._template = f"{self._prefix}_template"

    @classmethod
    @contextmanager
    def on(cls, server: str, schema: Any) -> Iterator[Databases]:
        """Build the template on a server, and drop it at the end.

        :param schema: what the fixture `typedpool_schema` returns.
        """
        databases = cls(server)
        template = databases._template
        make_database(server, template)
        try:
            build_schema(databases._url_of(template), schema)
            databases._lock_template()
            yield databases
        finally:
            drop_database(server, template)

    @contextmanager
    def fresh(self) -> Iterator[tuple[Database, Callable[[], str]]]:
        """A copy of the template, and a function that tells what is still connected to it."""
        name = f"{self._prefix}_{next(self._numbers)}"
        make_database(self._server, name, self._template)
        database = Database(self._url_of(name))
        try:
            with Watch(self._server, database) as watch:
                yield database, watch.report
        finally:
            drop_database(self._server, name)

    def _url_of(self, name: str) -> str:
        return make_url(self._server).set(database=name).render_as_string(hide_password=False)

    def _lock_template(self) -> None:
        """Nobody stays connected to it, or comes: a database in use cannot be copied."""
        ask(
            self._server,
            f'ALTER DATABASE "{self._template}" ALLOW_CONNECTIONS false',
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            f" WHERE datname = '{self._template}'",
        )
