"""Minutes of load while server, network and clients are hurt at random: nothing gets lost.

make soak SECONDS=3600 SEED=7      for longer, and with a certain seed
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
from sqla_typedpool._sqlalchemy import await_only, greenlet_spawn
from sqla_typedpool.embedded import EmbeddedServerError, Postgres
from sqla_typedpool.pool import drivers
from tests.chaos.gauges import grown
from tests.chaos.ledger import ABSENT, COMMITTED, EITHER, Ledger
from tests.chaos.sides import MariaSide, PostgresSide, Side
from tests.chaos.trial import Trial
from tests.chaos.verdicts import Broken, is_expected
from tests.conftest import no_server
from tests.support import virtual_clock
from tests.support.clocks import LoopClock
from tests.support.engines import LOOPS, run
from tests.support.fake_driver import (
    ROW,
    Disconnect,
    Server,
    borrow,
    driver_of,
    new_pool,
    open_idle,
)
from tests.support.servers.mariadb import MariaDB

if TYPE_CHECKING:
    from collections.abc import Iterator

ASKED = os.environ.get("SQLA_TYPEDPOOL_SOAK_SECONDS")
TOTAL = float(ASKED or 120)
SEED = os.environ.get("SQLA_TYPEDPOOL_SOAK_SEED")

# A commit that was acknowledged is with the system, and survives the death of any process. (No
# machine dies here: fsync may stay off.)
DURABLE = {"synchronous_commit": "on", "full_page_writes": "on"}


def share(part: float) -> Any:
    """Marks of a trial that takes its part of the time."""
    seconds = TOTAL * part
    return pytest.param(seconds, marks=pytest.mark.timeout(seconds + 120), id=f"{seconds:.0f} s")


pytestmark = [
    # Connections are lost on purpose: SQLAlchemy says so, and psycopg, whose lost connections it
    # drops. As an error in a finaliser pytest would keep the latter, and its connection with it.
    pytest.mark.filterwarnings("ignore:The garbage collector is trying:sqlalchemy.exc.SAWarning"),
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
    # aiomysql, of an object whose socket is closed but which was not told so, on uvloop. (Open
    # sockets are counted, so that nothing hides behind this.)
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


def check(side: Side, seconds: float) -> None:
    """A trial; odd seeds run it on uvloop, so that a seed repeats the loop as well."""
    seed = int(SEED) if SEED else random.SystemRandom().randrange(10**9)
    trial = Trial(side, seconds, seed, talks=ASKED is not None)
    summary = run(trial.run(), LOOPS[seed % 2])
    if ASKED is not None:
        sys.stdout.write(f"\n{summary}\n")


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("seconds", [share(3 / 6)])
def test_with_asyncpg_in_chaos_nothing_is_lost(durable_postgres: Postgres, seconds: float) -> None:
    check(PostgresSide(durable_postgres, "asyncpg"), seconds)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("seconds", [share(2 / 6)])
def test_with_psycopg_in_chaos_nothing_is_lost(durable_postgres: Postgres, seconds: float) -> None:
    check(PostgresSide(durable_postgres, "psycopg"), seconds)


@pytest.mark.slow
@pytest.mark.mariadb
@pytest.mark.parametrize("seconds", [share(1 / 6)])
def test_with_aiomysql_in_chaos_nothing_is_lost(durable_mariadb: MariaDB, seconds: float) -> None:
    side = MariaSide(durable_mariadb, "aiomysql")
    side.make_durable()
    check(side, seconds)


# ------------------------------------------------------------------- the judges themselves


def ledger_of(*verdicts: int) -> Ledger:
    ledger = Ledger()
    for row, verdict in enumerate(verdicts):
        if row % 2 == 0:
            ledger.open_pair()
        ledger.note(verdict, [row])
    return ledger


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        ([0, 2, 3], None),
        ([0], None),
        ([2, 3], "row 0 (acknowledged) is there 0 times"),
        ([0, 0], "row 0 (acknowledged) is there 2 times"),
        ([0, 1], "row 1 (never committed) is there 1 times"),
        ([0, 2, 2, 3, 3], "row 2 (of unknown outcome) is there 2 times"),
        ([0, 3], "rows 2 and 3 of one transaction are there 0 and 1 times"),
        ([0, 7], "row 7 was never written by anybody"),
    ],
)
def test_the_ledger_finds_what_is_lost_doubled_torn_or_foreign(
    found: list[int], fault: str | None
) -> None:
    faults = ledger_of(COMMITTED, ABSENT, EITHER, EITHER).faults(found)
    assert faults[:1] == ([] if fault is None else [fault])


def test_only_what_dead_servers_explain_is_expected() -> None:
    told_dead = DBAPIError("SELECT 1", {}, Exception("gone"), connection_invalidated=True)
    assert is_expected(told_dead, "checkout")
    assert is_expected(ConnectionRefusedError(), "checkout")
    assert is_expected(PoolTimeout("", stage="queueing", waited=3), "checkout")
    state: Any = Exception("shutdown")
    state.sqlstate = "57P01"
    assert is_expected(state, "checkout")
    closed = RuntimeError("unable to perform operation on <TCPTransport>; the handler is closed")
    assert is_expected(closed, "work")
    shared = Exception("cannot switch to state 12; another operation (4) is in progress")
    for error in (
        Broken(),
        closed,
        InvalidRequestError(),
        DBAPIError("SELECT 1", {}, Exception("syntax error")),
        DBAPIError("SELECT 1", {}, shared, connection_invalidated=True),
    ):
        assert not is_expected(error, "checkout")


def test_the_clock_of_the_load_stands_still_while_the_loop_is_blocked() -> None:
    async def main() -> float:
        clock = LoopClock()
        begun = clock.now()
        await asyncio.sleep(0.1)
        time.sleep(0.5)
        seconds = clock.now() - begun
        await asyncio.sleep(0.05)
        assert clock.now() - begun >= seconds
        clock.stop()
        return seconds

    assert 0.05 < run(main()) < 0.3


def test_memory_that_grows_steadily_is_told_from_caches_that_are_filled() -> None:
    assert grown([0, 5000, 5000, 5010, 5000, 4990]) < 20
    assert grown([0, 1000, 2000, 3000, 4000, 5000]) > 2000


# --------------------------------------------------------------- what the chaos has found
#
# Minimal, without any server: drivers that have to be asked for the server's mode (MySQL's) may
# lose the connection, or be cancelled, in that last step of opening one.


def driver_that_asks(monkeypatch: pytest.MonkeyPatch, ask: Any, probe: Any = None) -> None:
    changed = {"mode": ask, "probe": probe or ROW.probe}
    monkeypatch.setitem(drivers._DRIVERS, "fake", drivers.Driver(**{**vars(ROW), **changed}))


def test_a_record_that_lost_its_connection_while_opening_it_is_filled_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fails = False

    def probe(connection: Any) -> Any:
        if fails:
            raise AttributeError("the driver has closed it, and forgotten its transport")
        return connection.probe

    async def main() -> None:
        nonlocal fails
        driver_that_asks(monkeypatch, lambda connection: None, probe)
        pool = new_pool(Server(), pool_size=4, max_overflow=0)
        (await borrow(pool)).invalidate()  # its record goes on the shelf, to be filled again
        await asyncio.sleep(1)
        fails = True
        with pytest.raises(AttributeError):
            await borrow(pool)
        fails = False
        held = await asyncio.gather(borrow(pool), borrow(pool))
        assert driver_of(held[0]) is not driver_of(held[1])

    virtual_clock.run(main())


def test_a_connection_lost_while_its_mode_was_asked_is_not_taken_for_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost: list[Any] = []

    def ask(adapted: Any) -> None:
        if not lost:
            lost.append(adapted._connection)
            lost[0].die()
            adapted._connection.abort()
            error = Disconnect("the server has just died")
            error.sqlstate = "08006"  # type: ignore[attr-defined]  # worth another attempt
            raise error

    def probe(connection: Any) -> Any:
        assert not connection.is_closed, "MySQL's drivers have no transport any more"
        return connection.probe

    async def main() -> None:
        driver_that_asks(monkeypatch, ask, probe)
        pool = new_pool(Server(), pool_size=1, max_overflow=0)
        assert driver_of(await borrow(pool)) is not lost[0]

    virtual_clock.run(main())


def test_an_attempt_given_up_while_the_mode_was_asked_brings_no_dead_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def ask(adapted: Any) -> None:
        asked.append(adapted._connection)
        if len(asked) == 1:
            try:
                await_only(asyncio.sleep(1000))
            except asyncio.CancelledError:
                adapted._connection.abort()  # as MySQL's drivers do
                raise

    async def main() -> None:
        driver_that_asks(monkeypatch, ask)
        pool = new_pool(Server(), pool_size=1, max_overflow=0, timeout=20)
        fairy = await borrow(pool)  # the silent attempt is given up for a fresh one
        assert not driver_of(fairy).is_closed

    virtual_clock.run(main())


def test_a_ping_that_fails_on_a_connection_seen_to_be_dead_is_nobodys_error(
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
        dead = drivers.Probe.DEAD
        asyncio.get_running_loop().call_later(0.05, setattr, connection, "probe_result", dead)
        assert driver_of(await borrow(pool)) is not connection

    virtual_clock.run(main())


def test_a_connection_whose_farewell_fails_is_closed_all_the_same() -> None:
    def unable() -> Exception:
        return RuntimeError("unable to perform operation on <TCPTransport closed=True>")

    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0)
        fairy = await borrow(pool)
        connection = driver_of(fairy)
        connection.fails["close"] = unable
        await greenlet_spawn(fairy.invalidate, Disconnect("met by a statement"))
        await asyncio.sleep(10)
        assert connection.is_closed

    virtual_clock.run(main())
