"""No acknowledged commit is lost under load while faults are injected at random.

make soak SECONDS=3600 SEED=7      runs longer, with the given seed
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from sqla_typedpool import PoolTimeout
from sqla_typedpool._sqlalchemy.greenlets import await_only, greenlet_spawn
from sqla_typedpool.embedded import EmbeddedServerError, Postgres
from sqla_typedpool.pool.drivers.base import Probe
from tests.chaos.chaos_run import ChaosRun
from tests.chaos.expected_errors import Violation, is_expected
from tests.chaos.ledger import ABSENT, COMMITTED, UNKNOWN, Ledger
from tests.chaos.measurements import growth_of
from tests.chaos.targets import MariaDBTarget, PostgresTarget, Target
from tests.conftest import no_server
from tests.support import virtual_clock
from tests.support.clocks import LoopClock
from tests.support.engines import LOOPS, run
from tests.support.fake_driver import (
    Disconnect,
    Server,
    borrow,
    change_driver,
    driver_of,
    new_pool,
    open_idle,
)
from tests.support.servers.mariadb import MariaDB

if TYPE_CHECKING:
    from collections.abc import Iterator

SOAK_SECONDS = os.environ.get("SQLA_TYPEDPOOL_SOAK_SECONDS")
TOTAL = float(SOAK_SECONDS or 120)
SEED = os.environ.get("SQLA_TYPEDPOOL_SOAK_SEED")

# An acknowledged commit has reached the operating system, so it survives when a process is killed.
# (The machine itself is never stopped: fsync may stay off.)
DURABLE = {"synchronous_commit": "on", "full_page_writes": "on"}


def part_of_total(part: float) -> Any:
    """The parameter of a run that takes this part of the total time."""
    seconds = TOTAL * part
    return pytest.param(seconds, marks=pytest.mark.timeout(seconds + 120), id=f"{seconds:.0f} s")


pytestmark = [
    # Connections are leaked on purpose. SQLAlchemy and psycopg warn of that. If psycopg's warning
    # became an error in a finaliser, pytest would store it and keep the connection alive.
    pytest.mark.filterwarnings("ignore:The garbage collector is trying:sqlalchemy.exc.SAWarning"),
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
    # aiomysql warns on uvloop of an object whose socket is already closed. (Open sockets are
    # counted, so this filter hides no leak.)
    pytest.mark.filterwarnings("ignore:Unclosed connection:ResourceWarning"),
]


@pytest.fixture
def durable_postgres() -> Iterator[Postgres]:
    try:
        server = Postgres.start(settings=DURABLE)
    except EmbeddedServerError as error:
        no_server(error)
    with server:
        yield server


@pytest.fixture
def durable_mariadb() -> Iterator[MariaDB]:
    try:
        server = MariaDB.start()
    except EmbeddedServerError as error:
        no_server(error)
    try:
        yield server
    finally:
        server.stop()


def run_chaos(target: Target, seconds: float) -> None:
    """Run the chaos test; odd seeds use uvloop, so that a seed also repeats the loop."""
    seed = int(SEED) if SEED else random.SystemRandom().randrange(10**9)
    chaos_run = ChaosRun(target, seconds, seed, verbose=SOAK_SECONDS is not None)
    summary = run(chaos_run.run(), LOOPS[seed % 2])
    if SOAK_SECONDS is not None:
        sys.stdout.write(f"\n{summary}\n")


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("seconds", [part_of_total(3 / 6)])
def test_no_commit_is_lost_under_faults_with_asyncpg(
    durable_postgres: Postgres, seconds: float
) -> None:
    run_chaos(PostgresTarget(durable_postgres, "asyncpg"), seconds)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("seconds", [part_of_total(2 / 6)])
def test_no_commit_is_lost_under_faults_with_psycopg(
    durable_postgres: Postgres, seconds: float
) -> None:
    run_chaos(PostgresTarget(durable_postgres, "psycopg"), seconds)


@pytest.mark.slow
@pytest.mark.mariadb
@pytest.mark.parametrize("seconds", [part_of_total(1 / 6)])
def test_no_commit_is_lost_under_faults_with_aiomysql(
    durable_mariadb: MariaDB, seconds: float
) -> None:
    target = MariaDBTarget(durable_mariadb, "aiomysql")
    target.make_durable()
    run_chaos(target, seconds)


# ------------------------------------------------------------ tests of the checks themselves


def ledger_of(*outcomes: int) -> Ledger:
    ledger = Ledger()
    for row, outcome in enumerate(outcomes):
        if row % 2 == 0:
            ledger.open_pair()
        ledger.set_outcome(outcome, [row])
    return ledger


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        ([0, 2, 3], None),
        ([0], None),
        ([2, 3], "row 0 (acknowledged) is stored 0 times"),
        ([0, 0], "row 0 (acknowledged) is stored 2 times"),
        ([0, 1], "row 1 (never committed) is stored 1 times"),
        ([0, 2, 2, 3, 3], "row 2 (of unknown outcome) is stored 2 times"),
        ([0, 3], "rows 2 and 3 of one transaction are stored 0 and 1 times"),
        ([0, 7], "row 7 was never written"),
    ],
)
def test_the_ledger_finds_lost_duplicated_torn_and_unexpected_rows(
    found: list[int], difference: str | None
) -> None:
    differences = ledger_of(COMMITTED, ABSENT, UNKNOWN, UNKNOWN).differences(found)
    assert differences[:1] == ([] if difference is None else [difference])


def test_only_errors_explained_by_the_injected_faults_are_expected() -> None:
    disconnected = DBAPIError("SELECT 1", {}, Exception("gone"), connection_invalidated=True)
    assert is_expected(disconnected, "checkout")
    assert is_expected(ConnectionRefusedError(), "checkout")
    assert is_expected(PoolTimeout("", stage="queueing", waited=3), "checkout")
    state: Any = Exception("shutdown")
    state.sqlstate = "57P01"
    assert is_expected(state, "checkout")
    closed = RuntimeError("unable to perform operation on <TCPTransport>; the handler is closed")
    assert is_expected(closed, "work")
    two_users = Exception("cannot switch to state 12; another operation (4) is in progress")
    for error in (
        Violation(),
        closed,
        InvalidRequestError(),
        DBAPIError("SELECT 1", {}, Exception("syntax error")),
        DBAPIError("SELECT 1", {}, two_users, connection_invalidated=True),
    ):
        assert not is_expected(error, "checkout")


def test_the_clock_of_the_load_does_not_advance_while_the_loop_is_blocked() -> None:
    async def main() -> float:
        clock = LoopClock()
        started = clock.now()
        await asyncio.sleep(0.1)
        time.sleep(0.5)
        seconds = clock.now() - started
        await asyncio.sleep(0.05)
        assert clock.now() - started >= seconds
        clock.stop()
        return seconds

    assert 0.05 < run(main()) < 0.3


def test_steady_memory_growth_is_distinguished_from_caches_being_filled() -> None:
    assert growth_of([0, 5000, 5000, 5010, 5000, 4990]) < 20
    assert growth_of([0, 1000, 2000, 3000, 4000, 5000]) > 2000


# ---------------------------------------------------------- errors found by the chaos test
#
# Minimal, without a server. Some drivers need a query for the server's mode as the last step of
# opening a connection; that query may fail or be cancelled.


def queries_mode(query: Any, probe: Any = None) -> dict[str, Any]:
    """The changes that make the fake driver query the server's mode at each connect."""
    changes: dict[str, Any] = {
        "reports_read_only": True,
        "server_mode": lambda self, adapted: query(adapted),
    }
    if probe is not None:
        changes["make_probe"] = lambda self, connection: probe(connection)
    return changes


def test_an_entry_whose_connect_failed_is_reused_by_only_one_later_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fails = False

    def probe(connection: Any) -> Any:
        if fails:
            raise AttributeError("the driver has closed it and has no transport any more")
        return connection.probe

    async def main() -> None:
        nonlocal fails
        change_driver(monkeypatch, **queries_mode(lambda adapted: None, probe))
        pool = new_pool(Server(), pool_size=4, max_overflow=0)
        (await borrow(pool)).invalidate()  # its empty entry is kept for the next connect
        await asyncio.sleep(1)
        fails = True
        with pytest.raises(AttributeError):
            await borrow(pool)
        fails = False
        held = await asyncio.gather(borrow(pool), borrow(pool))
        assert driver_of(held[0]) is not driver_of(held[1])

    virtual_clock.run(main())


def test_a_connection_lost_during_its_mode_query_is_not_handed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost: list[Any] = []

    def query_mode(adapted: Any) -> None:
        if not lost:
            lost.append(adapted._connection)
            lost[0].die()
            adapted._connection.abort()
            error = Disconnect("the server has just died")
            error.sqlstate = "08006"  # type: ignore[attr-defined]  # transient: the pool tries again
            raise error

    def probe(connection: Any) -> Any:
        assert not connection.is_closed, (
            "a closed connection of MySQL's drivers has no transport to probe"
        )
        return connection.probe

    async def main() -> None:
        change_driver(monkeypatch, **queries_mode(query_mode, probe))
        pool = new_pool(Server(), pool_size=1, max_overflow=0)
        assert driver_of(await borrow(pool)) is not lost[0]

    virtual_clock.run(main())


def test_an_attempt_abandoned_during_its_mode_query_yields_no_closed_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queried: list[Any] = []

    def query_mode(adapted: Any) -> None:
        queried.append(adapted._connection)
        if len(queried) == 1:
            try:
                await_only(asyncio.sleep(1000))
            except asyncio.CancelledError:
                adapted._connection.abort()  # as MySQL's drivers do
                raise

    async def main() -> None:
        change_driver(monkeypatch, **queries_mode(query_mode))
        pool = new_pool(Server(), pool_size=1, max_overflow=0, timeout=20)
        fairy = await borrow(pool)  # the silent attempt is abandoned for a fresh one
        assert not driver_of(fairy).is_closed

    virtual_clock.run(main())


def test_a_ping_that_fails_on_a_connection_known_to_be_dead_raises_no_error_in_the_checkout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unable() -> Exception:
        return RuntimeError("unable to perform operation on <TCPTransport closed=True>")

    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0)
        (connection,) = await open_idle(pool, 1)
        await asyncio.sleep(1)  # past pool_validate_after
        connection.slow["ping"] = 0.1
        connection.fails["ping"] = unable
        dead = Probe.DEAD
        asyncio.get_running_loop().call_later(0.05, setattr, connection, "probe_result", dead)
        assert driver_of(await borrow(pool)) is not connection

    virtual_clock.run(main())


def test_a_connection_whose_graceful_close_fails_is_closed_anyway() -> None:
    def unable() -> Exception:
        return RuntimeError("unable to perform operation on <TCPTransport closed=True>")

    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0)
        fairy = await borrow(pool)
        connection = driver_of(fairy)
        connection.fails["close"] = unable
        await greenlet_spawn(fairy.invalidate, Disconnect("raised by a statement"))
        await asyncio.sleep(10)
        assert connection.is_closed

    virtual_clock.run(main())
