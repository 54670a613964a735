"""A blocked event loop is reported, and for how long it was blocked."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from tests.support import engines
from tests.support.fake_driver import Server, borrowed, new_pool, use
from tests.support.virtual_clock import VirtualLoop, run, virtual_loop

LOGGER = "sqla_typedpool.pool"
ERROR = 0.13  # seconds, as documented
PHASES = [0.0, 0.01, 0.124, 0.126, 0.2, 0.249, 0.251, 0.49, 0.6, 0.75, 0.9, 0.99, 1.0, 1.3]


def reports(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [each for each in caplog.records if getattr(each, "event", "") == "loop_blocked"]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("seconds", [1.2, 1.5, 4.0])
@pytest.mark.parametrize("is_used", [False, True], ids=["idle", "in use"])
def test_the_reported_seconds_are_those_of_the_block(
    caplog: pytest.LogCaptureFixture, phase: float, seconds: float, is_used: bool
) -> None:
    async def main() -> None:
        pool = new_pool(Server())
        await use(pool)
        await asyncio.sleep(5 + phase)
        if is_used:
            async with borrowed(pool):
                virtual_loop().block(seconds)
        else:
            virtual_loop().block(seconds)
        await asyncio.sleep(3)

    run(main())
    (record,) = reports(caplog)
    assert record.blocked_seconds == pytest.approx(seconds, abs=ERROR)
    assert record.threshold_seconds == 1


@pytest.mark.parametrize("phase", PHASES)
def test_a_block_that_is_clearly_shorter_than_a_second_is_not_reported(
    caplog: pytest.LogCaptureFixture, phase: float
) -> None:
    async def main() -> None:
        pool = new_pool(Server())
        await use(pool)
        for _ in range(5):
            await asyncio.sleep(1 + phase)
            virtual_loop().block(0.86)
        await asyncio.sleep(3)

    run(main())
    assert reports(caplog) == []


@engines.by_loop
def test_a_sleep_on_the_real_clock_is_reported_as_long_as_it_was(
    caplog: pytest.LogCaptureFixture, loop: str
) -> None:
    async def main() -> None:
        pool = new_pool(Server())
        await use(pool)
        for phase in (0.0, 0.1, 0.6):
            await asyncio.sleep(0.3 + phase)
            time.sleep(1.5)
            await asyncio.sleep(0.05)

    engines.run(main(), loop)
    # a busy machine may keep the loop longer than the sleep, never shorter
    assert [1.5 - ERROR <= each.blocked_seconds < 3 for each in reports(caplog)] == [True] * 3


def test_a_loop_that_does_not_run_between_two_calls_was_not_blocked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = VirtualLoop()
    pool = new_pool(Server())

    async def main() -> None:
        await use(pool)
        await asyncio.sleep(5)

    for _ in range(3):
        loop.run_until_complete(main())
        loop.block(60)
    run(main(), loop=loop)
    assert reports(caplog) == []


def test_a_blocked_loop_is_reported_in_a_later_run_as_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = VirtualLoop()
    pool = new_pool(Server())

    async def main() -> None:
        await asyncio.sleep(1)
        loop.block(3)
        await asyncio.sleep(1)

    loop.run_until_complete(use(pool))
    loop.block(60)
    run(main(), loop=loop)
    (record,) = reports(caplog)
    assert record.blocked_seconds == pytest.approx(3, abs=ERROR)


def test_work_that_is_due_is_not_done_directly_after_a_block(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What seems to be held for long may only have been kept from returning."""

    async def main() -> None:
        pool = new_pool(Server(), pool_leak_threshold=2)
        async with borrowed(pool):
            virtual_loop().block(4)
            await asyncio.sleep(0)
        await asyncio.sleep(3)

    with caplog.at_level(logging.WARNING, LOGGER):
        run(main())
    assert [each.event for each in caplog.records] == ["loop_blocked"]  # type: ignore[attr-defined]
