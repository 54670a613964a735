"""Each driver: its local probe, abort and forced close, and the classes of its connect errors."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import logging
import os
import socket
import sqlite3
import ssl
import struct
import warnings
from contextlib import asynccontextmanager, contextmanager
from queue import SimpleQueue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool.pool.backend import Backend, CloseMode
from sqla_typedpool.pool.connect_errors import classify
from sqla_typedpool.pool.connect_rules import ErrorKind
from sqla_typedpool.pool.drivers.base import Probe, always_alive, never_in_transaction
from sqla_typedpool.pool.drivers.registry import driver_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

URLS = {
    "asyncpg": "postgresql+asyncpg://u:p@127.0.0.1:{port}/d",
    "psycopg": "postgresql+psycopg://u:p@127.0.0.1:{port}/d",
    "aiosqlite": "sqlite+aiosqlite:///file.db",
    "aiomysql": "mysql+aiomysql://u:p@127.0.0.1:{port}/d",
    "asyncmy": "mysql+asyncmy://u:p@127.0.0.1:{port}/d",
}
MYSQL = ("aiomysql", "asyncmy")

by_driver = pytest.mark.parametrize("driver", URLS)
by_mysql = pytest.mark.parametrize("driver", MYSQL)


def backend_of(dialect: Any) -> Backend:
    """The pool's view of one dialect, without a pool."""
    logger = logging.getLogger("test")
    pool: Any = SimpleNamespace(_dialect=dialect, _creator=None, logger=logger)
    backend = Backend(pool)
    backend.driver = driver_of(dialect)
    return backend


def dialect_of(driver: str) -> Any:
    pytest.importorskip(driver)
    return create_async_engine(URLS[driver].format(port=1)).dialect


# ----------------------------------------------------------------------------- drivers


@by_driver
def test_every_supported_driver_is_known(driver: str) -> None:
    assert driver_of(dialect_of(driver)) is not driver_of(None)


def test_an_unknown_driver_works_through_its_dialect_alone() -> None:
    for dialect in (
        None,
        SimpleNamespace(is_async=True, driver="brand_new"),
        create_engine("sqlite://").dialect,
    ):
        unknown = driver_of(dialect)
        assert unknown.make_probe(object()) is always_alive
        assert always_alive() == Probe.ALIVE
        assert (unknown.has_ping, unknown.connect_timeout_argument) == (False, "")
        assert (unknown.can_abort, unknown.descriptor(object())) == (False, -1)
        with pytest.raises(NotImplementedError):
            unknown.force_close(object())


ADAPTERS = {
    "asyncpg": "sqla_typedpool._sqlalchemy.asyncpg_adapter",
    "psycopg": "sqlalchemy.dialects.postgresql.psycopg",
}


@pytest.mark.parametrize("driver", ADAPTERS)
def test_the_adapter_class_that_is_pinged_through_the_driver_exists(driver: str) -> None:
    module = importlib.import_module(ADAPTERS[driver])
    assert inspect.isclass(getattr(module, driver_of(dialect_of(driver)).adapter))


CONNECTS: dict[str, Callable[[], set[str]]] = {
    "asyncpg": lambda: set(
        inspect.signature(importlib.import_module("asyncpg").connect).parameters
    ),
    "psycopg": lambda: {
        option.keyword.decode()
        for option in importlib.import_module("psycopg").pq.Conninfo.get_defaults()
    },
    "aiomysql": lambda: set(
        inspect.signature(importlib.import_module("aiomysql").connect).parameters
    ),
    "asyncmy": lambda: set(
        inspect.signature(importlib.import_module("asyncmy.connection").Connection).parameters
    ),
}


@pytest.mark.parametrize("driver", CONNECTS)
def test_the_connect_timeout_is_an_argument_of_the_drivers_connect(driver: str) -> None:
    argument = driver_of(dialect_of(driver)).connect_timeout_argument
    try:
        known = CONNECTS[driver]()
    except ValueError:
        pytest.skip("a compiled class without a signature")
    assert argument in known


def test_a_sqlite_file_needs_no_ping_and_has_no_socket_to_abort() -> None:
    dialect = dialect_of("aiosqlite")
    sqlite = driver_of(dialect)
    assert not sqlite.needs_ping
    assert sqlite.make_probe(object())() == Probe.ALIVE
    assert not sqlite.can_abort
    backend_of(dialect).abort_io(SimpleNamespace(driver_connection=object()))


# ------------------------------------------------------------------------------- probes


@contextmanager
def socket_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    try:
        yield ours, theirs
    finally:
        ours.close()
        theirs.close()


def plain_dialect(driver: str) -> Any:
    """A dialect whose connections are the connections of the driver themselves."""
    return SimpleNamespace(
        is_async=True,
        driver=driver.removeprefix("older "),
        get_driver_connection=lambda connection: connection,
    )


async def on_streams(ours: socket.socket) -> Any:
    """A connection on asyncio's streams, as in aiomysql and older versions of asyncmy."""
    reader, writer = await asyncio.open_connection(sock=ours)
    return SimpleNamespace(_reader=reader, _writer=writer, close=writer.transport.close)


async def on_protocol(ours: socket.socket) -> Any:
    """A connection with its own protocol, as in newer versions of asyncmy."""
    module = pytest.importorskip("asyncmy.connection")
    if not hasattr(module, "_MySQLProtocol"):
        pytest.skip("an older asyncmy")
    loop = asyncio.get_running_loop()
    protocol = module._MySQLProtocol(loop)
    transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
    return SimpleNamespace(_proto=protocol, _transport=transport, close=transport.close)


TRANSPORTS: dict[str, Callable[[socket.socket], Awaitable[Any]]] = {
    "aiomysql": on_streams,
    "asyncmy": on_protocol,
    "older asyncmy": on_streams,
}

by_transport = pytest.mark.parametrize("transport_kind", TRANSPORTS)


@by_transport
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_mysql_connection_is_alive_suspect_or_dead_by_its_socket(
    transport_kind: str, loop: str
) -> None:
    async def main() -> None:
        with socket_pair() as (ours, theirs):
            connection = await TRANSPORTS[transport_kind](ours)
            probe = driver_of(plain_dialect(transport_kind)).make_probe(connection)
            assert probe() == Probe.ALIVE
            theirs.send(b"notice")
            assert probe() == Probe.SUSPECT  # the data is in the socket
            await asyncio.sleep(0.02)
            assert probe() == Probe.SUSPECT  # the data is in the buffer of the driver
            theirs.close()
            await asyncio.sleep(0.02)
            assert probe() == Probe.DEAD  # although data is unread
            connection.close()

    run_in(loop, main())


@by_transport
def test_an_unread_end_of_stream_is_suspect_and_a_close_by_the_client_is_dead(
    transport_kind: str,
) -> None:
    async def main() -> None:
        with socket_pair() as (ours, theirs):
            connection = await TRANSPORTS[transport_kind](ours)
            probe = driver_of(plain_dialect(transport_kind)).make_probe(connection)
            theirs.shutdown(socket.SHUT_WR)
            assert probe() == Probe.SUSPECT
            connection.close()
            assert probe() == Probe.DEAD
            await asyncio.sleep(0)

    asyncio.run(main())


def test_a_psycopg_connection_is_alive_suspect_or_dead_by_its_socket_and_libpq() -> None:
    with socket_pair() as (ours, theirs):
        pgconn = SimpleNamespace(status=0, transaction_status=0)
        connection = SimpleNamespace(fileno=ours.fileno, pgconn=pgconn)
        probe = driver_of(plain_dialect("psycopg")).make_probe(connection)
        assert probe() == Probe.ALIVE
        theirs.send(b"notice")
        assert probe() == Probe.SUSPECT
        ours.recv(10)
        assert probe() == Probe.ALIVE
        theirs.close()
        assert probe() == Probe.SUSPECT
        ours.close()
        assert probe() == Probe.DEAD
        pgconn.status = 1
        assert probe() == Probe.DEAD


def test_the_probe_of_asyncpg_calls_is_closed() -> None:
    connection = SimpleNamespace(is_closed=lambda: True)
    assert driver_of(plain_dialect("asyncpg")).make_probe(connection)() == Probe.DEAD


# ------------------------------------------------------------------ state of the transaction


@pytest.mark.parametrize("state", ["is_in_transaction", "_is_cancelling", "_top_xact"])
def test_an_asyncpg_connection_may_be_in_a_transaction_by_three_signs(state: str) -> None:
    protocol = SimpleNamespace(
        is_connected=lambda: True,
        is_in_transaction=lambda: state == "is_in_transaction" and is_set,
        _is_cancelling=lambda: state == "_is_cancelling" and is_set,
    )
    connection = SimpleNamespace(_protocol=protocol, _aborted=False, _top_xact=None)
    is_set = False
    driver = driver_of(plain_dialect("asyncpg"))
    probe, check = driver.make_probe(connection), driver.make_transaction_check(connection)
    assert (probe(), check()) == (Probe.ALIVE, False)
    is_set = True
    connection._top_xact = object() if state == "_top_xact" else None
    assert check()
    # a cancelled statement is seen when its connection is returned, so no idle one has it
    assert (probe() == Probe.IN_TRANSACTION) is (state != "_is_cancelling")
    connection._aborted = True
    assert probe() == Probe.DEAD


def test_a_sqlite_connection_is_in_a_transaction_until_it_is_closed() -> None:
    raw = sqlite3.connect(":memory:", isolation_level=None)
    driver = driver_of(plain_dialect("aiosqlite"))
    connection = SimpleNamespace(_connection=raw, _tx=SimpleQueue())
    probe, check = driver.make_probe(connection), driver.make_transaction_check(connection)
    assert (probe(), check()) == (Probe.ALIVE, False)
    raw.execute("BEGIN")
    assert (probe(), check()) == (Probe.IN_TRANSACTION, True)
    raw.close()
    assert (probe(), check()) == (Probe.ALIVE, False)


@pytest.mark.parametrize("driver", ["asyncpg", "aiosqlite"])
@pytest.mark.parametrize("connection", [Mock(), SimpleNamespace(is_closed=lambda: False)])
def test_a_stand_in_for_a_connection_is_never_in_a_transaction(
    driver: str, connection: Any
) -> None:
    check = driver_of(plain_dialect(driver)).make_transaction_check(connection)
    assert check is never_in_transaction


# --------------------------------------------------------------- abort and forced close


def run_in(loop: str, main: Any) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop").run(main)
    else:
        asyncio.run(main)


@by_transport
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_abort_ends_reads_on_the_socket_and_leaves_closing_to_the_driver(
    transport_kind: str, loop: str
) -> None:
    async def main() -> None:
        with socket_pair() as (ours, theirs):
            connection = await TRANSPORTS[transport_kind](ours)
            driver = driver_of(plain_dialect(transport_kind))
            probe = driver.make_probe(connection)
            descriptor = driver.descriptor(connection)
            backend_of(plain_dialect(transport_kind)).abort_io(connection)
            await asyncio.sleep(0.02)
            assert probe() == Probe.DEAD
            assert theirs.recv(1) == b""
            if transport_kind != "asyncmy":  # its protocol closes at the end of the stream
                os.fstat(descriptor)
            connection.close()
            await asyncio.sleep(0)
            # nothing left to abort: no error
            backend_of(plain_dialect(transport_kind)).abort_io(connection)

    run_in(loop, main())


@by_transport
def test_a_forced_close_does_not_wait_for_unsent_data(transport_kind: str) -> None:
    async def main() -> None:
        with socket_pair() as (ours, _theirs):
            connection = await TRANSPORTS[transport_kind](ours)
            transport = getattr(connection, "_transport", None) or connection._writer.transport
            descriptor = driver_of(plain_dialect(transport_kind)).descriptor(connection)
            transport.write(b"\x00" * 10_000_000)  # more than the other side receives
            backend_of(plain_dialect(transport_kind)).close_now(connection, CloseMode.ABORT)
            await asyncio.sleep(0.02)
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(descriptor)

    asyncio.run(main())


@by_transport
def test_releasing_a_connection_of_a_closed_loop_sends_nothing_and_causes_no_warning(
    transport_kind: str,
) -> None:
    with socket_pair() as (ours, theirs), warnings.catch_warnings():
        warnings.simplefilter("error")
        loop = asyncio.new_event_loop()
        connection = loop.run_until_complete(TRANSPORTS[transport_kind](ours))
        loop.close()
        backend_of(plain_dialect(transport_kind)).release(connection)
        assert theirs.recv(1) == b""
        del connection
        gc.collect()


# ----------------------------------------------------------------------- connect errors


@asynccontextmanager
async def answering(answer: Any) -> AsyncIterator[int]:
    """A server that answers every connection in the same way; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0.01)


def mysql_error(number: int, state: str, message: str) -> Callable[[asyncio.StreamWriter], None]:
    """An error packet of MySQL instead of its greeting."""
    body = b"\xff" + struct.pack("<H", number) + b"#" + state.encode() + message.encode()
    return lambda writer: writer.write(struct.pack("<I", len(body))[:3] + b"\x00" + body)


def postgres_error(state: str, message: str) -> Callable[[asyncio.StreamWriter], None]:
    """An error message of PostgreSQL instead of its authentication request."""
    body = b"SFATAL\x00VFATAL\x00C" + state.encode() + b"\x00M" + message.encode() + b"\x00\x00"
    return lambda writer: writer.write(b"E" + struct.pack("!I", len(body) + 4) + body)


def close_socket(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def error_of_connect(driver: str, answer: Any) -> BaseException:
    """The error of a connect to a server that answers so; None = a port without a server."""
    pytest.importorskip(driver)

    async def main() -> BaseException:
        async with answering(answer or close_socket) as port:
            if answer is None:
                with socket.create_server(("127.0.0.1", 0)) as lost:
                    port = lost.getsockname()[1]
            options = {"ssl": False} if driver == "asyncpg" else {}
            if driver == "psycopg":
                options = {"sslmode": "disable", "gssencmode": "disable"}
            engine = create_async_engine(URLS[driver].format(port=port), connect_args=options)
            try:
                await engine.connect()
            except Exception as error:
                return getattr(error, "orig", None) or error
            finally:
                await engine.dispose()
            raise AssertionError("connected")

    error = asyncio.run(main())
    gc.collect()
    return error


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", *MYSQL])
def test_a_refused_connect_is_transient(driver: str) -> None:
    assert classify(error_of_connect(driver, None)) is ErrorKind.TRANSIENT


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", *MYSQL])
def test_a_server_that_closes_the_socket_during_the_handshake_is_transient(driver: str) -> None:
    error = error_of_connect(driver, close_socket)
    assert classify(error) is ErrorKind.TRANSIENT, repr(error)


@by_mysql
@pytest.mark.parametrize(
    ("number", "state", "message", "kind"),
    [
        (1040, "08004", "Too many connections", ErrorKind.FULL),
        (1203, "42000", "already has more than 'max_user_connections'", ErrorKind.FULL),
        (1226, "42000", "has exceeded the 'max_user_connections' resource", ErrorKind.FULL),
        (1226, "42000", "has exceeded the 'max_queries_per_hour' resource", ErrorKind.FATAL),
        (1045, "28000", "Access denied for user 'u'@'h' (using password: YES)", ErrorKind.FATAL),
        (1049, "42000", "Unknown database 'd'", ErrorKind.FATAL),
        (1044, "42000", "Access denied for user 'u'@'h' to database 'd'", ErrorKind.FATAL),
        (1053, "08S01", "Server shutdown in progress", ErrorKind.TRANSIENT),
        (1130, "HY000", "Host 'h' is not allowed to connect", ErrorKind.FATAL),
        (1159, "08S01", "Got timeout reading communication packets", ErrorKind.TRANSIENT),
        (1927, "70100", "Connection was killed", ErrorKind.TRANSIENT),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_a_mysql_connect_error_is_classified_by_its_number_whatever_its_sqlstate(
    driver: str, number: int, state: str, message: str, kind: ErrorKind
) -> None:
    error = error_of_connect(driver, mysql_error(number, state, message))
    assert error.args[0] == number
    assert classify(error) is kind


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
@pytest.mark.parametrize(
    ("state", "message", "kind"),
    [
        ("57P03", "the database system is starting up", ErrorKind.TRANSIENT),
        ("57P03", "the database system is not yet accepting connections", ErrorKind.TRANSIENT),
        ("57P01", "terminating connection due to administrator command", ErrorKind.TRANSIENT),
        ("53300", "sorry, too many clients already", ErrorKind.FULL),
        ("53300", "remaining connection slots are reserved for superusers", ErrorKind.FULL),
        ("28P01", 'password authentication failed for user "u"', ErrorKind.FATAL),
        ("28000", 'role "u" does not exist', ErrorKind.FATAL),
        ("3D000", 'database "d" does not exist', ErrorKind.FATAL),
    ],
    ids=lambda value: value.replace(" ", "-")[:24] if isinstance(value, str) else "",
)
def test_a_postgresql_connect_error_is_classified_by_its_sqlstate_or_its_message(
    driver: str, state: str, message: str, kind: ErrorKind
) -> None:
    error = error_of_connect(driver, postgres_error(state, message))
    assert classify(error) is kind, repr(error)


def test_a_sqlite_connect_error_is_fatal() -> None:
    pytest.importorskip("aiosqlite")

    async def main() -> BaseException:
        engine = create_async_engine("sqlite+aiosqlite:////nowhere/at/all.db")
        try:
            await engine.connect()
        except Exception as error:
            return getattr(error, "orig", None) or error
        finally:
            await engine.dispose()
            await asyncio.sleep(0.05)  # the thread of aiosqlite still calls the loop
        raise AssertionError("connected")

    error = asyncio.run(main())
    assert isinstance(error, sqlite3.OperationalError)
    assert classify(error) is ErrorKind.FATAL


@by_mysql
def test_a_tls_error_is_fatal_although_the_driver_reports_it_as_2003(driver: str) -> None:
    name = {"aiomysql": "pymysql.err", "asyncmy": "asyncmy.errors"}[driver]
    error = pytest.importorskip(name).OperationalError(2003, "Can't connect to MySQL server")
    error.__cause__ = ssl.SSLCertVerificationError("certificate verify failed")
    assert classify(error) is ErrorKind.FATAL
    error.__cause__ = ConnectionResetError()
    assert classify(error) is ErrorKind.TRANSIENT
