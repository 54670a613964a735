"""The adapters of pooled connections: subclasses of SQLAlchemy's for some of the drivers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.dialects.mysql.asyncmy import AsyncAdapt_asyncmy_connection
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_connection

from sqla_typedpool._sqlalchemy.aiosqlite_adapter import sparing
from sqla_typedpool._sqlalchemy.asyncpg_adapter import watched
from sqla_typedpool._sqlalchemy.mysql_adapter import noting_ends
from sqla_typedpool._sqlalchemy.record import HookedRecord

_REPLACEMENTS: dict[type, Callable[[Any, HookedRecord], Any]] = {
    AsyncAdapt_asyncpg_connection: watched,
    AsyncAdapt_aiosqlite_connection: sparing,
    AsyncAdapt_asyncmy_connection: noting_ends,
}


def with_own_adapters(create: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let a pool's function that opens a connection return an adapter of ours.

    Connections of other drivers, and those that are not pooled, are returned as they are.
    """

    def create_adapted(record: Any) -> Any:
        adapted = create(record)
        replace = _REPLACEMENTS.get(type(adapted))
        if replace is None or not isinstance(record, HookedRecord):
            return adapted
        return replace(adapted, record)

    return create_adapted
