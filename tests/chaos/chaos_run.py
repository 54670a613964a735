"""One run of the chaos test: rounds of faults, each followed by checks; the ledger at the end."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqla_typedpool import TypedPool
from tests.chaos.faults import FaultInjector
from tests.chaos.ledger import COMMITTED, UNKNOWN, Ledger
from tests.chaos.load import Load
from tests.chaos.measurements import (
    LogRecorder,
    Memory,
    count_descriptors,
    logs_as_text,
    open_files,
)
from tests.support.clocks import Stopwatch
from tests.support.engines import make_engine, open_all, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.chaos.targets import Target

CLIENTS = 24
TIMEOUT = 3.0
RESET_TIMEOUT = 1.0
OPTIONS: dict[str, Any] = {
    "pool_size": 6,
    "max_overflow": 2,
    "pool_timeout": TIMEOUT,
    "pool_min_size": 2,
    "pool_idle_timeout": 3,
    "pool_max_lifetime": 20,
    "pool_keepalive": 2,
    "pool_connect_timeout": 3,
    "pool_reset_timeout": RESET_TIMEOUT,
}
MAX_SIZE = 8
FAULT_SECONDS = 8.0  # seconds of faults in each round
# Seconds that a busy machine may add to each bound. The clock of the load leaves out the time in
# which the loop was blocked, but not the time in which a server waited for the processor.
SLACK = 1.0
LIMITS = {
    "checkout": TIMEOUT + 0.25 + SLACK,
    "return": 2 * RESET_TIMEOUT + SLACK,
    "cancel": 2 * RESET_TIMEOUT + 2 + SLACK,
}
# asyncpg reports this when a connect is cancelled between its socket and its handshake, in any pool
ASYNCPG_CONNECTION_LOST = "unexpected connection_lost() call"
FULL_SIZE_TIMEOUT = 2.0 + SLACK  # a ping of a silent connection is given 2 s
PAST_VALIDATE_AFTER = 0.6  # seconds; more than pool_validate_after
WAIT_TIMEOUT = 30.0  # bounds waits that should be short, to show where a run hangs
MAX_GROWTH = 2500  # blocks, about 250 kB
MAX_GROWTH_IN_BYTES = 30_000_000


class ChaosRun:
    """A run with a seed, against one server with one driver."""

    def __init__(self, target: Target, seconds: float, seed: int, *, verbose: bool = False) -> None:
        self._target = target
        self._seconds = seconds
        self._seed = seed
        self._verbose = verbose
        self._ledger = Ledger()
        self._checked_rows = 0
        self._memory = Memory()
        self._loop_errors: list[str] = []
        self._log = LogRecorder()
        self._full_size_times: list[float] = []
        self._recovery_times: list[float] = []
        self._dirty_returns = 0

    async def run(self) -> str:
        """Run everything.

        :return: a summary of a few lines.
        :raises AssertionError: with the seed, the violations, the last faults and log lines.
        """
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        await self._target.make_table()
        with logs_as_text() as self._log:
            async with FaultInjector(self._target, self._seed) as injector:
                await self._run(injector)
        return self._summary

    async def _run(self, injector: FaultInjector) -> None:
        before = count_descriptors()
        engine = make_engine(
            self._target.url(injector.port), connect_args=self._target.connect_args(), **OPTIONS
        )
        load = Load(
            engine, self._target, self._ledger, self._seed, clients=CLIENTS, log=injector.log
        )
        watch = Stopwatch()
        try:
            while watch.seconds < self._seconds and not load.failed.is_set():
                await self._inject_faults(injector, load, watch)
                await self._check_round(injector, load, engine, before)
                self._print_progress(injector, load, watch)
        finally:
            await load.stop()
            self._dirty_returns = TypedPool.of(engine).stats().dirty_returns
            await engine.dispose()
        await self._check_ledger(load, 0)
        await self._check_all_closed(injector, load, before)
        self._check_measurements(load)
        load.violations += [f"the event loop reports: {each}" for each in self._loop_errors]
        load.violations += injector.errors
        self._summary = self._summarize(injector, load, watch)
        assert not load.violations, self._report(injector, load)

    def _on_loop_error(self, _: Any, what: dict[str, Any]) -> None:
        error = what.get("exception")
        if str(error) == ASYNCPG_CONNECTION_LOST:
            return
        if len(self._loop_errors) < 10:
            self._loop_errors.append(f"{what.get('message')}: {error!r:.300}")

    # ------------------------------------------------------------------- one round

    async def _inject_faults(self, injector: FaultInjector, load: Load, watch: Stopwatch) -> None:
        await injector.start(load)
        left = max(1.0, min(FAULT_SECONDS, self._seconds - watch.seconds))
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(load.failed.wait(), left)
        await injector.stop()

    async def _check_round(
        self, injector: FaultInjector, load: Load, engine: AsyncEngine, before: int
    ) -> None:
        if not load.failed.is_set():
            await self._check_recovery(load)
        load.pause()
        # at worst a checkout takes its limit, then the statements, then a cancel
        if not await until(lambda: load.is_idle, sum(LIMITS.values()) + 2):
            load.add_violation(f"the requests do not end: {TypedPool.of(engine).stats()}")
        if not load.failed.is_set():
            await self._check_at_rest(injector, load, engine, before)
        load.resume()

    async def _check_recovery(self, load: Load) -> None:
        """Every client completes a request soon after the last fault."""
        stopped_at = load.clock.now()
        bound = LIMITS["checkout"] + LIMITS["cancel"] + SLACK
        await until(lambda: load.all_served_since(stopped_at) or load.failed.is_set(), bound)
        self._recovery_times.append(load.clock.now() - stopped_at)
        if not load.all_served_since(stopped_at):
            load.add_violation(f"not every client was served within {bound:g} s of the last fault")

    async def _check_at_rest(
        self, injector: FaultInjector, load: Load, engine: AsyncEngine, before: int
    ) -> None:
        pool = TypedPool.of(engine)
        self._memory.measure()  # this also collects leaked connections
        await self._check_soon(load, lambda: pool.stats().in_use == 0, pool.stats)
        await self._check_soon(load, lambda: pool.stats().waiting == 0, pool.stats)
        await self._check_full_size(load, engine, await self._kill_idle(injector, pool))
        await self._check_soon(
            load, lambda: not self._other_tasks(load), lambda: self._other_tasks(load)
        )
        await self._check_counts(injector, load, pool, before)
        await self._check_ledger(load, self._checked_rows)
        self._checked_rows = len(self._ledger)

    async def _kill_idle(self, injector: FaultInjector, pool: TypedPool) -> str:
        """Break all idle connections; return how, as soon as a checkout validates each of them.

        Usually that is at once. A connection that the housekeeper has just pinged or opened is not
        validated for a while, though.
        """

        def validations() -> int:
            stats = pool.stats()
            return stats.connects + stats.pings

        before = validations()
        await asyncio.sleep(PAST_VALIDATE_AFTER)
        method = await injector.kill_idle()
        if validations() != before:
            await asyncio.sleep(PAST_VALIDATE_AFTER)
        return method

    async def _check_full_size(self, load: Load, engine: AsyncEngine, method: str) -> None:
        """Every slot can be used at the first attempt, though all idle connections were cut."""
        started = load.clock.now()
        try:
            held = await asyncio.wait_for(open_all(engine, MAX_SIZE), WAIT_TIMEOUT)
        except Exception as error:
            load.add_violation(
                f"after a {method} of all that were idle: {error!r}, {TypedPool.of(engine).stats()}"
            )
            return
        for connection in held:
            await connection.close()
        seconds = load.clock.now() - started
        self._full_size_times.append(seconds)
        if seconds > FULL_SIZE_TIMEOUT:
            load.add_violation(
                f"after a {method} of all idle connections, opening all took {seconds:.2f} s"
            )

    async def _check_counts(
        self, injector: FaultInjector, load: Load, pool: TypedPool, before: int
    ) -> None:
        """The pool, the server and the operating system count the same connections."""

        async def sessions() -> int:
            return len(await injector.do(self._target.sessions()))

        async def counts_agree() -> bool:
            return await sessions() == pool.stats().size == injector.connections

        if not await until_true(counts_agree, 2 + SLACK):
            load.add_violation(
                f"pool {pool.stats()}, server {await sessions()}, network {injector.connections}"
            )
        # the client's socket and the two of the proxy
        await self._check_soon(
            load,
            lambda: count_descriptors() <= before + 3 * injector.connections,
            lambda: (
                f"{before} descriptors before, {injector.connections} connections, {open_files()}"
            ),
        )

    async def _check_ledger(self, load: Load, since: int) -> None:
        for difference in self._ledger.differences(await self._target.rows(since), since)[:10]:
            load.add_violation(f"ledger: {difference}")

    async def _check_all_closed(self, injector: FaultInjector, load: Load, before: int) -> None:
        """After dispose() no session, socket or task is left."""

        async def gone() -> bool:
            return not await injector.do(self._target.sessions()) and not injector.connections

        if not await until_true(gone, 2 + SLACK):
            load.add_violation(f"after dispose(): {await injector.do(self._target.sessions())}")
        await self._check_soon(
            load, lambda: not self._other_tasks(load), lambda: self._other_tasks(load)
        )
        await self._check_soon(load, lambda: count_descriptors() <= before, open_files)

    def _check_measurements(self, load: Load) -> None:
        for kind, limit in LIMITS.items():
            if load.longest.seconds.get(kind, 0) > limit:
                load.add_violation(
                    f"a {kind} took {load.longest.seconds[kind]:.2f} s, not {limit:g} s"
                )
        if self._memory.growth() > MAX_GROWTH:
            load.add_violation(f"memory grows: {self._memory.blocks}, {self._memory.grown_types()}")
        if self._memory.growth_in_bytes() > MAX_GROWTH_IN_BYTES:
            load.add_violation(f"memory grows: {self._memory.bytes} bytes")
        if self._target.driver == "asyncpg" and not self._dirty_returns:
            load.add_violation("no connection was returned inside a transaction")
        if load.results["done"] < self._seconds * 5:
            load.add_violation(f"too few requests were completed: {load.results}")

    async def _check_soon(
        self, load: Load, condition: Callable[[], bool], show: Callable[[], object]
    ) -> None:
        if not await until(condition, 2 + SLACK):
            load.add_violation(f"still not true after {2 + SLACK:g} s: {show()}")

    def _other_tasks(self, load: Load) -> list[asyncio.Task[Any]]:
        """The tasks that do not belong to the test."""
        own = {*load.tasks, asyncio.current_task()}
        return [task for task in asyncio.all_tasks() if task not in own]

    # --------------------------------------------------------------------- reports

    def _print_progress(self, injector: FaultInjector, load: Load, watch: Stopwatch) -> None:
        if self._verbose:
            faults = sum(injector.counts.values())
            sys.stdout.write(
                f"{time.strftime('%H:%M:%S')} {self._target.driver} {watch.seconds:6.0f} s of "
                f"{self._seconds:.0f}: {load.results['done']} requests done, "
                f"{self._ledger.count(COMMITTED)} rows acknowledged, {faults} faults, "
                f"{self._memory.blocks[-1:]} blocks; {load.longest}\n"
            )
            sys.stdout.flush()

    def _summarize(self, injector: FaultInjector, load: Load, watch: Stopwatch) -> str:
        ledger = self._ledger
        return "\n".join(
            (
                f"{self._target.driver}, seed {self._seed}, {watch.seconds:.0f} s",
                f"results: {dict(load.results.most_common())}",
                f"rows: {ledger.count(COMMITTED)} acknowledged, {ledger.count(UNKNOWN)} unknown, "
                f"{len(ledger)} numbers",
                f"faults: {dict(injector.counts.most_common())}",
                f"longest: {load.longest}; loop blocked for {load.clock.stalled:.1f} s, "
                f"{load.blocked:.1f} s of it by faults",
                f"after the faults: all clients served within {longest(self._recovery_times)}, "
                f"full size open within {longest(self._full_size_times)}",
                f"blocks: {self._memory.blocks[:3]} .. {self._memory.blocks[-3:]}, "
                f"growth {self._memory.growth()}; "
                f"bytes: {self._memory.bytes[:1]} .. {self._memory.bytes[-1:]}, "
                f"growth {self._memory.growth_in_bytes()}",
                f"dirty returns: {self._dirty_returns}",
                f"log: {dict(self._log.counts.most_common(12))}",
            )
        )

    def _report(self, injector: FaultInjector, load: Load) -> str:
        lines = (
            f"SQLA_TYPEDPOOL_SOAK_SEED={self._seed} repeats the faults, at other moments.",
            *load.violations,
            "",
            self._summary,
            "",
            "the last faults, by seconds since the start:",
            *list(injector.history)[-40:],
            "",
            "the last log lines:",
            *list(self._log.recent)[-25:],
        )
        return "\n".join(lines)


def longest(seconds: list[float]) -> str:
    return f"{max(seconds, default=0):.2f} s"


async def until_true(condition: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    watch = Stopwatch()
    while not await condition():
        if watch.seconds > seconds:
            return False
        await asyncio.sleep(0.05)
    return True
