"""Which way a connection is closed, when SQLAlchemy says "close this one".

Everything passes here: the pool's own closes, an invalidation after an error, a
connection found by the garbage collector. Who asks, and from where, decides
whether the server is told, and whether anybody waits for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy import await_only, in_greenlet, pool_close_connection, stub_dialect
from sqla_typedpool.pool import loops
from sqla_typedpool.pool.houses import running_loop

if TYPE_CHECKING:
    from sqla_typedpool.pool.pool import TypedPool

__all__ = ["Parting"]

_WISH = 0.05  # seconds that invalidate() waits to see the connection closed


class Parting:
    """Closes the connections of one pool."""

    def __init__(self, pool: TypedPool) -> None:
        self._pool = pool
        self.forced: set[int] = set()
        """Connections (by id) to be closed without a farewell."""
        self.in_place: set[int] = set()
        """Those the application wants closed before its ``invalidate()`` returns."""

    def close(self, connection: Any, *, terminate: bool) -> None:
        """What ``Pool._close_connection`` does."""
        dialect = self._pool.database.dialect
        if not dialect.is_async or isinstance(dialect, stub_dialect):
            pool_close_connection(self._pool, connection, terminate=terminate)
        elif not terminate:
            self._politely(connection)
        elif id(connection) in self.forced:
            self.forced.discard(id(connection))
            self._pool.database.force_close(connection)
        elif in_greenlet() and self._loop_of(connection) in (None, running_loop()):
            self._given_up(connection)
        else:
            self._leaked(connection)

    def now(self, connection: Any) -> None:
        """Terminate in the present greenlet, as SQLAlchemy does: politely first.

        What no longer answers gets no farewell, and a farewell that fails in a way its
        adapter has not foreseen (uvloop's RuntimeErrors) leaves nothing open.
        """
        database = self._pool.database
        if database.is_dead(connection):
            database.force_close(connection)
            return
        self._pool.logger.debug("Hard-closing connection %r", connection)
        try:
            database.dialect.do_terminate(connection)
        except Exception:
            self._pool.logger.exception("Exception terminating connection %r", connection)
            database.force_close(connection)

    def _politely(self, connection: Any) -> None:
        self._pool.logger.debug("Closing connection %r", connection)
        try:
            self._pool.database.dialect.do_close(connection)
        except Exception:  # a cancellation is no error: the loop ends, and we force it
            self._pool.logger.exception("Exception closing connection %r", connection)

    def _given_up(self, connection: Any) -> None:
        """After an error, a cancellation, or by the application's wish."""
        if not self._pool.database.driver.says_farewell:
            self._pool.database.force_close(connection)
            return
        task = self._pool.houses.here().closer.terminate(connection)
        if id(connection) in self.in_place and task is not None:
            await_only(asyncio.wait({task}, timeout=_WISH))

    def _leaked(self, connection: Any) -> None:
        """Outside its loop's greenlets: the garbage collector has found it."""
        loop = self._loop_of(connection)
        force = self._pool.database.force_close
        if loop in (None, running_loop()) or not loops.post(loop, force, connection):
            force(connection)

    def _loop_of(self, connection: Any) -> Any:
        return getattr(self._pool.database.driver_connection(connection), "_loop", None)
