"""How statements are prepared, and catalogues read, over the drivers' own connections.

Both drivers are used below SQLAlchemy, so that no listener hears of it, and beside the
drivers' caches of statements, which stay as they were. Every wait has a bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from sqla_typedpool.errors import CannotRun, Refused

_TRANSACTION = "BEGIN", "ROLLBACK"
_SAVEPOINT = (
    "SAVEPOINT sqla_typedpool",
    "ROLLBACK TO SAVEPOINT sqla_typedpool; RELEASE SAVEPOINT sqla_typedpool",
)
_PATIENCE = 30.0  # seconds for one answer; the server itself gives up after 10


@dataclass(frozen=True)
class PreparedStatement:
    """What the server says of a statement it has parsed."""

    parameters: tuple[int, ...]
    """The OIDs of ``$1``, ``$2``, ..."""
    columns: tuple[tuple[str, int], ...]
    """Names and OIDs; domains are told as their base types. () = no rows."""


class Session(Protocol):
    """One connection of one driver."""

    has_lists: bool
    """Whether arrays of the application's own types arrive as lists."""

    async def prepare(self, sql: str) -> PreparedStatement:
        """Have one statement analysed.

        :raises Refused: the server does not accept it.
        """
        ...

    async def fetch(self, sql: str, value: str | None = None) -> list[tuple[Any, ...]]:
        """The rows of a statement of our own, whose only parameter is ``$1``, a text.

        :raises Refused: the server does not accept it.
        """
        ...

    def rolled_back(self) -> Any:
        """An asynchronous context: a transaction or savepoint that is always rolled back."""
        ...


def session_of(driver: Any) -> Session:
    """The way to talk over a driver's connection.

    :raises CannotRun: it is of another driver.
    """
    package = type(driver).__module__.partition(".")[0]
    if package == "asyncpg":
        return AsyncpgSession(driver)
    if package == "psycopg":
        return PsycopgSession(driver)
    raise CannotRun(
        f"statements cannot be described over the driver {package}; next: use an engine of "
        f"postgresql+asyncpg or postgresql+psycopg"
    )


class AsyncpgSession:
    """asyncpg: prepared statements are named, and closed when they are collected."""

    has_lists = True

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._kept: dict[str, Any] = {}

    async def prepare(self, sql: str) -> PreparedStatement:
        with _asyncpg_refusals():
            found = await self._connection.prepare(sql, timeout=_PATIENCE)
        parameters = tuple(each.oid for each in found.get_parameters())
        return PreparedStatement(
            parameters, tuple((a.name, a.type.oid) for a in found.get_attributes())
        )

    async def fetch(self, sql: str, value: str | None = None) -> list[tuple[Any, ...]]:
        arguments = () if value is None else (value,)
        with _asyncpg_refusals():
            statement = self._kept.get(sql)
            if statement is None:  # Connection.fetch() would fill the driver's cache
                statement = await self._connection.prepare(sql, timeout=_PATIENCE)
            if value is not None:  # asked again and again
                self._kept[sql] = statement
            rows = await statement.fetch(*arguments, timeout=_PATIENCE)
        return [tuple(row) for row in rows]

    @asynccontextmanager
    async def rolled_back(self) -> AsyncGenerator[None, None]:
        # Not the driver's own savepoints, which are never released: thousands of them would
        # fill the server's table of locks.
        begin, end = _SAVEPOINT if self._connection.is_in_transaction() else _TRANSACTION
        with _asyncpg_refusals():
            await self._connection.execute(begin, timeout=_PATIENCE)
        try:
            yield
        finally:
            if not self._connection.is_closed():  # else there is nothing to take back
                with _asyncpg_refusals():
                    await self._connection.execute(end, timeout=_PATIENCE)


class PsycopgSession:
    """psycopg: the unnamed statement, by the generators that psycopg itself runs on."""

    has_lists = False

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def prepare(self, sql: str) -> PreparedStatement:
        pgconn = self._connection.pgconn
        codec = self._connection.info.encoding
        with _psycopg_refusals():
            pgconn.send_prepare(b"", sql.encode(codec))
            await self._answer()
            pgconn.send_describe_prepared(b"")
            found = await self._answer()
        columns = ((found.fname(n).decode(codec), found.ftype(n)) for n in range(found.nfields))
        parameters = (found.param_type(n) for n in range(found.nparams))
        return PreparedStatement(tuple(parameters), tuple(columns))

    async def _answer(self) -> Any:
        from psycopg import errors, generators, pq

        waiting: Generator[Any, Any, Any] = generators.execute(self._connection.pgconn)
        (result,) = await asyncio.wait_for(self._connection.wait(waiting), _PATIENCE)
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise errors.error_from_result(result, encoding=self._connection.info.encoding)
        return result

    async def fetch(self, sql: str, value: str | None = None) -> list[tuple[Any, ...]]:
        from psycopg import rows

        async with self._connection.cursor(row_factory=rows.tuple_row) as cursor:
            with _psycopg_refusals():
                if value is None:
                    running = cursor.execute(sql, prepare=False)
                else:
                    escaped = sql.replace("%", "%%").replace("$1", "%s")
                    running = cursor.execute(escaped, (value,), prepare=False)
                await asyncio.wait_for(running, _PATIENCE)
                if cursor.description is None:
                    return []
                found: list[tuple[Any, ...]] = await cursor.fetchall()
                return found

    @asynccontextmanager
    async def rolled_back(self) -> AsyncGenerator[None, None]:
        transaction = self._connection.transaction(force_rollback=True)
        with _psycopg_refusals():
            await asyncio.wait_for(transaction.__aenter__(), _PATIENCE)
        try:
            yield
        finally:
            if not self._connection.closed:  # else there is nothing to take back
                with _psycopg_refusals():
                    await asyncio.wait_for(transaction.__aexit__(None, None, None), _PATIENCE)


@contextmanager
def _asyncpg_refusals() -> Iterator[None]:
    import asyncpg

    try:
        yield
    except asyncpg.PostgresError as error:
        raise _refused(error, error.position, error.hint, error.sqlstate) from error
    except asyncpg.UnsupportedClientFeatureError as error:  # nor would it read the rows
        hint = "select single columns, or cast it to text"
        raise Refused(f"asyncpg cannot read it: {error}", hint=hint) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        raise _refused(error, None, None, None) from error
    except asyncio.TimeoutError as error:
        raise _no_answer() from error


@contextmanager
def _psycopg_refusals() -> Iterator[None]:
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        diag, message = error.diag, error.diag.message_primary or str(error)
        position, hint = diag.statement_position, diag.message_hint
        raise _refused(message, position, hint, error.sqlstate) from error
    except asyncio.TimeoutError as error:
        raise _no_answer() from error


def _refused(
    message: object, position: str | None, hint: str | None, code: str | None
) -> Refused | CannotRun:
    text = str(getattr(message, "message", None) or message)
    if code is None or code.startswith(("08", "57P")):
        return CannotRun(
            f"the connection to the database is lost: {text}; next: look at the server, and run "
            f"the check again"
        )
    where = int(position) - 1 if position else None
    return Refused(text, position=where, hint=hint or "", code=code)


def _no_answer() -> CannotRun:
    return CannotRun(
        f"the database has not answered for {_PATIENCE:g} s; next: look at the server, and run "
        f"the check again"
    )
