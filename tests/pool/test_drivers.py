"""Each driver's row: its probe, its cut, its forced close, and what its connect errors mean."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import os
import socket
import sqlite3
import ssl
import struct
import warnings
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool.pool.drivers import Probe, always_alive, cut, driver_of, force_close, release
from sqla_typedpool.pool.outage import Kind, classify

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


def dialect_of(driver: str) -> Any:
    pytest.importorskip(driver)
    return create_async_engine(URLS[driver].format(port=1)).dialect


# -------------------------------------------------------------------------------- rows


@by_driver
def test_every_driver_has_a_row(driver: str) -> None:
    assert driver_of(dialect_of(driver)) is not driver_of(None)


def test_a_driver_without_a_row_works_through_its_dialect_alone() -> None:
    for dialect in (
        None,
        SimpleNamespace(is_async=True, driver="brand_new"),
        create_engine("sqlite://").dialect,
    ):
        row = driver_of(dialect)
        assert row.probe(object()) is always_alive
        assert (row.ping, row.force, row.adapter, row.connect_timeout) == (None, None, "", "")
        assert row.descriptor(object()) == -1


ADAPTERS = {
    "asyncpg": "sqlalchemy.dialects.postgresql.asyncpg",
    "psycopg": "sqlalchemy.dialects.postgresql.psycopg",
}


@pytest.mark.parametrize("driver", ADAPTERS)
def test_the_adapter_that_a_ping_was_studied_on_exists(driver: str) -> None:
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
    row = driver_of(dialect_of(driver))
    try:
        known = CONNECTS[driver]()
    except ValueError:
        pytest.skip("a compiled class without a signature")
    assert row.connect_timeout in known


def test_a_file_needs_no_ping_and_has_nothing_to_cut() -> None:
    dialect = dialect_of("aiosqlite")
    row = driver_of(dialect)
    assert not row.needs_ping
    assert row.probe(object())() == Probe.ALIVE
    cut(dialect, SimpleNamespace(driver_connection=object()))


# ------------------------------------------------------------------------------- probes


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    try:
        yield ours, theirs
    finally:
        ours.close()
        theirs.close()


def a_dialect(driver: str) -> Any:
    """A dialect whose connections are what the driver's own would be."""
    return SimpleNamespace(
        is_async=True,
        driver=driver.removeprefix("older "),
        get_driver_connection=lambda connection: connection,
    )


async def on_streams(ours: socket.socket) -> Any:
    """What aiomysql and older versions of asyncmy read and write with."""
    reader, writer = await asyncio.open_connection(sock=ours)
    return SimpleNamespace(_reader=reader, _writer=writer, close=writer.transport.close)


async def on_protocol(ours: socket.socket) -> Any:
    """What newer versions of asyncmy read and write with."""
    module = pytest.importorskip("asyncmy.connection")
    if not hasattr(module, "_MySQLProtocol"):
        pytest.skip("an older asyncmy")
    loop = asyncio.get_running_loop()
    protocol = module._MySQLProtocol(loop)
    transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
    return SimpleNamespace(_proto=protocol, _transport=transport, close=transport.close)


SHAPES: dict[str, Callable[[socket.socket], Awaitable[Any]]] = {
    "aiomysql": on_streams,
    "asyncmy": on_protocol,
    "older asyncmy": on_streams,
}

by_shape = pytest.mark.parametrize("shape", SHAPES)


@by_shape
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_mysql_connection_is_alive_doubtful_or_dead_by_its_socket(shape: str, loop: str) -> None:
    async def main() -> None:
        with pair() as (ours, theirs):
            connection = await SHAPES[shape](ours)
            probe = driver_of(a_dialect(shape)).probe(connection)
            assert probe() == Probe.ALIVE
            theirs.send(b"unasked")
            assert probe() == Probe.DOUBTFUL  # in the socket
            await asyncio.sleep(0.02)
            assert probe() == Probe.DOUBTFUL  # in the driver's buffer
            theirs.close()
            await asyncio.sleep(0.02)
            assert probe() == Probe.DEAD  # also with last words unread
            connection.close()

    run_in(loop, main())


@by_shape
def test_an_end_the_loop_has_not_read_is_doubtful_and_a_close_of_ours_is_dead(shape: str) -> None:
    async def main() -> None:
        with pair() as (ours, theirs):
            connection = await SHAPES[shape](ours)
            probe = driver_of(a_dialect(shape)).probe(connection)
            theirs.shutdown(socket.SHUT_WR)
            assert probe() == Probe.DOUBTFUL
            connection.close()
            assert probe() == Probe.DEAD
            await asyncio.sleep(0)

    asyncio.run(main())


def test_a_psycopg_connection_is_alive_doubtful_or_dead_by_its_socket_and_libpq() -> None:
    with pair() as (ours, theirs):
        pgconn = SimpleNamespace(status=0)
        connection = SimpleNamespace(fileno=ours.fileno, pgconn=pgconn)
        probe = driver_of(a_dialect("psycopg")).probe(connection)
        assert probe() == Probe.ALIVE
        theirs.send(b"unasked")
        assert probe() == Probe.DOUBTFUL
        ours.recv(10)
        assert probe() == Probe.ALIVE
        theirs.close()
        assert probe() == Probe.DOUBTFUL
        ours.close()
        assert probe() == Probe.DEAD
        pgconn.status = 1
        assert probe() == Probe.DEAD


def test_asyncpg_is_asked_itself() -> None:
    connection = SimpleNamespace(is_closed=lambda: True)
    assert driver_of(a_dialect("asyncpg")).probe(connection)() == Probe.DEAD


# ------------------------------------------------------------------------ cut and force


def run_in(loop: str, main: Any) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop").run(main)
    else:
        asyncio.run(main)


@by_shape
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_cut_ends_what_waits_on_the_socket_and_leaves_closing_to_its_owner(
    shape: str, loop: str
) -> None:
    async def main() -> None:
        with pair() as (ours, theirs):
            connection = await SHAPES[shape](ours)
            row = driver_of(a_dialect(shape))
            probe = row.probe(connection)
            descriptor = row.descriptor(connection)
            cut(a_dialect(shape), connection)
            await asyncio.sleep(0.02)
            assert probe() == Probe.DEAD
            assert theirs.recv(1) == b""
            if shape != "asyncmy":  # whose protocol closes at the end of the stream
                os.fstat(descriptor)
            connection.close()
            await asyncio.sleep(0)
            cut(a_dialect(shape), connection)  # nothing left: no error

    run_in(loop, main())


@by_shape
def test_a_forced_close_waits_for_nobody(shape: str) -> None:
    async def main() -> None:
        with pair() as (ours, _theirs):
            connection = await SHAPES[shape](ours)
            transport = getattr(connection, "_transport", None) or connection._writer.transport
            descriptor = driver_of(a_dialect(shape)).descriptor(connection)
            transport.write(b"\x00" * 10_000_000)  # more than the other side takes
            force_close(a_dialect(shape), connection)
            await asyncio.sleep(0.02)
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(descriptor)

    asyncio.run(main())


@by_shape
def test_releasing_what_a_closed_loop_left_closes_the_socket_and_says_nothing(shape: str) -> None:
    with pair() as (ours, theirs), warnings.catch_warnings():
        warnings.simplefilter("error")
        loop = asyncio.new_event_loop()
        connection = loop.run_until_complete(SHAPES[shape](ours))
        loop.close()
        release(a_dialect(shape), connection)
        assert theirs.recv(1) == b""
        del connection
        gc.collect()


# ----------------------------------------------------------------------- connect errors


@asynccontextmanager
async def answering(answer: Any) -> AsyncIterator[int]:
    """A server that says one thing to everybody who connects; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0.01)


def mysql_error(number: int, state: str, words: str) -> Callable[[asyncio.StreamWriter], None]:
    """MySQL's error packet in place of a greeting."""
    body = b"\xff" + struct.pack("<H", number) + b"#" + state.encode() + words.encode()
    return lambda writer: writer.write(struct.pack("<I", len(body))[:3] + b"\x00" + body)


def postgres_error(state: str, words: str) -> Callable[[asyncio.StreamWriter], None]:
    """PostgreSQL's error message in place of an authentication request."""
    body = b"SFATAL\x00VFATAL\x00C" + state.encode() + b"\x00M" + words.encode() + b"\x00\x00"
    return lambda writer: writer.write(b"E" + struct.pack("!I", len(body) + 4) + body)


def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def error_of_connect(driver: str, answer: Any) -> BaseException:
    """What SQLAlchemy's creator raises when the server answers so; None = nobody listens."""
    pytest.importorskip(driver)

    async def main() -> BaseException:
        async with answering(answer or hang_up) as port:
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
    assert classify(error_of_connect(driver, None)) is Kind.TRANSIENT


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", *MYSQL])
def test_a_server_that_hangs_up_in_the_handshake_is_transient(driver: str) -> None:
    error = error_of_connect(driver, hang_up)
    assert classify(error) is Kind.TRANSIENT, repr(error)


@by_mysql
@pytest.mark.parametrize(
    ("number", "state", "words", "kind"),
    [
        (1040, "08004", "Too many connections", Kind.FULL),
        (1203, "42000", "already has more than 'max_user_connections'", Kind.FULL),
        (1226, "42000", "has exceeded the 'max_user_connections' resource", Kind.FULL),
        (1226, "42000", "has exceeded the 'max_queries_per_hour' resource", Kind.FATAL),
        (1045, "28000", "Access denied for user 'u'@'h' (using password: YES)", Kind.FATAL),
        (1049, "42000", "Unknown database 'd'", Kind.FATAL),
        (1044, "42000", "Access denied for user 'u'@'h' to database 'd'", Kind.FATAL),
        (1053, "08S01", "Server shutdown in progress", Kind.TRANSIENT),
        (1130, "HY000", "Host 'h' is not allowed to connect", Kind.FATAL),
        (1159, "08S01", "Got timeout reading communication packets", Kind.TRANSIENT),
        (1927, "70100", "Connection was killed", Kind.TRANSIENT),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_what_mysql_answers_is_judged_by_its_number_whatever_its_sqlstate(
    driver: str, number: int, state: str, words: str, kind: Kind
) -> None:
    error = error_of_connect(driver, mysql_error(number, state, words))
    assert error.args[0] == number
    assert classify(error) is kind


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
@pytest.mark.parametrize(
    ("state", "words", "kind"),
    [
        ("57P03", "the database system is starting up", Kind.TRANSIENT),
        ("57P03", "the database system is not yet accepting connections", Kind.TRANSIENT),
        ("57P01", "terminating connection due to administrator command", Kind.TRANSIENT),
        ("53300", "sorry, too many clients already", Kind.FULL),
        ("53300", "remaining connection slots are reserved for superusers", Kind.FULL),
        ("28P01", 'password authentication failed for user "u"', Kind.FATAL),
        ("28000", 'role "u" does not exist', Kind.FATAL),
        ("3D000", 'database "d" does not exist', Kind.FATAL),
    ],
    ids=lambda value: value.replace(" ", "-")[:24] if isinstance(value, str) else "",
)
def test_what_postgresql_answers_is_judged_by_sqlstate_or_words(
    driver: str, state: str, words: str, kind: Kind
) -> None:
    error = error_of_connect(driver, postgres_error(state, words))
    assert classify(error) is kind, repr(error)


def test_what_sqlite_says_is_nothing_to_wait_for() -> None:
    pytest.importorskip("aiosqlite")

    async def main() -> BaseException:
        engine = create_async_engine("sqlite+aiosqlite:////nowhere/at/all.db")
        try:
            await engine.connect()
        except Exception as error:
            return getattr(error, "orig", None) or error
        finally:
            await engine.dispose()
            await asyncio.sleep(0.05)  # aiosqlite's thread still speaks to the loop
        raise AssertionError("connected")

    error = asyncio.run(main())
    assert isinstance(error, sqlite3.OperationalError)
    assert classify(error) is Kind.FATAL
    assert classify(sqlite3.OperationalError("database is locked")) is Kind.FATAL


@by_mysql
def test_an_oserror_of_tls_is_fatal_though_the_driver_says_2003_of_it(driver: str) -> None:
    name = {"aiomysql": "pymysql.err", "asyncmy": "asyncmy.errors"}[driver]
    error = pytest.importorskip(name).OperationalError(2003, "Can't connect to MySQL server")
    error.__cause__ = ssl.SSLCertVerificationError("certificate verify failed")
    assert classify(error) is Kind.FATAL
    error.__cause__ = ConnectionResetError()
    assert classify(error) is Kind.TRANSIENT
