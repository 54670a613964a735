"""Fixtures: a server, one event loop per benchmark, the runner; and the table at the end."""

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
from benchmarks.interleave import Comparison, Goal, Rounds, Turn
from benchmarks.one_cpu import use_one_cpu
from benchmarks.pools import Opener, OpenPool, Sizes
from sqla_typedpool.embedded import EmbeddedServerError, Postgres
from tests.support.drivers import MARIADB, POSTGRESQL
from tests.support.servers.mariadb import MariaDB

RESULTS = Path(__file__).parent / "results" / "latest.json"
RESULTS_KEY = pytest.StashKey[list[Comparison]]()

# One comparison has seven pools of 32 connections open at the same time.
SERVER_SETTINGS = {"max_connections": "400"}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sqla-typedpool benchmarks")
    group.addoption(
        "--quick",
        action="store_true",
        help="a smoke run of half a minute; its figures are not meaningful",
    )
    group.addoption(
        "--bench-rounds", type=int, default=40, help="rounds of a comparison (default: 40)"
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
    group.addoption(
        "--bench-cpu", type=int, default=-1, help="the CPU for all processes; -1: all (default)"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RESULTS_KEY] = []
    use_one_cpu(config.getoption("bench_cpu"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(1800))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print all comparisons and write them to a JSON file."""
    comparisons = config.stash[RESULTS_KEY]
    if not comparisons:
        return
    settings = _settings(config)
    RESULTS.write_text(report.as_json(comparisons, settings), encoding="utf-8")
    terminalreporter.section("pools compared")
    terminalreporter.write_line(report.headline(report.machine()))
    options = ", ".join(f"{name} {value}" for name, value in settings.items())
    terminalreporter.write_line(f"{options}; all readings: benchmarks/results/{RESULTS.name}")
    if settings["quick"]:
        terminalreporter.write_line("A quick run: its figures are not meaningful.")
    for line in report.table(comparisons):
        terminalreporter.write_line(line)


def _settings(config: pytest.Config) -> dict[str, Any]:
    return {
        "quick": config.getoption("quick"),
        "rounds": config.getoption("bench_rounds"),
        "seed": config.getoption("bench_seed"),
        "loop": config.getoption("bench_loop"),
        "cpu": config.getoption("bench_cpu"),
    }


@pytest.fixture(scope="session", autouse=True)
def frozen_heap() -> Iterator[None]:
    """Exclude pytest's own objects from the garbage collections before every turn."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def server() -> Iterator[URL]:
    """The address of a PostgreSQL server started for this session."""
    with Postgres.start(settings=SERVER_SETTINGS) as postgres:
        yield make_url(postgres.url("asyncpg"))


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A MariaDB server started for this session; benchmarks that need it are skipped without it."""
    try:
        started = MariaDB.start()
    except EmbeddedServerError as error:
        pytest.skip(f"MariaDB cannot be started: {error}")
    yield started
    started.stop()


@pytest.fixture
def database_url(request: pytest.FixtureRequest, driver: str, tmp_path: Path) -> URL:
    """The database of the parameter `driver`, on the session's server or in a new file."""
    pytest.importorskip(driver)
    if driver in POSTGRESQL:
        server: URL = request.getfixturevalue("server")
        return server.set(drivername=f"postgresql+{driver}")
    if driver in MARIADB:
        return make_url(request.getfixturevalue("mariadb").url(driver))
    return make_url(f"sqlite+{driver}:///{tmp_path / 'file.db'}")


@pytest.fixture
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    """The event loop of one benchmark."""
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
class Runner:
    """Opens the pools of one benchmark, runs the comparison, and keeps the result."""

    loop: asyncio.AbstractEventLoop
    benchmark: Any
    quick: bool
    rounds: int
    seed: int
    results: list[Comparison] = field(default_factory=list)

    def scaled(self, full: int, quick: int) -> int:
        """The size of a workload: `quick` in a smoke run, else `full`."""
        return quick if self.quick else full

    @contextmanager
    def opened(self, openers: Mapping[str, Opener], sizes: Sizes) -> Iterator[dict[str, OpenPool]]:
        """Open and warm all pools; close them at the end."""
        pools: dict[str, OpenPool] = {}
        try:
            for name, opener in openers.items():
                pools[name] = self.loop.run_until_complete(opener(sizes))
            yield pools
        finally:
            for pool in pools.values():
                self.loop.run_until_complete(pool.close())

    def compare(
        self,
        title: str,
        turns: Mapping[str, Turn],
        goals: Sequence[Goal] = (),
        *,
        rounds: int | None = None,
        warms_up: bool = True,
    ) -> None:
        """Run one warm-up round, then all rounds, each as a round of pytest-benchmark."""
        measured = Rounds(turns, seed=self.seed)

        def run() -> None:
            self.loop.run_until_complete(measured.run_one())

        if warms_up and not self.quick:
            run()
            measured.forget()
        planned = 1 if self.quick else min(rounds or self.rounds, self.rounds)
        self.benchmark.pedantic(run, rounds=planned, iterations=1)
        comparison = Comparison(title, measured.readings, goals)
        self.benchmark.extra_info["medians"] = comparison.medians()
        self.results.append(comparison)


@pytest.fixture
def runner(
    benchmark: Any, loop: asyncio.AbstractEventLoop, request: pytest.FixtureRequest
) -> Runner:
    """The runner of one benchmark."""
    option = request.config.getoption
    benchmark.group = "rounds of all pools together; the figures are in the last table"
    return Runner(
        loop=loop,
        benchmark=benchmark,
        quick=option("quick"),
        rounds=option("bench_rounds"),
        seed=option("bench_seed"),
        results=request.config.stash[RESULTS_KEY],
    )
