"""`python -m benchmarks.overload`: goodput when more work arrives than the database can do.

An open loop: clients arrive at random, each executes one statement that sleeps, and gives up 0.5 s
after its arrival. Goodput is the number of statements that ended in time, in percent of the
capacity: connections / mean length of a statement. A closed loop with as many clients as
connections shows how much of it the machine reaches. All pools get the same clients, on servers
started for this.

All figures are written to `results/overload.json`; `python -m benchmarks.overload_plot` draws them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy.engine import make_url

from benchmarks import growth, pools
from benchmarks.machine_load import taken_by_others
from benchmarks.open_loop import (
    FIXED,
    LONG,
    MIXED,
    Outcome,
    Phase,
    Run,
    Times,
    Workload,
    closed_loop,
)
from benchmarks.pools import Opener, OpenPool, Sizes
from benchmarks.report import Rows, aligned, headline, machine
from sqla_typedpool.embedded import Postgres
from sqla_typedpool.embedded.process import EmbeddedServerError
from tests.support.servers.mariadb import MariaDB

RESULTS = Path(__file__).parent / "results" / "overload.json"
UVLOOP_RESULTS = RESULTS.with_name("overload-uvloop.json")
PATIENCE = 0.5  # seconds
LOADS = (0.8, 1.0, 1.2, 1.5, 3.0)
STEP = (0.8, 3.0, 0.8)
CEILING_SECONDS = 2.0  # of a closed loop, at most
TRIES = 3  # of a run for which the machine was too busy

NAMES = (
    *(pools.TYPED, pools.STOCK, pools.ASYNCPG, pools.PSYCOPG),
    *(pools.TYPED_PSYCOPG, pools.TYPED_AIOMYSQL),
)
# Packages without which a pool is left out.
NEEDS = {
    pools.PSYCOPG: "psycopg_pool",
    pools.TYPED_PSYCOPG: "psycopg",
    pools.TYPED_AIOMYSQL: "aiomysql",
}


@dataclass(frozen=True)
class Scenario:
    """A kind of load, which is offered to all pools."""

    times: Times
    connections: int = 10
    retries: int = 0
    loads: Sequence[float] = LOADS
    has_step: bool = False

    def workload(self, phases: Sequence[Phase], seed: int) -> Workload:
        return Workload(self.connections, self.times, PATIENCE, phases, seed, self.retries)

    @property
    def title(self) -> str:
        retries = f", clients try {1 + self.retries} times" if self.retries else ""
        return f"{self.times.name}, {self.connections} connections{retries}"


SCENARIOS = {
    "fixed": Scenario(FIXED, has_step=True),
    "mixed": Scenario(MIXED, has_step=True),
    "large": Scenario(LONG, connections=50, loads=(1.5, 3.0)),
    "retries": Scenario(FIXED, retries=2, loads=(1.5, 3.0)),
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    add = parser.add_argument
    add("--seconds", type=float, default=6.0, help="the length of a run (6)")
    add("--scenarios", nargs="*", default=list(SCENARIOS), choices=SCENARIOS, help="(all)")
    add("--loads", type=float, nargs="*", help="multiples of the capacity (those of the scenario)")
    add("--pools", nargs="*", default=NAMES, choices=NAMES, help="(all)")
    add(
        "--waiters",
        type=int,
        nargs="*",
        default=growth.WAITERS,
        help="numbers of waiters that end together; none: not measured",
    )
    add("--seed", type=int, default=1, help="of the clients and of the order of the pools (1)")
    add("--uvloop", action="store_true", help="on uvloop instead of asyncio")
    add("--json", type=Path, help="the file of the results (one for each event loop)")
    chosen = parser.parse_args()
    chosen.json = chosen.json or (UVLOOP_RESULTS if chosen.uvloop else RESULTS)
    return chosen


# ------------------------------------------------------------------------------ pools


def opened_servers(names: Sequence[str], stack: ExitStack) -> Iterator[tuple[str, Opener]]:
    """Start the servers that these pools need, and return how each pool is opened."""
    postgres = stack.enter_context(Postgres.start(settings={"max_connections": "400"}))
    url = make_url(postgres.url("asyncpg"))
    openers = pools.on_a_server(url)
    openers[pools.TYPED_PSYCOPG] = partial(pools.open_typed, make_url(postgres.url("psycopg")))
    if pools.TYPED_AIOMYSQL in names and find_spec("aiomysql"):
        try:
            mariadb = MariaDB.start()
        except EmbeddedServerError as error:
            print(f"{pools.TYPED_AIOMYSQL} is left out: {error}")
        else:
            stack.callback(mariadb.stop)
            openers[pools.TYPED_AIOMYSQL] = partial(pools.open_typed, make_url(mariadb.url()))
    for name in names:
        if name in openers and (package := NEEDS.get(name)) and find_spec(package) is None:
            print(f"{package} is not installed, so {name} is left out; next: pip install {package}")
        elif name in openers:
            yield name, openers[name]


@asynccontextmanager
async def new_pool(opener: Opener, connections: int) -> AsyncIterator[OpenPool]:
    """A pool of so many connections, all of them open."""
    pool = await opener(Sizes(connections, connections, connections))
    try:
        yield pool
    finally:
        await asyncio.sleep(0.3)  # what was cancelled ends
        await pool.close()


async def run_once(opener: Opener, workload: Workload) -> Run:
    """Run a workload on a new pool."""
    before = taken_by_others()
    async with new_pool(opener, workload.connections) as pool:
        run = await Run(pool, workload).run()
    run.taken_by_others = max(before, taken_by_others())
    return run


async def valid_run(opener: Opener, workload: Workload) -> Run:
    """Run a workload, again if the machine was too busy; the last run may be invalid too."""
    for _ in range(TRIES - 1):
        run = await run_once(opener, workload)
        if run.is_valid:
            return run
    return await run_once(opener, workload)


# -------------------------------------------------------------------------- the benchmark


class Results:
    """All figures, as they are written to a JSON file."""

    def __init__(self, file: Path, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        self._file = file
        self._facts = {"machine": facts, "settings": settings}
        self.tables: dict[str, list[dict[str, Any]]] = {
            kind: [] for kind in ("ceilings", "runs", "steps", "growth")
        }

    def write(self) -> None:
        """Write what has been measured until now."""
        document = json.dumps({**self._facts, **self.tables}, indent=2)
        self._file.write_text(document + "\n", encoding="utf-8")


class Benchmark:
    """All scenarios on all pools."""

    def __init__(
        self, openers: Mapping[str, Opener], chosen: argparse.Namespace, results: Results
    ) -> None:
        self._openers = openers
        self._chosen = chosen
        self._random = Random(chosen.seed)
        self._tables = results.tables
        self._write = results.write

    async def run(self) -> None:
        for name in self._chosen.scenarios:
            scenario = SCENARIOS[name]
            loads = scenario.loads if self._chosen.loads is None else self._chosen.loads
            show(scenario.title, await self._over_load(name, scenario, loads))
            if scenario.has_step:
                title = f"{scenario.title}, " + ", then ".join(f"{load:g} x" for load in STEP)
                show(title, await self._step(name, scenario))
            self._write()

    def _shuffled(self) -> list[str]:
        return self._random.sample(list(self._openers), len(self._openers))

    async def _over_load(self, name: str, scenario: Scenario, loads: Sequence[float]) -> Rows:
        rows: Rows = [HEADINGS]
        # without time limits nobody tries again
        for pool in self._shuffled() if loads and not scenario.retries else ():
            reached = await self._ceiling(scenario, self._openers[pool])
            self._tables["ceilings"].append({"scenario": name, "pool": pool, "goodput %": reached})
            rows.append(("closed loop", pool, f"{reached:.0f} %", *[""] * (len(HEADINGS) - 3)))
        for load in loads:
            workload = scenario.workload([Phase(self._chosen.seconds, load)], self._chosen.seed)
            for pool in self._shuffled():
                run = await valid_run(self._openers[pool], workload)
                where = {"scenario": name, "load": load, "pool": pool, "valid": run.is_valid}
                self._tables["runs"].append({**where, **run.reading()})
                rows.append((f"{load:g} x", pool, *figures(run)))
        return rows

    async def _ceiling(self, scenario: Scenario, opener: Opener) -> float:
        """The goodput of a closed loop."""
        workload = scenario.workload([], self._chosen.seed)
        async with new_pool(opener, scenario.connections) as pool:
            return await closed_loop(pool, workload, min(CEILING_SECONDS, self._chosen.seconds))

    async def _step(self, name: str, scenario: Scenario) -> Rows:
        rows: Rows = [("", "", *(f"at {load:g} x" for load in STEP), "in order after", MACHINE)]
        phases = [Phase(self._chosen.seconds / 2, load) for load in STEP]
        down = phases[0].seconds + phases[1].seconds
        for pool in self._shuffled():
            workload = scenario.workload(phases, self._chosen.seed)
            run = await valid_run(self._openers[pool], workload)
            goodputs, after = run.goodputs(), run.in_order_after(down)
            where = {"scenario": name, "pool": pool, "valid": run.is_valid}
            step = {"goodputs %": goodputs, "in order after s": after}
            self._tables["steps"].append({**where, **step, **run.reading()})
            cells = [*(f"{goodput:.0f} %" for goodput in goodputs), f"{after:.1f} s"]
            rows.append(
                ("", pool, *(cells if run.is_valid else INVALID[: len(cells)]), machine_of(run))
            )
        return rows


MACHINE = "loop lag, cpu, others"
HEADINGS = (
    *("", "", "goodput", "p50", "p99", "refused", "failed"),
    *("reconnects", "overtakings", "overloads", MACHINE),
)
# Instead of the figures of a run for which the machine was too busy.
INVALID = ("invalid", *["-"] * (len(HEADINGS) - 4))


def figures(run: Run) -> tuple[str, ...]:
    reading = run.reading()
    cells = (
        f"{reading['goodput %']:.0f} %",
        f"{reading['p50 ms']:.0f} ms",
        f"{reading['p99 ms']:.0f} ms",
        f"{reading[Outcome.REFUSED.value]:.0f}",
        f"{reading[Outcome.FAILED.value]:.0f}",
        f"{reading['reconnects %']:.2f} %",
        f"{reading['overtakings %']:.1f} %",
        f"{reading['overloads']:.0f}" if "overloads" in reading else "",
    )
    return (*(cells if run.is_valid else INVALID), machine_of(run))


def machine_of(run: Run) -> str:
    """How late the loop was, and the processor time that the run and other processes took."""
    reading = run.reading()
    lag = f"{reading['mean loop lag ms']:.1f}, {reading['p99 loop lag ms']:.0f} ms"
    return f"{lag}, {reading['cpu %']:.0f} %, {reading['taken by others %']:.0f} %"


# --------------------------------------------------------------------------------- main


def run_in_loop(main: Coroutine[Any, Any, Any], *, with_uvloop: bool) -> Any:
    if not with_uvloop:
        return asyncio.run(main)
    import uvloop

    return uvloop.run(main)


def show(title: str, rows: Rows) -> None:
    if len(rows) > 1:
        print("", title, *aligned(rows), sep="\n", flush=True)


def measure(chosen: argparse.Namespace, results: Results) -> None:
    with ExitStack() as stack:
        openers = dict(opened_servers(chosen.pools, stack))
        benchmark = Benchmark(openers, chosen, results)
        run_in_loop(benchmark.run(), with_uvloop=chosen.uvloop)
    waiting = growth.measured(chosen.waiters, chosen.pools)
    found = run_in_loop(waiting, with_uvloop=chosen.uvloop)
    show("waiters without a server", growth.as_rows(found))
    results.tables["growth"] = [asdict(one) for one in found]
    results.write()


def main() -> None:
    chosen = options()
    logging.disable(logging.ERROR)  # cancelled connections are logged by every pool
    facts, loop = machine(), "uvloop" if chosen.uvloop else "asyncio"
    print(headline(facts))
    print(f"clients give up after {PATIENCE:g} s; {chosen.seconds:g} s a run, on {loop}")
    settings = {"seconds": chosen.seconds, "seed": chosen.seed, "loop": loop}
    measure(chosen, Results(chosen.json, facts, settings))
    print(f"\nall figures: {chosen.json}")


if __name__ == "__main__":
    main()
