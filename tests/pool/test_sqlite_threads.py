"""The thread of an aiosqlite connection has ended before its event loop closes.

A thread that reports to a closed loop ends with an error, which pytest reports as a warning, and
warnings are errors here.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from tests.support.engines import make_engine, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

if not hasattr(pytest.importorskip("aiosqlite").Connection, "stop"):
    pytest.skip("aiosqlite 0.21 and older do not wait for the thread", allow_module_level=True)


async def _dispose_without_waiting(engine: AsyncEngine, connection: AsyncConnection) -> None:
    await connection.close()
    engine.sync_engine.dispose()


async def _invalidate(engine: AsyncEngine, connection: AsyncConnection) -> None:
    await connection.invalidate()
    await connection.close()


async def _detach(engine: AsyncEngine, connection: AsyncConnection) -> None:
    (await connection.get_raw_connection()).detach()
    await connection.close()


ENDINGS = (_dispose_without_waiting, _invalidate, _detach)


def _make_busy(connection: Any) -> None:
    connection._tx.put_nowait((None, partial(time.sleep, 0.2)))


async def _opened(engine: AsyncEngine) -> tuple[AsyncConnection, Any]:
    """Return an open connection, and that of the driver."""
    connection = await engine.connect()
    await connection.execute(text("SELECT 1"))
    return connection, (await connection.get_raw_connection()).driver_connection


def assert_ended(threads: set[threading.Thread]) -> None:
    """A thread that has reported its end to the loop still has a few steps to do."""
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("end", ENDINGS, ids=[each.__name__ for each in ENDINGS])
@pytest.mark.parametrize("step", ["closing", "stopping"])
def test_a_close_that_is_in_progress_when_the_loop_ends_is_completed(
    tmp_path: Path, end: Callable[..., Any], step: str
) -> None:
    """The two steps of aiosqlite: the thread closes the connection, and then it ends."""

    running: list[asyncio.Future[None]] = []

    async def main() -> None:
        engine = make_engine(f"sqlite+aiosqlite:///{tmp_path / 'file.db'}")
        connection, driver = await _opened(engine)
        reached, stop = asyncio.Event(), driver.stop

        def stop_slowly() -> Any:
            _make_busy(driver)
            reached.set()
            return stop()

        if step == "closing":
            _make_busy(driver)
            await end(engine, connection)
        else:
            driver.stop = stop_slowly
            ending = asyncio.ensure_future(end(engine, connection))
            await asyncio.wait_for(reached.wait(), 10)
            running.append(ending)

    before = set(threading.enumerate())
    run(main())
    gc.collect()
    assert_ended(set(threading.enumerate()) - before)


def test_a_connection_in_use_when_the_loop_ends_is_closed_before_its_loop(tmp_path: Path) -> None:
    kept: list[AsyncConnection] = []

    async def main() -> None:
        engine = make_engine(f"sqlite+aiosqlite:///{tmp_path / 'file.db'}")
        connection, driver = await _opened(engine)
        stop = driver.stop

        def stop_slowly() -> Any:
            _make_busy(driver)
            return stop()

        driver.stop = stop_slowly
        kept.append(connection)

    before = set(threading.enumerate())
    run(main())
    assert_ended(set(threading.enumerate()) - before)
