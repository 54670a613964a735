"""Run the application in the database DATABASE_URL, or in a temporary one."""

import asyncio
import os

from sqlalchemy import make_url

from sqla_typedpool.embedded import Postgres

from .app import a_day, open_shop


async def main(url: str) -> None:
    engine = await open_shop(url)
    try:
        await a_day(engine)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    if given := os.environ.get("DATABASE_URL"):
        wanted = make_url(given).set(drivername="postgresql+asyncpg")
        asyncio.run(main(wanted.render_as_string(hide_password=False)))
    else:
        with Postgres.start() as server:
            asyncio.run(main(server.url("asyncpg")))
