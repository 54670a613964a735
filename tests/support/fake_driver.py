"""A scripted fake driver, its dialect, and a ledger of everything that happened.

`Server` says how connections behave; `FakeConnection` is the driver's own connection;
`FakeAdapter` is what SQLAlchemy works with, built like its asyncio dialects are. Every operation
is a real await point.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, deque
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy.connectors.asyncio import AsyncAdapt_terminate
from sqlalchemy.dialects import registry
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from sqla_typedpool import TypedPool
from sqla_typedpool._sqlalchemy import await_only, greenlet_spawn
from sqla_typedpool.pool import drivers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

URL = "fakedb+fake://"


class Error(Exception):
    """The root of the fake driver's errors."""


class Disconnect(Error):
    """The connection is gone."""


class WrongPassword(Error):
    """Another try would fail alike."""

    sqlstate = "28P01"


class TooManyClients(Error):
    """The server has no connection to spare."""

    sqlstate = "53300"


class ReadOnly(Error):
    """An error that is no disconnect."""


def refused() -> Exception:
    """What a closed port answers."""
    return ConnectionRefusedError(111, "Connect call failed")


class _DBAPI:
    """The module that DB-API speaks of."""

    paramstyle = "qmark"
    Error = Error
    Warning = DatabaseError = OperationalError = InterfaceError = InternalError = Error
    ProgrammingError = IntegrityError = DataError = NotSupportedError = Error

    @staticmethod
    def Binary(value: bytes) -> bytes:  # noqa: N802 - the DB-API's name
        return value


@dataclass
class Connect:
    """How one connection attempt goes."""

    seconds: float = 0.0
    error: Callable[[], BaseException] | None = None
    silent: bool = False  # never an answer
    stubborn: float = 0.0  # seconds the driver ignores a cancellation
    and_then: Callable[[FakeConnection], None] | None = None  # what the connection is like


@dataclass(eq=False)
class Server:
    """The script of a server, and the ledger of what the pool did with it."""

    usual: Connect = field(default_factory=Connect)
    plan: deque[Connect] = field(default_factory=deque)  # the next attempts, before the usual
    connections: list[FakeConnection] = field(default_factory=list)  # ever opened
    attempts: list[float] = field(default_factory=list)  # when
    sockets: int = 0  # attempts under way and open connections
    most_sockets: int = 0
    keep_ledger: bool = True

    def script(self, *steps: Connect) -> Server:
        self.plan.extend(steps)
        return self

    @property
    def open(self) -> list[FakeConnection]:
        return [each for each in self.connections if not each.is_closed]

    def count(self, what: str) -> int:
        return sum(each.did[what] for each in self.connections)

    async def connect(self) -> FakeConnection:
        loop = asyncio.get_running_loop()
        self.attempts.append(loop.time())
        number = len(self.attempts)
        self.sockets += 1
        self.most_sockets = max(self.most_sockets, self.sockets)
        step = self.plan.popleft() if self.plan else self.usual
        try:
            await self._play(step, loop)
        except BaseException:
            self.sockets -= 1
            raise
        connection = FakeConnection(self, loop, number)
        if self.keep_ledger:
            self.connections.append(connection)
        if step.and_then is not None:
            step.and_then(connection)
        return connection

    async def _play(self, step: Connect, loop: asyncio.AbstractEventLoop) -> None:
        try:
            await asyncio.sleep(step.seconds)
            if step.silent:
                await loop.create_future()
        except asyncio.CancelledError:
            end = loop.time() + step.stubborn
            while loop.time() < end:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(end - loop.time())
            raise
        if step.error is not None:
            raise step.error()


class FakeConnection:
    """The driver's own connection: it opens, answers, hangs or dies as it is told."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop, number: int) -> None:
        self.server = server
        self.number = number
        self._loop = loop
        self.did: Counter[str] = Counter()
        self.slow: dict[str, float] = {}  # operation -> seconds
        self.hang: set[str] = set()  # operations that are never answered
        self.fails: dict[str, Callable[[], BaseException]] = {}
        self.is_dead = False  # the server has gone; the client learns it by asking
        self.is_closed = False
        self.verdict: drivers.Probe | None = None  # what a look at the socket tells
        self.born = loop.time()
        self.closed_at: float | None = None
        self._pair: tuple[socket.socket, socket.socket] | None = None
        self._silenced: set[asyncio.Future[None]] = set()

    def __repr__(self) -> str:
        return f"<fake connection {self.number}>"

    # ------------------------------------------------------------- operations

    async def ping(self) -> None:
        await self._do("ping")

    async def execute(self, sql: str = "select") -> None:
        await self._do("execute")

    async def commit(self) -> None:
        await self._do("commit")

    async def rollback(self) -> None:
        await self._do("rollback")

    async def close(self) -> None:
        """A farewell. A dead connection needs none; a cancelled one leaves the socket open."""
        if self.is_closed:
            return
        with suppress(Disconnect):
            await self._do("close")
        self._end()

    def abort(self) -> None:
        """No farewell: the socket is gone at once."""
        if not self.is_closed:
            self.did["abort"] += 1
            self._end()

    def die(self, *, seen: bool = False) -> None:
        """The server ends it; `seen`: a look at the socket tells."""
        self.is_dead = True
        if seen:
            self.verdict = drivers.Probe.DEAD

    def probe(self) -> int:
        if self.verdict is not None:
            return self.verdict
        return drivers.Probe.DEAD if self.is_closed else drivers.Probe.ALIVE

    async def _do(self, what: str) -> None:
        self.did[what] += 1
        self._fail_if_gone()
        await asyncio.sleep(self.slow.get(what, 0.0))
        if what in self.hang:
            await self._silence()
        self._fail_if_gone()
        if what in self.fails:
            raise self.fails[what]()

    def _fail_if_gone(self) -> None:
        if self.is_closed or self.is_dead or self._was_cut():
            raise Disconnect("the connection is gone")

    # ----------------------------------------------------------------- socket

    def fileno(self) -> int:
        """A real descriptor: the pool may shut a duplicate of it down."""
        if self.is_closed:
            return -1
        return self._sockets()[0].fileno()

    def _sockets(self) -> tuple[socket.socket, socket.socket]:
        if self._pair is None:
            self._pair = socket.socketpair()
            for each in self._pair:
                each.setblocking(False)
        return self._pair

    def _was_cut(self) -> bool:
        if self._pair is None:
            return False
        try:
            return self._pair[0].recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False

    async def _silence(self) -> None:
        """No answer until somebody cuts the socket."""
        ours = self._sockets()[0]
        future = self._loop.create_future()
        self._silenced.add(future)
        self._loop.add_reader(ours, self._wake)
        try:
            await future
        finally:
            self._silenced.discard(future)
            if ours.fileno() >= 0:
                self._loop.remove_reader(ours)

    def _wake(self) -> None:
        for future in self._silenced:
            if not future.done():
                future.set_result(None)

    def _end(self) -> None:
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
    """What SQLAlchemy's dialects make of a driver's connection."""

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
    """An asyncio dialect of a database that does not exist."""

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

ROW = drivers.Driver(
    probe=lambda connection: connection.probe,
    ping_opens_transaction=False,
    descriptor=lambda connection: connection.fileno(),
    connect_timeout="connect_timeout",
)
drivers._DRIVERS["fake"] = ROW

# ------------------------------------------------------------------ for the tests


def new_dialect(driver: str = "fake") -> FakeDialect:
    """A dialect of its own; with an unknown driver the pool knows no shortcut for it."""
    dialect = FakeDialect(dbapi=_DBAPI)  # type: ignore[arg-type]
    dialect.driver = driver
    return dialect


def new_pool(
    server: Server, *, kind: type[Any] = TypedPool, driver: str = "fake", **options: Any
) -> Any:
    """A pool on this server, with no engine around it."""
    dialect = new_dialect(driver)
    return kind(lambda: dialect.connect(server=server), dialect=dialect, **options)


def new_engine(server: Server, **options: Any) -> AsyncEngine:
    """An engine on this server; `connect_args` may be added to."""
    arguments = {"server": server, **options.pop("connect_args", {})}
    options.setdefault("poolclass", TypedPool)
    return create_async_engine(URL, connect_args=arguments, **options)


async def borrow(pool: Any) -> Any:
    """Check a connection out, as an engine does."""
    return await greenlet_spawn(pool.connect)


async def give(fairy: Any) -> None:
    """Return it, as an engine does."""
    await greenlet_spawn(fairy.close)


@asynccontextmanager
async def borrowed(pool: Any) -> AsyncIterator[Any]:
    fairy = await borrow(pool)
    try:
        yield fairy
    finally:
        await give(fairy)


async def use(pool: Any, seconds: float = 0.0) -> FakeConnection:
    """Check out, hold for a while, return; answers with the connection it was."""
    async with borrowed(pool) as fairy:
        connection = driver_of(fairy)
        await asyncio.sleep(seconds)
    return connection


def driver_of(fairy: Any) -> FakeConnection:
    connection = fairy.driver_connection
    assert isinstance(connection, FakeConnection)
    return connection


async def open_idle(pool: Any, count: int) -> list[FakeConnection]:
    """Have so many idle connections in the pool; the one returned last comes last."""
    fairies = [await borrow(pool) for _ in range(count)]
    connections = [driver_of(fairy) for fairy in fairies]
    for fairy in fairies:
        await give(fairy)
    return connections


def dispose(pool: Any) -> Any:
    return greenlet_spawn(pool.dispose)


def house(pool: Any) -> Any:
    """The running loop's part of the pool, for tests that look inside."""
    return pool.houses.here()


def counters(pool: Any) -> dict[str, int]:
    """Everything the pool counts but the idle ones; "busy" is validating or closing."""
    stats = pool.stats()
    return {
        "in_use": stats.in_use,
        "connecting": stats.connecting,
        "busy": stats.size - stats.idle - stats.in_use - stats.connecting,
        "waiting": stats.waiting,
    }


def assert_at_rest(pool: Any, server: Server) -> None:
    """Nothing is in use or under way, and no connection exists that the pool does not know."""
    assert set(counters(pool).values()) == {0}, counters(pool)
    idle = pool.stats().idle
    assert server.sockets == idle, f"{server.sockets} sockets, {idle} idle"
    assert len(server.open) == idle
    assert pool.checkedout() == 0


async def assert_serves_in_full(pool: Any, server: Server, size: int) -> None:
    """So many connections are to be had at once, and no more than that many sockets exist."""
    fairies = await asyncio.wait_for(asyncio.gather(*(borrow(pool) for _ in range(size))), 5)
    assert server.sockets == size
    for fairy in fairies:
        await give(fairy)
    assert server.most_sockets <= size
