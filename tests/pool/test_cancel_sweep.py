"""Law 4, swept: the borrower is cancelled at each step of the loop, one run per step.

After every single run: no slot lost, the whole size served at once, never more sockets than
allowed, and no connection open that the pool does not know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, exc, text

from sqla_typedpool._sqlalchemy import greenlet_spawn
from tests.support.fake_driver import (
    Connect,
    Server,
    assert_at_rest,
    assert_serves_in_full,
    borrow,
    driver_of,
    give,
    new_engine,
    new_pool,
    open_idle,
)
from tests.support.virtual_clock import VirtualLoop, run, virtual_loop

SIZE = 2
MOST_STEPS = 200


async def _visit(pool: Any) -> None:
    fairy = await borrow(pool)
    try:
        await asyncio.sleep(0.001)
    finally:
        await give(fairy)


class Scene:
    """A pool in some state, and what the victim does."""

    async def prepare(self, server: Server) -> Any:
        return new_pool(server, pool_size=SIZE, max_overflow=0, timeout=10)

    async def act(self, pool: Any) -> None:
        await _visit(pool)

    async def meanwhile(self, pool: Any) -> None:
        """What others do at the same time."""


class Idle(Scene):
    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        await open_idle(pool, SIZE)
        return pool


class Pinged(Idle):
    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        await asyncio.sleep(5)
        for each in server.connections:
            each.slow["ping"] = 0.1
        return pool


class PingFails(Pinged):
    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        server.connections[-1].die()
        return pool


class PingHangs(Pinged):
    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        for each in server.connections:
            each.hang.add("ping")
        return pool


class ProbeFails(Idle):
    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        for each in server.connections:
            each.die(seen=True)
        return pool


class Connecting(Scene):
    async def prepare(self, server: Server) -> Any:
        server.usual = Connect(seconds=0.1)
        return await super().prepare(server)


class ConnectFailsFirst(Scene):
    async def prepare(self, server: Server) -> Any:
        server.script(*(Connect(0.05, error=ConnectionRefusedError) for _ in range(3)))
        return await super().prepare(server)


class ConnectIsStubborn(Scene):
    async def prepare(self, server: Server) -> Any:
        server.usual = Connect(seconds=0.1, stubborn=0.5)
        return await super().prepare(server)


class Queued(Scene):
    """Everything is out and comes back, one after the other."""

    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        self.out = [await borrow(pool) for _ in range(SIZE)]
        return pool

    async def meanwhile(self, pool: Any) -> None:
        others = [asyncio.ensure_future(_visit(pool)) for _ in range(3)]
        for fairy in self.out:
            await asyncio.sleep(0.01)
            await give(fairy)
        await asyncio.gather(*others)


class QueuedForTheDead(Queued):
    """What comes back is dead when the waiter wakes."""

    async def meanwhile(self, pool: Any) -> None:
        for fairy in self.out:
            connection = driver_of(fairy)
            await asyncio.sleep(0.01)
            await give(fairy)
            connection.die(seen=True)


class SlowReturn(Idle):
    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        for each in server.connections:
            each.slow["rollback"] = 0.1
            each.slow["close"] = 0.1
        return pool


class SilentReturn(Idle):
    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        for each in server.connections:
            each.hang |= {"rollback", "close"}
        return pool


class Surplus(Scene):
    """An overflow connection is closed on its return."""

    async def prepare(self, server: Server) -> Any:
        pool = new_pool(server, pool_size=1, max_overflow=1, timeout=10)
        server.usual = Connect(and_then=lambda each: each.slow.update(close=0.1))
        self.out = await borrow(pool)
        return pool

    async def meanwhile(self, pool: Any) -> None:
        await asyncio.sleep(0.0005)
        await give(self.out)


class Renewed(Idle):
    """A listener rejects what was handed out."""

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


class RenewedAll(Renewed):
    error = exc.InvalidatePoolError


class Invalidated(Idle):
    async def act(self, pool: Any) -> None:
        fairy = await borrow(pool)
        try:
            driver_of(fairy).slow["close"] = 0.1
            await greenlet_spawn(fairy.invalidate)
        finally:
            await give(fairy)


class SoftlyInvalidated(Idle):
    async def act(self, pool: Any) -> None:
        fairy = await borrow(pool)
        fairy.invalidate(soft=True)
        await give(fairy)
        await _visit(pool)


class Warmed(Scene):
    async def prepare(self, server: Server) -> Any:
        server.usual = Connect(0.1)
        return new_pool(server, pool_size=SIZE, max_overflow=0, pool_min_size=SIZE)

    async def act(self, pool: Any) -> None:
        await pool.warm()


class Disposed(Idle):
    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        for each in server.connections:
            each.slow["close"] = 0.1
        return pool

    async def act(self, pool: Any) -> None:
        await greenlet_spawn(pool.dispose)


class Statement(Scene):
    """A whole request through an engine."""

    async def prepare(self, server: Server) -> Any:
        server.usual = Connect(
            0.02, and_then=lambda each: each.slow.update(execute=0.05, commit=0.05, rollback=0.05)
        )
        self.engine = new_engine(server, pool_size=SIZE, max_overflow=0)
        return self.engine.pool

    async def act(self, pool: Any) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(text("select 1"))


class StatementOnSilence(Statement):
    async def act(self, pool: Any) -> None:
        try:
            async with self.engine.connect() as connection:
                await connection.execute(text("select 1"))
        except exc.DBAPIError:
            pass  # the rollback was cut off

    async def prepare(self, server: Server) -> Any:
        pool = await super().prepare(server)
        for each in await open_idle(pool, SIZE):
            each.hang |= {"rollback", "close"}
        return pool


SCENES = [
    Idle,
    Pinged,
    PingFails,
    PingHangs,
    ProbeFails,
    Connecting,
    ConnectFailsFirst,
    ConnectIsStubborn,
    Queued,
    QueuedForTheDead,
    SlowReturn,
    SilentReturn,
    Surplus,
    Renewed,
    RenewedAll,
    Invalidated,
    SoftlyInvalidated,
    Warmed,
    Disposed,
    Statement,
    StatementOnSilence,
]


def _run_once(scene: Scene, step: int, late: bool) -> bool:
    """Cancel at this step; False when the victim was through before."""
    reached = False

    async def main() -> None:
        nonlocal reached
        server = Server()
        pool = await scene.prepare(server)
        loop = virtual_loop()
        background = asyncio.ensure_future(scene.meanwhile(pool))
        victim = asyncio.ensure_future(scene.act(pool))
        first = loop.steps

        def strike(now: int) -> None:
            nonlocal reached
            if now - first == step and not victim.done():
                reached = True
                if late:  # after what is ready already
                    loop.call_soon(victim.cancel)
                else:
                    victim.cancel()

        loop.on_step = strike
        await asyncio.wait({victim})
        loop.on_step = None
        await asyncio.wait({background})
        assert background.exception() is None
        await asyncio.sleep(30)
        for each in server.connections:  # whatever was scripted is over
            each.hang.clear()
            each.slow.clear()
        server.usual = Connect()
        server.plan.clear()
        assert_at_rest(pool, server)
        await assert_serves_in_full(pool, server, SIZE)
        await asyncio.sleep(1)
        assert_at_rest(pool, server)
        await pool.close()
        assert server.sockets == 0

    run(main(), loop=VirtualLoop())
    return reached


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", SCENES, ids=lambda kind: kind.__name__)
def test_a_borrower_cancelled_at_any_step_costs_nothing(kind: type[Scene], late: bool) -> None:
    broken = {}
    for step in range(1, MOST_STEPS):
        try:
            if not _run_once(kind(), step, late):
                break
        except Exception as error:
            broken[step] = f"{type(error).__name__}: {error}"[:300]
    else:
        pytest.fail("the victim never ends")
    assert broken == {}
    assert step > 1, "nothing was swept"


def test_a_storm_of_cancellations_costs_nothing() -> None:
    import random

    async def main(seed: int) -> None:
        chance = random.Random(seed)
        server = Server(usual=Connect(0.01))
        pool = new_pool(server, pool_size=4, max_overflow=2, timeout=5, pool_validate_after=0.05)
        tasks: set[asyncio.Task[None]] = set()

        async def visit() -> None:
            fairy = await borrow(pool)
            try:
                await asyncio.sleep(chance.random() * 0.02)
                if chance.random() < 0.05:
                    driver_of(fairy).die(seen=chance.random() < 0.5)
            finally:
                await give(fairy)

        for _ in range(600):
            task = asyncio.ensure_future(visit())
            tasks.add(task)
            await asyncio.sleep(chance.random() * 0.004)
            for each in list(tasks):
                if chance.random() < 0.05:
                    each.cancel()
            tasks -= {each for each in tasks if each.done()}
            assert pool.stats().size <= 6
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.sleep(10)
        assert_at_rest(pool, server)
        assert server.most_sockets <= 6
        await asyncio.gather(*(_visit(pool) for _ in range(20)))

    for seed in range(5):
        run(main(seed))


def test_the_sweep_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    from sqla_typedpool.pool.station import Station

    withdraw: Callable[..., Any] = Station._withdraw

    def forgetful(self: Any, waiter: Any, error: BaseException) -> None:
        withdraw(self, waiter, error)
        if waiter.future.done() and not waiter.future.cancelled():
            self.slots.in_use += 1  # what it was given at that instant is forgotten

    monkeypatch.setattr(Station, "_withdraw", forgetful)
    with pytest.raises(AssertionError):
        test_a_borrower_cancelled_at_any_step_costs_nothing(Queued, False)
