"""The database of one test."""

from __future__ import annotations

from typing import Any

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.secrets import mask_secrets


class Database:
    """The database of one test.

    Example::

        def test_an_unknown_user_is_not_found(typedpool_database):
            async def main():
                engine = typedpool_database.engine()
                assert await find_user(engine, user_id=1) is None
                await engine.dispose()

            asyncio.run(main())
    """

    def __init__(self, url: str) -> None:
        self.url = url
        """Its URL for asyncpg."""
        self.name = make_url(url).database or ""
        """Its name on the server."""
        self.engines: list[AsyncEngine] = []
        """The engines that ``engine()`` has created."""

    def engine(self, **options: Any) -> AsyncEngine:
        """Create an engine for this database, with TypedPool and asyncpg.

        Idle connections in its pool are closed at the end of the test; they are not reported
        as leaks.

        :param options: options of `create_async_engine`.

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
        """The ``application_name`` of the connections of ``engine()``."""
        return f"{self.name} engine"

    def __repr__(self) -> str:
        return f"<Database {mask_secrets(self.url)}>"
