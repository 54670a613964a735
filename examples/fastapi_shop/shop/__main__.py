"""Run the shop on the database DATABASE_URL, or on a temporary one."""

import asyncio
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import uvicorn
from alembic import command
from alembic.config import Config
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncSession

from sqla_typedpool.embedded import Postgres

from . import queries
from .app import create_app, create_engine
from .models import Product

PORT = 8000
PRODUCTS = {"Lamp": "24.90", "Chair": "79.00", "Table": "249.00"}


@contextmanager
def database() -> Iterator[str]:
    """Yield a URL for asyncpg."""
    if given := os.environ.get("DATABASE_URL"):
        wanted = make_url(given).set(drivername="postgresql+asyncpg")
        yield wanted.render_as_string(hide_password=False)
    else:
        with Postgres.start() as server:
            yield server.url("asyncpg")


def migrate(url: str) -> None:
    config = Config(Path(__file__).parents[1] / "alembic.ini")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    command.upgrade(config, "head")


async def fill(url: str) -> None:
    """Add products, if there are none."""
    engine = create_engine(url)
    if not await queries.offers(engine):
        async with AsyncSession(engine) as session:
            for name, price in PRODUCTS.items():
                session.add(Product(name=name, price=Decimal(price), stock=100))
            await session.commit()
    await engine.dispose()


def main() -> None:
    token = os.environ.get("POOL_TOKEN") or secrets.token_urlsafe()
    with database() as url:
        migrate(url)
        asyncio.run(fill(url))
        root = f"http://127.0.0.1:{PORT}"
        print(f"the shop:  {root}/docs")
        print(f"the pool:  {root}/login?token={token}")
        print(f"readiness: {root}/_pool/readyz")
        print(f'metrics:   curl -H "Authorization: Bearer {token}" {root}/_pool/metrics')
        app = create_app(create_engine(url), token)
        uvicorn.run(app, port=PORT, log_level="warning", timeout_graceful_shutdown=3)


if __name__ == "__main__":
    main()
