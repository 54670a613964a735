"""What `PoolTimeout`, `PoolSaturated` and the line of a slow checkout report."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest

from sqla_typedpool import Holder, PoolSaturated, PoolTimeout, errors, holder_label
from sqla_typedpool.errors import TypedPoolError, copy_error
from tests.support.fake_driver import (
    Connect,
    Server,
    TooManyClients,
    borrow,
    give_back,
    loop_pool,
    new_pool,
    open_idle,
    refused,
    use,
)
from tests.support.virtual_clock import now, run


async def timeout_of(pool: Any) -> PoolTimeout:
    """The error of a checkout that times out."""
    with pytest.raises(PoolTimeout) as raised:
        await borrow(pool)
    return raised.value


# --------------------------------------------------------------------------------- the messages


def test_a_pool_timeout_tells_everything_in_one_line() -> None:
    def lost() -> Exception:
        return ConnectionRefusedError(111, "postgresql://app:sec@ret@db/app\n refused")

    async def main() -> None:
        server = Server().script(Connect(), Connect(error=lost))
        server.usual = Connect(silent=True)
        pool = new_pool(server, pool_size=2, max_overflow=0, timeout=2, pool_name="one line")
        with holder_label("GET /reports"):
            fairy = await borrow(pool)
        await asyncio.sleep(3)
        error = await timeout_of(pool)
        text = str(error)
        assert text.startswith(
            "pool one line: no connection within 2.00 s (pool_timeout=2), while connecting: "
            "1 in use, 0 idle, 1 connecting, 1 waiting, max 2; "
            "held longest by GET /reports (Task-"
        )
        assert "; the waiting task itself holds 1 of them (a nested checkout: " in text
        assert text.endswith("next: check the server and the network")
        shown = text.partition("; last connect error: ")[2].partition("; next: ")[0]
        assert shown.startswith("ConnectionRefusedError(111, ")
        assert "refused" in shown
        assert "sec" not in shown
        assert "\n" not in text
        assert "sqlalche.me" not in text
        assert isinstance(error.__cause__, ConnectionRefusedError)
        await give_back(fairy)

    run(main())


def test_a_long_connect_error_is_cut() -> None:
    def long() -> Exception:
        return ConnectionRefusedError(111, "x" * 10_000)

    async def main() -> None:
        pool = new_pool(Server(usual=Connect(error=long)), timeout=1)
        text = str(await timeout_of(pool))
        assert len(text) < 800
        assert "xxx...; next: " in text

    run(main())


def test_a_saturated_pool_names_itself_its_numbers_and_holders() -> None:
    async def main() -> None:
        pool = new_pool(
            Server(), pool_size=1, max_overflow=0, pool_max_waiting=0, pool_name="saturated"
        )
        with holder_label("GET /reports"):
            fairy = await borrow(pool)
        with pytest.raises(PoolSaturated) as raised:
            await borrow(pool)
        text = str(raised.value)
        assert text.startswith(
            "pool saturated: 0 callers waiting for a connection already (pool_max_waiting=0): "
            "1 in use, 0 idle, 0 connecting, 0 waiting, max 1; held longest by GET /reports ("
        )
        assert text.endswith("; next: shed load, or raise pool_size or pool_max_waiting")
        assert "\n" not in text
        assert "sqlalche.me" not in text
        await give_back(fairy)

    run(main())


HOLDER = Holder("Task-1", 3.0, "a.py:1 in f", "GET /", "a.q")
EXAMPLES: dict[str, TypedPoolError] = {
    "TypedPoolError": TypedPoolError("text"),
    "PoolOptionError": errors.PoolOptionError("text"),
    "PoolTimeout": PoolTimeout(
        "text", stage="queueing", waited=2.0, holders=[HOLDER], retry_after=1.5
    ),
    "PoolSaturated": PoolSaturated("text", retry_after=1.5),
    "PoolClosed": errors.PoolClosed("text"),
    "StatementTimeout": errors.StatementTimeout(
        "text", stage="queueing", timeout=2.0, holders=[HOLDER]
    ),
    "RowShapeError": errors.RowShapeError("one", "two"),
    "RowValueError": errors.RowValueError(1, "id", "int", "str", path="$.a", hint="h"),
    "DeclarationError": errors.DeclarationError("a.q", Path("a.py"), 3, "one", "two"),
    "CannotRun": errors.CannotRun("text"),
    "DescribeTimeout": errors.DescribeTimeout("describe 'SELECT 1'", 5.0),
    "Refused": errors.Refused("text", position=3, hint="h", code="42601"),
    "SnapshotError": errors.SnapshotError("text"),
}


def subclasses_of(error_type: type[TypedPoolError]) -> set[type[TypedPoolError]]:
    return {error_type}.union(*map(subclasses_of, error_type.__subclasses__()))


def test_each_error_of_the_package_has_an_example() -> None:
    defined = {each for each in subclasses_of(TypedPoolError) if each.__module__ == errors.__name__}
    assert {type(each) for each in EXAMPLES.values()} == defined


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize(
    "make_copy",
    [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy, copy_error],
    ids=["pickle", "copy", "deepcopy", "copy_error"],
)
def test_each_error_can_be_pickled_and_copied(name: str, make_copy: Any) -> None:
    """A process pool or a task queue pickles the errors of its workers."""
    error = EXAMPLES[name]
    if hasattr(type(error), "query") and name != "DeclarationError":
        error.query = "app.q"  # type: ignore[attr-defined]
    same = make_copy(error)
    assert type(same) is type(error)
    assert same is not error
    assert str(same) == str(error)
    assert same.args == error.args
    assert vars(same) == vars(error)


def test_a_statement_timeout_names_its_query() -> None:
    error = errors.StatementTimeout("no answer")
    assert (str(error), error.stage, error.holders) == ("no answer", "executing", ())
    error.query = "app.users.get_user"
    assert str(error) == "query app.users.get_user: no answer"


# ----------------------------------------------------------------------------------- retry_after


def test_retry_after_is_the_time_in_which_the_queue_is_served() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=2, max_overflow=0, timeout=1, pool_max_waiting=3)
        await asyncio.gather(use(pool, 4), use(pool, 8))  # the mean is 6 s
        holders = [asyncio.ensure_future(use(pool, 10)) for _ in range(2)]
        await asyncio.sleep(1)
        waiters = [asyncio.ensure_future(timeout_of(pool)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(PoolSaturated) as raised:
            await borrow(pool)
        assert raised.value.retry_after == pytest.approx((3 + 1) * 6 / 2)
        found = [(await each).retry_after for each in waiters]
        # each waiter counts itself and those that still wait
        assert found == pytest.approx([3 * 6 / 2, 2 * 6 / 2, 1 * 6 / 2])
        await asyncio.gather(*holders)

    run(main())


def test_retry_after_counts_uses_that_last_longer_than_the_mean() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, timeout=1)
        for _ in range(100):
            await use(pool, 0.01)
        fairy = await borrow(pool)
        await asyncio.sleep(29)
        assert (await timeout_of(pool)).retry_after == pytest.approx(30)
        await asyncio.sleep(1000)
        assert (await timeout_of(pool)).retry_after == 60  # the upper limit
        await give_back(fairy)

    run(main())


def test_retry_after_is_never_less_than_a_tenth_of_a_second() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, timeout=0)
        fairy = await borrow(pool)
        assert (await timeout_of(pool)).retry_after == 0.1
        await give_back(fairy)

    run(main())


def test_a_caller_that_retries_after_that_time_is_served() -> None:
    """Ten callers arrive at once at two connections, each for one second."""

    async def main() -> None:
        pool = new_pool(Server(), pool_size=2, max_overflow=0, timeout=0.5)
        await use(pool, 1)

        async def call() -> int:
            tries = 0
            while True:
                tries += 1
                try:
                    await use(pool, 1)
                except PoolTimeout as error:
                    await asyncio.sleep(error.retry_after or 100)
                else:
                    return tries

        tries = await asyncio.gather(*(call() for _ in range(10)))
        assert max(tries) <= 4
        assert now() < 12

    run(main())


def test_retry_after_in_an_outage_is_the_time_until_the_next_attempt() -> None:
    async def main() -> None:
        server = Server(usual=Connect(error=refused))
        pool = new_pool(server, pool_size=1, max_overflow=0, timeout=2, pool_connect_retry=60)
        waiter = asyncio.ensure_future(timeout_of(pool))
        await asyncio.sleep(1.5)
        other = asyncio.ensure_future(borrow(pool))  # keeps the attempts going
        error = await waiter
        failed_at = asyncio.get_running_loop().time()
        await asyncio.sleep(2)
        attempt = min(each for each in server.attempts if each > failed_at)
        assert error.retry_after == pytest.approx(max(0.1, attempt - failed_at))
        other.cancel()
        await asyncio.wait({other})

    run(main())


def test_retry_after_is_unknown_while_the_server_is_silent() -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=Connect(silent=True)), timeout=2)
        error = await timeout_of(pool)
        assert (error.stage, error.retry_after) == ("connecting", None)

    run(main())


# --------------------------------------------------------------------------------- slow checkouts


def slow_record(caplog: pytest.LogCaptureFixture) -> Any:
    (record,) = [each for each in caplog.records if getattr(each, "event", None) == "slow_checkout"]
    return record


def test_a_slow_checkout_that_queued_names_the_longest_holders(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=2, max_overflow=0, pool_slow_checkout=2)
        with holder_label("GET /long"):
            long = asyncio.ensure_future(use(pool, 20))
        short = asyncio.ensure_future(use(pool, 4))
        await asyncio.sleep(1)
        with holder_label("GET /own"):
            await use(pool)
        await asyncio.gather(long, short)

    with caplog.at_level(logging.WARNING, "sqla_typedpool"):
        run(main())
    record = slow_record(caplog)
    text = record.getMessage()
    assert "slow checkout: 3.00 s (pool_slow_checkout=2), most of it queueing: 2 in use, " in text
    assert "; held longest by GET /long (Task-" in text
    assert "GET /own" not in text
    assert "\n" not in text
    assert (record.stage, record.threshold_seconds) == ("queueing", 2)
    assert record.waited_seconds == pytest.approx(3)
    assert record.holder.startswith("GET /long (Task-")
    assert "in use" in record.site
    assert (record.in_use_connections, record.idle_connections) == (2, 0)
    assert record.waiting_callers == 0


def test_a_slow_checkout_without_other_holders_has_no_holder(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        await use(new_pool(Server(usual=Connect(seconds=3))))

    with caplog.at_level(logging.WARNING, "sqla_typedpool"):
        run(main())
    record = slow_record(caplog)
    assert (record.holder, record.site, record.stage) == (None, None, "connecting")
    assert "held" not in record.getMessage()


async def a_slow_connect() -> None:
    await use(new_pool(Server(usual=Connect(seconds=3))))


async def a_refused_connect() -> None:
    server = Server(usual=Connect(error=refused))
    pool = new_pool(server)
    task = asyncio.ensure_future(use(pool))
    await asyncio.sleep(3)
    server.usual = Connect()
    await task


async def silent_connects_and_a_new_attempt() -> None:
    server = Server(usual=Connect(silent=True))
    pool = new_pool(server)
    task = asyncio.ensure_future(use(pool))
    await asyncio.sleep(2.5)
    server.usual = Connect()
    await task


async def a_silent_ping() -> None:
    server = Server()
    pool = new_pool(server, pool_validate_after=0, pool_slow_checkout=1.5)
    (connection,) = await open_idle(pool, 1)
    connection.hang.add("ping")
    await use(pool)


async def a_full_server() -> None:
    """The waiter gets the connection that is returned, while the server refuses others."""
    server = Server(usual=Connect(error=TooManyClients)).script(Connect())
    pool = new_pool(server, pool_size=2, max_overflow=0)
    first = asyncio.ensure_future(use(pool, 5))
    await asyncio.sleep(1)
    await use(pool)
    await first


async def a_full_pool_with_a_short_connect() -> None:
    """The connection in use is closed, and the waiter gets a new one."""
    pool = new_pool(Server(usual=Connect(seconds=0.1)), pool_size=1, max_overflow=0)
    fairy = await borrow(pool)
    task = asyncio.ensure_future(use(pool))
    await asyncio.sleep(4)
    fairy.invalidate(soft=True)
    await give_back(fairy)
    await task


async def a_full_pool_with_a_short_ping() -> None:
    pool = new_pool(Server(), pool_size=1, max_overflow=0)
    fairy = await borrow(pool)
    task = asyncio.ensure_future(use(pool))
    await asyncio.sleep(4)
    loop_pool(pool).validator.revalidate_all()
    await give_back(fairy)
    await task


@pytest.mark.parametrize(
    ("scenario", "stage"),
    [
        (a_slow_connect, "connecting"),
        (a_refused_connect, "connecting"),
        (silent_connects_and_a_new_attempt, "connecting"),
        (a_full_server, "connecting"),
        (a_silent_ping, "validating"),
        (a_full_pool_with_a_short_connect, "queueing"),
        (a_full_pool_with_a_short_ping, "queueing"),
    ],
)
def test_a_slow_checkout_names_the_stage_in_which_it_spent_its_time(
    scenario: Any, stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "sqla_typedpool"):
        run(scenario())
    assert slow_record(caplog).stage == stage
