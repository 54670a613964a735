"""Prepare statements and read the catalog through the drivers' own connections.

The drivers are used without SQLAlchemy, so that no event listener is called, and without their
caches of prepared statements, which are left as they were.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy.ext.asyncio import AsyncConnection

from sqla_typedpool.describe.deadline import within
from sqla_typedpool.errors import CannotRun, Refused
from sqla_typedpool.secrets import mask_secrets

_TRANSACTION = "BEGIN", "ROLLBACK"
# Not the driver's own savepoints, which are never released: thousands of them would fill the
# server's lock table.
_SAVEPOINT = (
    "SAVEPOINT sqla_typedpool",
    "ROLLBACK TO SAVEPOINT sqla_typedpool; RELEASE SAVEPOINT sqla_typedpool",
)
_CLEANUP_SECONDS = 5.0  # at most, for a rollback after an error or a cancellation


@dataclass(frozen=True)
class PreparedStatement:
    """The result of PREPARE."""

    # The OIDs of the types of ``$1``, ``$2``, ...
    parameters: tuple[int, ...]
    # Names and type OIDs; for a domain that of its base type. () if it returns no rows.
    columns: tuple[tuple[str, int], ...]


class Session(ABC):
    """One connection of one driver."""

    # The name of the driver.
    name: ClassVar[str]
    # Whether arrays of the application's own types are returned as lists.
    has_lists: ClassVar[bool]

    def __init__(self, connection: AsyncConnection, driver: Any, timeout: float) -> None:
        self._connection = connection
        self._driver = driver
        self._timeout = timeout

    @property
    def encoding(self) -> str:
        """The name of the codec of Python for the SQL that is sent."""
        return "utf-8"

    @abstractmethod
    async def prepare(self, sql: str) -> PreparedStatement:
        """Prepare one statement.

        :raises Refused: the server does not accept it.
        :raises CannotRun: the connection is lost.
        """

    @abstractmethod
    async def fetch(self, sql: str, value: str | None = None) -> list[tuple[Any, ...]]:
        """Execute a statement of this package and return its rows.

        :param value: the value of ``$1``, its only parameter.
        :raises Refused: the server does not accept it.
        :raises CannotRun: the connection is lost.
        """

    @abstractmethod
    async def execute(self, script: str) -> None:
        """Execute statements of this package that return no rows.

        :raises Refused: the server does not accept them.
        :raises CannotRun: the connection is lost.
        """

    @abstractmethod
    def _is_in_transaction(self) -> bool: ...

    @asynccontextmanager
    async def rolled_back(self) -> AsyncGenerator[None, None]:
        """Begin a transaction, or a savepoint inside of one, and always roll it back."""
        begin, end = _SAVEPOINT if self._is_in_transaction() else _TRANSACTION
        try:
            await self._complete(begin, "begin a transaction", self._timeout)
            yield
        except BaseException:
            with suppress(Exception):  # an error here must not replace the first one
                await self._complete(end, "roll back", min(self._timeout, _CLEANUP_SECONDS))
            raise
        await self._complete(end, "roll back", self._timeout)

    async def _complete(self, script: str, action: str, seconds: float) -> None:
        """Execute a script to its end, even if the caller is cancelled."""
        await within(seconds, action, self._execute_or_invalidate(script), grace=_CLEANUP_SECONDS)

    async def _execute_or_invalidate(self, script: str) -> None:
        try:
            await self.execute(script)
        except Refused:
            raise
        except BaseException:
            # Whether the script was executed is not known, nor what the driver still receives.
            await self._connection.invalidate()
            raise


async def session_for(connection: AsyncConnection, timeout: float) -> Session:
    """Return a session on a connection.

    :param timeout: seconds for a rollback.
    :raises CannotRun: the driver is neither asyncpg nor psycopg.
    """
    driver: Any = (await connection.get_raw_connection()).driver_connection
    package = type(driver).__module__.partition(".")[0]
    session = {"asyncpg": AsyncpgSession, "psycopg": PsycopgSession}.get(package)
    if session is None:
        raise CannotRun(
            f"statements cannot be described through the driver {package}; next: use an engine "
            "for postgresql+asyncpg or postgresql+psycopg"
        )
    return session(connection, driver, timeout)


class AsyncpgSession(Session):
    """asyncpg. Its prepared statements have names, and are closed by the garbage collector."""

    name = "asyncpg"
    has_lists = True

    def __init__(self, connection: AsyncConnection, driver: Any, timeout: float) -> None:
        super().__init__(connection, driver, timeout)
        self._catalog_queries: dict[str, Any] = {}
        # Longer than any deadline here; without it the connection's command_timeout would apply.
        self._limit = timeout + 60

    async def prepare(self, sql: str) -> PreparedStatement:
        with _asyncpg_errors(self._driver):
            found = await self._driver.prepare(sql, timeout=self._limit)
        parameters = tuple(each.oid for each in found.get_parameters())
        return PreparedStatement(
            parameters, tuple((each.name, each.type.oid) for each in found.get_attributes())
        )

    async def fetch(self, sql: str, value: str | None = None) -> list[tuple[Any, ...]]:
        arguments = () if value is None else (value,)
        with _asyncpg_errors(self._driver):
            statement = self._catalog_queries.get(sql)
            if statement is None:  # Connection.fetch() would fill the driver's cache
                statement = await self._driver.prepare(sql, timeout=self._limit)
            if value is not None:  # it is executed for many statements
                self._catalog_queries[sql] = statement
            return list(map(tuple, await statement.fetch(*arguments, timeout=self._limit)))

    async def execute(self, script: str) -> None:
        with _asyncpg_errors(self._driver):
            await self._driver.execute(script, timeout=self._limit)

    def _is_in_transaction(self) -> bool:
        return bool(self._driver.is_in_transaction())


class PsycopgSession(Session):
    """psycopg. It uses the unnamed statement, through the generators that psycopg runs on."""

    name = "psycopg"
    has_lists = False

    @property
    def encoding(self) -> str:
        return str(self._driver.info.encoding)

    async def prepare(self, sql: str) -> PreparedStatement:
        pgconn, codec = self._driver.pgconn, self.encoding
        with _psycopg_errors():
            pgconn.send_prepare(b"", sql.encode(codec))
            await self._results()
            pgconn.send_describe_prepared(b"")
            (found,) = await self._results()
        columns = ((found.fname(n).decode(codec), found.ftype(n)) for n in range(found.nfields))
        parameters = (found.param_type(n) for n in range(found.nparams))
        return PreparedStatement(tuple(parameters), tuple(columns))

    async def fetch(self, sql: str, value: str | None = None) -> list[tuple[Any, ...]]:
        from psycopg import rows

        async with self._driver.cursor(row_factory=rows.tuple_row) as cursor:
            with _psycopg_errors():
                if value is None:
                    await cursor.execute(sql, prepare=False)
                else:
                    escaped = sql.replace("%", "%%").replace("$1", "%s")
                    await cursor.execute(escaped, (value,), prepare=False)
                return await cursor.fetchall() if cursor.description else []

    async def execute(self, script: str) -> None:
        with _psycopg_errors():
            self._driver.pgconn.send_query(script.encode())
            await self._results()

    async def _results(self) -> list[Any]:
        from psycopg import errors, generators, pq

        waiting: Any = generators.execute(self._driver.pgconn)
        results: list[Any] = await self._driver.wait(waiting)
        for result in results:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(result, encoding=self._driver.info.encoding)
        return results

    def _is_in_transaction(self) -> bool:
        from psycopg import pq

        return bool(self._driver.info.transaction_status != pq.TransactionStatus.IDLE)


@contextmanager
def _asyncpg_errors(driver: Any) -> Iterator[None]:
    import asyncpg

    try:
        yield
    except asyncpg.PostgresError as error:
        message = getattr(error, "message", None) or str(error)
        raise _error(message, error.sqlstate, error.position, error.hint) from error
    except asyncpg.UnsupportedClientFeatureError as error:  # it could not read the rows either
        hint = "select single columns, or cast it to text"
        raise Refused(mask_secrets(f"asyncpg cannot read it: {error}"), hint=hint) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        if driver.is_closed() or not isinstance(error, asyncpg.InternalClientError):
            raise _error(str(error)) from error
        # it has no codec for a type, such as anyarray
        hint = "cast columns of anyarray to text"
        raise Refused(mask_secrets(f"asyncpg cannot read it: {error}"), hint=hint) from error


@contextmanager
def _psycopg_errors() -> Iterator[None]:
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        diag = error.diag
        message = diag.message_primary or str(error)
        raise _error(message, error.sqlstate, diag.statement_position, diag.message_hint) from error


def _error(
    message: str, code: str | None = None, position: str | None = None, hint: str | None = None
) -> Refused | CannotRun:
    """Return `Refused` for an error of the statement, `CannotRun` for one of the connection."""
    message, hint = mask_secrets(message), mask_secrets(hint or "")
    if code is None or code.startswith(("08", "57P")):
        return CannotRun(
            f"the connection to the database is lost: {message}; next: check that the server is "
            "running, then run the check again"
        )
    offset = int(position) - 1 if position else None
    return Refused(message, position=offset, hint=hint, code=code)
