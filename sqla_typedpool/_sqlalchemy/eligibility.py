"""When a statement may bypass SQLAlchemy's ``execute()``.

It may if ``execute()`` would do nothing but send it to the driver and return the rows. The
conditions follow ``Connection._execute_context`` and ``Session._execute_internal`` of
SQLAlchemy 2.0.58 and 2.1.9.
"""

from __future__ import annotations

from logging import DEBUG, INFO
from typing import Any

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.util import TransactionalContext
from sqlalchemy.orm import Session

# Stored at import, to detect a patch made later.
_EXECUTE, _EXECUTE_INTERNAL = Session.execute, Session._execute_internal

# SQLAlchemy's dialects by name: an application installs few of the drivers.
_DIALECTS = {
    ("sqlalchemy.dialects.postgresql.asyncpg", "PGDialect_asyncpg"): "asyncpg",
    ("sqlalchemy.dialects.postgresql.psycopg", "PGDialectAsync_psycopg"): "psycopg",
    ("sqlalchemy.dialects.sqlite.aiosqlite", "SQLiteDialect_aiosqlite"): "aiosqlite",
    ("sqlalchemy.dialects.mysql.aiomysql", "MySQLDialect_aiomysql"): "aiomysql",
    ("sqlalchemy.dialects.mysql.asyncmy", "MySQLDialect_asyncmy"): "asyncmy",
}


def driver_name(engine: Engine) -> str | None:
    """Return the driver of an engine, such as ``"asyncpg"``.

    The answer does not change while the engine lives.

    :return: None if the engine or its dialect is a subclass, or if the driver has no fast path.
    """
    dialect = type(engine.dialect)
    return _DIALECTS.get((dialect.__module__, dialect.__name__)) if type(engine) is Engine else None


def has_observers(engine: Engine) -> bool:
    """Return whether the engine has listeners, logs its statements, or has execution options."""
    return bool(
        engine._has_events
        or engine.dialect._has_events
        or engine._execution_options
        or engine.pool.logger.isEnabledFor(DEBUG)
        or engine.logger.isEnabledFor(INFO)
    )


def connection_of(session: Session, statement: Any) -> Connection | None:
    """Return the connection on which ``session.execute()`` would run this Core statement.

    :return: None if the session would do more than that: flush, fire events, connect.
    :raises sqlalchemy.exc.InvalidRequestError: the ``begin()`` block around it has ended.
    """
    options = getattr(session, "execution_options", None)  # new in 2.1
    if session.dispatch.do_orm_execute or options or not _has_plain_execute(session):
        return None
    if session.autoflush and not session._flushing and not session._is_clean():
        return None
    transaction = session._transaction
    if transaction is None or not transaction.is_active:
        return None
    TransactionalContext._trans_ctx_check(session)
    entry = transaction._connections.get(session.get_bind(clause=statement))
    return None if entry is None else entry[0]


def _has_plain_execute(session: Session) -> bool:
    """Return whether ``execute()`` is SQLAlchemy's own, not overridden or patched."""
    session_type, attributes = type(session), session.__dict__
    return (
        session_type.execute is _EXECUTE
        and session_type._execute_internal is _EXECUTE_INTERNAL
        and "execute" not in attributes
        and "_execute_internal" not in attributes
    )


def begin_if_needed(connection: Connection) -> Any:
    """Begin SQLAlchemy's transaction on a connection, as ``execute()`` does.

    :return: SQLAlchemy's adapter of the driver's connection. None if only ``execute()`` may run
        a statement here: the connection has listeners or options, or it is in a state in which
        ``execute()`` raises an error.
    :raises sqlalchemy.exc.InvalidRequestError: the ``begin()`` block around it has ended.
    """
    if connection._has_events or connection._execution_options:
        return None
    proxied = connection._dbapi_connection
    if proxied is None:  # closed or invalidated
        return None
    transaction, nested = connection._transaction, connection._nested_transaction
    if transaction is not None and not transaction.is_active:
        return None
    if nested is not None and not nested.is_active:
        return None
    manager = connection._trans_context_manager
    if manager is not None and manager is not transaction:  # which has just been tested
        TransactionalContext._trans_ctx_check(connection)
    if transaction is None:
        connection._autobegin()
    return proxied.dbapi_connection
