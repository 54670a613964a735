"""What the pool has to know of its database: dialect, driver, connect arguments.

SQLAlchemy may set a pool's dialect late (``create_engine(pool=...)``), so nothing
of it is read before the first connection is wanted.
"""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any
from weakref import ref

from sqlalchemy import exc

from sqla_typedpool._sqlalchemy import bound_resets, connect_arguments, hear_errors
from sqla_typedpool.pool.alarm import Alarm
from sqla_typedpool.pool.drivers import Driver, Probe, cut, driver_of, force_close
from sqla_typedpool.pool.failover import hear

if TYPE_CHECKING:
    from sqla_typedpool.pool.pool import TypedPool

__all__ = ["Database", "default_reset_timeout"]

_DEFAULT_RESET = 5.0
_RESET_TIMEOUT = {"mysql": 60.0, "mariadb": 60.0}  # InnoDB may take long to roll back
_MEMORY = (":memory:", "mode=memory")


def default_reset_timeout(dialect: Any) -> float:
    """The default of ``pool_reset_timeout`` in seconds."""
    return _RESET_TIMEOUT.get(getattr(dialect, "name", ""), _DEFAULT_RESET)


class _Bound:
    """Sets the timer of one reset. A dialect outlives its pools: it holds none."""

    def __init__(self, pool: TypedPool) -> None:
        self._pool = ref(pool)

    def __call__(self, connection: Any) -> Alarm:
        pool = self._pool()
        dialect = None if pool is None else pool._dialect
        seconds = _DEFAULT_RESET if pool is None else pool.options.pool_reset_timeout
        return Alarm(get_running_loop(), seconds, cut, dialect, connection)


async def _see(end: Awaitable[object]) -> None:
    await end


class Database:
    """One pool's dialect, driver and connect arguments."""

    def __init__(self, pool: TypedPool) -> None:
        self._pool = pool
        self._bounded: Any = None  # the dialect whose resets have a limit
        self.driver: Driver = driver_of(None)
        self._is_known = False  # whether SQLite is in memory
        self.in_memory = False
        """Whether closing the connection would lose the database (SQLite in memory)."""

    @property
    def dialect(self) -> Any:
        return self._pool._dialect

    def meet(self) -> None:
        """Learn the driver, and bound the resets of its dialect."""
        dialect = self.dialect
        self.driver = driver_of(dialect)
        if not self._is_known:
            self.in_memory = self._is_in_memory()
            self._is_known = self._file() is not None
        if self._bounded is not dialect and hasattr(dialect, "get_dialect_cls"):
            self._bounded = dialect
            bound_resets(dialect, _Bound(self._pool))
            if self.driver.mode is not None:
                hear_errors(dialect, hear)

    # ------------------------------------------------------- connect arguments

    def connect_timeout(self) -> float:
        """The bound on one attempt in seconds; a longer one in connect_args wins."""
        _, arguments = connect_arguments(self._pool._creator)
        try:
            theirs = float(arguments.get(self.driver.connect_timeout) or 0)
        except (TypeError, ValueError):
            theirs = 0.0
        return max(self._pool.options.pool_connect_timeout, theirs)

    def _is_in_memory(self) -> bool:
        name = self._file()
        return name is not None and (not name or any(word in name for word in _MEMORY))

    def _file(self) -> str | None:
        """The name of a SQLite file, if it can be told."""
        if getattr(self.dialect, "name", "") != "sqlite":
            return None
        arguments, _ = connect_arguments(self._pool._creator)
        return str(arguments[0]) if arguments else None

    def learn(self, connection: Any) -> None:
        """With a creator of the application's only SQLite itself can tell where it is."""
        is_sqlite = self.dialect.is_async and getattr(self.dialect, "name", "") == "sqlite"
        if self._is_known or not is_sqlite:
            return
        self._is_known = True
        cursor = connection.cursor()
        try:
            cursor.execute("PRAGMA database_list")
            self.in_memory = not cursor.fetchall()[0][2]
        finally:
            cursor.close()

    def mode(self, connection: Any) -> object:
        """Whether the server is read-only, as it says itself; None = it does not say.

        In a greenlet: some servers have to be asked.
        """
        if self.driver.mode is None:
            return None
        try:
            return self.driver.mode(connection)
        except Exception as error:
            if self.is_dead(connection) or self._is_disconnect(error):
                raise ConnectionError(f"connection lost while it was opened: {error}") from error
            return None  # a server without such a setting

    def _is_disconnect(self, error: Exception) -> bool:
        is_drivers = isinstance(error, self.dialect.loaded_dbapi.Error)
        return is_drivers and bool(self.dialect.is_disconnect(error, None, None))

    def forbids_another(self, existing: int) -> BaseException | None:
        """The error to give a caller who would need one more connection, if any."""
        name = self._file()
        if existing == 0 or not self.in_memory or name is None or "cache=shared" in name:
            return None
        return exc.InvalidRequestError(
            "an in-memory SQLite database lives in one connection, and a second one would see "
            "an empty database; next: use poolclass=StaticPool to share the connection, or "
            "pool_size=1, max_overflow=0 to let callers wait for it"
        )

    # -------------------------------------------------------------- connections

    def driver_connection(self, connection: Any) -> Any:
        return self.dialect.get_driver_connection(connection)

    def is_dead(self, connection: Any) -> bool:
        """Whether the local probe can tell that it is closed."""
        try:
            return self.driver.probe(self.driver_connection(connection))() == Probe.DEAD
        except Exception:  # noqa: BLE001 - a driver forgets the transport of what it has closed
            return True

    def force_close(self, connection: Any) -> None:
        """Close without a farewell; an error is logged, as SQLAlchemy's pools do."""
        self._pool.logger.debug("Hard-closing connection %r", connection)
        try:
            end = force_close(self.dialect, connection)
        except Exception:
            self._pool.logger.exception("Exception terminating connection %r", connection)
            return
        station = self._pool.houses.at_hand()
        if end is not None and station is not None:
            station.tasks.spawn(_see(end), "close")  # so that an ending loop waits for it

    def asks_dialect(self, connection: Any) -> bool:
        """Whether a ping has to go through the dialect: an adapter nobody has
        studied, or listeners that want to see errors."""
        return type(connection).__name__ != self.driver.adapter or self.dialect._has_events

    def ping_through_dialect(self, connection: Any) -> bool:
        """SQLAlchemy's own ping, in the present greenlet; False = disconnected."""
        answered: bool = self.dialect._do_ping_w_event(connection)
        if answered and self.driver.ping_opens_transaction:
            self.dialect.do_rollback(connection)
        return answered
