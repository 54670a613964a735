"""The typed functions on the session of SQLModel, whose `execute` is deprecated.

A DeprecationWarning fails each of these tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Text
from sqlalchemy.ext.asyncio import async_scoped_session, create_async_engine
from sqlmodel import Field, SQLModel, select
from sqlmodel.ext.asyncio.session import AsyncSession

from sqla_typedpool import TypedPool, execute, fetch_all, fetch_one, query, stream
from tests.support.engines import run


class NoteText(SQLModel):
    """A row type: a model without a table."""

    id: int
    text: str


class Note(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    text: str = Field(sa_type=Text)


@query("SELECT id, text FROM note WHERE id = :number")
async def note(db: Any, *, number: int) -> NoteText:
    raise NotImplementedError


@asynccontextmanager
async def session_on(folder: Path) -> AsyncIterator[AsyncSession]:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{folder / 'file.db'}", poolclass=TypedPool, pool_size=1
    )
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.create_all, tables=[Note.__table__])
    async with AsyncSession(engine) as session:
        yield session
    assert TypedPool.of(engine).stats().in_use == 0
    await engine.dispose()


def test_rows_become_models_without_a_table(tmp_path: Path) -> None:
    async def main() -> None:
        async with session_on(tmp_path) as session:
            session.add(Note(text="a note"))
            await session.flush()
            expected = NoteText(id=1, text="a note")
            for statement in ("SELECT id, text FROM note", select(Note.id, Note.text)):
                assert await fetch_all(session, NoteText, statement) == [expected]
            assert await note(session, number=1) == expected
            rows = [each async for each in stream(session, NoteText, "SELECT id, text FROM note")]
            assert rows == [expected]

    run(main())


def test_a_statement_is_part_of_the_transaction_of_the_session(tmp_path: Path) -> None:
    async def main() -> None:
        async with session_on(tmp_path) as session:
            assert await execute(session, "INSERT INTO note (text) VALUES (:text)", NOTES) == 1
            await session.rollback()
            assert await fetch_one(session, int, "SELECT count(*) FROM note") == 0
            await execute(session, "INSERT INTO note (text) VALUES (:text)", NOTES)
            await session.commit()
            assert (await session.exec(select(Note.text))).all() == ["a note"]

    run(main())


NOTES = {"text": "a note"}


def test_a_scoped_session_of_this_class_works_too(tmp_path: Path) -> None:
    async def main() -> None:
        async with session_on(tmp_path) as session:
            scoped: Any = async_scoped_session(lambda: session, lambda: 0)  # type: ignore[arg-type]
            assert await fetch_all(scoped, NoteText, "SELECT id, text FROM note") == []
            assert [each async for each in stream(scoped, int, "SELECT 7")] == [7]

    run(main())


def test_other_subclasses_are_called(tmp_path: Path) -> None:
    """An override that is not deprecated may do more than to warn."""

    class Refusing(AsyncSession):
        async def execute(self, *args: Any, **options: Any) -> Any:
            raise PermissionError("no statements here")

    async def main() -> None:
        async with session_on(tmp_path) as session, Refusing(session.bind) as refusing:
            with pytest.raises(PermissionError):
                await fetch_all(refusing, int, "SELECT 1")

    run(main())
