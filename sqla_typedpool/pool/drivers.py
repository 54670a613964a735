"""What differs from driver to driver, one row each.

A row names only what SQLAlchemy's dialects cannot do: look at an idle socket
without a round trip, ping in a single round trip, cut a socket that does not
answer. A driver without a row works through its dialect alone.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

from sqla_typedpool._sqlalchemy import outside_greenlet
from sqla_typedpool.pool.leftovers import close_socket

__all__ = [
    "Driver",
    "Probe",
    "Session",
    "always_alive",
    "cut",
    "disconnect_from_parent",
    "driver_of",
    "force_close",
    "release",
]


class Probe(IntEnum):
    """What a look at an idle connection tells; no round trip is made."""

    ALIVE = 0
    """Nothing speaks against it."""
    DEAD = 1
    """Closed; asyncpg's ``is_closed()`` answers with this value (True)."""
    DOUBTFUL = 2
    """The server has sent something unasked: ping before use."""


def always_alive() -> int:
    """The probe of a driver with nothing to look at."""
    return Probe.ALIVE


class Session(NamedTuple):
    """A connection as its server knows it."""

    number: int
    port: int


@dataclass(frozen=True)
class Driver:
    """One driver's row. Callables take the driver's own connection."""

    probe: Callable[[Any], Callable[[], int]] = lambda connection: always_alive
    """connection -> a function that answers with a ``Probe``."""
    ping: Callable[[Any], Awaitable[object]] | None = None
    """One round trip, leaving no transaction; None = ``Dialect.do_ping``."""
    adapter: str = ""
    """The exact adapter class ``ping`` was studied on; another one is pinged by its dialect."""
    needs_ping: bool = True
    """False where nothing can go stale (a file)."""
    says_farewell: bool = True
    """False where a connection given up is best closed at once."""
    ping_opens_transaction: bool = True
    """Whether ``Dialect.do_ping`` may leave a transaction to be rolled back."""
    descriptor: Callable[[Any], int] = lambda connection: -1
    """The socket's file descriptor; -1 = none."""
    force: Callable[[Any], Awaitable[object] | None] | None = None
    """Close at once, no farewell; None = ``Dialect.do_terminate``. What it returns
    may be awaited to see the end."""
    mode: Callable[[Any], object] | None = None
    """SQLAlchemy's adapted connection -> whether its server is read-only. In a
    greenlet; None where nothing can be told."""
    session: Callable[[Any], Session | None] = lambda connection: None
    """How to name it to ``kill``, where a cancelled statement has to be killed."""
    kill: Callable[[Any, Session], None] | None = None
    """(another adapted connection, session): end what it does. In a greenlet."""
    connect_timeout: str = ""
    """The connect argument that bounds a connection attempt, in seconds."""
    connects_in_thread: bool = False
    """Whether a thread connects, which cannot be cancelled and tells the loop of its end."""


# ------------------------------------------------------------------- asyncpg


async def _ping_asyncpg(connection: Any) -> None:
    # The simple protocol: one message each way, legal behind PgBouncer in
    # transaction mode. Not ";": asyncpg 0.32 fails on the empty response.
    await connection.execute("select")


def _mode_of_asyncpg(adapted: Any) -> object:
    # PostgreSQL 14 and later tell of both unasked, and whenever they change.
    settings = adapted.driver_connection.get_settings()
    standby = getattr(settings, "in_hot_standby", None)
    return None if standby is None else (standby, settings.default_transaction_read_only)


def _asyncpg_descriptor(connection: Any) -> int:
    return _descriptor_of(connection._transport.get_extra_info("socket"))


# ------------------------------------------------------------------- psycopg


async def _ping_psycopg(connection: Any) -> None:
    # Outside a transaction this is one trip; psycopg_pool checks the same way.
    if connection.autocommit or connection.info.transaction_status:
        await connection.execute("")
        return
    await connection.set_autocommit(True)  # no trip
    try:
        await connection.execute("")
    finally:
        if not connection.closed:
            await connection.set_autocommit(False)


def _mode_of_psycopg(adapted: Any) -> object:
    ask = adapted.driver_connection.info.parameter_status
    standby, read_only = ask("in_hot_standby"), ask("default_transaction_read_only")
    return None if standby is None else (standby, read_only)


def _probe_psycopg(connection: Any) -> Callable[[], int]:
    look = _poll(connection.fileno())
    pgconn = connection.pgconn

    def probe() -> int:
        return Probe.DEAD if pgconn.status else look()

    return probe


# ------------------------------------------------------- aiomysql and asyncmy
#
# aiomysql and older versions of asyncmy read through asyncio's streams, newer ones
# of asyncmy through a protocol of their own.


def _mysql_descriptor(connection: Any) -> int:
    return _descriptor_of(_transport_of(connection).get_extra_info("socket"))


def _probe_mysql(connection: Any) -> Callable[[], int]:
    if getattr(connection, "_proto", None) is not None:
        return _probe_protocol(connection)
    reader, transport = connection._reader, _transport_of(connection)
    look = _poll(_mysql_descriptor(connection))

    def probe() -> int:
        # The loop has read for us, be it the end or the server's last words.
        if transport.is_closing() or reader._eof:
            return Probe.DEAD
        return Probe.DOUBTFUL if reader._buffer else look()

    return probe


def _probe_protocol(connection: Any) -> Callable[[], int]:
    protocol, transport = connection._proto, _transport_of(connection)
    look = _poll(_mysql_descriptor(connection))

    def probe() -> int:
        if transport.is_closing() or protocol.eof:
            return Probe.DEAD
        return Probe.DOUBTFUL if protocol.length != protocol.pos else look()

    return probe


def _mode_of_mysql(adapted: Any) -> object:
    rows = _run_mysql(adapted, "SELECT @@GLOBAL.read_only")
    return bool(rows[0][0])


def _session_of_mysql(connection: Any) -> Session | None:
    name = _transport_of(connection).get_extra_info("sockname")
    if not isinstance(name, tuple):
        return None  # a Unix socket has no port to be known by
    return Session(int(connection.thread_id()), int(name[1]))


def _kill_mysql(adapted: Any, session: Session) -> None:
    found = _run_mysql(
        adapted,
        "SELECT ID FROM information_schema.PROCESSLIST "
        f"WHERE ID = {session.number} AND HOST LIKE '%:{session.port}' AND COMMAND <> 'Sleep'",
    )
    if found:
        _run_mysql(adapted, f"KILL {session.number}")


def _run_mysql(adapted: Any, statement: str) -> Any:
    cursor = adapted.cursor()
    try:
        cursor.execute(statement)
        return cursor.fetchall()
    finally:
        cursor.close()


def _abort_mysql(connection: Any) -> None:
    # Their close() would first flush what the server does not take, and over TLS
    # wait half a minute for its farewell.
    transport = _transport_of(connection)
    try:
        if transport is not None:
            transport.abort()
    finally:
        connection.close()


# --------------------------------------------------------------------- tools


def _descriptor_of(sock: Any) -> int:
    return -1 if sock is None else int(sock.fileno())


def _poll(descriptor: int) -> Callable[[], int]:
    """A look at a socket: readable while idle is doubtful, an invalid one is dead."""
    if descriptor < 0 or not hasattr(select, "poll"):
        return always_alive
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)

    def look() -> int:
        for _, event in poller.poll(0):
            return Probe.DEAD if event & select.POLLNVAL else Probe.DOUBTFUL
        return Probe.ALIVE

    return look


_NO_DRIVER = Driver()
_MYSQL = Driver(
    probe=_probe_mysql,
    ping_opens_transaction=False,
    descriptor=_mysql_descriptor,
    force=_abort_mysql,
    mode=_mode_of_mysql,
    session=_session_of_mysql,
    kill=_kill_mysql,
    connect_timeout="connect_timeout",
)
_DRIVERS = {
    "asyncpg": Driver(
        probe=lambda connection: connection.is_closed,
        ping=_ping_asyncpg,
        adapter="AsyncAdapt_asyncpg_connection",
        ping_opens_transaction=False,
        descriptor=_asyncpg_descriptor,
        mode=_mode_of_asyncpg,
        connect_timeout="timeout",
    ),
    "psycopg": Driver(
        probe=_probe_psycopg,
        ping=_ping_psycopg,
        adapter="AsyncAdapt_psycopg_connection",
        descriptor=lambda connection: int(connection.fileno()),
        force=lambda connection: connection.pgconn.finish(),
        mode=_mode_of_psycopg,
        connect_timeout="connect_timeout",
    ),
    "aiosqlite": Driver(
        needs_ping=False,
        says_farewell=False,
        # its thread tells the event loop when it ends
        force=lambda connection: connection.stop(),
        connects_in_thread=True,
    ),
    "aiomysql": _MYSQL,
    "asyncmy": _MYSQL,
}


def driver_of(dialect: Any) -> Driver:
    """The row of an asyncio dialect's driver; an empty row for an unknown one."""
    if not getattr(dialect, "is_async", False):
        return _NO_DRIVER
    return _DRIVERS.get(getattr(dialect, "driver", ""), _NO_DRIVER)


def cut(dialect: Any, adapted: Any) -> None:
    """Make whatever waits on this connection's socket fail now.

    Shuts down a duplicate of the descriptor, which works whatever the transport
    (TLS and uvloop included) and leaves closing to its owner.
    """
    with suppress(Exception):
        descriptor = driver_of(dialect).descriptor(dialect.get_driver_connection(adapted))
        if descriptor >= 0:
            with socket.socket(fileno=socket.dup(descriptor)) as twin:
                twin.shutdown(socket.SHUT_RDWR)


def disconnect_from_parent(dialect: Any, adapted: Any, null: int) -> None:
    """In a forked child: point a socket's descriptor at the null device.

    Its number stays taken, so that nothing later can close another file by it.
    """
    with suppress(Exception):
        descriptor = driver_of(dialect).descriptor(dialect.get_driver_connection(adapted))
        if descriptor >= 0:
            os.dup2(null, descriptor, inheritable=False)


def force_close(dialect: Any, adapted: Any) -> Awaitable[object] | None:
    """Close without a farewell and without waiting.

    Call it in the thread of the connection's event loop.

    :return: something to await, if its end can be seen.
    """
    force = driver_of(dialect).force
    if force is not None:
        return force(dialect.get_driver_connection(adapted))
    # outside a greenlet SQLAlchemy's adapters close at once
    outside_greenlet(dialect.do_terminate, adapted)
    return None


def release(dialect: Any, adapted: Any) -> None:
    """Close a connection whose event loop has closed: no I/O, no callback, no warning."""
    cut(dialect, adapted)
    connection = dialect.get_driver_connection(adapted)
    transport = _transport_of(connection)
    if driver_of(dialect).needs_ping:
        _force_quietly(dialect, adapted)
    else:
        # aiosqlite asks for the thread's event loop, and Python 3.10 would make one
        worker = threading.Thread(target=_force_quietly, args=(dialect, adapted))
        worker.start()
        worker.join(1.0)
    close_socket(transport)


def _force_quietly(dialect: Any, adapted: Any) -> None:
    with suppress(Exception):  # its transport asks the closed loop for a callback
        force_close(dialect, adapted)


def _transport_of(connection: Any) -> Any:
    writer = getattr(connection, "_writer", None)
    return getattr(connection, "_transport", None) or getattr(writer, "transport", None)
