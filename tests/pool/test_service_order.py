"""Guarantees 3 and 13: the order of service on a pool, with clients that give up, in virtual time.

`test_overload.py` tests the rule alone, `test_overload_model.py` in a simulated pool.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool import Executor, PoolSaturated, PoolTimeout, RowCount, TypedPool, execute, query
from tests.support.fake_driver import (
    Connect,
    FakeConnection,
    Server,
    assert_only_idle,
    borrow,
    driver_of,
    give_back,
    loop_pool,
    new_engine,
    new_pool,
    use,
)
from tests.support.virtual_clock import VirtualLoop, loop_iterations, now, run, virtual_loop

SIZE = 10
SERVICE = 0.05  # seconds
CAPACITY = SIZE / SERVICE
PATIENCE = 0.5

Times = Callable[[Random], float]


def fixed(_: Random) -> float:
    return SERVICE


def mixed(random: Random) -> float:
    return random.uniform(0.01, 0.14)


def running_for_the_seconds_of_its_statement(connection: FakeConnection) -> None:
    """Statements are numbers: how long they run."""

    async def execute(sql: str = "0") -> None:
        connection.calls["execute"] += 1
        await asyncio.sleep(float(sql))

    connection.execute = execute  # type: ignore[method-assign]


def new_server() -> Server:
    usual = Connect(0.005, on_open=running_for_the_seconds_of_its_statement)
    return Server(usual=usual)


def engine_of(server: Server, **options: Any) -> AsyncEngine:
    return new_engine(server, **{"pool_size": SIZE, "max_overflow": 0, **options})


@dataclass
class Clients:
    """Clients of one engine; each executes one statement, and gives up after its patience."""

    engine: AsyncEngine
    arrived: list[float] = field(default_factory=list)  # by the number of the client
    # (client, time), in the order in which their statements began
    began: list[tuple[int, float]] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)  # of those served in time
    refused: list[Exception] = field(default_factory=list)
    longest_wait: float = 0.0  # of a client that does not give up
    seconds: float = 0.0  # for which clients arrived
    capacity: float = CAPACITY

    async def request(self, seconds: float, patience: float | None = PATIENCE) -> None:
        number = len(self.arrived)
        self.arrived.append(now())
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._execute(number, seconds, patience), patience)

    async def _execute(self, number: int, seconds: float, patience: float | None) -> None:
        try:
            async with self.engine.connect() as connection:
                self.began.append((number, now()))
                if patience is None:
                    self.longest_wait = max(self.longest_wait, now() - self.arrived[number])
                await connection.exec_driver_sql(str(seconds))
        except (PoolSaturated, PoolTimeout) as error:
            self.refused.append(error)
        else:
            self.ended.append(now())

    async def come(
        self, *phases: tuple[float, float], times: Times = fixed, seed: int = 1, **options: Any
    ) -> None:
        """Let clients arrive at random.

        :param phases: (seconds, load as a multiple of the capacity), one after the other.
        """
        random, tasks = Random(seed), []
        mean = {fixed: SERVICE, mixed: 0.075}[times]
        ends = now()
        for seconds, load in phases:
            ends += seconds
            while now() < ends:
                tasks.append(asyncio.ensure_future(self.request(times(random), **options)))
                await asyncio.sleep(random.expovariate(load * SIZE / mean))
        self.seconds, self.capacity = now(), SIZE / mean
        await asyncio.wait(tasks)

    @property
    def goodput(self) -> float:
        """Clients served in time while others arrived, as a share of the capacity."""
        in_time = sum(each < self.seconds for each in self.ended)
        return in_time / (self.capacity * self.seconds)

    @property
    def inversions(self) -> list[float]:
        """When a client was served after one that had arrived later."""
        return [when for (one, _), (other, when) in pairwise(self.began) if other < one]


def stats_of(engine: AsyncEngine) -> Any:
    return TypedPool.of(engine).stats()


# ---------------------------------------------------------------- first come, first served


@pytest.mark.parametrize("times", [fixed, mixed])
def test_below_the_capacity_service_is_in_order_and_nobody_is_refused(times: Times) -> None:
    async def main() -> None:
        clients = Clients(engine_of(new_server()))
        await clients.come((10, 0.8), times=times)
        assert clients.inversions == []
        assert len(clients.ended) == len(clients.arrived)
        stats = stats_of(clients.engine)
        assert (stats.overloads, stats.is_overloaded, stats.shed, stats.timeouts) == (
            0,
            False,
            0,
            0,
        )
        assert stats.waits > 100
        await clients.engine.dispose()

    run(main())


@pytest.mark.parametrize("spread", [0.0, 0.02, 2.0], ids=["at once", "in 20 ms", "in 2 s"])
@pytest.mark.parametrize("cancelled", [0, 60])
def test_a_batch_is_served_in_order_also_when_many_are_cancelled(
    cancelled: int, spread: float
) -> None:
    async def main() -> None:
        server = new_server()
        clients = Clients(engine_of(server))
        tasks = [asyncio.ensure_future(clients.request(SERVICE, None)) for _ in range(500)]
        await asyncio.sleep(0.2)
        for task in Random(1).sample(tasks, cancelled):
            task.cancel()
            if spread:
                await asyncio.sleep(spread / cancelled)
        await asyncio.wait(tasks)
        assert clients.inversions == []
        assert len(clients.ended) >= 500 - cancelled
        assert stats_of(clients.engine).overloads == 0
        assert_only_idle(TypedPool.of(clients.engine), server)
        await clients.engine.dispose()

    run(main())


def test_pool_timeout_neither_changes_the_order_nor_counts() -> None:
    async def main() -> None:
        clients = Clients(engine_of(new_server(), pool_timeout=0.2))
        await clients.come((5, 3.0), patience=None)
        assert len(clients.refused) > 1000
        assert clients.inversions == []
        assert stats_of(clients.engine).overloads == 0
        await clients.engine.dispose()

    run(main())


# ------------------------------------------------------------------------------ overload


@pytest.mark.parametrize("times", [fixed, mixed])
@pytest.mark.parametrize("load", [1.5, 3.0])
def test_goodput_under_overload_is_at_least_95_percent_of_the_capacity(
    load: float, times: Times
) -> None:
    async def main() -> None:
        clients = Clients(engine_of(new_server()))
        await clients.come((8, load), times=times)
        assert clients.goodput >= 0.95
        assert clients.refused == []
        assert clients.inversions
        assert stats_of(clients.engine).overloads >= 1
        await clients.engine.dispose()

    run(main())


def test_without_the_rule_the_same_load_has_little_goodput() -> None:
    async def main() -> None:
        clients = Clients(engine_of(new_server(), pool_overload="fifo"))
        await clients.come((8, 3.0))
        assert clients.goodput <= 0.3
        assert clients.inversions == []
        assert stats_of(clients.engine).overloads == 0
        await clients.engine.dispose()

    run(main())


@pytest.mark.parametrize("load", [1.5, 3.0])
@pytest.mark.parametrize("patience", [0.2, 0.5])
def test_order_returns_at_most_a_second_and_a_half_after_the_load_falls(
    patience: float, load: float
) -> None:
    async def main() -> None:
        clients = Clients(engine_of(new_server()))
        was: list[bool] = []
        for when in (3.9, 4 + 1.5):
            asyncio.get_running_loop().call_later(
                when, lambda: was.append(stats_of(clients.engine).is_overloaded)
            )
        await clients.come((4, load), (4, 0.8), patience=patience)
        assert was == [True, False]
        assert 3.5 < clients.inversions[-1] <= 4 + 1.5
        await clients.engine.dispose()

    run(main())


def test_an_overload_ends_without_another_checkout() -> None:
    async def main() -> None:
        clients = Clients(engine_of(new_server()))
        await clients.come((4, 3.0))
        await asyncio.sleep(4 + 1.5 - now())
        assert not stats_of(clients.engine).is_overloaded
        await clients.engine.dispose()

    run(main())


def test_a_batch_after_an_overload_is_served_in_order() -> None:
    async def main() -> None:
        clients = Clients(engine_of(new_server()))
        await clients.come((3, 3.0))
        await asyncio.sleep(0.8)  # before the housekeeper's next tick
        began = len(clients.began)
        await asyncio.gather(*(clients.request(SERVICE, None) for _ in range(100)))
        numbers = [number for number, _ in clients.began[began:]]
        assert numbers == sorted(numbers)
        await clients.engine.dispose()

    run(main())


@pytest.mark.parametrize("load", [1.2, 3.0])
def test_a_client_without_a_deadline_does_not_starve(load: float) -> None:
    async def main() -> None:
        clients = Clients(engine_of(new_server()))

        async def come_patiently() -> None:
            requests = []
            for _ in range(8):
                requests.append(asyncio.ensure_future(clients.request(SERVICE, None)))
                await asyncio.sleep(1)
            await asyncio.wait(requests)

        await asyncio.gather(clients.come((8, load)), come_patiently())
        assert stats_of(clients.engine).overloads >= 1
        assert clients.longest_wait <= 2.5 * PATIENCE
        await clients.engine.dispose()

    run(main())


@query("0.05", timeout=PATIENCE)
async def declared(db: Executor) -> RowCount:
    raise NotImplementedError


async def with_execute(engine: AsyncEngine) -> None:
    await execute(engine, str(SERVICE), timeout=PATIENCE)


@pytest.mark.parametrize("call", [declared, with_execute])
def test_calls_that_their_own_timeout_ends_count_as_given_up(call: Any) -> None:
    async def main() -> None:
        engine, ended = engine_of(new_server()), 0

        async def client() -> None:
            nonlocal ended
            with suppress(TimeoutError):
                await call(engine)
                ended += 1

        random, tasks = Random(1), []
        while now() < 5:
            tasks.append(asyncio.ensure_future(client()))
            await asyncio.sleep(random.expovariate(3 * CAPACITY))
        stats = stats_of(engine)
        assert (stats.is_overloaded, stats.overloads, stats.cancelled) == (True, 1, 0)
        assert stats.timeouts > 100
        assert ended >= 0.9 * CAPACITY * 5
        await asyncio.wait(tasks)
        await engine.dispose()

    run(main())


def test_an_overload_in_one_event_loop_shows_in_the_statistics_and_changes_no_other_loop() -> None:
    pool = new_pool(Server(), pool_size=1, max_overflow=0)
    first, second = VirtualLoop(), VirtualLoop()

    async def overload() -> None:
        await use(pool)
        in_overload(pool)

    async def read() -> tuple[bool, bool, int]:
        await use(pool)
        stats = pool.stats()
        return loop_pool(pool).overload.is_overloaded, stats.is_overloaded, stats.overloads

    try:
        assert second.run_until_complete(read()) == (False, False, 0)
        first.run_until_complete(overload())
        assert first.run_until_complete(read()) == (True, True, 1)
        assert second.run_until_complete(read()) == (False, True, 1)
    finally:
        for loop in (first, second):
            loop.close()


# ------------------------------------------------------------------------- what counts


def reports_of(pool: Any) -> list[str]:
    """A list to which "waiter" or "borrower" is added when the pool counts one that gave up."""
    order, found = loop_pool(pool).overload._order, []
    order.waiter_gave_up = lambda *_: found.append("waiter")
    order.borrower_gave_up = lambda *_: found.append("borrower")
    return found


def test_a_waiter_that_is_cancelled_counts_also_when_it_has_just_been_served() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0)
        counted = reports_of(pool)
        first = await borrow(pool)
        waiting, served = [asyncio.ensure_future(borrow(pool)) for _ in range(2)]
        await loop_iterations(5)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert counted == ["waiter"]
        await give_back(first)  # to the second waiter, which has not resumed yet
        served.cancel()
        await asyncio.wait({served})
        assert counted == ["waiter", "waiter"]

    run(main())


def test_a_waiter_does_not_count_whose_wait_had_ended_before_it_was_cancelled() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, timeout=1)
        counted = reports_of(pool)
        held = await borrow(pool)
        waiting = asyncio.ensure_future(pool.wait_and_take())
        await loop_iterations(5)
        loop_pool(pool).queue.fail_all(PoolTimeout("late", stage="queueing", waited=1))
        waiting.cancel()  # it has got its error but has not resumed yet
        await asyncio.wait({waiting})
        assert counted == []
        await give_back(held)

    run(main())


def test_a_waiter_that_the_garbage_collector_closes_does_not_count() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0)
        counted = reports_of(pool)
        held = await borrow(pool)
        waiting = pool.wait_and_take()
        waiting.send(None)
        waiting.close()
        assert counted == []
        assert pool.stats().waiting == 0
        await give_back(held)

    run(main())


async def statement(engine: AsyncEngine, seconds: float) -> None:
    async with engine.connect() as connection:
        await connection.exec_driver_sql(str(seconds))


def test_a_borrower_counts_that_had_waited_and_is_cancelled_in_a_statement() -> None:
    async def main() -> None:
        engine = engine_of(new_server(), pool_size=1)
        counted = reports_of(engine.pool)
        await statement(engine, 0.1)
        holder = asyncio.ensure_future(statement(engine, 1))  # it does not wait
        await asyncio.sleep(0.5)
        waiter = asyncio.ensure_future(statement(engine, 1))
        await asyncio.sleep(0.1)
        holder.cancel()
        await asyncio.wait({holder})
        assert counted == []
        await asyncio.sleep(0.1)
        waiter.cancel()
        await asyncio.wait({waiter})
        assert counted == ["borrower"]
        await engine.dispose()

    run(main())


def test_a_connection_that_had_a_waiter_and_then_a_borrower_that_did_not_wait_does_not_count() -> (
    None
):
    async def main() -> None:
        engine = engine_of(new_server(), pool_size=1)
        counted = reports_of(engine.pool)
        await asyncio.gather(statement(engine, 0.1), statement(engine, 0.1))
        later = asyncio.ensure_future(statement(engine, 1))
        await asyncio.sleep(0.1)
        later.cancel()
        await asyncio.wait({later})
        assert counted == []
        await engine.dispose()

    run(main())


# ---------------------------------------------------------------------------- the queue


def in_overload(pool: Any) -> None:
    """Let the pool see that many callers give up."""
    order = loop_pool(pool).overload._order
    for number in range(20):
        order.waiter_gave_up(0.5, 1000 + number / 100)
        order.serves_newest(1000 + number / 100, lambda: 0.0)
    assert loop_pool(pool).overload.serves_newest


def test_a_waiter_whose_connection_is_dead_gets_the_next_one_in_either_order() -> None:
    async def main(*, is_overloaded: bool) -> None:
        server = Server(usual=Connect(0.01))
        pool = new_pool(server, pool_size=2, max_overflow=0)
        held = [await borrow(pool) for _ in range(2)]
        served: list[str] = []

        async def wait(name: str) -> None:
            fairy = await borrow(pool)
            served.append(name)
            await asyncio.sleep(0.001)
            await give_back(fairy)

        tasks = []
        for name in "abcde":
            tasks.append(asyncio.ensure_future(wait(name)))
            await loop_iterations(5)
        if is_overloaded:
            in_overload(pool)
        connection = driver_of(held[0])
        await give_back(held[0])
        connection.die(seen_by_probe=True)  # before its new borrower runs
        await give_back(held[1])
        await asyncio.wait(tasks)
        assert served == list("edcba" if is_overloaded else "abcde")

    for each in (False, True):
        run(main(is_overloaded=each))


def test_waiters_whose_connections_are_dead_keep_their_order_among_each_other() -> None:
    async def main(*, is_overloaded: bool) -> None:
        server = Server(usual=Connect(0.01))
        pool = new_pool(server, pool_size=4, max_overflow=0)
        part = loop_pool(pool)
        held = [await part.acquire() for _ in range(4)]
        served: list[str] = []

        async def wait(name: str) -> None:
            fairy = await borrow(pool)
            served.append(name)
            await asyncio.sleep(0.001)
            await give_back(fairy)

        tasks = []
        for name in "abcdef":
            tasks.append(asyncio.ensure_future(wait(name)))
            await loop_iterations(5)
        if is_overloaded:
            in_overload(pool)
        for each in held[:3]:
            part.checkin(each)
        for connection in list(server.open):
            connection.die(seen_by_probe=True)  # before the new borrowers run
        await loop_iterations(5)
        part.checkin(held[3])
        await asyncio.wait(tasks)
        assert served == list("fedcba" if is_overloaded else "abcdef")

    for each in (False, True):
        run(main(is_overloaded=each))


def test_an_error_of_an_attempt_reaches_no_waiter_that_joined_after_it_in_an_overload() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0)
        held, queue = await borrow(pool), loop_pool(pool).queue
        in_overload(pool)
        tasks = []
        for _ in range(4):
            tasks.append(asyncio.ensure_future(borrow(pool)))
            await loop_iterations(5)
        joined = queue.joined
        later = asyncio.ensure_future(borrow(pool))
        await loop_iterations(5)
        await give_back(held)
        fairy = await later  # the newest
        assert queue.fail_oldest(LookupError(), joined) == 1
        assert queue.fail_oldest(LookupError(), joined - 4) == 0
        assert queue.fail_all(LookupError(), joined=joined) == 3
        await asyncio.wait(tasks)
        assert {type(each.exception()) for each in tasks} == {LookupError}
        await give_back(fairy)

    run(main())


@pytest.mark.parametrize("is_overloaded", [False, True])
def test_a_connection_being_opened_is_for_the_oldest_waiter_or_in_an_overload_for_the_newest(
    is_overloaded: bool,
) -> None:
    async def main() -> None:
        server = Server(usual=Connect(5.0)).script(Connect())
        pool = new_pool(server, pool_size=2, max_overflow=0, timeout=1)
        held = await borrow(pool)
        tasks = []
        for _ in range(2):
            tasks.append(asyncio.ensure_future(borrow(pool)))
            await asyncio.sleep(0.1)
        if is_overloaded:
            in_overload(pool)
        await asyncio.wait(tasks)
        errors = [each.exception() for each in tasks]
        assert all(isinstance(each, PoolTimeout) for each in errors)
        # the second one is the oldest that is left when its time is over
        expected = ["queueing", "connecting"] if is_overloaded else ["connecting", "connecting"]
        assert [each.stage for each in errors] == expected  # type: ignore[union-attr]
        await give_back(held)

    run(main())


# ----------------------------------------------------------------------------- shedding

LIMIT = 0.2


@pytest.mark.parametrize("load", [1.5, 3.0])
def test_with_pool_shed_after_the_oldest_are_refused_until_the_load_falls(load: float) -> None:
    async def main() -> None:
        clients = Clients(engine_of(new_server(), pool_shed_after=LIMIT))
        await clients.come((6, load), (6, 0.7))
        assert clients.inversions == []
        stats = stats_of(clients.engine)
        assert stats.shed == len(clients.refused) > 100
        assert (stats.overloads, stats.is_overloaded, stats.saturated) == (0, False, 0)
        error = clients.refused[-1]
        assert isinstance(error, PoolSaturated)
        assert error.retry_after is not None
        assert 0.1 <= error.retry_after <= 1
        in_time = sum(4 < each < 6 for each in clients.ended)
        assert in_time >= 0.9 * CAPACITY * 2
        await clients.engine.dispose()

    run(main())


def test_nobody_is_shed_below_the_capacity_or_in_a_short_burst() -> None:
    async def main() -> None:
        clients = Clients(engine_of(new_server(), pool_shed_after=LIMIT))
        await clients.come((4, 0.8), (0.2, 3.0), (4, 0.7), patience=None)
        assert clients.refused == []
        assert stats_of(clients.engine).shed == 0
        await clients.engine.dispose()

    run(main())


def test_a_queue_that_was_empty_meanwhile_is_not_long() -> None:
    async def main() -> None:
        options = {"pool_shed_after": LIMIT, "pool_validate_after": None}
        pool = new_pool(Server(), pool_size=1, max_overflow=0, **options)
        for _ in range(2):  # with three seconds in between
            held = await borrow(pool)
            waiting = [asyncio.ensure_future(use(pool)) for _ in range(2)]
            await asyncio.sleep(0.5)
            await give_back(held)
            await asyncio.gather(*waiting)
            await asyncio.sleep(3)
        assert pool.stats().shed == 0

    run(main())


@pytest.mark.parametrize("cancelled", [0, 1], ids=["the oldest", "the newest"])
def test_the_only_waiter_is_served_also_if_another_one_was_cancelled_a_moment_ago(
    cancelled: int,
) -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, pool_shed_after=LIMIT)
        part = loop_pool(pool)
        held, shedding = await part.acquire(), part.overload._shedding
        tasks = []
        for _ in range(2):
            tasks.append(asyncio.ensure_future(use(pool)))
            await loop_iterations(5)
        await asyncio.sleep(1)
        shedding.handed_over(
            virtual_loop().time() - 3, 1.0
        )  # the queue has been long for three seconds
        tasks[cancelled].cancel()
        part.checkin(held)  # before the cancelled task runs
        await asyncio.wait(tasks)
        assert [each.cancelled() for each in tasks] == [cancelled == 0, cancelled == 1]
        assert tasks[1 - cancelled].exception() is None
        assert pool.stats().shed == 0

    run(main())


def test_shed_callers_count_as_failed_checkouts_of_an_outage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> int:
        server = Server()
        options = {"pool_shed_after": LIMIT, "pool_connect_retry": 60, "timeout": None}
        pool = new_pool(server, pool_size=2, max_overflow=0, **options)
        held = await borrow(pool)
        server.usual = Connect(0.01, error=lambda: ConnectionRefusedError("refused"))
        waiting = [asyncio.ensure_future(use(pool, 0.1)) for _ in range(200)]
        await asyncio.sleep(0.3)
        await give_back(held)
        await asyncio.sleep(4)
        shed = pool.stats().shed
        server.usual = Connect()
        await asyncio.gather(*waiting, return_exceptions=True)
        return shed

    with caplog.at_level(logging.WARNING, "sqla_typedpool"):
        shed = run(main())
    assert shed > 5
    lines = [each for each in caplog.records if each.event == "recovered"]  # type: ignore[attr-defined]
    assert [each.failed_checkouts >= shed for each in lines] == [True]  # type: ignore[attr-defined]


def test_the_error_of_a_shed_caller_names_its_age_the_option_the_holders_and_the_next_step() -> (
    None
):
    async def main() -> None:
        pool = new_pool(Server(), pool_size=2, max_overflow=0, pool_shed_after=0.5, timeout=None)
        other, first = await borrow(pool), await borrow(pool)
        waiting = [asyncio.ensure_future(use(pool, 1)) for _ in range(9)]
        await asyncio.sleep(1)
        await give_back(first)
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
        (refused,) = [each for each in done if each.exception() is not None]
        text = str(refused.exception())
        assert text.startswith(
            f"pool {pool.stats().name}: refused after 3.00 s, because callers wait longer than "
            f"pool_shed_after=0.5: 1 in use, "
        ), text
        assert "; held longest by Task" in text
        assert text.endswith("; next: shed load, or raise pool_size or pool_shed_after")
        assert pool.stats().shed == 1
        await asyncio.gather(*waiting, return_exceptions=True)
        await give_back(other)

    run(main())


# ----------------------------------------------------------------------------- log lines


def test_an_overload_is_logged_when_it_begins_and_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        clients = Clients(engine_of(new_server(), pool_name="overloaded"))
        await clients.come((3, 3.0), (3, 0.7))
        await clients.engine.dispose()

    with caplog.at_level(logging.WARNING, "sqla_typedpool"):
        run(main())
    began, ended = [record for record in caplog.records if "overload" in record.event]  # type: ignore[attr-defined]
    text = began.getMessage()
    assert text.startswith(
        "pool overloaded: overload began: many callers give up before they are served, after 0.5"
    )
    assert "; next: reduce the load" in text
    assert began.waiting_callers > 10  # type: ignore[attr-defined]
    assert began.in_use_connections > 0  # type: ignore[attr-defined]
    assert 0.4 < began.patience_seconds < 0.6  # type: ignore[attr-defined]
    assert ended.getMessage().startswith("pool overloaded: overload ended after ")
    assert 2.5 < ended.overload_seconds < 4.5  # type: ignore[attr-defined]
    assert ended.served_callers > 400  # type: ignore[attr-defined]
    assert ended.cancelled_callers > 800  # type: ignore[attr-defined]


def test_the_end_of_an_overload_is_logged_although_no_caller_comes_any_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        clients = Clients(engine_of(new_server()))
        await clients.come((3, 3.0))
        await asyncio.sleep(5 + 1 - now())  # the housekeeper ticks once a second
        await clients.engine.dispose()

    with caplog.at_level(logging.WARNING, "sqla_typedpool"):
        run(main())
    events = [record.event for record in caplog.records if "overload" in record.event]  # type: ignore[attr-defined]
    assert events == ["overload_began", "overload_ended"]


def test_overloads_that_follow_each_other_have_one_pair_of_lines_in_ten_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> int:
        clients = Clients(engine_of(new_server()))
        await clients.come(*[(1.5, 3.0), (2.0, 0.1)] * 4)
        overloads: int = stats_of(clients.engine).overloads
        await clients.engine.dispose()
        return overloads

    with caplog.at_level(logging.WARNING, "sqla_typedpool"):
        assert run(main()) == 4
    events = [record.event for record in caplog.records if "overload" in record.event]  # type: ignore[attr-defined]
    assert events == ["overload_began", "overload_ended"] * 2
    assert "; 3 since the last such line; next: " in caplog.text


def test_a_log_handler_that_is_interrupted_costs_no_connection() -> None:
    class Interruption(BaseException):
        pass

    class Interrupted(logging.Handler):
        calls = 0

        def emit(self, record: logging.LogRecord) -> None:
            Interrupted.calls += 1
            raise Interruption

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        held = await borrow(pool)
        waiting = asyncio.ensure_future(use(pool))
        await loop_iterations(5)
        order = loop_pool(pool).overload._order
        for number in range(16):
            order.waiter_gave_up(0.5, 1000 - (16 - number) / 100)
            if number < 15:
                order.serves_newest(1000 - (16 - number) / 100, lambda: 0.0)
        await give_back(held)  # the overload begins
        await waiting
        assert pool.stats().overloads == 1
        assert Interrupted.calls == 1
        assert_only_idle(pool, server)

    logger, handler = logging.getLogger("sqla_typedpool.pool"), Interrupted()
    logger.addHandler(handler)
    try:
        run(main(), tolerant=True)
    finally:
        logger.removeHandler(handler)
