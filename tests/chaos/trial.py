"""One trial: chaos and calm in turn, everything checked at each calm, the ledger at the end."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqla_typedpool import TypedPool
from tests.chaos.faults import World
from tests.chaos.gauges import Logbook, Memory, descriptors, logs_as_text, open_files
from tests.chaos.ledger import COMMITTED, EITHER, Ledger
from tests.chaos.load import Load
from tests.support.clocks import Stopwatch
from tests.support.engines import make_engine, open_all, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.chaos.sides import Side

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
MOST = 8
CHAOS = 8.0  # seconds of it before each calm
# What a busy machine may add to each bound. The clock of the load takes off the time in which the
# loop stood still, but not that in which a server or a socket waited for the processor.
SLACK = 1.0
LIMITS = {
    "checkout": TIMEOUT + 0.25 + SLACK,
    "return": 2 * RESET_TIMEOUT + SLACK,
    "cancel": 2 * RESET_TIMEOUT + 2 + SLACK,
}
# what asyncpg says of a connect cancelled between its socket and its handshake, in any pool
ASYNCPGS_OWN = "unexpected connection_lost() call"
FULL_AGAIN = 2.0 + SLACK  # a ping of a silent connection is given 2 s
PAST_TRUST = 0.6  # pool_validate_after, and a little
BOUND = 30.0  # of a wait that should be short, and would else hide where the trial hangs
GROWTH = 2500  # blocks: some 250 kB
GROWTH_IN_BYTES = 30_000_000


class Trial:
    """A seeded run against one server with one driver."""

    def __init__(self, side: Side, seconds: float, seed: int, *, talks: bool = False) -> None:
        self._side = side
        self._seconds = seconds
        self._seed = seed
        self._talks = talks
        self._ledger = Ledger()
        self._verified = 0
        self._memory = Memory()
        self._complaints: list[str] = []
        self._books = Logbook()
        self._full_again: list[float] = []
        self._served_again: list[float] = []

    async def run(self) -> str:
        """The whole of it.

        :return: what was measured, in a few lines.
        :raises AssertionError: naming seed, failures, the last faults and the last log lines.
        """
        asyncio.get_running_loop().set_exception_handler(self._complain)
        await self._side.make_table()
        with logs_as_text() as self._books:
            async with World(self._side, self._seed) as world:
                await self._run(world)
        return self._summary

    async def _run(self, world: World) -> None:
        before = descriptors()
        engine = make_engine(
            self._side.url(world.port), connect_args=self._side.connect_args(), **OPTIONS
        )
        load = Load(engine, self._side, self._ledger, self._seed, clients=CLIENTS, note=world.note)
        watch = Stopwatch()
        try:
            while watch.seconds < self._seconds and not load.failed.is_set():
                await self._storm(world, load, watch)
                await self._calm(world, load, engine, before)
                self._say(world, load, watch)
        finally:
            await load.stop()
            await engine.dispose()
        await self._check_ledger(load, 0)
        await self._check_nothing_is_left(world, load, before)
        self._check_figures(load)
        load.broken += [f"the loop complains: {each}" for each in self._complaints]
        load.broken += world.trouble
        self._summary = self._sum_up(world, load, watch)
        assert not load.broken, self._report(world, load)

    def _complain(self, _: Any, what: dict[str, Any]) -> None:
        error = what.get("exception")
        if str(error) == ASYNCPGS_OWN:
            return
        if len(self._complaints) < 10:
            self._complaints.append(f"{what.get('message')}: {error!r:.300}")

    # ------------------------------------------------------------------- one round

    async def _storm(self, world: World, load: Load, watch: Stopwatch) -> None:
        await world.rage(load)
        left = max(1.0, min(CHAOS, self._seconds - watch.seconds))
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(load.failed.wait(), left)
        await world.calm()

    async def _calm(self, world: World, load: Load, engine: AsyncEngine, before: int) -> None:
        if not load.failed.is_set():
            await self._check_service(load)
        load.park()
        # the worst: a checkout at its limit, then statements at theirs, then a cancel
        if not await until(lambda: load.parked, sum(LIMITS.values()) + 2):
            load.breaks(f"requests do not end: {TypedPool.of(engine).stats()}")
        if not load.failed.is_set():
            await self._check_calm(world, load, engine, before)
        load.unpark()

    async def _check_service(self, load: Load) -> None:
        """After the last fault every client is served again, in the time of one bad request."""
        mended = load.clock.now()
        bound = LIMITS["checkout"] + LIMITS["cancel"] + SLACK
        await until(lambda: load.everybody_served_since(mended) or load.failed.is_set(), bound)
        self._served_again.append(load.clock.now() - mended)
        if not load.everybody_served_since(mended):
            load.breaks(f"not every client was served within {bound:g} s of the last fault")

    async def _check_calm(self, world: World, load: Load, engine: AsyncEngine, before: int) -> None:
        pool = TypedPool.of(engine)
        self._memory.look()  # collects lost connections as well
        await self._settles(load, lambda: pool.stats().in_use == 0, pool.stats)
        await self._settles(load, lambda: pool.stats().waiting == 0, pool.stats)
        await self._check_full_size(load, engine, await self._strike(world, pool))
        await self._settles(load, lambda: not self._others(load), lambda: self._others(load))
        await self._check_counts(world, load, pool, before)
        await self._check_ledger(load, self._verified)
        self._verified = len(self._ledger)

    async def _strike(self, world: World, pool: TypedPool) -> str:
        """Kill all that is idle, and return when checkouts ping all of it: with which strike.

        Mostly that is the moment of the strike itself. What the keeper has just pinged or opened
        is trusted for a while, though.
        """

        def heard() -> int:
            stats = pool.stats()
            return stats.connects + stats.pings

        before = heard()
        await asyncio.sleep(PAST_TRUST)
        strike = await world.strike()
        if heard() != before:
            await asyncio.sleep(PAST_TRUST)
        return strike

    async def _check_full_size(self, load: Load, engine: AsyncEngine, strike: str) -> None:
        """Every slot works, at the first attempt, though all that was idle has just died."""
        begun = load.clock.now()
        try:
            held = await asyncio.wait_for(open_all(engine, MOST), BOUND)
        except Exception as error:
            load.breaks(f"after a {strike} {error!r}: {TypedPool.of(engine).stats()}")
            return
        for connection in held:
            await connection.close()
        seconds = load.clock.now() - begun
        self._full_again.append(seconds)
        if seconds > FULL_AGAIN:
            load.breaks(f"after a {strike} the full size was back only in {seconds:.2f} s")

    async def _check_counts(self, world: World, load: Load, pool: TypedPool, before: int) -> None:
        """The pool, the server and the system count the same connections."""

        async def sessions() -> int:
            return len(await world.do(self._side.sessions()))

        async def agree() -> bool:
            return await sessions() == pool.stats().size == world.connections

        if not await until_true(agree, 2 + SLACK):
            load.breaks(
                f"pool {pool.stats()}, server {await sessions()}, network {world.connections}"
            )
        # the client's socket, and the proxy's two
        await self._settles(
            load,
            lambda: descriptors() <= before + 3 * world.connections,
            lambda: f"{before} descriptors before, {world.connections} connections, {open_files()}",
        )

    async def _check_ledger(self, load: Load, since: int) -> None:
        for fault in self._ledger.faults(await self._side.rows(since), since)[:10]:
            load.breaks(f"ledger: {fault}")

    async def _check_nothing_is_left(self, world: World, load: Load, before: int) -> None:
        """After dispose() there is nothing: no session, no socket, no task."""

        async def gone() -> bool:
            return not await world.do(self._side.sessions()) and not world.connections

        if not await until_true(gone, 2 + SLACK):
            load.breaks(f"after dispose(): {await world.do(self._side.sessions())}")
        await self._settles(load, lambda: not self._others(load), lambda: self._others(load))
        await self._settles(load, lambda: descriptors() <= before, open_files)

    def _check_figures(self, load: Load) -> None:
        for kind, limit in LIMITS.items():
            if load.longest.seconds.get(kind, 0) > limit:
                load.breaks(f"a {kind} took {load.longest.seconds[kind]:.2f} s, not {limit:g} s")
        if self._memory.growth() > GROWTH:
            load.breaks(f"memory grows: {self._memory.blocks}, {self._memory.grown_kinds()}")
        if self._memory.growth_in_bytes() > GROWTH_IN_BYTES:
            load.breaks(f"memory grows: {self._memory.bytes} bytes")
        if load.ends["done"] < self._seconds * 5:
            load.breaks(f"hardly anything was done: {load.ends}")

    async def _settles(
        self, load: Load, condition: Callable[[], bool], show: Callable[[], object]
    ) -> None:
        if not await until(condition, 2 + SLACK):
            load.breaks(f"does not settle: {show()}")

    def _others(self, load: Load) -> list[asyncio.Task[Any]]:
        """Tasks that are not the test's own."""
        mine = {*load.tasks, asyncio.current_task()}
        return [task for task in asyncio.all_tasks() if task not in mine]

    # --------------------------------------------------------------------- reports

    def _say(self, world: World, load: Load, watch: Stopwatch) -> None:
        if self._talks:
            faults = sum(world.kinds.values())
            sys.stdout.write(
                f"{time.strftime('%H:%M:%S')} {self._side.driver} {watch.seconds:6.0f} s of "
                f"{self._seconds:.0f}: {load.ends['done']} requests done, "
                f"{self._ledger.count(COMMITTED)} rows acknowledged, {faults} faults, "
                f"{self._memory.blocks[-1:]} blocks; {load.longest}\n"
            )
            sys.stdout.flush()

    def _sum_up(self, world: World, load: Load, watch: Stopwatch) -> str:
        ledger = self._ledger
        return "\n".join(
            (
                f"{self._side.driver}, seed {self._seed}, {watch.seconds:.0f} s",
                f"ends: {dict(load.ends.most_common())}",
                f"rows: {ledger.count(COMMITTED)} acknowledged, {ledger.count(EITHER)} unknown, "
                f"{len(ledger)} numbers",
                f"faults: {dict(world.kinds.most_common())}",
                f"longest: {load.longest}; loop stalled {load.clock.stalled:.1f} s, "
                f"{load.blocked:.1f} s of it on purpose",
                f"after a calm: everybody served {longest(self._served_again)}, "
                f"full size {longest(self._full_again)}",
                f"blocks: {self._memory.blocks[:3]} .. {self._memory.blocks[-3:]}, "
                f"growth {self._memory.growth()}; "
                f"bytes: {self._memory.bytes[:1]} .. {self._memory.bytes[-1:]}, "
                f"growth {self._memory.growth_in_bytes()}",
                f"log: {dict(self._books.kinds.most_common(12))}",
            )
        )

    def _report(self, world: World, load: Load) -> str:
        lines = (
            f"SQLA_TYPEDPOOL_SOAK_SEED={self._seed} repeats it, as far as chaos can be repeated.",
            *load.broken,
            "",
            self._summary,
            "",
            "the last faults, by seconds:",
            *list(world.log)[-40:],
            "",
            "the last words:",
            *list(self._books.last)[-25:],
        )
        return "\n".join(lines)


def longest(seconds: list[float]) -> str:
    return f"{max(seconds, default=0):.2f} s at the latest"


async def until_true(condition: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    watch = Stopwatch()
    while not await condition():
        if watch.seconds > seconds:
            return False
        await asyncio.sleep(0.05)
    return True
