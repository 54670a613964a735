"""Nested checkouts and the deadlock that they cause: both are logged when the wait begins."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sqla_typedpool import PoolTimeout, holder_label
from sqla_typedpool.pool import nested
from sqla_typedpool.pool.call_limits import CallLimit
from tests.support.fake_driver import (
    Connect,
    Server,
    loop_pool,
    new_engine,
    new_pool,
    open_idle,
)
from tests.support.virtual_clock import loop_iterations, now, run

NESTED, DEADLOCK = "nested_checkout", "pool_deadlock"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "sqla_typedpool")
    return caplog


def events(lines: pytest.LogCaptureFixture) -> list[str]:
    return [record.event for record in lines.records]  # type: ignore[attr-defined]


def texts(lines: pytest.LogCaptureFixture, event: str) -> list[str]:
    """The messages of one event, without the pool's name."""
    found = [each for each in lines.records if each.event == event]  # type: ignore[attr-defined]
    return [re.sub(r"^pool \S+: ", "", each.getMessage()) for each in found]


def line_of(function: Any, number: int) -> str:
    """A line of a function as reports show it, counted from its first."""
    code = function.__code__
    return f"{code.co_filename}:{code.co_firstlineno + number} in {code.co_name}"


def small_pool(size: int = 2, **options: Any) -> Any:
    return new_pool(Server(), **{"pool_size": size, "max_overflow": 0, "timeout": 30, **options})


async def take(pool: Any) -> Any:
    """Check out a connection."""
    return await pool.wait_and_take()


async def take_and_return(pool: Any) -> None:
    pool.give_back(await pool.wait_and_take())


@contextlib.asynccontextmanager
async def holding(pool: Any) -> AsyncIterator[None]:
    entry = await pool.wait_and_take()
    try:
        yield
    finally:
        pool.give_back(entry)


async def hold_and_ask(pool: Any, pause: float = 0.0, ask: Callable[[Any], Any] = take) -> None:
    """Hold a connection, and check out another one."""
    async with holding(pool):
        await asyncio.sleep(pause)
        pool.give_back(await ask(pool))


async def ended(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def start(*work: Awaitable[Any]) -> list[asyncio.Task[Any]]:
    return [asyncio.ensure_future(each) for each in work]  # type: ignore[arg-type]


# --------------------------------------------------------------------- the line


def test_a_nested_checkout_is_logged_when_it_begins_to_wait_with_both_lines(
    lines: pytest.LogCaptureFixture,
) -> None:
    async def outer(pool: Any) -> None:
        with holder_label("GET /orders"):
            entry = await pool.wait_and_take()
            await asyncio.sleep(0.5)
            await inner(pool)
            pool.give_back(entry)

    async def inner(pool: Any) -> None:
        pool.give_back(await pool.wait_and_take())

    async def main() -> None:
        pool = small_pool(1, pool_leak_threshold=100)
        (task,) = start(outer(pool))
        task.set_name("request")
        await asyncio.sleep(0.49)
        assert events(lines) == []
        await asyncio.sleep(0.01)
        await loop_iterations(3)
        assert events(lines) == [NESTED, DEADLOCK]
        assert now() == 0.5
        await ended(task)

    run(main())
    held, waits, calls = (line_of(outer, 2), line_of(inner, 1), line_of(outer, 4))
    assert texts(lines, NESTED) == [
        f"nested checkout: GET /orders (request) has held a connection for 0.50 s, checked out at "
        f"{held}, and waits for another one at {waits}, called at {calls}; if every holder does "
        f"so, no one is served; next: use the connection or the session that the task has, or "
        f"close it before that line"
    ]
    record: Any = lines.records[0]
    assert (record.levelname, record.holder) == ("WARNING", "GET /orders (request)")
    assert (record.site, record.held_site) == (waits, held)
    assert (record.held_seconds, record.held_connections) == (0.5, 1)
    assert (record.in_use_connections, record.waiting_callers) == (1, 1)


def test_without_pool_leak_threshold_the_line_names_where_it_waits_and_its_callers(
    lines: pytest.LogCaptureFixture,
) -> None:
    async def waits(engine: Any) -> None:
        async with engine.connect():
            await asks(engine)

    async def asks(engine: Any) -> None:
        async with engine.connect():
            pass

    async def main() -> None:
        engine = new_engine(Server(), pool_size=1, max_overflow=0, pool_timeout=1)
        with pytest.raises(PoolTimeout):
            await waits(engine)
        await engine.dispose()

    run(main())
    (text,) = texts(lines, NESTED)
    hint = "set pool_leak_threshold to see where it was checked out"
    assert f" has held a connection for 0.00 s ({hint}), and waits for another one at " in text
    assert f" at {line_of(asks, 1)}, called at {line_of(waits, 2)}, called at " in text
    assert lines.records[0].held_site is None  # type: ignore[attr-defined]


def test_a_line_is_logged_once_for_each_pool_and_another_line_again(
    lines: pytest.LogCaptureFixture,
) -> None:
    async def ask_elsewhere(pool: Any) -> Any:
        return await pool.wait_and_take()

    async def main() -> None:
        pool = small_pool(1, timeout=0.1)
        for ask in (take, take, ask_elsewhere, take, ask_elsewhere):
            with pytest.raises(PoolTimeout):
                await hold_and_ask(pool, ask=ask)
        assert len(texts(lines, NESTED)) == 2
        with pytest.raises(PoolTimeout):
            await hold_and_ask(small_pool(1, timeout=0.1))
        assert len(texts(lines, NESTED)) == 3

    run(main())


def test_at_most_a_hundred_lines_are_remembered(lines: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = small_pool(1, timeout=0.1)
        for number in range(105):
            names: dict[str, Any] = {"__name__": "app"}
            code = "\n" * number + "async def ask(pool): return await pool.wait_and_take()"
            exec(compile(code, f"app{number % 2}.py", "exec"), names)
            with pytest.raises(PoolTimeout):
                await hold_and_ask(pool, ask=names["ask"])
        assert len(pool.shared.nested_sites) == 100

    run(main())
    assert len(texts(lines, NESTED)) == 100


def test_a_task_that_holds_several_connections_is_logged_with_their_number(
    lines: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool = small_pool(2, timeout=1)
        async with holding(pool):
            await asyncio.sleep(2)
            with pytest.raises(PoolTimeout):
                await hold_and_ask(pool)

    run(main())
    assert " has held 2 connections for 2.00 s " in texts(lines, NESTED)[0]
    assert "every connection (2 in use) was" in texts(lines, DEADLOCK)[0]


# ------------------------------------------------------------------ what is nested


def test_a_second_connection_that_needs_no_return_is_not_logged(
    lines: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        await hold_and_ask(small_pool(2))  # a free slot
        pool = small_pool(2)
        await open_idle(pool, 2)
        await hold_and_ask(pool)  # an idle connection
        pool = new_pool(Server(usual=Connect(1.0)), pool_size=3, max_overflow=0)
        await asyncio.gather(hold_and_ask(pool), take_and_return(pool))  # slots for all who wait
        await hold_and_ask(new_pool(Server(), pool_size=0))

    run(main())
    assert events(lines) == []


def test_a_task_that_holds_nothing_is_not_logged(lines: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = small_pool(1, timeout=1)
        async with holding(pool):
            for task in start(take(pool), take(pool)):
                with pytest.raises(PoolTimeout):
                    await task
        entry = await asyncio.create_task(take(pool))
        with pytest.raises(PoolTimeout):
            await take(pool)  # after its own was returned
        pool.give_back(entry)

    run(main())
    assert events(lines) == []


def test_a_connection_held_for_long_is_found(lines: pytest.LogCaptureFixture) -> None:
    async def main() -> None:  # the housekeeper holds its task weakly
        pool = small_pool(1, timeout=1)
        with pytest.raises(PoolTimeout):
            await hold_and_ask(pool, pause=10)

    run(main())
    assert " for 10.00 s " in texts(lines, NESTED)[0]


@pytest.mark.parametrize("is_limited", ["the held one", "the second one"])
def test_a_call_with_a_time_limit_belongs_to_its_caller(
    lines: pytest.LogCaptureFixture, is_limited: str
) -> None:
    async def limited(pool: Any) -> Any:
        return await CallLimit(5).run(take(pool))

    async def main() -> None:
        pool = small_pool(1, timeout=1)
        first, second = (limited, take) if is_limited == "the held one" else (take, limited)
        entry = await first(pool)
        with pytest.raises(PoolTimeout):
            await second(pool)
        pool.give_back(entry)

    run(main())
    assert events(lines) == [NESTED, DEADLOCK]
    assert " in main" in texts(lines, NESTED)[0]


def test_a_full_pool_with_a_timeout_of_zero_raises_without_a_line(
    lines: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        with pytest.raises(PoolTimeout, match="nested checkout"):
            await hold_and_ask(small_pool(1, timeout=0))

    run(main())
    assert events(lines) == []


# ---------------------------------------------------------------------- deadlocks


def test_a_deadlock_is_logged_at_once_with_its_holders(lines: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = small_pool(3)
        tasks = start(*(hold_and_ask(pool, pause) for pause in (1, 2, 3)))
        await asyncio.sleep(2.9)
        assert events(lines) == [NESTED]
        await asyncio.sleep(0.1)
        await loop_iterations(3)
        assert events(lines) == [NESTED, DEADLOCK]
        await asyncio.sleep(20)
        assert len(lines.records) == 2
        await ended(*tasks)

    run(main())
    record: Any = lines.records[1]
    (text,) = texts(lines, DEADLOCK)
    assert text.startswith(
        "deadlock until pool_timeout=30: every connection (3 in use) was checked out by a task "
        "that waits for another one; held longest by Task-"
    )
    assert text.endswith(
        "; next: use one connection in each task; a larger pool_size only makes a deadlock less "
        "frequent"
    )
    assert (record.levelname, record.deadlocks) == ("ERROR", 1)
    assert (record.held_connections, record.waiting_callers) == (3, 3)
    assert record.timeout_seconds == 30


def test_a_deadlock_without_a_time_limit_has_no_end(lines: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        (task,) = start(hold_and_ask(small_pool(1, timeout=None)))
        await asyncio.sleep(1)
        await ended(task)

    run(main())
    (text,) = texts(lines, DEADLOCK)
    assert text.startswith("deadlock without an end (pool_timeout=None): every connection ")
    assert lines.records[1].timeout_seconds is None  # type: ignore[attr-defined]


def test_no_deadlock_is_logged_while_one_holder_does_not_wait(
    lines: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool = small_pool(3)
        async with holding(pool):
            tasks = start(hold_and_ask(pool), hold_and_ask(pool), take_and_return(pool))
            await asyncio.sleep(1)
        await asyncio.wait(tasks)
        assert not [each for each in tasks if each.exception()]

    run(main())
    assert events(lines) == [NESTED]


def test_no_deadlock_is_logged_if_another_task_has_returned_the_connection(
    lines: pytest.LogCaptureFixture,
) -> None:
    async def hand_over(pool: Any, to: list[Any]) -> None:
        to.append(await take(pool))
        await take_and_return(pool)

    async def main() -> None:
        pool = small_pool(2)
        handed: list[Any] = []
        first, plain = start(hand_over(pool, handed), hold_and_ask(pool, 3, ask=never))
        await asyncio.sleep(1)
        pool.give_back(handed[0])  # to the first task itself
        await first
        await ended(plain)

    async def never(pool: Any) -> Any:
        await asyncio.sleep(3600)

    run(main())
    assert events(lines) == [NESTED]


def test_a_second_deadlock_is_logged_after_the_first_was_over(
    lines: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool = small_pool(2, timeout=6)
        for _ in range(3):
            tasks = start(hold_and_ask(pool), hold_and_ask(pool))
            with contextlib.suppress(PoolTimeout):
                await asyncio.gather(*tasks)
            await asyncio.wait(tasks)

    run(main())
    assert events(lines) == [NESTED, DEADLOCK, DEADLOCK, DEADLOCK]


def test_deadlocks_that_follow_each_other_write_a_line_every_five_seconds(
    lines: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool = small_pool(1, timeout=1)
        for _ in range(11):
            with pytest.raises(PoolTimeout):
                await hold_and_ask(pool)

    run(main())
    counts = [each.deadlocks for each in lines.records[1:]]  # type: ignore[attr-defined]
    assert counts == [1, 5, 5]
    assert "; 5 since the last such line; next: " in texts(lines, DEADLOCK)[1]


# --------------------------------------------------------------------------- cost


def test_many_waiters_that_come_together_cause_two_looks_at_the_connections(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def counted(values: Any) -> list[Any]:
        nonlocal looks
        looks += isinstance(values, set)
        return list(values)

    monkeypatch.setattr(nested, "list", counted, raising=False)

    async def main() -> None:
        pool = small_pool(1_000)
        tasks = start(*(hold_and_ask(pool, 0.1) for _ in range(999)))
        tasks += start(*(hold_and_ask(pool, 0.1, ask=take_slowly) for _ in range(1)))
        await asyncio.sleep(0.1)
        tasks += start(*(take_and_return(pool) for _ in range(1_000)))
        await asyncio.sleep(0.049)
        assert looks == 1
        await asyncio.sleep(0.2)
        assert looks == 2
        await ended(*tasks)

    async def take_slowly(pool: Any) -> Any:
        await asyncio.sleep(3600)

    run(main())
    assert events(lines) == [NESTED]


def test_in_a_small_pool_that_always_has_waiters_a_look_is_made_every_five_milliseconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[float] = []
    examine = nested.NestedCheckouts._examine

    def counting(self: Any) -> None:
        looks.append(now())
        examine(self)

    monkeypatch.setattr(nested.NestedCheckouts, "_examine", counting)

    async def main() -> None:
        pool = small_pool(1, pool_validate_after=None)

        async def work() -> None:
            while now() < 1:
                async with holding(pool):
                    await asyncio.sleep(0.0003)

        await asyncio.gather(*(work() for _ in range(3)))

    run(main())
    assert 100 < len(looks) <= 201


@pytest.mark.parametrize("pause", [0.0, 0.001])
def test_in_a_large_pool_a_deadlock_is_logged_within_milliseconds(
    lines: pytest.LogCaptureFixture, pause: float
) -> None:
    async def main() -> None:
        pool = small_pool(500)
        tasks = start(*(hold_and_ask(pool, 1 + pause * number) for number in range(500)))
        await asyncio.sleep(1 + 499 * pause + 0.026)
        assert events(lines) == [NESTED, DEADLOCK]
        await ended(*tasks)

    run(main())


def test_nothing_is_looked_through_while_nobody_waits_for_a_return(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: Any) -> None:
        raise AssertionError("the connections were looked through")

    monkeypatch.setattr(nested.NestedCheckouts, "_examine", fail)

    async def main() -> None:
        pool = small_pool(10)
        for _ in range(3):
            await asyncio.gather(*(hold_and_ask(pool, 0.5) for _ in range(5)))

    run(main())


@pytest.mark.parametrize("how", ["timed out", "cancelled", "served"])
def test_nothing_is_kept_of_a_wait_that_has_ended(how: str) -> None:
    async def main() -> None:
        pool = small_pool(2, timeout=1)
        other = await asyncio.ensure_future(take(pool))
        (task,) = start(hold_and_ask(pool))
        await asyncio.sleep(0.5)
        found = loop_pool(pool).nested
        assert (len(found._holding), found._held) == (1, 1)
        if how == "cancelled":
            task.cancel()
        elif how == "served":
            pool.give_back(other)
        await asyncio.gather(task, return_exceptions=True)
        await loop_iterations(3)
        assert (len(found._holding), found._held) == (0, 0)
        kept = weakref.ref(task)
        del task
        gc.collect()
        assert kept() is None

    run(main())
