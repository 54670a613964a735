"""When a statement may bypass SQLAlchemy's ``execute()``.

It may if ``execute()`` would do nothing but send it to the driver and return the rows. The
conditions follow ``Connection._execute_context`` and ``Session._execute_internal`` of
SQLAlchemy 2.0.58 and 2.1.9.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.util import TransactionalContext
from sqlalchemy.orm import Session

# Stored at import, to detect a patch made later.
_EXECUTE, _EXECUTE_INTERNAL = Session.execute, Session._execute_internal


def is_plain_asyncpg(engine: Engine) -> bool:
    """Return whether neither the engine nor its asyncpg dialect is a subclass.

    The answer does not change while the engine lives.
    """
    return type(engine) is Engine and type(engine.dialect) is PGDialect_asyncpg


def has_observers(engine: Engine) -> bool:
    """Return whether the engine has listeners, logs its statements, or has execution options."""
    return bool(
        engine._has_events
        or engine.dialect._has_events
        or engine._execution_options
        or engine.pool._should_log_debug()
        or engine._should_log_info()
    )


def is_default_connection(adapted: Any, dialect: Any) -> bool:
    """Return whether a statement may run on this connection without a transaction block.

    That requires the default isolation level, no read-only or deferrable mode, no open
    transaction, and SQLAlchemy's default cache of prepared statements.

    :param adapted: SQLAlchemy's adapter of an asyncpg connection.
    """
    cache = adapted._prepared_statement_cache
    return (
        _is_default_level(adapted.isolation_level, dialect)
        and not adapted.readonly
        and not adapted.deferrable
        # left open by a BEGIN in the application's SQL, in a pool that does not reset
        and not adapted._connection.is_in_transaction()
        and cache is not None
        and cache.capacity > 0
        and adapted._prepared_statement_name_func is type(adapted)._default_name_func
    )


def _is_default_level(level: str | None, dialect: Any) -> bool:
    if level is None:
        return True
    # A reset after a change of the level sets the default level by name, not None.
    name = dialect.default_isolation_level
    is_servers = dialect._on_connect_isolation_level is None
    return is_servers and level == dialect._isolation_lookup.get(name)


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


def begin_if_needed(connection: Connection) -> bool:
    """Begin SQLAlchemy's transaction on a connection, as ``execute()`` does.

    :return: False if only ``execute()`` may run a statement here: the connection has
        listeners or options, or it is in a state in which ``execute()`` raises an error.
    :raises sqlalchemy.exc.InvalidRequestError: the ``begin()`` block around it has ended.
    """
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
