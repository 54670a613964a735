"""A scripted fake driver with its dialect, and a ledger of every operation.

`Server` defines the results of connection attempts; `FakeConnection` is the connection of the
driver; `FakeAdapter` wraps it as the asyncio dialects of SQLAlchemy do. Every operation is a real
await point. The internals of the pool that tests use are in this file: `loop_pool`, `change_driver`
and `SUSPECT`.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, deque
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy.connectors.asyncio import AsyncAdapt_terminate
from sqlalchemy.dialects import registry
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from sqla_typedpool import TypedPool
from sqla_typedpool._sqlalchemy.greenlets import await_only, greenlet_spawn
from sqla_typedpool.pool.drivers import registry as driver_registry
from sqla_typedpool.pool.drivers.base import Driver, Probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

URL = "fakedb+fake://"


class Error(Exception):
    """The base class of the fake driver's errors."""


class Disconnect(Error):
    """The connection is lost."""


class WrongPassword(Error):
    """A connect error that another attempt would only repeat."""

    sqlstate = "28P01"


class TooManyClients(Error):
    """The connect error of a server at its connection limit."""

    sqlstate = "53300"


class ReadOnly(Error):
    """An error that is not a disconnect."""


def refused() -> Exception:
    """The error of a connect to a closed port."""
    return ConnectionRefusedError(111, "Connect call failed")


class _DBAPI:
    """The DB-API module of the fake driver."""

    paramstyle = "qmark"
    Error = Error
    Warning = DatabaseError = OperationalError = InterfaceError = InternalError = Error
    ProgrammingError = IntegrityError = DataError = NotSupportedError = Error

    @staticmethod
    def Binary(value: bytes) -> bytes:  # noqa: N802 - the name in the DB-API
        return value


@dataclass
class Connect:
    """The result of one connection attempt."""

    seconds: float = 0.0
    error: Callable[[], BaseException] | None = None
    silent: bool = False  # the server never answers
    ignores_cancel_for: float = 0.0  # seconds for which the driver ignores a cancellation
    on_open: Callable[[FakeConnection], None] | None = None  # called with the new connection


@dataclass(eq=False)
class Server:
    """The script of a server, and the ledger of what the pool did with it."""

    usual: Connect = field(default_factory=Connect)
    plan: deque[Connect] = field(default_factory=deque)  # the next attempts; then `usual`
    connections: list[FakeConnection] = field(default_factory=list)  # all that were opened
    attempts: list[float] = field(default_factory=list)  # the start time of each attempt
    sockets: int = 0  # attempts in progress and open connections
    peak_sockets: int = 0
    keep_ledger: bool = True

    def script(self, *steps: Connect) -> Server:
        self.plan.extend(steps)
        return self

    @property
    def open(self) -> list[FakeConnection]:
        return [each for each in self.connections if not each.is_closed]

    def count(self, operation: str) -> int:
        """How often this operation was called, on all connections together."""
        return sum(each.calls[operation] for each in self.connections)

    async def connect(self) -> FakeConnection:
        loop = asyncio.get_running_loop()
        self.attempts.append(loop.time())
        number = len(self.attempts)
        self.sockets += 1
        self.peak_sockets = max(self.peak_sockets, self.sockets)
        step = self.plan.popleft() if self.plan else self.usual
        try:
            await self._play(step, loop)
        except BaseException:
            self.sockets -= 1
            raise
        connection = FakeConnection(self, loop, number)
        if self.keep_ledger:
            self.connections.append(connection)
        if step.on_open is not None:
            step.on_open(connection)
        return connection

    async def _play(self, step: Connect, loop: asyncio.AbstractEventLoop) -> None:
        try:
            await asyncio.sleep(step.seconds)
            if step.silent:
                await loop.create_future()
        except asyncio.CancelledError:
            end = loop.time() + step.ignores_cancel_for
            while loop.time() < end:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(end - loop.time())
            raise
        if step.error is not None:
            raise step.error()


class FakeConnection:
    """The connection of the driver. Tests set how its operations go."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop, number: int) -> None:
        self.server = server
        self.number = number
        self._loop = loop
        self.calls: Counter[str] = Counter()
        self.slow: dict[str, float] = {}  # operation -> seconds
        self.hang: set[str] = set()  # operations that are never answered
        self.fails: dict[str, Callable[[], BaseException]] = {}
        self.is_dead = False  # the server has closed it; the next operation fails
        self.is_closed = False
        self.probe_result: Probe | None = None  # of the local probe; None = by the state
        self.in_transaction = False  # the driver's own state; a rollback that succeeds ends it
        self.opened_at = loop.time()
        self.closed_at: float | None = None
        self._pair: tuple[socket.socket, socket.socket] | None = None
        self._hanging: set[asyncio.Future[None]] = set()

    def __repr__(self) -> str:
        return f"<fake connection {self.number}>"

    # ------------------------------------------------------------- operations

    async def ping(self) -> None:
        await self._run("ping")

    async def execute(self, sql: str = "select") -> None:
        await self._run("execute")

    async def commit(self) -> None:
        await self._run("commit")

    async def rollback(self) -> None:
        await self._run("rollback")
        self.in_transaction = False

    async def close(self) -> None:
        """Close gracefully. A dead connection closes at once; a cancelled close leaves it open."""
        if self.is_closed:
            return
        with suppress(Disconnect):
            await self._run("close")
        self._close()

    def abort(self) -> None:
        """Close the socket at once."""
        if not self.is_closed:
            self.calls["abort"] += 1
            self._close()

    def die(self, *, seen_by_probe: bool = False) -> None:
        """The server closes the connection; the local probe reports it if `seen_by_probe`."""
        self.is_dead = True
        if seen_by_probe:
            self.probe_result = Probe.DEAD

    def probe(self) -> int:
        if self.probe_result is not None:
            return self.probe_result
        if self.is_closed:
            return Probe.DEAD
        return Probe.IN_TRANSACTION if self.in_transaction else Probe.ALIVE

    async def _run(self, operation: str) -> None:
        self.calls[operation] += 1
        self._raise_if_lost()
        await asyncio.sleep(self.slow.get(operation, 0.0))
        if operation in self.hang:
            await self._wait_for_shutdown()
        self._raise_if_lost()
        if operation in self.fails:
            raise self.fails[operation]()

    def _raise_if_lost(self) -> None:
        if self.is_closed or self.is_dead or self._is_shut_down():
            raise Disconnect("the connection is lost")

    # ----------------------------------------------------------------- socket

    def fileno(self) -> int:
        """A real descriptor: the pool may shut down a duplicate of it."""
        if self.is_closed:
            return -1
        return self._sockets()[0].fileno()

    def _sockets(self) -> tuple[socket.socket, socket.socket]:
        if self._pair is None:
            self._pair = socket.socketpair()
            for each in self._pair:
                each.setblocking(False)
        return self._pair

    def _is_shut_down(self) -> bool:
        if self._pair is None:
            return False
        try:
            return self._pair[0].recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False

    async def _wait_for_shutdown(self) -> None:
        """Wait until the socket is shut down or closed."""
        ours = self._sockets()[0]
        future = self._loop.create_future()
        self._hanging.add(future)
        self._loop.add_reader(ours, self._wake)
        try:
            await future
        finally:
            self._hanging.discard(future)
            if ours.fileno() >= 0:
                self._loop.remove_reader(ours)

    def _wake(self) -> None:
        for future in self._hanging:
            if not future.done():
                future.set_result(None)

    def _close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self.closed_at = self._loop.time()
        self.server.sockets -= 1
        self._wake()
        if self._pair is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._pair[0])
            for each in self._pair:
                each.close()
            self._pair = None


class FakeCursor:
    description = None
    rowcount = 0
    arraysize = 1
    lastrowid = 0

    def __init__(self, connection: FakeConnection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Any = ()) -> None:
        await_only(self._connection.execute(sql))

    def fetchall(self) -> list[Any]:
        return []

    def close(self) -> None:
        pass

    async def _async_soft_close(self) -> None:
        pass


class FakeAdapter(AsyncAdapt_terminate, AdaptedConnection):
    """The connection as an asyncio dialect of SQLAlchemy presents it."""

    await_ = staticmethod(await_only)

    def __init__(self, connection: FakeConnection) -> None:
        self._connection: Any = connection

    def __repr__(self) -> str:
        return f"<adapter of {self._connection!r}>"

    def cursor(self, *args: Any, **kwargs: Any) -> FakeCursor:
        return FakeCursor(self._connection)

    def ping(self) -> None:
        await_only(self._connection.ping())

    def commit(self) -> None:
        await_only(self._connection.commit())

    def rollback(self) -> None:
        await_only(self._connection.rollback())

    def close(self) -> None:
        await_only(self._connection.close())

    def _terminate_handled_exceptions(self) -> Any:
        return (*super()._terminate_handled_exceptions(), Error)

    async def _terminate_graceful_close(self) -> None:
        await asyncio.wait_for(self._connection.close(), 2)

    def _terminate_force_close(self) -> None:
        self._connection.abort()


class FakeDialect(DefaultDialect):
    """The asyncio dialect of the fake driver."""

    name = "fakedb"
    driver = "fake"
    is_async = True
    has_terminate = True
    supports_statement_cache = True
    supports_native_boolean = True

    @classmethod
    def import_dbapi(cls) -> Any:
        return _DBAPI

    @classmethod
    def get_pool_class(cls, url: Any) -> Any:
        return AsyncAdaptedQueuePool

    def create_connect_args(self, url: Any) -> Any:
        return [], {}

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        server: Server = kwargs["server"]
        return FakeAdapter(await_only(server.connect()))

    def initialize(self, connection: Any) -> None:
        pass

    def do_ping(self, dbapi_connection: Any) -> bool:
        dbapi_connection.ping()
        return True

    def do_terminate(self, dbapi_connection: Any) -> None:
        dbapi_connection.terminate()

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        return isinstance(e, Disconnect)

    def get_driver_connection(self, connection: Any) -> Any:
        return connection._connection


registry.register("fakedb.fake", __name__, "FakeDialect")

# ------------------------------------------------------- the inside of the pool


class FakeDriver(Driver):
    """The `Driver` of the fake driver."""

    dialect_ping_opens_transaction = False
    adapter = "FakeAdapter"
    can_abort = True
    connect_timeout_argument = "connect_timeout"

    def make_probe(self, connection: Any) -> Callable[[], int]:
        return connection.probe  # type: ignore[no-any-return]

    def make_transaction_check(self, connection: Any) -> Callable[[], bool]:
        return partial(getattr, connection, "in_transaction")

    def descriptor(self, connection: Any) -> int:
        return connection.fileno()  # type: ignore[no-any-return]


driver_registry._DRIVERS["fake"] = FakeDriver()

SUSPECT = Probe.SUSPECT


def change_driver(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Change attributes and methods of the fake driver's `Driver` for one test."""
    changed = type("ChangedDriver", (FakeDriver,), changes)()
    monkeypatch.setitem(driver_registry._DRIVERS, "fake", changed)


def loop_pool(pool: Any) -> Any:
    """The part of the pool that belongs to the running event loop."""
    return pool.loops.current()


# ------------------------------------------------------------ pools and engines


def new_dialect(driver: str = "fake") -> FakeDialect:
    """A dialect; with an unknown driver name the pool works through the dialect alone."""
    dialect = FakeDialect(dbapi=_DBAPI)  # type: ignore[arg-type]
    dialect.driver = driver
    return dialect


def new_pool(
    server: Server, *, poolclass: type[Any] = TypedPool, driver: str = "fake", **options: Any
) -> Any:
    """A pool on this server, without an engine."""
    dialect = new_dialect(driver)
    return poolclass(lambda: dialect.connect(server=server), dialect=dialect, **options)


def new_engine(server: Server, **options: Any) -> AsyncEngine:
    """An engine on this server."""
    arguments = {"server": server, **options.pop("connect_args", {})}
    options.setdefault("poolclass", TypedPool)
    return create_async_engine(URL, connect_args=arguments, **options)


async def borrow(pool: Any) -> Any:
    """Check out a connection, as an engine does."""
    return await greenlet_spawn(pool.connect)


async def give_back(fairy: Any) -> None:
    """Return a connection to its pool, as an engine does."""
    await greenlet_spawn(fairy.close)


@asynccontextmanager
async def borrowed(pool: Any) -> AsyncIterator[Any]:
    fairy = await borrow(pool)
    try:
        yield fairy
    finally:
        await give_back(fairy)


async def use(pool: Any, seconds: float = 0.0) -> FakeConnection:
    """Check out a connection, hold it for some seconds and return it to the pool."""
    async with borrowed(pool) as fairy:
        connection = driver_of(fairy)
        await asyncio.sleep(seconds)
    return connection


def driver_of(fairy: Any) -> FakeConnection:
    """The driver's connection behind the proxy that the pool hands out."""
    connection = fairy.driver_connection
    assert isinstance(connection, FakeConnection)
    return connection


async def open_idle(pool: Any, count: int) -> list[FakeConnection]:
    """Open so many idle connections. The last in the list was returned last."""
    fairies = [await borrow(pool) for _ in range(count)]
    connections = [driver_of(fairy) for fairy in fairies]
    for fairy in fairies:
        await give_back(fairy)
    return connections


def dispose(pool: Any) -> Any:
    return greenlet_spawn(pool.dispose)


def counters(pool: Any) -> dict[str, int]:
    """What the pool counts besides idle connections; "busy" means validating or closing."""
    stats = pool.stats()
    return {
        "in_use": stats.in_use,
        "connecting": stats.connecting,
        "busy": stats.size - stats.idle - stats.in_use - stats.connecting,
        "waiting": stats.waiting,
    }


def assert_only_idle(pool: Any, server: Server) -> None:
    """Check that all connections are idle in the pool, and that no task waits or connects."""
    assert set(counters(pool).values()) == {0}, counters(pool)
    idle = pool.stats().idle
    assert server.sockets == idle, f"{server.sockets} sockets, {idle} idle"
    assert len(server.open) == idle
    assert pool.checkedout() == 0


async def assert_full_capacity(pool: Any, server: Server, size: int) -> None:
    """So many connections can be checked out at once, and there were never more sockets."""
    fairies = await asyncio.wait_for(asyncio.gather(*(borrow(pool) for _ in range(size))), 5)
    assert server.sockets == size
    for fairy in fairies:
        await give_back(fairy)
    assert server.peak_sockets <= size
