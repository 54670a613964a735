"""On psycopg a COMMIT or ROLLBACK without an open transaction costs no greenlet and no timer."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tests.support.engines import engine_on, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from sqla_typedpool.embedded import Postgres

pytest.importorskip("psycopg")

Calls = list[str]


@asynccontextmanager
async def counted_engine(
    server: Postgres, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> AsyncIterator[tuple[AsyncEngine, Calls, Calls]]:
    """Yield an engine, the calls of its dialect, and those of SQLAlchemy's adapter.

    The calls are "rollback" and "commit"; the adapter's switch greenlets.
    """
    from sqlalchemy.dialects.postgresql.psycopg import AsyncAdapt_psycopg_connection as Adapter

    of_dialect: Calls = []
    of_adapter: Calls = []

    def counting(calls: Calls, name: str, original: Callable[[Any], None]) -> Any:
        def counted(subject: Any) -> None:
            calls.append(name)
            original(subject)

        return counted

    async with engine_on(server.url("psycopg"), pool_size=1, **options) as engine:
        async with engine.connect():
            pass  # SQLAlchemy has initialised its dialect
        dialect: Any = engine.dialect
        for name in ("rollback", "commit"):
            method = f"do_{name}"
            monkeypatch.setattr(
                dialect, method, counting(of_dialect, name, getattr(dialect, method))
            )
            monkeypatch.setattr(Adapter, name, counting(of_adapter, name, getattr(Adapter, name)))
        yield engine, of_dialect, of_adapter


def test_a_return_after_commit_rolls_back_without_a_greenlet(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with counted_engine(postgres, monkeypatch) as (engine, of_dialect, of_adapter):
            async with engine.begin() as connection:
                await connection.execute(text("SELECT 1"))
            assert of_dialect == ["commit", "rollback"]
            assert of_adapter == ["commit"]

    run(main())


def test_an_open_transaction_is_rolled_back_at_the_return(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with counted_engine(postgres, monkeypatch) as (engine, of_dialect, of_adapter):
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
            assert of_dialect == of_adapter == ["rollback"]

    run(main())


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_session_without_a_statement_ends_without_a_greenlet(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    async def main() -> None:
        async with counted_engine(postgres, monkeypatch) as (engine, of_dialect, of_adapter):
            async with AsyncSession(engine) as session:
                await session.connection()
                await getattr(session, ending)()
            assert of_dialect == [ending, "rollback"]
            assert of_adapter == []

    run(main())


def test_with_autocommit_no_ending_uses_a_greenlet(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        options = {"isolation_level": "AUTOCOMMIT"}
        counted = counted_engine(postgres, monkeypatch, **options)
        async with counted as (engine, of_dialect, of_adapter):
            async with engine.begin() as connection:
                await connection.execute(text("SELECT 1"))
            assert of_dialect == ["commit", "rollback"]
            assert of_adapter == []

    run(main())


def test_psycopg_still_refuses_a_commit_inside_its_own_transaction_block(
    postgres: Postgres,
) -> None:
    from psycopg import ProgrammingError

    async def main() -> None:
        async with engine_on(postgres.url("psycopg")) as engine, engine.connect() as connection:
            proxied = await connection.get_raw_connection()
            driver_connection: Any = proxied.driver_connection
            with pytest.raises(ProgrammingError, match="forbidden within a Transaction"):
                async with driver_connection.transaction():
                    await driver_connection.execute("ROLLBACK")  # psycopg reports no transaction
                    engine.dialect.do_commit(proxied.dbapi_connection)

    run(main())
