"""Requests that are cancelled at a random moment, or at a given await."""

from __future__ import annotations

import asyncio
import itertools
import random
import types
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqla_typedpool import TypedPool
from tests.support.engines import PATIENCE, open_all, return_all, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

    from sqlalchemy.ext.asyncio import AsyncEngine


def cancel_once(task: asyncio.Task[Any], delay: float) -> None:
    """Cancel the task after `delay` seconds."""
    asyncio.get_running_loop().call_later(delay, task.cancel)


def cancel_twice(task: asyncio.Task[Any], delay: float) -> None:
    """Cancel the task, and again while it handles the first cancellation."""
    loop = asyncio.get_running_loop()
    loop.call_later(delay, task.cancel)
    loop.call_later(delay + random.uniform(0, 0.004), task.cancel)


def cancel_until_done(task: asyncio.Task[Any], delay: float) -> None:
    """Cancel in each loop iteration until the task has ended, as anyio's cancel scopes do."""
    loop = asyncio.get_running_loop()
    iterations = itertools.count()

    def cancel_again() -> None:
        if not task.done():
            task.cancel()
            # the bound is for a task that suppresses every cancellation
            if next(iterations) < 10_000:
                loop.call_soon(cancel_again)

    loop.call_later(delay, cancel_again)


CANCELS = {"once": cancel_once, "twice": cancel_twice, "until done": cancel_until_done}


async def run_and_cancel(
    engine: AsyncEngine,
    request: Callable[[AsyncEngine], Awaitable[object]],
    *,
    cancel: Callable[[asyncio.Task[Any], float], None] = cancel_once,
    tasks: int = 1000,
    at_once: int = 60,
    longest: float = 0.06,
    seed: int = 1,
) -> int:
    """Start `tasks` requests, cancel each at a random moment; return how many were cancelled.

    Any other error of a request fails the test.
    """
    rng = random.Random(seed)
    remaining = itertools.repeat(None, tasks)
    cancelled = 0
    errors: list[BaseException] = []

    async def worker() -> None:
        nonlocal cancelled
        for _ in remaining:
            task = asyncio.ensure_future(request(engine))
            cancel(task, rng.uniform(0, longest))
            done, _ = await asyncio.wait({task}, timeout=20)
            assert done, "a cancelled request did not end within 20 s"
            if task.cancelled():
                cancelled += 1
            elif (error := task.exception()) is not None:
                errors.append(error)

    await asyncio.gather(*(worker() for _ in range(at_once)))
    assert not errors, f"{len(errors)} errors, the first: {errors[0]!r}"
    return cancelled


async def check_nothing_lost(engine: AsyncEngine, limit: int) -> None:
    """Check that every slot is free again and that all can be used at the same time."""
    pool = TypedPool.of(engine)
    assert await until(lambda: pool.checkedout() == 0), pool.stats()
    assert await until(lambda: pool.stats().waiting == 0), pool.stats()
    assert pool.stats().size <= limit
    held = await asyncio.wait_for(open_all(engine, limit), PATIENCE)
    assert pool.checkedout() == limit
    await return_all(held)
    assert pool.checkedout() == 0


# ------------------------------------------------------------- a cancel at a given await


@types.coroutine
def observe_awaits(
    coroutine: Coroutine[Any, Any, Any], on_await: Callable[[asyncio.Future[Any]], None]
) -> Generator[Any, Any, Any]:
    """Run the coroutine and pass every future that its task awaits to the callback."""
    send: Callable[[], Any] = lambda: coroutine.send(None)  # noqa: E731
    while True:
        try:
            awaited = send()
        except StopIteration as end:
            return end.value
        on_await(awaited)
        try:
            value = yield awaited
        except BaseException as error:
            send = lambda error=error: coroutine.throw(error)  # noqa: E731
        else:
            send = lambda value=value: coroutine.send(value)  # noqa: E731


async def cancel_at_await(coroutine: Coroutine[Any, Any, Any], step: int, *, late: bool) -> bool:
    """Run a coroutine in a task and cancel it at its `step`-th await; return whether it had one.

    With `late`, the task is cancelled after the awaited future has its result but before the task
    resumes: the task does not receive the result, but the pool must not lose it.
    """
    steps = itertools.count(1)
    reached = False

    async def observed() -> None:
        task = asyncio.current_task()
        assert task is not None

        def on_await(future: asyncio.Future[Any] | None) -> None:
            nonlocal reached
            if next(steps) != step:
                return
            reached = True
            if late and future is not None:
                future.add_done_callback(lambda _: task.cancel())  # before the task resumes
            else:
                task.cancel()

        await observe_awaits(coroutine, on_await)

    task = asyncio.ensure_future(observed())
    done, _ = await asyncio.wait({task}, timeout=10)
    assert done, f"cancelled at await {step}, the task did not end within 10 s"
    with suppress(asyncio.CancelledError):
        task.result()
    return reached
