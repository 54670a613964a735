"""`python -m benchmarks.overload`: goodput when more work arrives than the database can do.

An open loop on a PostgreSQL of its own: clients arrive at random, each executes one `pg_sleep` on a
pool of 10 connections, and gives up 0.5 s after its arrival. Goodput is the number of statements
that ended in time, in percent of the capacity: connections / mean length of a statement. A closed
loop of 10 clients shows how much of it the machine reaches. All pools get the same clients.

Three tables: goodput over load (also drawn as `results/overload.svg`), a step up and down, and how
long the event loop stands still when many waiters time out together (on a driver without a server).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy.engine import URL, make_url

from benchmarks import pools, stub_driver
from benchmarks.open_loop import FIXED, LONG, MIXED, Phase, Run, Times, Workload, closed_loop
from benchmarks.plot import Axis, Panel, chart
from benchmarks.pools import Opener, OpenPool, Sizes
from benchmarks.report import aligned, headline, machine
from sqla_typedpool.embedded import Postgres

SVG = Path(__file__).parent / "results" / "overload.svg"
CONNECTIONS = 10  # of most runs
PATIENCE = 0.5  # seconds
LOADS = (0.8, 1.0, 1.2, 1.5, 3.0)
STEP = (0.8, 3.0, 0.8)
WAITERS = (1_000, 5_000, 20_000)
POOL_TIMEOUT = 2.0  # seconds, of the waiters that time out together
KINDS = {"fixed": FIXED, "mixed": MIXED, "long": LONG}

NAMES = (pools.TYPED, pools.STOCK, pools.ASYNCPG, pools.PSYCOPG, pools.TYPED_PSYCOPG)
# Pools, and packages without which they are left out.
NEEDS = {pools.PSYCOPG: "psycopg_pool", pools.TYPED_PSYCOPG: "psycopg"}

Rows = list[tuple[str, ...]]
# (kind of times, pool) -> (load, goodput)
Points = dict[tuple[str, str], list[tuple[float, float]]]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    add = parser.add_argument
    add("--seconds", type=float, default=6.0, help="the length of a run (6)")
    add("--loads", type=float, nargs="*", default=LOADS, help="multiples of the capacity")
    add("--times", nargs="*", default=["fixed", "mixed"], choices=KINDS, help="of statements")
    add("--connections", type=int, default=CONNECTIONS, help="of each pool (10)")
    add("--pools", nargs="*", choices=NAMES, help=f"all but {pools.TYPED_PSYCOPG!r} by default")
    add("--waiters", type=int, nargs="*", default=WAITERS, help="that time out together")
    add("--seed", type=int, default=1, help="of the clients and of the order of the pools (1)")
    add("--uvloop", action="store_true", help="on uvloop instead of asyncio")
    add("--svg", type=Path, default=SVG, help="the file of the plot")
    return parser.parse_args()


def run_in_loop(main: Coroutine[Any, Any, Any], *, with_uvloop: bool) -> Any:
    if not with_uvloop:
        return asyncio.run(main)
    import uvloop

    return uvloop.run(main)


def selected(url: URL, names: list[str] | None) -> dict[str, Opener]:
    """The pools with these names, without those that are not installed."""
    found = pools.on_a_server(url)
    if names is not None:
        found[pools.TYPED_PSYCOPG] = partial(pools.open_typed_on_psycopg, url)
        found = {name: opener for name, opener in found.items() if name in names}
    for name, package in NEEDS.items():
        if name in found and find_spec(package) is None:
            print(f"{package} is not installed, so {name} is left out; next: pip install {package}")
            del found[name]
    return found


# ------------------------------------------------------------------------------ goodput


def full(connections: int) -> Sizes:
    """A pool of so many connections, all of them open."""
    return Sizes(connections, connections, connections)


async def run_once(opener: Opener, workload: Workload) -> Run:
    """Run a workload on a new pool, whose connections are open."""
    pool = await opener(full(workload.connections))
    try:
        return await Run(pool, workload).run()
    finally:
        await asyncio.sleep(0.3)  # what was cancelled ends
        await pool.close()


async def measured(
    openers: Mapping[str, Opener], times: Times, phases: list[Phase], chosen: argparse.Namespace
) -> dict[str, Run]:
    """A run of each pool, in a shuffled order."""
    workload = Workload(chosen.connections, times, PATIENCE, phases, chosen.seed)
    order = list(openers)
    Random(chosen.seed).shuffle(order)
    runs = {name: await run_once(openers[name], workload) for name in order}
    return {name: runs[name] for name in openers}


async def ceiling(opener: Opener, times: Times, chosen: argparse.Namespace) -> float:
    """The goodput of a closed loop on a new pool."""
    pool = await opener(full(chosen.connections))
    workload = Workload(chosen.connections, times, PATIENCE, [], chosen.seed)
    try:
        return await closed_loop(pool, workload, chosen.seconds / 2)
    finally:
        await pool.close()


async def goodput_over_load(
    openers: Mapping[str, Opener], chosen: argparse.Namespace, points: Points
) -> Rows:
    rows: Rows = [("load", "", "goodput", "p50", "p99", "reconnects", "out of order", "failed")]
    for kind in chosen.times:
        for name, opener in openers.items():
            reached = f"{await ceiling(opener, KINDS[kind], chosen):.0f} %"
            rows.append((f"{KINDS[kind].name}, closed loop", name, reached, "", "", "", "", ""))
        for load in chosen.loads:
            phases = [Phase(chosen.seconds, load)]
            runs = await measured(openers, KINDS[kind], phases, chosen)
            for name, run in runs.items():
                rows.append((f"{KINDS[kind].name}, {load:g} x", name, *figures(run)))
                points.setdefault((kind, name), []).append((load, run.reading()["goodput %"]))
    return rows


def figures(run: Run) -> tuple[str, ...]:
    reading = run.reading()
    return (
        f"{reading['goodput %']:.0f} %",
        f"{reading['p50 ms']:.0f} ms",
        f"{reading['p99 ms']:.0f} ms",
        f"{reading['reconnects']:.0f}",
        f"{reading['out of order %']:.1f} %",
        f"{reading['failed']:.0f}",
    )


async def step_up_and_down(openers: Mapping[str, Opener], chosen: argparse.Namespace) -> Rows:
    rows: Rows = [("step", "", *(f"at {load:g} x" for load in STEP), "reconnects")]
    for kind in chosen.times:
        phases = [Phase(chosen.seconds / 2, load) for load in STEP]
        runs = await measured(openers, KINDS[kind], phases, chosen)
        for name, run in runs.items():
            goodputs = [f"{goodput:.0f} %" for goodput in run.goodputs()]
            reconnects = f"{run.reading()['reconnects']:.0f}"
            rows.append((KINDS[kind].name, name, *goodputs, reconnects))
    return rows


def drawn(points: Points) -> str:
    """The plot: one panel for each kind of times."""
    by_kind: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for (kind, name), line in points.items():
        by_kind.setdefault(kind, {})[name] = sorted(line)
    panels = [Panel(KINDS[kind].name, lines) for kind, lines in by_kind.items()]
    loads = sorted({load for line in points.values() for load, _ in line})
    x = Axis("load / capacity", 0.5, max(3.0, *loads), (0.8, 1.2, 1.5, 2.0, 2.5, 3.0))
    return chart(panels, x, Axis("goodput, % of capacity", 0, 110, (0, 25, 50, 75, 100)))


# ------------------------------------------------------------------------------- growth


class StandStill:
    """The longest time in which the event loop ran nothing else."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._task = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.perf_counter() - before - 0.001)

    def stop(self) -> float:
        self._task.cancel()
        return self.longest


async def wait_in_vain(pool: OpenPool) -> None:
    with suppress(Exception):
        await pool.give(await pool.take())


async def time_out_together(options: dict[str, Any], waiters: int) -> tuple[float, float]:
    """Waiters on a pool whose connections are all held.

    Returns the seconds that the loop stands still as they arrive, all in one iteration, and the
    longest such time until all have timed out.
    """
    options = {**options, "pool_timeout": POOL_TIMEOUT}
    pool = await pools.open_engine(stub_driver.URL, options, Sizes(CONNECTIONS, CONNECTIONS))
    held = [await pool.take() for _ in range(CONNECTIONS)]
    tasks = [asyncio.ensure_future(wait_in_vain(pool)) for _ in range(waiters)]
    began = time.perf_counter()
    await asyncio.sleep(0)  # every task has run until it waits
    arrival = time.perf_counter() - began
    watch = StandStill()
    await asyncio.wait(tasks)
    longest = watch.stop()
    for connection in held:
        await pool.give(connection)
    await pool.close()
    return arrival, longest


async def growth(chosen: argparse.Namespace) -> Rows:
    rows: Rows = [("waiters that time out together", "", "stand-still", "as they arrive")]
    subjects = {pools.TYPED: pools.TYPED_OPTIONS, pools.STOCK: pools.STOCK_OPTIONS}
    for waiters in chosen.waiters:
        for name, options in subjects.items():
            if chosen.pools is None or name in chosen.pools:
                arrival, longest = await time_out_together(options, waiters)
                rows.append((f"{waiters:,}", name, f"{longest:.3f} s", f"{arrival:.3f} s"))
    return rows


# --------------------------------------------------------------------------------- main


async def on_a_server(chosen: argparse.Namespace, url: str) -> None:
    openers = selected(make_url(url), chosen.pools)
    points: Points = {}
    show(await goodput_over_load(openers, chosen, points))
    if chosen.loads and chosen.times:
        chosen.svg.write_text(drawn(points), encoding="utf-8")
        print(f"  plot: {chosen.svg}")
    show(await step_up_and_down(openers, chosen))


def show(rows: Rows) -> None:
    if len(rows) > 1:
        print("", *aligned(rows), sep="\n", flush=True)


def main() -> None:
    chosen = options()
    logging.disable(logging.ERROR)  # cancelled connections are logged by every pool
    print(headline(machine()))
    print(f"{chosen.connections} connections, clients give up after {PATIENCE:g} s")
    print(f"{chosen.seconds:g} s a run, on {'uvloop' if chosen.uvloop else 'asyncio'}")
    with Postgres.start(settings={"max_connections": "400"}) as server:
        run_in_loop(on_a_server(chosen, server.url("asyncpg")), with_uvloop=chosen.uvloop)
    show(run_in_loop(growth(chosen), with_uvloop=chosen.uvloop))


if __name__ == "__main__":
    main()
