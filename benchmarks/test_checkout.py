"""What a checkout and its return cost: with a server, without one, and in the pool alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy.pool import Pool
from sqlalchemy.util import await_only, greenlet_spawn

from benchmarks import lineup, workloads
from benchmarks.contestants import Sizes, stub_pool
from benchmarks.interleave import Goal, Reading
from sqla_typedpool import TypedPool

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from benchmarks.conftest import Stage

NOISE = Goal("us", lineup.STOCK_AGAIN, compared_to=lineup.STOCK)
NEAR_STOCK = Goal("us", lineup.TYPED, 1.05, compared_to=lineup.STOCK)
FAR_BELOW_PING = Goal("us", lineup.TYPED, 0.3, compared_to=lineup.STOCK_PING)

tasks_and_sizes = pytest.mark.parametrize(("tasks", "size"), [(1, 32), (32, 32), (32, 16)])


@tasks_and_sizes
@pytest.mark.parametrize("form", [workloads.async_with, workloads.plain])
def test_checkout_and_return(
    stage: Stage, server: URL, form: workloads.Form, tasks: int, size: int
) -> None:
    """Through the engine on asyncpg, beside the drivers' own pools."""
    times = stage.scaled(480, 64) // tasks
    sizes = Sizes(core=size, most=size, warm=min(tasks, size))
    with stage.opened(lineup.with_validation(server), sizes) as pools:
        turns = {
            name: partial(workloads.checkouts, form, pool, tasks, times)
            for name, pool in pools.items()
        }
        title = f"checkout and return, {form.__name__}, {tasks} task(s) on {size} connections"
        stage.race(title, turns, [NEAR_STOCK, FAR_BELOW_PING, NOISE])


NOT_ABOVE_STOCK = Goal("us", lineup.TYPED, 1.0, compared_to=lineup.STOCK)
NEXT_TO_LIFO = Goal("us", lineup.TYPED, compared_to=lineup.STOCK_LIFO)

STUB_LINEUP = {
    lineup.TYPED: lineup.TYPED_OPTIONS,
    lineup.STOCK: lineup.STOCK_OPTIONS,
    lineup.STOCK_AGAIN: lineup.STOCK_OPTIONS,
    lineup.STOCK_LIFO: lineup.LIFO_OPTIONS,
}


@tasks_and_sizes
def test_pool_without_a_server(stage: Stage, tasks: int, size: int) -> None:
    """`pool.connect()` and `.close()` on the stub: the work of SQLAlchemy and of the pool."""
    cycles = direct_cycles if tasks == 1 else yielding_cycles
    times = stage.scaled(6_400, 640) // tasks
    sizes = Sizes(core=size, most=size, warm=min(tasks, size))
    with opened_stubs(stage, STUB_LINEUP, sizes) as pools:
        turns = {
            name: partial(stub_checkouts, cycles, pool, tasks, times)
            for name, pool in pools.items()
        }
        title = f"pool.connect() and close() on the stub, {tasks} task(s) on {size} connections"
        stage.race(title, turns, [NOT_ABOVE_STOCK, NEXT_TO_LIFO, NOISE])


def direct_cycles(pool: Pool, times: int) -> None:
    connect = pool.connect
    for _ in range(times):
        connect().close()


def yielding_cycles(pool: Pool, times: int) -> None:
    """As above, but every other task has its turn while the connection is out."""
    connect = pool.connect
    for _ in range(times):
        connection = connect()
        await_only(asyncio.sleep(0))
        connection.close()


async def stub_checkouts(
    cycles: Callable[[Pool, int], None], pool: Pool, tasks: int, times: int
) -> Reading:
    """Microseconds per cycle; every task runs all of its `times` cycles inside one greenlet."""
    await asyncio.gather(*(greenlet_spawn(cycles, pool, times // 10) for _ in range(tasks)))
    start = perf_counter()
    await asyncio.gather(*(greenlet_spawn(cycles, pool, times) for _ in range(tasks)))
    return {"us": 1e6 * (perf_counter() - start) / (tasks * times)}


@contextmanager
def opened_stubs(
    stage: Stage, contestants: Mapping[str, dict[str, Any]], sizes: Sizes
) -> Iterator[dict[str, Pool]]:
    """SQLAlchemy's pools on the stub, without an engine around them."""
    run = stage.loop.run_until_complete
    pools = {
        name: run(greenlet_spawn(stub_pool, options, sizes))
        for name, options in contestants.items()
    }
    yield pools
    for pool in pools.values():
        run(greenlet_spawn(pool.dispose))


def test_record_without_greenlet_or_fairy(stage: Stage) -> None:
    """The pool alone: an idle record is handed out and given back, nothing else of SQLAlchemy's."""
    times = stage.scaled(20_000, 1_000)
    sizes = Sizes(core=5, most=10, warm=1)
    contestants = {lineup.TYPED: lineup.TYPED_OPTIONS, lineup.STOCK: lineup.STOCK_OPTIONS}
    with opened_stubs(stage, contestants, sizes) as pools:
        typed, stock = cast(TypedPool, pools[lineup.TYPED]), pools[lineup.STOCK]
        pairs = {
            lineup.TYPED: (typed.take, typed.give_back),
            lineup.STOCK: (stock._do_get, stock._do_return_conn),
        }
        turns = {name: partial(hand_outs, pools[name], *pairs[name], times) for name in pairs}
        goals = [Goal("us", lineup.TYPED, 2.0), Goal("us", lineup.TYPED, compared_to=lineup.STOCK)]
        stage.race("record out and back, one idle connection", turns, goals)


async def hand_outs(
    pool: Pool, take: Callable[[], Any], give_back: Callable[[Any], None], times: int
) -> Reading:
    """Microseconds per record out and back, after a whole checkout that validates if need be."""
    await greenlet_spawn(direct_cycles, pool, 1)
    start = perf_counter()
    for _ in range(times):
        give_back(take())
    return {"us": 1e6 * (perf_counter() - start) / times}
