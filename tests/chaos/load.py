"""The clients: small transactions without end, each check of what a pool may never do in them."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from sqla_typedpool import TypedPool
from tests.chaos.faults import Victims
from tests.chaos.gauges import Longest
from tests.chaos.ledger import COMMITTED, EITHER, Ledger
from tests.chaos.verdicts import Broken, is_expected, name_of, told_of
from tests.support.clocks import LoopClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from tests.chaos.sides import Side

PATIENCE = 1.5  # seconds that a client grants its statements; no pool can bound those
INSISTS = 0.5  # seconds after which it cancels again: psycopg waits on after the first time

INSERT = text("INSERT INTO ledger (id, token) VALUES (:id, :token)")
READ = text("SELECT id, token FROM ledger WHERE id = :id")


class Request:
    """One client's way through the pool, and what has been done to it."""

    def __init__(self, clock: LoopClock) -> None:
        self._clock = clock
        self.task: asyncio.Task[None] | None = None
        self.stage = "checkout"
        self.cancelled_at: float | None = None
        self.cancelled_by = ""
        self._again: asyncio.TimerHandle | None = None

    def cancel(self, by: str) -> None:
        """Cancel, and go on cancelling until it has ended."""
        if self.task is None or self.task.done():
            return
        if self.cancelled_at is None:
            self.cancelled_at, self.cancelled_by = self._clock.now(), f"{by} in {self.stage}"
        self.task.cancel()
        self._again = self.task.get_loop().call_later(INSISTS, self.cancel, by)

    def ended(self) -> None:
        if self._again is not None:
            self._again.cancel()


class Load(Victims):
    """So many clients of one engine, and what they have found."""

    def __init__(
        self,
        engine: AsyncEngine,
        side: Side,
        ledger: Ledger,
        seed: int,
        *,
        clients: int,
        note: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._side = side
        self._dice = random.Random(f"{seed} load")
        self._note = note
        self.ledger = ledger
        self.clock = LoopClock(self._look_at_limit)
        self.longest = Longest()
        self.ends: Counter[str] = Counter()
        self.broken: list[str] = []
        self.failed = asyncio.Event()
        self.blocked = 0.0
        self._token = f"{seed % 10**8}"
        self._numbers = itertools.count()
        self._requests: set[Request] = set()
        self._held: dict[int, tuple[Any, str]] = {}  # the connection too, or its id is used again
        self._served_at = [0.0] * clients
        self._open = asyncio.Event()
        self._open.set()
        self._stopped = False
        self._leaks: set[asyncio.Task[None]] = set()
        self._clients = [asyncio.ensure_future(self._live(number)) for number in range(clients)]

    # -------------------------------------------------------------------- the trial

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """The tasks that are the test's own."""
        return {*self._clients}

    @property
    def parked(self) -> bool:
        return not self._requests and not self._leaks

    def park(self) -> None:
        """Begin no new request."""
        self._open.clear()

    def unpark(self) -> None:
        self._open.set()

    def everybody_served_since(self, moment: float) -> bool:
        return min(self._served_at) >= moment

    async def stop(self) -> None:
        self._stopped = True
        self._open.set()
        for request in list(self._requests):
            request.cancel("the end")
        await asyncio.wait(self._clients, timeout=20)
        for client in self._clients:
            client.cancel()
        for end in await asyncio.gather(*self._clients, return_exceptions=True):
            if isinstance(end, Exception):
                self.breaks(f"a client failed: {end!r}")
        self.clock.stop()

    def breaks(self, what: str) -> None:
        """Note what may never be; the trial ends with it."""
        if len(self.broken) < 20:
            self.broken.append(what)
            self._note(f"BROKEN: {what.splitlines()[0]}")
        self.failed.set()

    # ---------------------------------------------------- what is done to the clients

    def cancel_some(self, count: int) -> None:
        running = list(self._requests)
        for request in self._dice.sample(running, min(count, len(running))):
            request.cancel("chaos")

    def block(self, seconds: float) -> None:
        self.blocked += seconds
        time.sleep(seconds)

    def retire_all(self) -> None:
        TypedPool.of(self._engine).retire_all()

    def leak(self) -> None:
        task = asyncio.ensure_future(self._run(self._lose_connection))
        self._leaks.add(task)
        task.add_done_callback(self._leaks.discard)

    # ---------------------------------------------------------------------- clients

    async def _live(self, client: int) -> None:
        kinds = (self._write, self._roll_back, self._nest, self._read, self._linger)
        while not self._stopped:
            await self._open.wait()
            kind = self._dice.choices(kinds, (40, 15, 15, 20, 10))[0]
            if await self._run(kind):
                self._served_at[client] = self.clock.now()
            await asyncio.sleep(self._dice.expovariate(25))

    async def _run(self, kind: Callable[[Request], Any]) -> bool:
        """One request, in a task of its own that can be cancelled; whether it succeeded."""
        if self._stopped:
            return False
        request = Request(self.clock)
        request.task = asyncio.ensure_future(kind(request))
        self._requests.add(request)
        try:
            await asyncio.wait({request.task})
        finally:
            request.ended()
            self._requests.discard(request)
        return self._judge(kind.__name__.strip("_"), request)

    def _judge(self, kind: str, request: Request) -> bool:
        task = request.task
        assert task is not None
        if request.cancelled_at is not None:
            self.longest.add("cancel", self.clock.now() - request.cancelled_at)
        if task.cancelled():
            self.ends[f"cancelled by {request.cancelled_by}"] += 1
            if request.cancelled_at is None:
                self.breaks(f"{kind}: cancelled in {request.stage}, and nobody had asked for it")
            return False
        error = task.exception()
        if error is None:
            self.ends["done"] += 1
            return True
        self.ends[f"{name_of(error)} in {request.stage}"] += 1
        if not is_expected(error, request.stage):
            asked = f" (cancelled by {request.cancelled_by})" if request.cancelled_at else ""
            self.breaks(f"{kind}: {error!r:.300} in {request.stage}{asked}\n{told_of(error)}")
        return False

    # ----------------------------------------------------------------- what they do

    async def _write(self, request: Request) -> None:
        async with self._borrowed(request) as connection:
            row = self.ledger.open_pair()
            await self._insert(connection, row)
            await self._read_back(connection, row, 1)
            await self._commit(request, connection, row)

    async def _roll_back(self, request: Request) -> None:
        async with self._borrowed(request) as connection:
            row = self.ledger.open_pair()
            await self._insert(connection, row)
            if self._dice.random() < 0.5:
                await connection.rollback()
                await self._read_back(connection, row, 0)
            # else the return of the connection rolls back

    async def _nest(self, request: Request) -> None:
        async with self._borrowed(request) as connection:
            row = self.ledger.open_pair()
            await self._insert(connection, row)
            savepoint = await connection.begin_nested()
            await self._insert(connection, row + 1)
            keeps = self._dice.random() < 0.5
            await (savepoint.commit() if keeps else savepoint.rollback())
            await self._read_back(connection, row + 1, int(keeps))
            await self._commit(request, connection, row, *([row + 1] if keeps else []))

    async def _read(self, request: Request) -> None:
        """Rows of others whose commits were acknowledged: they are there, with their tokens."""
        async with self._borrowed(request) as connection:
            # all chosen first: MariaDB shows the state of the first question to all that follow
            rows = [self._dice.randrange(len(self.ledger) or 1) for _ in range(5)]
            rows = [row for row in rows if self.ledger.knows(row)]
            for row in rows:
                await self._read_back(connection, row, 1)

    async def _linger(self, request: Request) -> None:
        """Keep a connection for longer: while the server works, or within an idle transaction."""
        seconds = self._dice.uniform(0.01, 0.3)
        async with self._borrowed(request) as connection:
            if self._dice.random() < 0.5:
                await connection.execute(self._side.sleep, {"seconds": seconds})
            else:
                await asyncio.sleep(seconds)  # and then the rollback of the return may meet silence

    async def _lose_connection(self, request: Request) -> None:
        """Drop a connection that nobody closes, mostly with a row that nobody commits."""
        connection = await self._engine.connect()
        patience = self._grant(request)
        try:
            request.stage = "work"
            if self._dice.random() < 0.7:
                await self._insert(connection, self.ledger.open_pair())
        finally:
            patience.cancel()
            garbage: list[object] = [connection]
            garbage.append(garbage)

    # ----------------------------------------------------------------------- pieces

    @asynccontextmanager
    async def _borrowed(self, request: Request) -> AsyncIterator[AsyncConnection]:
        """A connection, looked at first; both ways are timed, and the time with it is bounded."""
        begun, arrived = self.clock.now(), False
        try:
            async with self._engine.connect() as connection:
                arrived = True
                self.longest.add("checkout", self.clock.now() - begun)
                request.stage = "work"
                patience = self._grant(request)
                held = self._note_held(connection)
                try:
                    await self._look(connection)
                    yield connection
                    request.stage = "return"
                finally:
                    self._held.pop(held, None)
                    patience.cancel()
                    begun = self.clock.now()
            self.longest.add("return", self.clock.now() - begun)
        finally:
            if not arrived and request.cancelled_at is None:
                self.longest.add("checkout", self.clock.now() - begun)

    def _grant(self, request: Request) -> asyncio.TimerHandle:
        """The time with the connection is bounded from now on."""
        loop = asyncio.get_running_loop()
        return loop.call_later(PATIENCE, request.cancel, "patience")

    def _note_held(self, connection: AsyncConnection) -> int:
        """Nobody else may hold it, and it must not be known to be dead."""
        driver = driver_connection(connection)
        if self._side.is_closed(driver):
            raise Broken(f"{driver!r} was closed already when it was handed out")
        if id(driver) in self._held:
            raise Broken(f"{driver!r} was given to two: {self._held[id(driver)][1]} has it")
        task = asyncio.current_task()
        self._held[id(driver)] = driver, task.get_name() if task else "?"
        return id(driver)

    async def _look(self, connection: AsyncConnection) -> None:
        """The answer is to this question, by this server process, and nothing is left over."""
        token = f"{self._token}?{next(self._numbers)}"
        (row,) = (await connection.execute(self._side.look, {"token": token})).all()
        answer, process, setting, transaction = row
        info = connection.sync_connection.info  # type: ignore[union-attr]
        if answer != token:
            raise Broken(f"asked for {token}, answered {answer}: another's row")
        if info.setdefault("process", process) != process:
            raise Broken(f"a connection to {info['process']} is answered by {process}")
        if setting:
            raise Broken(f"SET LOCAL of another borrower: {setting}")
        if transaction is not None:
            raise Broken(f"handed out within transaction {transaction}")
        await connection.execute(self._side.mark, {"token": token})

    async def _insert(self, connection: AsyncConnection, row: int) -> None:
        await connection.execute(INSERT, {"id": row, "token": self._token_of(row)})

    async def _read_back(self, connection: AsyncConnection, row: int, times: int) -> None:
        found = (await connection.execute(READ, {"id": row})).all()
        if [tuple(each) for each in found] != [(row, self._token_of(row))] * times:
            raise Broken(f"row {row} should be there {times} times, found {found}")

    async def _commit(self, request: Request, connection: AsyncConnection, *rows: int) -> None:
        request.stage = "commit"
        self.ledger.note(EITHER, rows)
        await connection.commit()
        self.ledger.note(COMMITTED, rows)

    def _token_of(self, row: int) -> str:
        return f"{self._token}#{row}"

    def _look_at_limit(self) -> None:
        pool = TypedPool.of(self._engine)
        if pool.stats().size > pool.limits.most:
            self.breaks(f"more connections than allowed: {pool.stats()}")


def driver_connection(connection: AsyncConnection) -> Any:
    """The driver's own connection, without a round trip."""
    assert connection.sync_connection is not None
    return connection.sync_connection.connection.driver_connection
