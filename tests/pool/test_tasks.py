"""The pool's own tasks: what is cancelled in the midst of a thread's work."""

from __future__ import annotations

import asyncio
import logging

import pytest

from sqla_typedpool.pool.tasks import Tasks
from tests.support.virtual_clock import now, run, virtual_loop


async def sleep(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "ended"


def tasks() -> Tasks:
    return Tasks(virtual_loop(), logging.getLogger())


def test_a_patient_task_that_is_cancelled_may_end_by_itself() -> None:
    async def main() -> None:
        task = tasks().spawn(sleep(1), "connect", patient=True)
        await asyncio.sleep(0.5)
        assert task.cancel()
        assert task.cancel()
        assert await task == "ended"
        assert now() == pytest.approx(1)
        assert not task.cancel()

    run(main())


def test_a_patient_task_is_cancelled_before_its_first_step_and_ends_all_the_same() -> None:
    async def main() -> None:
        task = tasks().spawn(sleep(1), "connect", patient=True)
        task.cancel()
        assert await task == "ended"

    run(main())


def test_the_patience_with_a_cancelled_task_has_an_end() -> None:
    async def main() -> None:
        task = tasks().spawn(sleep(60), "connect", patient=True)
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert now() == pytest.approx(2.5)

    run(main())
