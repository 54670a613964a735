"""Sessions: flush, filters, listeners, and overridden methods apply to a fetch too."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqla_typedpool import execute, fetch_all, fetch_one
from tests.support.engines import run
from tests.support.fetch_lab import ALL, PEOPLE, User, by_path, db_of, engine_for

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "people"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@by_path
def test_pending_objects_are_flushed_before_a_fetch_as_before_an_execute(
    postgres: Postgres, path: str
) -> None:
    """2.1 flushes before any statement, 2.0 before those of the ORM."""
    everybody = "SELECT count(*) FROM people"

    async def main() -> None:
        async with engine_for(postgres, path) as engine:
            seen = []
            for is_execute in (True, False):
                async with AsyncSession(engine) as session:
                    await session.execute(text("SELECT 1"))
                    session.add(Person(id=7, name="Gus"))
                    if is_execute:
                        seen.append(await session.scalar(text(everybody)))
                    else:
                        seen.append(await fetch_one(session, int, everybody))
                    assert await fetch_one(session, int, select(func.count(Person.id))) == 4
            assert seen[0] == seen[1]

    run(main())


def test_a_tenant_filter_of_the_session_is_applied(postgres: Postgres) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            only_two = text(ALL.replace("ORDER", "WHERE id = 2 ORDER"))

            def apply_filter(state: Any) -> Any:
                return state.session.connection().execute(only_two)

            async with AsyncSession(engine) as session:
                assert await fetch_all(session, User, ALL) == PEOPLE
                assert await fetch_all(session, User, ALL) == PEOPLE
                event.listen(session.sync_session, "do_orm_execute", apply_filter)
                assert await fetch_all(session, User, ALL) == [PEOPLE[1]]

    run(main())


def test_a_listener_on_the_session_class_is_called(postgres: Postgres) -> None:
    called_with: list[Any] = []

    class Mine(Session):
        pass

    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            async with AsyncSession(engine, sync_session_class=Mine) as session:
                await fetch_all(session, User, ALL)
                event.listen(Mine, "do_orm_execute", called_with.append)
                await fetch_all(session, User, ALL)
                assert len(called_with) == 1

    run(main())


class Filtered(AsyncSession):
    """A session that replaces every statement."""

    async def execute(self, statement: Any, *args: Any, **options: Any) -> Any:
        return await super().execute(text("SELECT 'filtered'"))


class FilteredSync(Session):
    def execute(self, statement: Any, *args: Any, **options: Any) -> Any:
        return super().execute(text("SELECT 'filtered'"))


def test_an_execute_overridden_in_a_session_is_called(postgres: Postgres) -> None:
    async def main() -> None:
        async with engine_for(postgres, "fast") as engine:
            for session in (
                Filtered(engine),
                AsyncSession(engine, sync_session_class=FilteredSync),
            ):
                async with session:
                    for _ in range(3):
                        assert await fetch_one(session, str, "SELECT 'original'") == "filtered"

    run(main())


@pytest.mark.parametrize("name", ["execute", "_execute_internal"])
@pytest.mark.parametrize("where", ["class", "session"])
def test_an_execute_patched_into_a_session_is_called(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, where: str, name: str
) -> None:
    seen: list[str] = []
    original = getattr(Session, name)

    def traced(session: Session, statement: Any, *args: Any, **options: Any) -> Any:
        seen.append(str(statement))
        return original(session, statement, *args, **options)

    async def main() -> None:
        async with engine_for(postgres, "fast") as engine, db_of(engine, "session") as session:
            assert await fetch_one(session, int, "SELECT 1") == 1
            assert not seen, "the first statement took the slow path"
            if where == "class":
                monkeypatch.setattr(Session, name, traced)
            else:
                sync = session.sync_session
                setattr(sync, name, partial(traced, sync))
            assert await fetch_one(session, int, "SELECT 2") == 2
            assert seen == ["SELECT 2"]

    run(main())


@by_path
def test_with_a_timeout_a_scoped_session_stays_in_its_transaction(
    postgres: Postgres, path: str
) -> None:
    async def main() -> None:
        async with engine_for(postgres, path) as engine, db_of(engine, "scoped") as scoped:
            assert await execute(scoped, "DELETE FROM people WHERE id = 1", timeout=5) == 1
            everybody = "SELECT count(*) FROM people"
            assert await fetch_one(scoped, int, everybody) == 2
            assert await fetch_one(scoped, int, everybody, timeout=5) == 2
            await scoped.rollback()
            assert await fetch_one(scoped, int, everybody, timeout=5) == 3

    run(main())
