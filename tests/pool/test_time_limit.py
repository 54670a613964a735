"""The time limit of a call, without a pool."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from typing import Any

import pytest

from sqla_typedpool._asyncio import time_limit
from sqla_typedpool._asyncio.time_limit import CallTask, TimeLimit, caller_of
from tests.support.virtual_clock import now, run


@pytest.fixture(params=["asyncio.timeout", "CallTask"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both implementations, on each version of Python that has both."""
    kind: str = request.param
    if kind == "CallTask":
        monkeypatch.setattr(time_limit.sys, "version_info", (3, 10))
    elif not hasattr(asyncio, "timeout"):
        pytest.skip("Python 3.10 has no asyncio.timeout")
    return kind


def test_a_call_within_its_limit_returns_its_result(kind: str) -> None:
    async def work() -> int:
        await asyncio.sleep(1)
        return 7

    async def main() -> None:
        limit = TimeLimit(2)
        assert await limit.run(work()) == 7
        assert now() == pytest.approx(1)
        assert not limit.is_expired
        await asyncio.sleep(5)  # the timer was removed

    run(main())


def test_a_call_beyond_its_limit_is_cancelled_and_ends_first(kind: str) -> None:
    async def work(limit: TimeLimit) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            assert limit.is_expired
            await asyncio.sleep(3)  # clean-up
            raise

    async def main() -> None:
        limit = TimeLimit(2)
        with pytest.raises(asyncio.TimeoutError):
            await limit.run(work(limit))
        assert now() == pytest.approx(5)

    run(main())


def test_a_timeout_error_of_the_call_is_not_that_of_the_limit(kind: str) -> None:
    async def work() -> None:
        raise asyncio.TimeoutError("of the driver")

    async def main() -> None:
        limit = TimeLimit(2)
        with pytest.raises(asyncio.TimeoutError, match="of the driver"):
            await limit.run(work())
        assert not limit.is_expired

    run(main())


@pytest.mark.parametrize("first", ["limit", "caller"])
@pytest.mark.parametrize("steps", [0, 1])
def test_a_cancellation_at_the_same_time_is_a_cancellation(
    kind: str, first: str, steps: int
) -> None:
    """In the same iteration of the event loop, or during the clean-up."""

    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.5)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(TimeLimit(2).run(work()))
        delay = 2.1 if steps else 2.0
        if first == "caller":
            loop.call_later(delay if not steps else 1.9, task.cancel)
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(0)
            loop.call_later(delay, task.cancel)
        await asyncio.wait({task})
        assert task.cancelled()

    run(main())


def test_a_cancelled_caller_waits_for_the_clean_up_of_the_call(kind: str) -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(3)

    async def main() -> None:
        task = asyncio.ensure_future(TimeLimit(50).run(work()))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert now() == pytest.approx(4)

    run(main())


def test_a_call_runs_for_its_caller_with_the_callers_context(kind: str) -> None:
    variable = contextvars.ContextVar[str]("variable")

    async def work() -> tuple[Any, str, str]:
        task = asyncio.current_task()
        assert task is not None
        return task, task.get_name(), variable.get()

    async def main() -> None:
        variable.set("set")
        me = asyncio.current_task()
        assert me is not None
        task, name, value = await TimeLimit(5).run(work())
        assert (name, value) == (me.get_name(), "set")
        assert isinstance(task, CallTask) is (kind == "CallTask")
        assert caller_of(task) is me
        assert caller_of(None) is None

    run(main())


def test_a_call_whose_caller_is_closed_ends(kind: str) -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(True)

    async def main() -> None:
        call = TimeLimit(50).run(work())
        awaited: Any = call.send(None)
        awaited._asyncio_future_blocking = False
        await asyncio.sleep(0)
        call.close()
        await asyncio.sleep(1)
        assert ended == [True]

    run(main())


def test_a_call_whose_time_is_over_before_its_first_step_leaves_no_coroutine_unrun() -> None:
    """uvloop may call a timer before a task that was created earlier. Warnings fail the test."""

    async def main() -> None:
        task = CallTask(asyncio.sleep(1))
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()

    run(main())
    gc.collect()
