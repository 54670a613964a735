"""What a checkout and its return cost: with a server, without one, and in the pool alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy.pool import Pool
from sqlalchemy.util import greenlet_spawn

from benchmarks import pools, workloads
from benchmarks.interleave import Goal
from benchmarks.pools import Sizes, stub_pool
from sqla_typedpool import TypedPool

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from benchmarks.conftest import Runner

NOISE = Goal("us", pools.STOCK_AGAIN, compared_to=pools.STOCK)
NEAR_STOCK = Goal("us", pools.TYPED, 1.05, compared_to=pools.STOCK)
FAR_BELOW_PING = Goal("us", pools.TYPED, 0.3, compared_to=pools.STOCK_PING)

tasks_and_sizes = pytest.mark.parametrize(("tasks", "size"), [(1, 32), (32, 32), (32, 16)])


@tasks_and_sizes
@pytest.mark.parametrize("form", [workloads.async_with, workloads.plain])
def test_checkout_and_return(
    runner: Runner, server: URL, form: workloads.Form, tasks: int, size: int
) -> None:
    """Through the engine on asyncpg, compared with the drivers' own pools."""
    times = runner.scaled(480, 64) // tasks
    sizes = Sizes(core=size, most=size, warm=min(tasks, size))
    with runner.opened(pools.with_validation(server), sizes) as opened:
        turns = {
            name: partial(workloads.checkouts, form, pool, tasks, times)
            for name, pool in opened.items()
        }
        title = f"checkout and return, {form.__name__}, {tasks} task(s) on {size} connections"
        runner.compare(title, turns, [NEAR_STOCK, FAR_BELOW_PING, NOISE])


NOT_ABOVE_STOCK = Goal("us", pools.TYPED, 1.0, compared_to=pools.STOCK)
NEXT_TO_LIFO = Goal("us", pools.TYPED, compared_to=pools.STOCK_LIFO)

STUB_POOLS = {
    pools.TYPED: pools.TYPED_OPTIONS,
    pools.STOCK: pools.STOCK_OPTIONS,
    pools.STOCK_AGAIN: pools.STOCK_OPTIONS,
    pools.STOCK_LIFO: pools.LIFO_OPTIONS,
}


@tasks_and_sizes
def test_pool_without_a_server(runner: Runner, tasks: int, size: int) -> None:
    """`pool.connect()` and `close()` on the stub: the work of SQLAlchemy and of the pool."""
    cycles = workloads.direct_cycles if tasks == 1 else workloads.yielding_cycles
    times = runner.scaled(6_400, 640) // tasks
    sizes = Sizes(core=size, most=size, warm=min(tasks, size))
    with opened_stubs(runner, STUB_POOLS, sizes) as opened:
        turns = {
            name: partial(workloads.stub_checkouts, cycles, pool, tasks, times)
            for name, pool in opened.items()
        }
        title = f"pool.connect() and close() on the stub, {tasks} task(s) on {size} connections"
        runner.compare(title, turns, [NOT_ABOVE_STOCK, NEXT_TO_LIFO, NOISE])


SMALL, LARGE = "5 open", "2,000 open"


def test_many_open_connections(runner: Runner) -> None:
    """The same with one task, on a pool of 5 and on one of 2,000 open connections."""
    times, run = runner.scaled(6_400, 640), runner.loop.run_until_complete
    opened = {
        name: run(greenlet_spawn(stub_pool, pools.TYPED_OPTIONS, Sizes(count, count, count)))
        for name, count in ((SMALL, 5), (LARGE, 2_000))
    }
    turns = {
        name: partial(workloads.stub_checkouts, workloads.direct_cycles, pool, 1, times)
        for name, pool in opened.items()
    }
    goals = [Goal("us", LARGE, 1.1, compared_to=SMALL)]
    runner.compare("pool.connect() and close() on the stub, by open connections", turns, goals)
    for pool in opened.values():
        run(greenlet_spawn(pool.dispose))


@contextmanager
def opened_stubs(
    runner: Runner, options: Mapping[str, dict[str, Any]], sizes: Sizes
) -> Iterator[dict[str, Pool]]:
    """SQLAlchemy's pools on the stub, without an engine."""
    run = runner.loop.run_until_complete
    opened = {name: run(greenlet_spawn(stub_pool, each, sizes)) for name, each in options.items()}
    yield opened
    for pool in opened.values():
        run(greenlet_spawn(pool.dispose))


def test_take_and_give_back(runner: Runner) -> None:
    """The pool alone: an idle entry is taken and given back, without greenlet and SQLAlchemy."""
    times = runner.scaled(20_000, 1_000)
    options = {pools.TYPED: pools.TYPED_OPTIONS, pools.STOCK: pools.STOCK_OPTIONS}
    with opened_stubs(runner, options, Sizes(core=5, most=10, warm=1)) as opened:
        typed, stock = cast(TypedPool, opened[pools.TYPED]), opened[pools.STOCK]
        pairs = {
            pools.TYPED: (typed.take, typed.give_back),
            pools.STOCK: (stock._do_get, stock._do_return_conn),
        }
        turns = {
            name: partial(workloads.takes, opened[name], *pair, times)
            for name, pair in pairs.items()
        }
        goals = [Goal("us", pools.TYPED, 2.0), Goal("us", pools.TYPED, compared_to=pools.STOCK)]
        runner.compare("take and give back, one idle connection", turns, goals)
