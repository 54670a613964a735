"""The pool's own tasks: cancelling a task whose work is done in a thread (guarantee 4)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from sqla_typedpool._asyncio.tasks import BackgroundTasks
from tests.support.virtual_clock import now, run, virtual_loop


async def work_for(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "finished"


def _fail(error: BaseException) -> None:
    raise AssertionError(error)


def new_tasks() -> BackgroundTasks:
    return BackgroundTasks(virtual_loop(), _fail)


def test_a_patient_task_that_is_cancelled_may_still_finish() -> None:
    async def main() -> None:
        task = new_tasks().spawn(work_for(1), "connect", in_thread=True)
        await asyncio.sleep(0.5)
        assert task.cancel()
        assert task.cancel()
        assert await task == "finished"
        assert now() == pytest.approx(1)
        assert not task.cancel()

    run(main())


def test_a_patient_task_that_is_cancelled_before_its_first_step_still_finishes() -> None:
    async def main() -> None:
        task = new_tasks().spawn(work_for(1), "connect", in_thread=True)
        task.cancel()
        assert await task == "finished"

    run(main())


def test_a_patient_task_that_does_not_finish_is_cancelled_after_two_seconds() -> None:
    async def main() -> None:
        task = new_tasks().spawn(work_for(60), "connect", in_thread=True)
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert now() == pytest.approx(2.5)

    run(main())


def test_a_patient_task_that_ignores_its_cancellation_can_be_cancelled_again() -> None:
    """As every other task can; a deadline does it each second."""

    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    async def main() -> None:
        task = new_tasks().spawn(stubborn(), "connect", in_thread=True)
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.sleep(3)
        assert not task.done()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert now() == pytest.approx(3.5)

    run(main())
