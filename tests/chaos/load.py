"""The clients: each runs small transactions in a loop and checks what a pool must guarantee."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError

from sqla_typedpool import TypedPool
from tests.chaos.expected_errors import Violation, is_expected, short_name, traceback_text
from tests.chaos.faults import ClientFaults
from tests.chaos.ledger import COMMITTED, UNKNOWN, Ledger
from tests.chaos.measurements import LongestDurations
from tests.support.clocks import LoopClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from tests.chaos.targets import Target

WORK_TIMEOUT = 1.5  # seconds a client allows for its statements; a pool cannot bound those
OWN_CURSORS = 0.3  # of all statements: those before which a listener uses its own cursor
CANCEL_AGAIN_AFTER = 0.5  # seconds; psycopg goes on waiting after the first cancel

INSERT = text("INSERT INTO ledger (id, token) VALUES (:id, :token)")
READ = text("SELECT id, token FROM ledger WHERE id = :id")


class Request:
    """One request of a client: its stage, and whether and why it was cancelled."""

    def __init__(self, clock: LoopClock) -> None:
        self._clock = clock
        self.task: asyncio.Task[None] | None = None
        self.stage = "checkout"
        self.cancelled_at: float | None = None
        self.cancelled_by = ""
        self._again: asyncio.TimerHandle | None = None

    def cancel(self, by: str) -> None:
        """Cancel the request, repeatedly until it has ended."""
        if self.task is None or self.task.done():
            return
        if self.cancelled_at is None:
            self.cancelled_at, self.cancelled_by = self._clock.now(), f"{by} in {self.stage}"
        self.task.cancel()
        self._again = self.task.get_loop().call_later(CANCEL_AGAIN_AFTER, self.cancel, by)

    def ended(self) -> None:
        """Stop cancelling: the request has ended."""
        if self._again is not None:
            self._again.cancel()


class Load(ClientFaults):
    """The clients of one engine, their results and the violations that they found."""

    def __init__(
        self,
        engine: AsyncEngine,
        target: Target,
        ledger: Ledger,
        seed: int,
        *,
        clients: int,
        log: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._target = target
        self._rng = random.Random(f"{seed} load")
        self._log = log
        self.ledger = ledger
        self.clock = LoopClock(self._check_limit)
        self.longest = LongestDurations()
        self.results: Counter[str] = Counter()
        self.violations: list[str] = []
        self.failed = asyncio.Event()
        self.blocked = 0.0
        self._token = f"{seed % 10**8}"
        self._numbers = itertools.count()
        self._requests: set[Request] = set()
        self._held: dict[int, tuple[Any, str]] = {}  # a stored connection keeps its id
        self._served_at = [0.0] * clients
        self._open = asyncio.Event()
        self._open.set()
        self._stopped = False
        self._leaks: set[asyncio.Task[None]] = set()
        event.listen(engine.sync_engine, "before_cursor_execute", self._use_own_cursor)
        self._clients = [
            asyncio.ensure_future(self._run_client(number)) for number in range(clients)
        ]

    # ------------------------------------------------------------------ for the run

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """The tasks of the clients."""
        return {*self._clients}

    @property
    def is_idle(self) -> bool:
        """Whether no request is running."""
        return not self._requests and not self._leaks

    def pause(self) -> None:
        """Start no new requests."""
        self._open.clear()

    def resume(self) -> None:
        """Start new requests again."""
        self._open.set()

    def all_served_since(self, moment: float) -> bool:
        """Whether every client has completed a request since then."""
        return min(self._served_at) >= moment

    async def stop(self) -> None:
        """Cancel all requests and end the clients."""
        self._stopped = True
        self._open.set()
        for request in list(self._requests):
            request.cancel("the end of the run")
        await asyncio.wait(self._clients, timeout=20)
        for client in self._clients:
            client.cancel()
        for result in await asyncio.gather(*self._clients, return_exceptions=True):
            if isinstance(result, Exception):
                self.add_violation(f"a client failed: {result!r}")
        self.clock.stop()

    def add_violation(self, what: str) -> None:
        """Add a violation, which ends the run."""
        if len(self.violations) < 20:
            self.violations.append(what)
            self._log(f"VIOLATION: {what.splitlines()[0]}")
        self.failed.set()

    # --------------------------------------------------------- faults of the clients

    def cancel_some(self, count: int) -> None:
        running = list(self._requests)
        for request in self._rng.sample(running, min(count, len(running))):
            request.cancel("a fault")

    def block(self, seconds: float) -> None:
        self.blocked += seconds
        time.sleep(seconds)

    def retire_all(self) -> None:
        TypedPool.of(self._engine).retire_all()

    def leak(self) -> None:
        task = asyncio.ensure_future(self._run(self._leak_connection))
        self._leaks.add(task)
        task.add_done_callback(self._leaks.discard)

    # ---------------------------------------------------------------------- clients

    async def _run_client(self, client: int) -> None:
        kinds = {
            self._write: 40,
            self._roll_back: 15,
            self._use_savepoint: 15,
            self._read: 20,
            self._hold: 10,
            self._begin_through_the_driver: 5,
        }
        if self._target.failing_commit is not None:
            kinds[self._fail_to_commit] = 5
        while not self._stopped:
            await self._open.wait()
            kind = self._rng.choices([*kinds], [*kinds.values()])[0]
            if await self._run(kind):
                self._served_at[client] = self.clock.now()
            await asyncio.sleep(self._rng.expovariate(25))

    async def _run(self, kind: Callable[[Request], Any]) -> bool:
        """Run a request in its own task, which can be cancelled; return whether it succeeded."""
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
        return self._record_result(kind.__name__.strip("_"), request)

    def _record_result(self, kind: str, request: Request) -> bool:
        task = request.task
        assert task is not None
        if request.cancelled_at is not None:
            self.longest.add("cancel", self.clock.now() - request.cancelled_at)
        if task.cancelled():
            self.results[f"cancelled by {request.cancelled_by}"] += 1
            if request.cancelled_at is None:
                self.add_violation(
                    f"{kind}: cancelled in {request.stage}, though no cancel was requested"
                )
            return False
        error = task.exception()
        if error is None:
            self.results["done"] += 1
            return True
        self.results[f"{short_name(error)} in {request.stage}"] += 1
        if not is_expected(error, request.stage):
            cancelled = f" (cancelled by {request.cancelled_by})" if request.cancelled_at else ""
            self.add_violation(
                f"{kind}: {error!r:.300} in {request.stage}{cancelled}\n{traceback_text(error)}"
            )
        return False

    # -------------------------------------------------------------- kinds of requests

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
            if self._rng.random() < 0.5:
                await connection.rollback()
                await self._read_back(connection, row, 0)
            # otherwise returning the connection rolls back

    async def _use_savepoint(self, request: Request) -> None:
        async with self._borrowed(request) as connection:
            row = self.ledger.open_pair()
            await self._insert(connection, row)
            savepoint = await connection.begin_nested()
            await self._insert(connection, row + 1)
            commits = self._rng.random() < 0.5
            await (savepoint.commit() if commits else savepoint.rollback())
            await self._read_back(connection, row + 1, int(commits))
            await self._commit(request, connection, row, *([row + 1] if commits else []))

    async def _read(self, request: Request) -> None:
        """Check that rows whose commits were acknowledged are stored with their tokens."""
        async with self._borrowed(request) as connection:
            # chosen before the first query: in MariaDB its snapshot also holds for the others
            rows = [self._rng.randrange(len(self.ledger) or 1) for _ in range(5)]
            rows = [row for row in rows if self.ledger.is_committed(row)]
            for row in rows:
                await self._read_back(connection, row, 1)

    async def _hold(self, request: Request) -> None:
        """Hold a connection for longer: while a statement runs, or in an idle transaction."""
        seconds = self._rng.uniform(0.01, 0.3)
        async with self._borrowed(request) as connection:
            if self._rng.random() < 0.5:
                await connection.execute(self._target.sleep_query, {"seconds": seconds})
            else:
                await asyncio.sleep(seconds)  # the rollback at the return may meet a silent server

    async def _begin_through_the_driver(self, request: Request) -> None:
        """Return a connection inside a transaction that SQLAlchemy does not know of."""
        async with self._borrowed(request) as connection:
            row = self.ledger.open_pair()
            await connection.rollback()  # from here on SQLAlchemy sees no transaction
            statements = ["BEGIN", "SAVEPOINT own"] if self._rng.random() < 0.5 else ["BEGIN"]
            insert = f"INSERT INTO ledger (id, token) VALUES ({row}, '{self._token_of(row)}')"
            driver = driver_connection(connection)
            try:
                await self._target.run_on_driver(driver, *statements, insert)
            except Exception as error:
                self._raise_if_alive(driver, error)

    async def _fail_to_commit(self, request: Request) -> None:
        """Commit what violates a deferred constraint: nothing of it may be stored."""
        assert self._target.failing_commit is not None
        async with self._borrowed(request) as connection:
            row = self.ledger.open_pair()
            await self._insert(connection, row)
            await connection.execute(self._target.failing_commit, {"id": row})
            request.stage = "commit"
            with suppress(IntegrityError):
                await connection.commit()
                raise Violation(f"row {row} was committed against a deferred constraint")

    async def _leak_connection(self, request: Request) -> None:
        """Leak a connection without closing it, mostly with a row that is never committed."""
        connection = await self._engine.connect()
        timer = self._limit_work(request)
        try:
            request.stage = "work"
            if self._rng.random() < 0.7:
                await self._insert(connection, self.ledger.open_pair())
        finally:
            timer.cancel()
            garbage: list[object] = [connection]
            garbage.append(garbage)

    # ---------------------------------------------------------------------- helpers

    def _use_own_cursor(self, connection: Any, *_: Any) -> None:
        """Do what listeners for row security do before a statement."""
        if self._rng.random() >= OWN_CURSORS:
            return
        fairy = connection.connection
        cursor = fairy.cursor()
        try:
            cursor.execute(self._target.own_statement)
        except Exception as error:
            self._raise_if_alive(fairy.driver_connection, error)
        finally:
            cursor.close()

    def _raise_if_alive(self, driver: Any, error: Exception) -> None:
        """Raise the error of a statement that SQLAlchemy has not seen, and so has not wrapped."""
        if self._target.is_closed(driver):
            raise ConnectionError("a statement outside SQLAlchemy has failed") from error
        raise error

    @asynccontextmanager
    async def _borrowed(self, request: Request) -> AsyncIterator[AsyncConnection]:
        """A checked connection; checkout and return are timed, the time between them is bounded."""
        started, connected = self.clock.now(), False
        try:
            async with self._engine.connect() as connection:
                connected = True
                self.longest.add("checkout", self.clock.now() - started)
                request.stage = "work"
                timer = self._limit_work(request)
                key = self._register(connection)
                try:
                    await self._check_connection(connection)
                    yield connection
                    request.stage = "return"
                finally:
                    self._held.pop(key, None)
                    timer.cancel()
                    started = self.clock.now()
            self.longest.add("return", self.clock.now() - started)
        finally:
            if not connected and request.cancelled_at is None:
                self.longest.add("checkout", self.clock.now() - started)

    def _limit_work(self, request: Request) -> asyncio.TimerHandle:
        """Cancel the request unless its work ends in time."""
        loop = asyncio.get_running_loop()
        return loop.call_later(WORK_TIMEOUT, request.cancel, "its timeout")

    def _register(self, connection: AsyncConnection) -> int:
        """Check that no other request holds this connection and that it is not closed."""
        driver = driver_connection(connection)
        if self._target.is_closed(driver):
            raise Violation(f"{driver!r} was already closed when it was handed out")
        if id(driver) in self._held:
            raise Violation(
                f"{driver!r} was handed out twice: {self._held[id(driver)][1]} holds it"
            )
        task = asyncio.current_task()
        self._held[id(driver)] = driver, task.get_name() if task else "?"
        return id(driver)

    async def _check_connection(self, connection: AsyncConnection) -> None:
        """Check that the result is of this query, and that no transaction or setting is left."""
        token = f"{self._token}?{next(self._numbers)}"
        (row,) = (await connection.execute(self._target.check_query, {"token": token})).all()
        answer, process, setting, transaction = row
        info = connection.sync_connection.info  # type: ignore[union-attr]
        if answer != token:
            raise Violation(f"queried {token}, received {answer}: the result of another query")
        if info.setdefault("process", process) != process:
            raise Violation(f"process {process} answers on a connection to {info['process']}")
        if setting:
            raise Violation(f"a SET LOCAL setting of another borrower: {setting}")
        if transaction is not None:
            raise Violation(f"handed out inside transaction {transaction}")
        await connection.execute(self._target.mark_query, {"token": token})

    async def _insert(self, connection: AsyncConnection, row: int) -> None:
        await connection.execute(INSERT, {"id": row, "token": self._token_of(row)})

    async def _read_back(self, connection: AsyncConnection, row: int, times: int) -> None:
        found = (await connection.execute(READ, {"id": row})).all()
        if [tuple(each) for each in found] != [(row, self._token_of(row))] * times:
            raise Violation(f"row {row} should be stored {times} times, found {found}")

    async def _commit(self, request: Request, connection: AsyncConnection, *rows: int) -> None:
        request.stage = "commit"
        self.ledger.set_outcome(UNKNOWN, rows)
        await connection.commit()
        self.ledger.set_outcome(COMMITTED, rows)

    def _token_of(self, row: int) -> str:
        return f"{self._token}#{row}"

    def _check_limit(self) -> None:
        stats = TypedPool.of(self._engine).stats()
        if stats.max is not None and stats.size > stats.max:
            self.add_violation(f"more connections than allowed: {stats}")


def driver_connection(connection: AsyncConnection) -> Any:
    """The connection object of the driver; no round trip is made."""
    assert connection.sync_connection is not None
    return connection.sync_connection.connection.driver_connection
