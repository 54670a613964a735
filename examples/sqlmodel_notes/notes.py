"""Notes with SQLModel: objects through its session, and reports through typed functions.

Run it: python notes.py
"""

import asyncio
import os

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel import Field, SQLModel, select
from sqlmodel.ext.asyncio.session import AsyncSession

from sqla_typedpool import Executor, TypedPool, query
from sqla_typedpool.embedded import Postgres


class NoteBase(SQLModel):
    title: str
    text: str = ""


class Note(NoteBase, table=True):
    """A row of the table. Its objects belong to a session."""

    id: int | None = Field(default=None, primary_key=True)
    author: str


class AuthorReport(SQLModel):
    """The row of a report: a model without a table, such as an API returns."""

    author: str
    notes: int
    longest: str | None


@query("""
    SELECT author, count(*) AS notes,
           (array_agg(title ORDER BY length(text) DESC, title))[1] AS longest
    FROM note WHERE author LIKE :pattern
    GROUP BY author ORDER BY author
""")
async def authors(db: Executor, *, pattern: str = "%") -> list[AuthorReport]:
    raise NotImplementedError


async def write(engine: AsyncEngine, author: str, *notes: NoteBase) -> None:
    """Store notes with the session of SQLModel, in one transaction."""
    async with AsyncSession(engine) as session:
        session.add_all(Note(author=author, **each.model_dump()) for each in notes)
        await session.commit()


async def titles(engine: AsyncEngine, author: str) -> list[str]:
    async with AsyncSession(engine) as session:
        found = await session.exec(select(Note.title).where(Note.author == author))
        return sorted(found)


async def report(engine: AsyncEngine) -> list[AuthorReport]:
    """Return the report as the transaction of a session sees it."""
    async with AsyncSession(engine) as session:
        session.add(Note(author="Eve", title="a draft"))
        await session.flush()
        found = await authors(session)  # with the draft, which is not committed
        await session.rollback()
        return found


async def main(url: str) -> None:
    engine = create_async_engine(url, poolclass=TypedPool)
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    await write(engine, "Ada", NoteBase(title="Engines", text="No. G"), NoteBase(title="Poetry"))
    await write(engine, "Bob", NoteBase(title="Lunch"))
    print("titles of Ada:", await titles(engine, "Ada"))
    print("with the draft of Eve:", *await report(engine), sep="\n  ")
    print("without it:", *await authors(engine), sep="\n  ")
    await engine.dispose()


if __name__ == "__main__":
    if given := os.environ.get("DATABASE_URL"):
        asyncio.run(main(given))
    else:
        with Postgres.start() as server:
            asyncio.run(main(server.url("asyncpg")))
