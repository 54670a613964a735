"""The stage: a server, one event loop per benchmark, and the table at the end."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL, make_url

from benchmarks import report
from benchmarks.contestants import Opener, OpenPool, Sizes
from benchmarks.interleave import Comparison, Goal, Race, Turn
from sqla_typedpool.embedded import Postgres

RESULTS = Path(__file__).parent / "results" / "latest.json"
RESULTS_KEY = pytest.StashKey[list[Comparison]]()

# Seven pools of 32 connections stand open side by side in one comparison.
SERVER_SETTINGS = {"max_connections": "400"}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sqla-typedpool benchmarks")
    group.addoption(
        "--quick",
        action="store_true",
        help="a smoke run of half a minute: it shows that the benchmarks run, its figures are void",
    )
    group.addoption(
        "--bench-rounds", type=int, default=40, help="at most so many rounds each (default: 40)"
    )
    group.addoption(
        "--bench-seed", type=int, default=1, help="seed of the order in the rounds (default: 1)"
    )
    group.addoption(
        "--bench-loop",
        choices=("asyncio", "uvloop"),
        default="asyncio",
        help="the event loop (default: asyncio)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RESULTS_KEY] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(1800))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print all comparisons in one table and keep them as JSON."""
    comparisons = config.stash[RESULTS_KEY]
    if not comparisons:
        return
    settings = _settings(config)
    RESULTS.write_text(report.as_json(comparisons, settings), encoding="utf-8")
    terminalreporter.section("pools compared")
    terminalreporter.write_line(report.headline(report.machine()))
    said = ", ".join(f"{name} {value}" for name, value in settings.items())
    terminalreporter.write_line(f"{said}; all readings: benchmarks/results/{RESULTS.name}")
    if settings["quick"]:
        terminalreporter.write_line("A quick run: it shows that the benchmarks run, nothing else.")
    for line in report.table(comparisons):
        terminalreporter.write_line(line)


def _settings(config: pytest.Config) -> dict[str, Any]:
    return {
        "quick": config.getoption("quick"),
        "rounds": config.getoption("bench_rounds"),
        "seed": config.getoption("bench_seed"),
        "loop": config.getoption("bench_loop"),
    }


@pytest.fixture(scope="session", autouse=True)
def frozen_heap() -> Iterator[None]:
    """What pytest itself keeps alive is left out of the collections before every turn."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def server() -> Iterator[URL]:
    """The address of a PostgreSQL of this session's own."""
    with Postgres.start(settings=SERVER_SETTINGS) as postgres:
        yield make_url(postgres.url("asyncpg"))


@pytest.fixture
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    """The one event loop of a benchmark."""
    loop = _new_loop(request.config.getoption("bench_loop"))
    yield loop
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _new_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "asyncio":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


@dataclass
class Stage:
    """Where contestants meet: it opens them, runs their race, and keeps the result."""

    loop: asyncio.AbstractEventLoop
    benchmark: Any
    quick: bool
    rounds: int
    seed: int
    results: list[Comparison] = field(default_factory=list)

    def scaled(self, full: int, quick: int) -> int:
        """The size of a workload: the full one, or the one for a smoke run."""
        return quick if self.quick else full

    @contextmanager
    def opened(self, openers: Mapping[str, Opener], sizes: Sizes) -> Iterator[dict[str, OpenPool]]:
        """All contestants open and warm, side by side, until the race is over."""
        pools: dict[str, OpenPool] = {}
        try:
            for name, opener in openers.items():
                pools[name] = self.loop.run_until_complete(opener(sizes))
            yield pools
        finally:
            for pool in pools.values():
                self.loop.run_until_complete(pool.close())

    def race(
        self,
        title: str,
        turns: Mapping[str, Turn],
        goals: Sequence[Goal] = (),
        *,
        rounds: int | None = None,
    ) -> None:
        """Run one round to warm up and then the rounds that count; pytest-benchmark sees each."""
        race = Race(turns, seed=self.seed)

        def play() -> None:
            self.loop.run_until_complete(race.play_round())

        if not self.quick:
            play()
            race.forget()
        planned = 1 if self.quick else min(rounds or self.rounds, self.rounds)
        self.benchmark.pedantic(play, rounds=planned, iterations=1)
        comparison = Comparison(title, race.readings, goals)
        self.benchmark.extra_info["medians"] = comparison.medians()
        self.results.append(comparison)


@pytest.fixture
def stage(benchmark: Any, loop: asyncio.AbstractEventLoop, request: pytest.FixtureRequest) -> Stage:
    """The stage of one benchmark."""
    option = request.config.getoption
    benchmark.group = "rounds of all contestants together; the figures stand in the last table"
    return Stage(
        loop=loop,
        benchmark=benchmark,
        quick=option("quick"),
        rounds=option("bench_rounds"),
        seed=option("bench_seed"),
        results=request.config.stash[RESULTS_KEY],
    )
