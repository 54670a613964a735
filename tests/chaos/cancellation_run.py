"""Requests of all kinds, cancelled at random moments: no session may carry over what they did."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from sqla_typedpool import StatementTimeout, TypedPool
from tests.chaos.cancelled_work import LONG, CancelledRequest, Work, WrongAnswer
from tests.chaos.chaos_run import ASYNCPG_CONNECTION_LOST, until_true
from tests.chaos.clean_session import SESSION_QUERY, Session
from tests.chaos.expected_errors import traceback_text
from tests.chaos.ledger import ABSENT, COMMITTED, UNKNOWN, Ledger
from tests.chaos.measurements import logs_as_text
from tests.support.cancellation import cancel_twice, cancel_until_done, observe_awaits
from tests.support.clocks import Stopwatch
from tests.support.engines import admin_of, make_engine, new_name, open_all, return_all, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from sqla_typedpool.embedded import Postgres

WORKERS = 9
SIZE = 5  # connections; fewer than the workers, so that some requests are cancelled in the queue
OPTIONS: dict[str, Any] = {"pool_size": SIZE, "max_overflow": 0, "pool_timeout": 30}
STATEMENT_CACHE = 15  # statements; fewer than the requests use
HANGS_AFTER = 25.0  # seconds for a request, its cancellation included
MAX_FAULTS = 10  # after which a run ends


class Cancellation:
    """Cancels one request at one of its awaits, or a moment later; perhaps more than once.

    :param awaits: how many awaits such a request has, as far as known.
    """

    def __init__(self, rng: random.Random, awaits: int) -> None:
        self._again = rng.choice((None, None, None, cancel_twice, cancel_until_done))
        self._at = rng.randint(1, awaits) if rng.random() < 0.9 else 0  # 0 = it is not cancelled
        self._when = rng.choice(("at once", "with the result", "later"))
        self._delay = rng.uniform(0, 2 * LONG)
        self.awaits = 0
        self.stage = ""  # at which the request was cancelled first

    def run(self, request: CancelledRequest, work: Any) -> asyncio.Task[Any]:
        """Start the request, which will be cancelled.

        :param work: called with the request.
        """
        return asyncio.ensure_future(self._observed(request, work))

    async def _observed(self, request: CancelledRequest, work: Any) -> None:
        task = asyncio.current_task()
        assert task is not None

        def on_await(future: asyncio.Future[Any] | None) -> None:
            self.awaits += 1
            if self.awaits != self._at:
                return
            if self._when == "later":
                task.get_loop().call_later(self._delay, self._start, request, task)
            elif self._when == "at once" or future is None:
                self._start(request, task)
            else:  # the result is there, but the task has not resumed
                future.add_done_callback(lambda _: self._start(request, task))

        await observe_awaits(work(request), on_await)

    def _start(self, request: CancelledRequest, task: asyncio.Task[Any]) -> None:
        if task.done():
            return
        self.stage = request.stage
        task.cancel()
        if self._again is not None:
            self._again(task, 0)


class CancellationRun:
    """A run with a seed, until so many requests were cancelled.

    :param kinds: the kinds of requests; empty = all.
    """

    def __init__(
        self, server: Postgres, count: int, seed: int, *, kinds: Iterable[str] = ()
    ) -> None:
        self._server = server
        self._count = count
        self._seed = seed
        self._kinds = tuple(kinds)
        self._rng = random.Random(f"{seed} cancellations")
        self._ledger = Ledger()
        self._awaits: dict[str, int] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._name = new_name()
        self._table = self._name.replace(" ", "_")
        self.faults: list[str] = []
        self.results: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()  # by stage
        self.summary = ""

    async def run(self) -> str:
        """Run everything.

        :return: a summary of a few lines.
        :raises AssertionError: with the seed, the faults and the summary.
        """
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        async with self._table_and_role(), admin_of(self._server) as admin:
            url = f"{self._server.url('asyncpg')}?prepared_statement_cache_size={STATEMENT_CACHE}"
            engine = make_engine(url, self._name, **OPTIONS)
            watch = Stopwatch()
            try:
                with logs_as_text() as log:
                    await self._cancel_requests(engine)
                    if not self.faults:
                        await self._check_pool(engine)
                        await self._check_server(admin.connection)
                        self._check_kept(engine)
                self.summary = self._summarize(engine, watch, log)
            finally:
                await engine.dispose()
            rows = await admin.connection.fetch(f"SELECT id FROM {self._table}")
            self.faults += self._ledger.differences(row[0] for row in rows)[:MAX_FAULTS]
        assert not self.faults, self._report()
        return self.summary

    @asynccontextmanager
    async def _table_and_role(self) -> AsyncIterator[None]:
        async with admin_of(self._server) as admin:
            # no unique constraint: a row that was written twice must become visible
            await admin.connection.execute(
                f"CREATE TABLE {self._table} (id bigint NOT NULL, token text NOT NULL);"
                f"CREATE ROLE {self._table}"
            )
            try:
                yield
            finally:
                await admin.connection.execute(f"DROP TABLE {self._table}; DROP ROLE {self._table}")

    def _on_loop_error(self, _: Any, what: dict[str, Any]) -> None:
        error = what.get("exception")
        if str(error) != ASYNCPG_CONNECTION_LOST:
            self._add_fault(f"the event loop reports: {what.get('message')}: {error!r:.300}")

    def _add_fault(self, fault: str) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(fault)
        for task in self._running:  # some may wait for a lock that is never released
            task.cancel()

    # ------------------------------------------------------------------- requests

    async def _cancel_requests(self, engine: AsyncEngine) -> None:
        work = Work(engine, self._ledger, self._seed, table=self._table, role=self._table)
        kinds = self._kinds or tuple(work.kinds)
        await asyncio.gather(*(self._work(work, kinds) for _ in range(WORKERS)))

    async def _work(self, work: Work, kinds: tuple[str, ...]) -> None:
        while self.cancelled.total() < self._count and not self.faults:
            request = CancelledRequest(self._rng.choice(kinds))
            cancellation = Cancellation(self._rng, self._awaits.get(request.kind, 12))
            task = cancellation.run(request, work.kinds[request.kind])
            self._running.add(task)
            done, _ = await asyncio.wait({task}, timeout=HANGS_AFTER)
            self._running.discard(task)
            if not done:
                self._add_fault(f"{request.kind}: does not end, in {request.stage}")
                return
            self._note_result(request, cancellation, task)

    def _note_result(
        self, request: CancelledRequest, cancellation: Cancellation, task: asyncio.Task[Any]
    ) -> None:
        if task.cancelled():
            self.cancelled[cancellation.stage] += 1
            if not cancellation.stage and not self.faults:
                self._add_fault(f"{request.kind}: cancelled, though no cancel was requested")
            return
        error = task.exception()
        if isinstance(error, StatementTimeout):
            self.cancelled[f"timeout of a {request.stage}"] += 1
        elif error is not None:
            self._add_fault(
                f"{request.kind}, in {request.stage}, cancelled in {cancellation.stage or 'no'} "
                f"stage: {error!r:.300}"
                + ("" if isinstance(error, WrongAnswer) else f"\n{traceback_text(error)}")
            )
        else:
            self.results["done"] += 1
            known = self._awaits.get(request.kind, 1)
            self._awaits[request.kind] = max(known, cancellation.awaits)

    # --------------------------------------------------------------------- checks

    async def _check_pool(self, engine: AsyncEngine) -> None:
        """No slot is lost, and every session that is left in the pool is clean."""
        pool = TypedPool.of(engine)
        if not await until(lambda: pool.stats().in_use == pool.stats().waiting == 0):
            self._add_fault(f"slots or waiters are left: {pool.stats()}")
            return
        held = await asyncio.wait_for(open_all(engine, SIZE), HANGS_AFTER)
        for connection in held:
            await connection.rollback()
            row = (await connection.execute(text(SESSION_QUERY), {"token": "the end"})).one()
            for fault in Session(*row).faults("the end", 0, "read committed"):
                self._add_fault(f"at the end: {fault}")
        await return_all(held)
        if pool.stats().size > SIZE:
            self._add_fault(f"too many connections: {pool.stats()}")

    def _check_kept(self, engine: AsyncEngine) -> None:
        """Some connections were kept; otherwise the run proves nothing."""
        kept = TypedPool.of(engine).stats().kept_cancelled
        if not self._kinds and kept < self._count / 4:
            self._add_fault(f"only {kept} connections of cancelled statements were kept")

    async def _check_server(self, connection: Any) -> None:
        """The server has no other session of the pool, and none inside a transaction."""

        async def is_at_rest() -> bool:
            states = await self._states(connection)
            return len(states) <= SIZE and set(states) == {"idle"}

        if not await until_true(is_at_rest, 5):
            self._add_fault(f"sessions on the server: {await self._states(connection)}")
        locks = await connection.fetch("SELECT pid FROM pg_locks WHERE locktype = 'advisory'")
        if locks:
            self._add_fault(f"{len(locks)} advisory locks are left")

    async def _states(self, connection: Any) -> list[str]:
        rows = await connection.fetch(
            "SELECT state FROM pg_stat_activity WHERE application_name = $1", self._name
        )
        return [row[0] for row in rows]

    # -------------------------------------------------------------------- reports

    def _summarize(self, engine: AsyncEngine, watch: Stopwatch, log: Any) -> str:
        stats = TypedPool.of(engine).stats()
        ledger = self._ledger
        return "\n".join(
            (
                f"seed {self._seed}, {watch.seconds:.1f} s: {self.cancelled.total()} requests "
                f"cancelled, {self.results['done']} completed; {stats.connects} connects, "
                f"{stats.kept_cancelled} cancelled connections kept; "
                f"{len(self.faults)} faults",
                f"cancelled in: {dict(self.cancelled.most_common())}",
                f"rows: {ledger.count(COMMITTED)} acknowledged, {ledger.count(UNKNOWN)} of unknown "
                f"outcome, {ledger.count(ABSENT)} never committed",
                f"log: {dict(log.counts.most_common(8))}",
            )
        )

    def _report(self) -> str:
        lines = (f"seed {self._seed}", *self.faults, "", self.summary)
        return "\n".join(lines)
