"""How SQLAlchemy compiles and executes a statement, as far as the typed layer follows it.

Everything here mirrors ``Connection._execute_clauseelement`` and
``_execute_context`` of SQLAlchemy 2.0.58 and 2.1.9, step for step; a statement or a
setting that would take another turn there is left to SQLAlchemy itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NoReturn, TypeAlias

from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.util import TransactionalContext
from sqlalchemy.orm import Session
from sqlalchemy.pool.base import _ConnectionFairy
from sqlalchemy.sql.compiler import WARN_LINTING, SQLCompiler
from sqlalchemy.sql.elements import ClauseElement, TextClause

__all__ = [
    "Compiled",
    "begin_if_needed",
    "compile_statement",
    "connection_of",
    "is_attended",
    "is_default_connection",
    "is_plain_asyncpg",
    "prepare",
    "prepare_anew",
    "raise_on",
    "raise_unconnected",
    "raise_without",
    "send_begin_if_needed",
    "turn_of",
]

# ------------------------------------------------------------------------- the gate

# as they were when nobody had patched them
_EXECUTE, _EXECUTE_INTERNAL = Session.execute, Session._execute_internal


def is_plain_asyncpg(engine: Engine) -> bool:
    """What does not change while an engine lives: no subclass, no engine with options of
    its own, SQLAlchemy's own dialect."""
    return type(engine) is Engine and type(engine.dialect) is PGDialect_asyncpg


def is_attended(engine: Engine) -> bool:
    """Whether anybody or anything but the driver has to do with its statements: listeners
    (row security, tracing), logs, execution options."""
    return bool(
        engine._has_events
        or engine.dialect._has_events
        or engine._execution_options
        or engine.pool._should_log_debug()
        or engine._should_log_info()
    )


def is_default_connection(adapted: Any, dialect: Any) -> bool:
    """Whether a statement outside a transaction means on this connection what it would
    mean inside one of its own: default isolation, named statements kept by one server."""
    return (
        _is_default_level(adapted.isolation_level, dialect)
        and not adapted.readonly
        and not adapted.deferrable
        # left behind by a BEGIN of the application's own, or by a pool that resets nothing
        and not adapted._connection.is_in_transaction()
        and adapted._prepared_statement_cache is not None
        and adapted._prepared_statement_name_func is type(adapted)._default_name_func
    )


def _is_default_level(level: str | None, dialect: Any) -> bool:
    if level is None:
        return True
    # A level that a borrower has set is reset to the default's name, not to None.
    name = dialect.default_isolation_level
    is_servers = dialect._on_connect_isolation_level is None
    return is_servers and level == dialect._isolation_lookup.get(name)


def connection_of(session: Session, statement: Any) -> Connection | None:
    """The connection on which ``session.execute()`` would run this Core statement, if
    nothing is to be done before: no flush, no events, no connect."""
    options = getattr(session, "execution_options", None)  # new in 2.1
    if session.dispatch.do_orm_execute or options or not _executes_plainly(session):
        return None
    if session.autoflush and not session._flushing and not session._is_clean():
        return None
    transaction = session._transaction
    if transaction is None or not transaction.is_active:
        return None
    TransactionalContext._trans_ctx_check(session)
    entry = transaction._connections.get(session.get_bind(clause=statement))
    return None if entry is None else entry[0]


def _executes_plainly(session: Session) -> bool:
    """Whether no subclass and no patch (tracing) puts anything before its statements."""
    kind, own = type(session), session.__dict__
    return (
        kind.execute is _EXECUTE
        and kind._execute_internal is _EXECUTE_INTERNAL
        and "execute" not in own
        and "_execute_internal" not in own
    )


def begin_if_needed(connection: Connection) -> bool:
    """Begin SQLAlchemy's transaction as ``execute()`` does; False = it would refuse."""
    if connection._has_events or connection._execution_options:
        return False
    if connection.closed or connection.invalidated:
        return False
    transaction, nested = connection._transaction, connection._nested_transaction
    if transaction is not None and not transaction.is_active:
        return False
    if nested is not None and not nested.is_active:
        return False
    if connection._trans_context_manager:
        TransactionalContext._trans_ctx_check(connection)
    if transaction is None:
        connection._autobegin()
    return True


# ----------------------------------------------------------------------- compilation

Arguments: TypeAlias = "Callable[[Mapping[str, Any] | None], tuple[Any, ...]]"


class Compiled:
    """A statement compiled by SQLAlchemy, and how to fill its parameters."""

    __slots__ = ("arguments", "is_cached", "is_dml", "memory", "result_columns", "sql")

    def __init__(self, compiled: Any, arguments: Arguments, result_columns: Sequence[Any]) -> None:
        self.sql: str = compiled.string
        # of a CTE nobody tells whether it writes
        self.is_dml = bool(
            compiled.isinsert or compiled.isupdate or compiled.isdelete or compiled.ctes
        )
        self.is_cached: bool = compiled.cache_key is not None
        self.memory: dict[Any, Any] = compiled.__dict__.setdefault("_typedpool_memory", {})
        """What the typed layer remembers of it, as long as SQLAlchemy keeps it."""
        self.arguments = arguments
        """parameters -> the values as the driver wants them. Raises whatever a missing
        or wrong parameter raises; SQLAlchemy shall say it in its own words then."""
        self.result_columns = result_columns
        """SQLAlchemy's entries (keyname, name, objects, type); empty for text."""


def compile_statement(engine: Engine, statement: Any, keys: Sequence[str]) -> Compiled | None:
    """Compile through SQLAlchemy's cache; None = it would take another turn there."""
    if not _is_executed_plainly(statement):
        return None
    if statement._execution_options or statement._propagate_attrs:
        return None
    dialect = engine.dialect
    # 2.0 returns (compiled, extracted, hit), 2.1 (compiled, extracted, parameters, hit)
    compiled, extracted, *rest = statement._compile_w_cache(
        dialect=dialect,
        compiled_cache=engine._compiled_cache,
        column_keys=sorted(keys),
        for_executemany=False,
        schema_translate_map=None,
        linting=dialect.compiler_linting | WARN_LINTING,
    )
    if not _is_simple(compiled):
        return None
    if isinstance(statement, TextClause):
        columns: Sequence[Any] = ()
        if not compiled._bind_processors and all(
            bind.required for bind in statement._bindparams.values()
        ):
            return Compiled(compiled, _named(tuple(compiled.positiontup)), columns)
    else:
        columns = compiled._result_columns
    collected = {"_collected_params": rest[0]} if len(rest) == 2 else {}
    return Compiled(compiled, _constructed(compiled, extracted, collected), columns)


def _is_executed_plainly(statement: Any) -> bool:
    """Not a function, a DDL element or something that SQLAlchemy refuses to execute."""
    way = getattr(type(statement), "_execute_on_connection", None)
    return way is ClauseElement._execute_on_connection and statement.supports_execution


def _is_simple(compiled: Any) -> bool:
    """One string, sent as it is, whose result is read as it comes."""
    return (
        isinstance(compiled, SQLCompiler)
        and compiled.positiontup is not None
        and not compiled.post_compile_params
        and not compiled.literal_execute_params
        and not compiled.schema_translate_map
        and not compiled.insert_prefetch
        and not compiled.update_prefetch
        and not compiled._textual_ordered_columns
        and not compiled.implicit_returning
        and (compiled.isplaintext or compiled._ordered_columns)
    )


def _named(names: tuple[str, ...]) -> Arguments:
    """The parameters of plain text: each named, none with a value or a type of its own."""

    def arguments(parameters: Mapping[str, Any] | None) -> tuple[Any, ...]:
        return tuple([parameters[name] for name in names]) if names else ()  # type: ignore[index]

    return arguments


def _constructed(compiled: Any, extracted: Any, collected: dict[str, Any]) -> Arguments:
    processors, names = compiled._bind_processors, tuple(compiled.positiontup)

    def arguments(parameters: Mapping[str, Any] | None) -> tuple[Any, ...]:
        values = compiled.construct_params(
            parameters, extracted_parameters=extracted, escape_names=False, **collected
        )
        return tuple(
            [
                processors[name](values[name]) if name in processors else values[name]
                for name in names
            ]
        )

    return arguments


# ------------------------------------------------------------------ asyncpg's adapter


def prepare(adapted: Any, dialect: Any, sql: str) -> Awaitable[tuple[Any, Any]]:
    """The prepared statement and its attributes, through the cache SQLAlchemy uses."""
    found: Awaitable[tuple[Any, Any]] = adapted._prepare(sql, dialect._invalidate_schema_cache_asof)
    return found


def prepare_anew(adapted: Any, dialect: Any, sql: str) -> Awaitable[tuple[Any, Any]]:
    """The same for a statement that the connection has prepared before."""
    if adapted._prepared_statement_cache is not None:
        adapted._prepared_statement_cache.pop(sql, None)
    return prepare(adapted, dialect, sql)


def turn_of(adapted: Any) -> AbstractAsyncContextManager[Any]:
    """One statement at a time, as SQLAlchemy's cursors do."""
    mutex: AbstractAsyncContextManager[Any] = adapted._execute_mutex
    return mutex


async def send_begin_if_needed(adapted: Any) -> None:
    """The driver's part of a transaction that SQLAlchemy has begun."""
    if adapted._transaction is None:
        await adapted._start_transaction()


# -------------------------------------------------------------------------- errors


class _Context:
    """What ``_handle_dbapi_exception`` asks of an execution context."""

    executemany = False

    def __init__(self, dialect: Any) -> None:
        self._dialect = dialect

    def handle_dbapi_exception(self, error: BaseException) -> None:
        driver = self._dialect.dbapi
        if isinstance(error, (driver.InvalidCachedStatementError, driver.InternalServerError)):
            self._dialect._invalidate_schema_cache()


def raise_on(connection: Connection, error: BaseException, sql: str, values: Any) -> NoReturn:
    """Raise this driver error as ``connection.execute()`` would. In a greenlet.

    Types, causes, ``hide_parameters``, invalidation: all of it is SQLAlchemy's own.
    """
    adapted: Any = connection.connection.dbapi_connection
    try:
        try:
            raise error
        except Exception:
            adapted._handle_exception(error)  # translates, and raises
            raise
    except BaseException as translated:  # noqa: BLE001 - it is raised again by SQLAlchemy
        context: Any = _Context(connection.dialect)
        connection._handle_dbapi_exception(translated, sql, values, None, context)
    raise AssertionError("unreachable")


def raise_without(
    engine: Engine, record: Any, error: BaseException, sql: str, values: Any
) -> NoReturn:
    """The same for a bare record, which goes back to its pool. In a greenlet."""
    fairy = _ConnectionFairy(engine.pool, record.dbapi_connection, record, False)
    fairy._counter = 1  # checked out once
    record.fairy_ref = weakref.ref(fairy)
    connection = Connection(engine, connection=fairy, _allow_autobegin=False)
    try:
        raise_on(connection, error, sql, values)
    finally:
        connection.close()


def raise_unconnected(engine: Engine, error: BaseException) -> NoReturn:
    """Raise a connect error as ``engine.connect()`` would."""
    if isinstance(error, engine.dialect.loaded_dbapi.Error):
        Connection._handle_dbapi_exception_noconnection(error, engine.dialect, engine)
    raise error
