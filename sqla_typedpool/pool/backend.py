"""One pool's dialect and driver: opens, pings and closes ONE connection.

SQLAlchemy may set a pool's dialect late (``create_engine(pool=...)``), so the dialect
is read at each use, and ``bind`` is called again before the first connection of an
event loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from enum import IntEnum
from functools import partial
from typing import Any

from sqla_typedpool._asyncio.timers import Timer
from sqla_typedpool._sqlalchemy.asyncpg_adapter import forget_transaction
from sqla_typedpool._sqlalchemy.dialect_hooks import (
    limit_resets,
    note_driver_use,
    on_commit_error,
    on_statement_error,
)
from sqla_typedpool._sqlalchemy.greenlets import greenlet_spawn, outside_greenlet
from sqla_typedpool._sqlalchemy.pool_base import Pool
from sqla_typedpool._sqlalchemy.pool_dialect import PoolDialect
from sqla_typedpool._sqlalchemy.unread_rows import leave_unread_rows
from sqla_typedpool.pool.connect_errors import is_read_only
from sqla_typedpool.pool.drivers.base import (
    Driver,
    Probe,
    SetAside,
    always_alive,
    never_in_transaction,
)
from sqla_typedpool.pool.drivers.registry import driver_of
from sqla_typedpool.pool.drivers.sockets import close_socket, shut_down
from sqla_typedpool.pool.drivers.sqlite_storage import (
    Storage,
    is_plain_file,
    is_stand_in,
    query_storage,
)
from sqla_typedpool.pool.entry import Condition, EntryOwner, PoolEntry
from sqla_typedpool.pool.names import default_name
from sqla_typedpool.secrets import known_secrets, masked_repr

_RESET_TIMEOUTS = {"mysql": 60.0, "mariadb": 60.0}  # InnoDB may take long to roll back
_RELEASE_WAIT = 1.0  # seconds for a thread to close a connection whose loop is closed


# The entry that the current task is opening a connection in.
_opening: ContextVar[Any] = ContextVar("opening", default=lambda: None)


class CloseMode(IntEnum):
    """How a connection is closed.

    The pool's jobs pass it as ``terminate`` of ``Pool._close_connection``, where
    SQLAlchemy passes a bool.
    """

    # End the session on the server first.
    GRACEFUL = 0
    # Let the driver cancel a running statement, and end the session if the server answers.
    TERMINATE = 1
    # Close the socket at once, without a message to the server.
    ABORT = 2


def default_reset_timeout(dialect: Any) -> float:
    """The default of ``pool_reset_timeout``, in seconds."""
    return _RESET_TIMEOUTS.get(getattr(dialect, "name", ""), 5.0)


class Backend(PoolDialect):
    """The dialect and the driver of one pool."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        # The dialect that the rest was read from.
        self.bound_to: Any = None
        self.driver = Driver()
        # Whether connections need an event loop.
        self.is_async = False
        # The driver's own limit of a connection attempt in seconds, from ``connect_args``.
        self.connect_timeout = 0.0
        # Where the database is; only SQLite's may be in memory.
        self.storage = Storage.LASTING
        # Whether SQLAlchemy opens a file of SQLite, if no do_connect listener opens another one.
        self._opens_file = False
        # Servers that were read-only at their last query, of drivers that query the mode.
        self.read_only_hosts: set[str] = set()

    def bind(self, reset_timeout: float) -> None:
        """Read the driver off the dialect, and limit the dialect's resets.

        :param reset_timeout: ``pool_reset_timeout``. A dialect may have several pools,
            and outlive them; the latest pool's limit holds.
        """
        dialect = self.bound_to = self.dialect
        self.is_async, self.driver = self.needs_loop(), driver_of(dialect)
        positional, named = self.connect_arguments()
        with suppress(TypeError, ValueError):
            self.connect_timeout = float(named.get(self.driver.connect_timeout_argument) or 0)
        is_sqlite = getattr(dialect, "name", "") == "sqlite"
        self.storage = Storage.UNKNOWN if is_sqlite else Storage.LASTING
        self._opens_file = "async_creator_fn" not in named and is_plain_file(positional)
        if self.driver.must_read_all_rows:
            leave_unread_rows(dialect, self.driver)
        if self.driver.can_abort:
            limit_resets(dialect, partial(_start_reset_timer, dialect, self.driver, reset_timeout))
        note_driver_use(dialect)
        if self.driver.reports_read_only or self.driver.queries_read_only:
            on_statement_error(dialect, _note_read_only_error)
        if self.is_async and not self.driver.failed_commit_ends_transaction:
            on_commit_error(dialect, _note_failed_commit)

    def default_name(self) -> str:
        """``host:port/database``, or what else is known of the database."""
        return default_name(self.dialect, *self.connect_arguments())

    def masked(self, error: BaseException) -> str:
        """An error in one line, without ``secrets``."""
        return masked_repr(error, self.secrets())

    def secrets(self) -> set[str]:
        """The passwords in the driver's arguments."""
        _, named = self.connect_arguments()
        database = named.get("database") or named.get("dbname") or named.get("db")
        parts = (named.get("password"), named.get("host"), database)
        texts = [each if isinstance(each, str) else None for each in parts]
        return set(known_secrets(*texts)) - {named.get("user")}

    # ------------------------------------------------------------------- opening

    def new_entry(self, owner: EntryOwner) -> PoolEntry:
        """An entry without a connection."""
        return PoolEntry(self._pool, owner)

    def open(self, entry: PoolEntry) -> None:
        """Connect this entry, connect events included. Call it in a greenlet.

        :raises Exception: the driver's or a listener's own error.
        """
        entry.start_opening()
        _opening.set(weakref.ref(entry))  # the driver's handles keep this context
        adapted, driver = entry.open(), self.driver
        if self.storage is Storage.UNKNOWN:
            is_file = self._opens_file and not self.bound_to.dispatch.do_connect
            self.storage = Storage.LASTING if is_file else self._query_storage(adapted)
        try:
            connection = self.driver_connection(adapted)
            probe = driver.make_probe(connection)
            session = driver.server_session(connection) if driver.can_abort else None
            in_transaction = driver.make_transaction_check(connection)
        except (AttributeError, TypeError):
            if type(adapted).__name__ == driver.adapter:
                raise  # it was lost while it was opened
            # a stand-in for a connection (a mock, a proxy): nothing is known of it
            entry.attach(always_alive)
        else:
            probe, in_transaction = self._end_first_transaction(adapted, probe, in_transaction)
            entry.attach(probe, self._mode_at_connect(adapted), session, in_transaction)

    def _end_first_transaction(
        self, adapted: Any, probe: Callable[[], int], in_transaction: Callable[[], bool]
    ) -> tuple[Callable[[], int], Callable[[], bool]]:
        """Commit what ``connect`` listeners have left open, such as settings.

        :return: the probe and the transaction check to use from now on.
        """
        if in_transaction():
            if self.ends_transactions:
                self.dialect.do_commit(adapted)
            if self.driver.may_begin_implicitly and in_transaction():
                return _without_transactions(probe), never_in_transaction
        return probe if self.ends_transactions else _without_transactions(probe), in_transaction

    def is_opening(self, adapted: Any) -> bool:
        """Whether the current task has opened this connection, and its events are not done."""
        entry = _opening.get()()
        return entry is not None and entry.dbapi_connection is adapted

    def _query_storage(self, adapted: Any) -> Storage:
        if is_stand_in(adapted):  # as in ``open``
            return Storage.LASTING
        return query_storage(adapted, self.driver_connection(adapted))

    # ---------------------------------------------------------- read-only servers

    def _mode_at_connect(self, adapted: Any) -> object:
        """Whether the server is read-only, if it reports that without a query.

        A host that was read-only at the last query is queried again, to detect when it
        no longer is.
        """
        driver = self.driver
        if driver.reports_read_only:
            return self.server_mode(adapted)
        if driver.queries_read_only and self.read_only_hosts:
            host = self.host_of(adapted)
            if host in self.read_only_hosts and self.server_mode(adapted) is False:
                self.read_only_hosts.discard(host)
        return None

    def server_mode(self, adapted: Any) -> object:
        """Return the driver's value for "is the server read-only"; None = it is not reported.

        :raises ConnectionError: the connection was lost.
        """
        try:
            return self.driver.server_mode(adapted)
        except Exception as error:
            if self.is_dead(adapted) or self.is_disconnect(error):
                raise ConnectionError(
                    f"connection lost while it was opened: {self.masked(error)}"
                ) from error
            return None  # a server without such a setting

    def opened_before_change(
        self, entry: PoolEntry, mode: object
    ) -> Callable[[PoolEntry], bool] | None:
        """Which connections were opened before the server of this one became read-only.

        A statement failed because nothing may be written. Either the application's
        transaction is read-only, and nothing is wrong. Or the server has changed since
        it was connected (it is a standby now, or refuses writes), and a new connection
        may find the new primary. PostgreSQL reports its mode at connect and at each
        change; MySQL is queried at the first such error, and the result is kept by host.

        :param mode: the server's present mode; None = it is not reported.
        :return: a predicate, or None if the server has not changed.
        """
        if mode is None:
            return None
        if self.driver.reports_read_only:
            old = entry.server_mode
            return None if mode == old else lambda other: other.server_mode == old
        host = self.host_of(entry.dbapi_connection)
        was_read_only = host in self.read_only_hosts  # then these were opened since
        if not mode:
            self.read_only_hosts.discard(host)
        if not mode or was_read_only:
            return None
        self.read_only_hosts.add(host)
        return lambda other: self.host_of(other.dbapi_connection) == host

    def host_of(self, adapted: Any) -> str:
        """Which server an adapted connection leads to; "" if it is not known."""
        try:
            return self.driver.server_host(self.driver_connection(adapted)) or ""
        except Exception:  # noqa: BLE001 - a driver drops the transport of a closed connection
            return ""

    # ---------------------------------------------------------------- validating

    def is_dead(self, adapted: Any) -> bool:
        """Whether the local probe sees that it is closed."""
        try:
            return self.driver.make_probe(self.driver_connection(adapted))() == Probe.DEAD
        except Exception:  # noqa: BLE001 - a driver drops the transport of a closed connection
            return True

    def has_own_ping(self, adapted: Any) -> bool:
        """Whether the driver's own ping may be used.

        Not on another class of adapter, and not where listeners want to see errors.
        """
        is_known = self.driver.has_ping and type(adapted).__name__ == self.driver.adapter
        return is_known and not self.has_error_listeners()

    async def ping(self, adapted: Any) -> None:
        """The driver's own ping: one round trip; any error means unusable."""
        await self.driver.ping(self.driver_connection(adapted))

    async def end_transaction(self, adapted: Any) -> None:
        """Roll an open transaction back; any error means that it may still be open."""
        if self.driver.adapter:
            await self.driver.roll_back(self.driver_connection(adapted))
            forget_transaction(adapted)
        else:
            await greenlet_spawn(self.dialect.do_rollback, adapted)

    def set_aside(self, entry: PoolEntry) -> SetAside | None:
        """Take the connection of a cancelled statement from its borrower, if it can be kept."""
        adapted = entry.dbapi_connection
        return self.driver.set_aside(self.driver_connection(adapted), adapted, entry)

    # ------------------------------------------------------------------- closing

    def close_now(self, adapted: Any, mode: CloseMode) -> Awaitable[object] | None:
        """What ``Pool._close_connection`` does. An error is logged, not raised.

        :return: of an abort, something that may be awaited to see the end.
        """
        is_graceful, logger = mode is CloseMode.GRACEFUL, self._pool.logger
        logger.debug("%s connection %r", "Closing" if is_graceful else "Hard-closing", adapted)
        try:
            if is_graceful:
                self.dialect.do_close(adapted)
            elif mode is CloseMode.TERMINATE and not self.is_dead(adapted):
                self._terminate(adapted)
            else:
                return self._force_close(adapted)
            return None
        except Exception:
            what = "closing" if is_graceful else "terminating"
            logger.exception("Exception %s connection %r", what, adapted)
        if mode is CloseMode.TERMINATE:
            self._force_close_quietly(adapted)  # an error that its adapter does not expect
        return None

    def _terminate(self, adapted: Any) -> None:
        if self.driver.works_in_thread:
            # do_terminate() of SQLAlchemy closes it in another task, which ``asyncio.run``
            # cancels at its end; the thread would then report to a closed loop.
            self.dialect.do_close(adapted)
        else:
            self.dialect.do_terminate(adapted)

    def _force_close(self, adapted: Any) -> Awaitable[object] | None:
        try:
            return self.driver.force_close(self.driver_connection(adapted))
        except (NotImplementedError, AttributeError, TypeError):
            # The driver leaves it to the dialect, or this is a stand-in (see ``open``).
            # Outside a greenlet SQLAlchemy's adapters close at once.
            outside_greenlet(self.dialect.do_terminate, adapted)
            return None

    def loop_of(self, adapted: Any) -> Any:
        """The event loop of a connection, if its driver has the attribute."""
        return getattr(self.driver_connection(adapted), "_loop", None)

    def abort_io(self, adapted: Any) -> None:
        """Shut the socket down, so that every wait for it fails now."""
        _abort_io(self.dialect, self.driver, adapted)

    def release(self, adapted: Any) -> None:
        """Close a connection whose event loop is closed: no I/O, no callback, no warning."""
        self.abort_io(adapted)
        transport = self.driver.transport(self.driver_connection(adapted))
        if self.driver.works_in_thread:
            # aiosqlite gets the thread's event loop, and Python 3.10 would create one
            worker = threading.Thread(target=self._force_close_quietly, args=(adapted,))
            worker.start()
            worker.join(_RELEASE_WAIT)
        else:
            self._force_close_quietly(adapted)
        close_socket(transport)

    def _force_close_quietly(self, adapted: Any) -> None:
        with suppress(Exception):  # its transport schedules a callback in the closed loop
            self._force_close(adapted)

    def detach_from_parent(self, adapted: Any, null: int) -> None:
        """In a forked child: point the socket's descriptor at the null device.

        The number stays taken, so that nothing later can close another file by it.
        """
        with suppress(Exception):
            descriptor = self.driver.descriptor(self.driver_connection(adapted))
            os.dup2(null, descriptor, inheritable=False)


def _abort_io(dialect: Any, driver: Driver, adapted: Any) -> None:
    with suppress(Exception):
        shut_down(driver.descriptor(dialect.get_driver_connection(adapted)))


def _start_reset_timer(dialect: Any, driver: Driver, seconds: float, adapted: Any) -> Timer:
    return Timer(asyncio.get_running_loop(), seconds, _abort_io, dialect, driver, adapted)


def _without_transactions(probe: Callable[[], int]) -> Callable[[], int]:
    """The same probe for a connection that may be handed out inside a transaction."""

    def alive_or_not() -> int:
        result = probe()
        return Probe.ALIVE if result == Probe.IN_TRANSACTION else result

    return alive_or_not


def _note_failed_commit(entry: Any) -> None:
    """A COMMIT has failed on the connection of this entry."""
    if isinstance(entry, PoolEntry) and entry.in_transaction is never_in_transaction:
        entry.commit_failed = True


def _note_read_only_error(entry: Any, error: BaseException) -> None:
    """A statement has failed on the connection of this entry."""
    if isinstance(entry, PoolEntry) and is_read_only(error):
        entry.mark(Condition.READ_ONLY)
