"""Where the connections of a test are checked out, on any database and with any pool."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Collection
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import event
from sqlalchemy.pool import Pool

from sqla_typedpool._sqlalchemy.pool_base import pool_of
from sqla_typedpool.pool import observers
from sqla_typedpool.pool.call_sites import CallSite, call_site
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.pool import TypedPool


class Checkouts:
    """Notes the latest checkout of each connection that is opened, until ``close()``.

    A TypedPool reports its checkouts. For other pools there are listeners: one for the new
    connections of all pools, which adds another one for the checkouts of the connection's pool.
    One listener for the checkouts of all pools would also be one of TypedPools, which then take
    the slow path.
    """

    def __init__(self) -> None:
        self._places: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        # By the number of the session on the PostgreSQL server.
        self._places_of_sessions: dict[int, str] = {}
        self._pools: WeakSet[Pool] = WeakSet()
        self._before = observers.site_noted
        observers.site_noted = self._note
        event.listen(Pool, "connect", self._connected)

    def close(self) -> None:
        """Remove the listeners."""
        observers.site_noted = self._before
        event.remove(Pool, "connect", self._connected)
        for pool in self._pools:
            event.remove(pool, "checkout", self._checked_out)

    def place_of_session(self, session: int) -> str:
        """Return where a session was last checked out; "" if that is not known."""
        return self._places_of_sessions.get(session, "")

    def in_use(self, pools: Collection[Pool] | None = None) -> list[str]:
        """Return where each connection was checked out that is in use now.

        :param pools: of these pools; None = of all.
        """
        if not self._in_use(pools):
            return []
        gc.collect()  # a connection that nothing refers to is returned
        return [place or "an unknown line" for place in self._in_use(pools)]

    def in_use_by(self, pool_name: str) -> list[str]:
        """Return the known places of the connections of a TypedPool that are in use now."""
        used = [each for each in list(self._places.items()) if _is_in_use(each[0])]
        pools = ((pool_of(record), place) for record, place in used)
        return [
            place
            for pool, place in pools
            if place and isinstance(pool, TypedPool) and str(pool.shared.name) == pool_name
        ]

    def _in_use(self, pools: Collection[Pool] | None) -> list[str]:
        return [
            place
            for record, place in list(self._places.items())
            if _is_in_use(record) and (pools is None or pool_of(record) in pools)
        ]

    def _connected(self, _connection: Any, record: Any) -> None:
        pool = pool_of(record)
        if not isinstance(pool, TypedPool) and pool not in self._pools:
            self._pools.add(pool)
            event.listen(pool, "checkout", self._checked_out)

    def _checked_out(self, _connection: Any, record: Any, _fairy: Any) -> None:
        try:
            task = asyncio.current_task()
        except RuntimeError:  # a synchronous engine
            task = None
        self._note(record, call_site(task))

    def _note(self, record: Any, site: CallSite | None) -> None:
        if self._before is not None:
            self._before(record, site)
        self._places[record] = place = _described(site)
        session = _session_of(record.dbapi_connection)
        if session is not None:
            self._places_of_sessions[session] = place


def _described(site: CallSite | None) -> str:
    """Return a line as ``file:line in function``, with the declared query that it calls."""
    if site is None or site.where is None:
        return "" if site is None or site.query is None else f"query {site.query}"
    return site.where if site.query is None else f"{site.where} (query {site.query})"


def _is_in_use(record: Any) -> bool:
    if isinstance(record, PoolEntry):  # the typed functions check out without SQLAlchemy's proxy
        return record.checked_out_at is not None
    return bool(record.in_use)


def _session_of(connection: Any) -> int | None:
    """Return the number of a connection's session on PostgreSQL: asyncpg, psycopg, psycopg2.

    None for a connection of another kind.
    """
    driver = getattr(connection, "driver_connection", connection)
    if hasattr(driver, "get_server_pid"):
        return int(driver.get_server_pid())
    number = getattr(getattr(driver, "info", None), "backend_pid", None)
    return number if isinstance(number, int) else None
