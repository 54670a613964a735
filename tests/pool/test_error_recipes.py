"""The recipes of docs/guide/errors.md do what the page says; their code is read from the page."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool import PoolClosed, PoolSaturated, PoolTimeout, StatementTimeout, TypedPool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "errors.md"


@pytest.fixture
def recipes() -> dict[str, Any]:
    """The names that the recipes define, all in one module as in an application."""
    names: dict[str, Any] = {"__name__": "recipes"}
    for code in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(code, str(PAGE), "exec", dont_inherit=True), names)
    return names


class DriverError(Exception):
    """An error as a driver raises it."""

    def __init__(self, *args: object, **attributes: object) -> None:
        super().__init__(*args)
        vars(self).update(attributes)


def wrapped(
    *args: object,
    kind: type[DBAPIError] = DBAPIError,
    statement: str | None = "SELECT 1",
    lost: bool = False,
    **attributes: object,
) -> DBAPIError:
    """An error as SQLAlchemy raises it."""
    orig = DriverError(*args, **attributes)
    return kind(statement, {}, orig, connection_invalidated=lost)


# ------------------------------------------------------------------------------------ codes


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (wrapped("deadlock detected", sqlstate="40P01"), "40P01"),
        (wrapped(1213, "Deadlock found", sqlstate="40001"), 1213),
        (wrapped("database is locked", sqlite_errorcode=5), 5),
        (wrapped("connection failed", sqlstate=None), None),
        (DriverError("too many clients already", sqlstate="53300"), "53300"),
        (ConnectionRefusedError(111, "refused"), None),
    ],
)
def test_the_code_of_an_error_is_that_of_its_database(
    recipes: dict[str, Any], error: Exception, code: str | int | None
) -> None:
    assert recipes["code_of"](error) == code


# --------------------------------------------------------------------------------- HTTP 503


def pool_timeout(retry_after: float | None) -> PoolTimeout:
    return PoolTimeout("", stage="queueing", waited=1, retry_after=retry_after)


# Errors of connects are in tests/pool/servers/test_documented_errors.py: the pool must raise them.
UNAVAILABLE: list[tuple[Exception, int]] = [
    (pool_timeout(2.1), 3),
    (pool_timeout(None), 1),
    (PoolSaturated("", retry_after=0.1), 1),
    (PoolClosed("closed"), 5),
    (StatementTimeout("", stage="queueing"), 1),
    (StatementTimeout("", stage="connecting", retry_after=2.1), 3),
    (wrapped(2013, "Lost connection", lost=True), 5),
    (wrapped("terminating connection", sqlstate="57P01", lost=True), 5),
    (wrapped("cannot execute INSERT in a read-only transaction", sqlstate="25006"), 5),
]
AVAILABLE: list[Exception] = [
    ValueError("no error of the database"),
    ConnectionRefusedError(111, "refused by another service"),
    wrapped(2013, "Lost connection during COMMIT", statement=None, lost=True),
    StatementTimeout("", stage="executing"),
    wrapped("duplicate key", kind=IntegrityError, sqlstate="23505"),
    wrapped("deadlock detected", sqlstate="40P01"),
    wrapped("no such table", kind=OperationalError, sqlite_errorcode=1),
]


async def call(app: Any, scope_type: str = "http") -> list[dict[str, Any]]:
    """Call an ASGI application and return the messages that it sends."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    await app({"type": scope_type}, receive, send)
    return sent


def app_that_raises(error: Exception, *, starts: bool = False) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if starts:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    return app


@pytest.mark.parametrize(("error", "seconds"), UNAVAILABLE)
def test_the_middleware_answers_503_while_the_database_cannot_serve_a_request(
    recipes: dict[str, Any], error: Exception, seconds: int
) -> None:
    app = recipes["DatabaseUnavailable"](app_that_raises(error))
    start, body = asyncio.run(call(app))
    assert start["status"] == 503
    assert (b"retry-after", str(seconds).encode()) in start["headers"]
    assert body["body"]


@pytest.mark.parametrize("error", AVAILABLE)
def test_the_middleware_raises_other_errors(recipes: dict[str, Any], error: Exception) -> None:
    app = recipes["DatabaseUnavailable"](app_that_raises(error))
    with pytest.raises(type(error)):
        asyncio.run(call(app))


def test_the_middleware_does_not_answer_twice_and_not_a_websocket(
    recipes: dict[str, Any],
) -> None:
    error = pool_timeout(1)
    started = recipes["DatabaseUnavailable"](app_that_raises(error, starts=True))
    websocket = recipes["DatabaseUnavailable"](app_that_raises(error))
    with pytest.raises(PoolTimeout):
        asyncio.run(call(started))
    with pytest.raises(PoolTimeout):
        asyncio.run(call(websocket, "websocket"))


# ---------------------------------------------------------------------------------- retries


def on_sqlite(folder: Path, main: Callable[[AsyncEngine], Awaitable[None]]) -> None:
    """Call `main` with an engine on a new file with an empty table `done`."""
    pytest.importorskip("aiosqlite")

    async def run() -> None:
        url = f"sqlite+aiosqlite:///{folder / 'file.db'}"
        engine = create_async_engine(url, poolclass=TypedPool)
        try:
            async with engine.begin() as connection:
                await connection.execute(text("CREATE TABLE done (request text PRIMARY KEY)"))
                await connection.execute(text("CREATE TABLE numbers (n integer UNIQUE)"))
            await main(engine)
        finally:
            await engine.dispose()

    asyncio.run(run())


async def count(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM numbers"))).scalar_one())


class Work:
    """Inserts a row and then raises the next of `errors`; None = it raises nothing."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)

    async def __call__(self, session: AsyncSession) -> str:
        await session.execute(text("INSERT INTO numbers VALUES (1)"))
        error = self.errors.pop(0)
        if error is not None:
            raise error
        return "result"


@pytest.mark.parametrize(
    "error",
    [
        wrapped("could not serialize access", sqlstate="40001"),
        wrapped(1213, "Deadlock found"),
        wrapped("database is locked", sqlite_errorcode=517),
        wrapped(2013, "Lost connection", lost=True),
    ],
)
def test_a_transaction_that_was_rolled_back_is_run_again(
    recipes: dict[str, Any], tmp_path: Path, error: Exception
) -> None:
    async def main(engine: AsyncEngine) -> None:
        assert await recipes["in_transaction"](engine, Work(error, error, None)) == "result"
        assert await count(engine) == 1
        with pytest.raises(type(error)):
            await recipes["in_transaction"](engine, Work(error, None), attempts=1)

    on_sqlite(tmp_path, main)


@pytest.mark.parametrize(
    "error",
    [
        wrapped("duplicate key", kind=IntegrityError, sqlstate="23505"),
        pool_timeout(1),
        ConnectionRefusedError(111, "refused"),
        StatementTimeout("", stage="executing"),
        ValueError("no error of the database"),
    ],
)
def test_no_other_error_is_retried(
    recipes: dict[str, Any], tmp_path: Path, error: Exception
) -> None:
    async def main(engine: AsyncEngine) -> None:
        work = Work(error, None)
        with pytest.raises(type(error)):
            await recipes["in_transaction"](engine, work)
        assert work.errors == [None]
        assert await count(engine) == 0

    on_sqlite(tmp_path, main)


def lose_next_commit(monkeypatch: pytest.MonkeyPatch, session: Any, *, received: bool) -> None:
    """Raise the error of a lost connection from the next COMMIT of a session class."""
    commit = session.commit
    due = [True]

    async def lost(self: AsyncSession) -> None:
        if not due or received:
            await commit(self)
        if due:
            due.clear()
            raise wrapped(2013, "Lost connection", statement=None, lost=True)

    monkeypatch.setattr(session, "commit", lost)


@pytest.mark.parametrize("received", [True, False], ids=["received", "not received"])
def test_a_lost_commit_is_in_doubt_and_with_a_key_it_is_stored_once(
    recipes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, received: bool
) -> None:
    async def main(engine: AsyncEngine) -> None:
        session = recipes["AsyncSession"]
        lose_next_commit(monkeypatch, session, received=received)
        with pytest.raises(recipes["CommitInDoubt"]):
            await recipes["in_transaction"](engine, Work(None, None))
        monkeypatch.undo()
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM numbers"))
        lose_next_commit(monkeypatch, session, received=received)
        result = await recipes["once"](engine, "key", Work(None, None))
        assert result == (None if received else "result")
        assert await count(engine) == 1
        assert await recipes["once"](engine, "key", Work(None)) is None
        with pytest.raises(IntegrityError):  # of another constraint
            await recipes["once"](engine, "another key", Work(None))

    on_sqlite(tmp_path, main)


def test_a_commit_that_the_database_refuses_is_not_in_doubt(
    recipes: dict[str, Any], tmp_path: Path
) -> None:
    """A deferred constraint is checked by COMMIT."""

    async def work(session: AsyncSession) -> None:
        await session.execute(text("PRAGMA foreign_keys = ON"))
        await session.execute(text("INSERT INTO child VALUES (7)"))

    async def main(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE parent (id integer PRIMARY KEY)"))
            reference = "REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED"
            await connection.execute(text(f"CREATE TABLE child (parent integer {reference})"))
        with pytest.raises(IntegrityError):
            await recipes["in_transaction"](engine, work)

    on_sqlite(tmp_path, main)
