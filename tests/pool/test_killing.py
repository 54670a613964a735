"""The statement killer: it ends on the server what a cancelled borrower has left running."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.fake_driver import (
    FakeConnection,
    Server,
    assert_only_idle,
    borrow,
    change_driver,
    give_back,
    loop_pool,
    new_pool,
)
from tests.support.virtual_clock import run


def _session_number(driver: Any, connection: FakeConnection) -> int:
    """What the pool needs to kill a statement of this connection, as MySQL's thread id."""
    return connection.number


def test_a_statement_cancelled_just_after_the_killers_last_look_is_killed_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The killer's task has ended then, but its callback has not run: the session was kept for
    the next kill, and its statement went on."""

    async def main() -> None:
        killed: list[int] = []
        was_ended: list[bool] = []

        def cancel_second() -> None:
            (killer,) = killers
            was_ended.append(killer.done())
            loop_pool(pool).statement_cancelled(second._connection_record)

        def kill_statement(driver: Any, adapted: Any, session: Any) -> None:
            killed.append(session)
            if session == 1:  # called after the killer's task, and before its callback
                asyncio.get_running_loop().call_soon(cancel_second)

        change_driver(monkeypatch, server_session=_session_number, kill_statement=kill_statement)
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        first, second = await borrow(pool), await borrow(pool)
        loop_pool(pool).statement_cancelled(first._connection_record)
        killers = [each for each in asyncio.all_tasks() if each.get_name() == "typedpool-kill"]
        await asyncio.sleep(5)
        assert was_ended == [True], "the test has met the moment it is about"
        assert killed == [1, 2]
        for fairy in (first, second):
            await give_back(fairy)
        assert_only_idle(pool, server)

    run(main())
