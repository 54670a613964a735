"""Guarantee 4 at every step: each run cancels the borrower at another iteration of the loop.

After each run no slot is lost, the full pool size can be checked out at once, there were never
more sockets than the limit, and no connection is open that the pool does not count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, exc, text

from sqla_typedpool._sqlalchemy.greenlets import greenlet_spawn
from tests.support.fake_driver import (
    Connect,
    Server,
    assert_full_capacity,
    assert_only_idle,
    borrow,
    driver_of,
    give_back,
    new_engine,
    new_pool,
    open_idle,
)
from tests.support.virtual_clock import VirtualLoop, run, virtual_loop

SIZE = 2
MAX_STEPS = 200


async def _use_briefly(pool: Any) -> None:
    fairy = await borrow(pool)
    try:
        await asyncio.sleep(0.001)
    finally:
        await give_back(fairy)


class Scenario:
    """A pool in a certain state, and what the borrower that is cancelled does."""

    async def prepare(self, server: Server) -> Any:
        return new_pool(server, pool_size=SIZE, max_overflow=0, timeout=10)

    async def act(self, pool: Any) -> None:
        await _use_briefly(pool)

    async def meanwhile(self, pool: Any) -> None:
        """What other tasks do in the meantime."""


class IdleConnections(Scenario):
    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        await open_idle(pool, SIZE)
        return pool


class PingBeforeUse(IdleConnections):
    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        await asyncio.sleep(5)
        for each in server.connections:
            each.slow["ping"] = 0.1
        return pool


class PingFails(PingBeforeUse):
    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        server.connections[-1].die()
        return pool


class PingHangs(PingBeforeUse):
    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        for each in server.connections:
            each.hang.add("ping")
        return pool


class ProbeFindsDead(IdleConnections):
    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        for each in server.connections:
            each.die(seen_by_probe=True)
        return pool


class Connecting(Scenario):
    async def prepare(self, server: Server) -> Any:
        server.usual = Connect(seconds=0.1)
        return await super().prepare(server)


class ConnectFailsFirst(Scenario):
    async def prepare(self, server: Server) -> Any:
        server.script(*(Connect(0.05, error=ConnectionRefusedError) for _ in range(3)))
        return await super().prepare(server)


class ConnectIgnoresCancel(Scenario):
    async def prepare(self, server: Server) -> Any:
        server.usual = Connect(seconds=0.1, ignores_cancel_for=0.5)
        return await super().prepare(server)


class Waiting(Scenario):
    """All connections are in use; they are returned one after the other."""

    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        self.in_use = [await borrow(pool) for _ in range(SIZE)]
        return pool

    async def meanwhile(self, pool: Any) -> None:
        others = [asyncio.ensure_future(_use_briefly(pool)) for _ in range(3)]
        for fairy in self.in_use:
            await asyncio.sleep(0.01)
            await give_back(fairy)
        await asyncio.gather(*others)


class ServedWithDeadConnection(Waiting):
    """The returned connection is dead when the waiter it was assigned to resumes."""

    async def meanwhile(self, pool: Any) -> None:
        for fairy in self.in_use:
            connection = driver_of(fairy)
            await asyncio.sleep(0.01)
            await give_back(fairy)
            connection.die(seen_by_probe=True)


class SlowCheckIn(IdleConnections):
    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        for each in server.connections:
            each.slow["rollback"] = 0.1
            each.slow["close"] = 0.1
        return pool


class SilentCheckIn(IdleConnections):
    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        for each in server.connections:
            each.hang |= {"rollback", "close"}
        return pool


class OverflowClosed(Scenario):
    """An overflow connection is closed on its return."""

    async def prepare(self, server: Server) -> Any:
        pool = new_pool(server, pool_size=1, max_overflow=1, timeout=10)
        server.usual = Connect(on_open=lambda each: each.slow.update(close=0.1))
        self.in_use = await borrow(pool)
        return pool

    async def meanwhile(self, pool: Any) -> None:
        await asyncio.sleep(0.0005)
        await give_back(self.in_use)


class RejectedByListener(IdleConnections):
    """A checkout listener rejects the first connection."""

    error: type[Exception] = exc.DisconnectionError

    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        for each in server.connections:
            each.slow["close"] = 0.05
        server.usual = Connect(0.1)
        left = 1

        @event.listens_for(pool, "checkout")
        def reject(connection: Any, record: Any, proxy: Any) -> None:
            nonlocal left
            if left:
                left -= 1
                raise self.error

        return pool


class PoolRejectedByListener(RejectedByListener):
    error = exc.InvalidatePoolError


class Invalidated(IdleConnections):
    async def act(self, pool: Any) -> None:
        fairy = await borrow(pool)
        try:
            driver_of(fairy).slow["close"] = 0.1
            await greenlet_spawn(fairy.invalidate)
        finally:
            await give_back(fairy)


class SoftlyInvalidated(IdleConnections):
    async def act(self, pool: Any) -> None:
        fairy = await borrow(pool)
        fairy.invalidate(soft=True)
        await give_back(fairy)
        await _use_briefly(pool)


class WarmingUp(Scenario):
    async def prepare(self, server: Server) -> Any:
        server.usual = Connect(0.1)
        return new_pool(server, pool_size=SIZE, max_overflow=0, pool_min_size=SIZE)

    async def act(self, pool: Any) -> None:
        await pool.warm()


class Disposing(IdleConnections):
    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        for each in server.connections:
            each.slow["close"] = 0.1
        return pool

    async def act(self, pool: Any) -> None:
        await greenlet_spawn(pool.dispose)


class Statement(Scenario):
    """A complete request through an engine."""

    async def prepare(self, server: Server) -> Any:
        server.usual = Connect(
            0.02, on_open=lambda each: each.slow.update(execute=0.05, commit=0.05, rollback=0.05)
        )
        self.engine = new_engine(server, pool_size=SIZE, max_overflow=0)
        return self.engine.pool

    async def act(self, pool: Any) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(text("select 1"))


class StatementOnSilentServer(Statement):
    async def act(self, pool: Any) -> None:
        try:
            async with self.engine.connect() as connection:
                await connection.execute(text("select 1"))
        except exc.DBAPIError:
            pass  # the rollback was aborted at its bound

    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        for each in await open_idle(pool, SIZE):
            each.hang |= {"rollback", "close"}
        return pool


SCENARIOS = [
    IdleConnections,
    PingBeforeUse,
    PingFails,
    PingHangs,
    ProbeFindsDead,
    Connecting,
    ConnectFailsFirst,
    ConnectIgnoresCancel,
    Waiting,
    ServedWithDeadConnection,
    SlowCheckIn,
    SilentCheckIn,
    OverflowClosed,
    RejectedByListener,
    PoolRejectedByListener,
    Invalidated,
    SoftlyInvalidated,
    WarmingUp,
    Disposing,
    Statement,
    StatementOnSilentServer,
]


def _run_once(scenario: Scenario, step: int, after_callbacks: bool) -> bool:
    """Cancel the borrower at this step; False if it had ended before."""
    reached = False

    async def main() -> None:
        nonlocal reached
        server = Server()
        pool = await scenario.prepare(server)
        loop = virtual_loop()
        background = asyncio.ensure_future(scenario.meanwhile(pool))
        borrower = asyncio.ensure_future(scenario.act(pool))
        first = loop.steps

        def cancel_at_step(now: int) -> None:
            nonlocal reached
            if now - first == step and not borrower.done():
                reached = True
                if after_callbacks:
                    loop.call_soon(borrower.cancel)
                else:
                    borrower.cancel()

        loop.on_step = cancel_at_step
        await asyncio.wait({borrower})
        loop.on_step = None
        await asyncio.wait({background})
        assert background.exception() is None
        await asyncio.sleep(30)
        for each in server.connections:  # end all scripted faults
            each.hang.clear()
            each.slow.clear()
        server.usual = Connect()
        server.plan.clear()
        assert_only_idle(pool, server)
        await assert_full_capacity(pool, server, SIZE)
        await asyncio.sleep(1)
        assert_only_idle(pool, server)
        await pool.close()
        assert server.sockets == 0

    run(main(), loop=VirtualLoop())
    return reached


@pytest.mark.parametrize(
    "after_callbacks", [False, True], ids=["before-ready-callbacks", "after-ready-callbacks"]
)
@pytest.mark.parametrize(
    "scenario_class", SCENARIOS, ids=lambda scenario_class: scenario_class.__name__
)
def test_a_borrower_cancelled_at_any_step_loses_no_slot(
    scenario_class: type[Scenario], after_callbacks: bool
) -> None:
    broken = {}
    for step in range(1, MAX_STEPS):
        try:
            if not _run_once(scenario_class(), step, after_callbacks):
                break
        except Exception as error:
            broken[step] = f"{type(error).__name__}: {error}"[:300]
    else:
        pytest.fail("the borrower did not end")
    assert broken == {}
    assert step > 1, "the borrower was never cancelled"


def test_many_cancelled_requests_lose_no_slot() -> None:
    import random

    async def main(seed: int) -> None:
        rng = random.Random(seed)
        server = Server(usual=Connect(0.01))
        pool = new_pool(server, pool_size=4, max_overflow=2, timeout=5, pool_validate_after=0.05)
        tasks: set[asyncio.Task[None]] = set()

        async def request() -> None:
            fairy = await borrow(pool)
            try:
                await asyncio.sleep(rng.random() * 0.02)
                if rng.random() < 0.05:
                    driver_of(fairy).die(seen_by_probe=rng.random() < 0.5)
            finally:
                await give_back(fairy)

        for _ in range(600):
            task = asyncio.ensure_future(request())
            tasks.add(task)
            await asyncio.sleep(rng.random() * 0.004)
            for each in list(tasks):
                if rng.random() < 0.05:
                    each.cancel()
            tasks -= {each for each in tasks if each.done()}
            assert pool.stats().size <= 6
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.sleep(10)
        assert_only_idle(pool, server)
        assert server.peak_sockets <= 6
        await asyncio.gather(*(_use_briefly(pool) for _ in range(20)))

    for seed in range(5):
        run(main(seed))


def test_the_sweep_detects_a_connection_that_is_not_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sweep fails if a waiter cancelled after it was served keeps its slot."""

    from sqla_typedpool.pool.loop_pool import LoopPool

    withdraw: Callable[..., Any] = LoopPool._withdraw

    def withdraw_and_lose_a_slot(self: Any, waiter: Any, error: BaseException) -> None:
        withdraw(self, waiter, error)
        if waiter.future.done() and not waiter.future.cancelled():
            self.slots.total += 1  # as if the assigned connection had not been released

    monkeypatch.setattr(LoopPool, "_withdraw", withdraw_and_lose_a_slot)
    with pytest.raises(AssertionError):
        test_a_borrower_cancelled_at_any_step_loses_no_slot(Waiting, False)
