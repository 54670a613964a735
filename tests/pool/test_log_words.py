"""The words of the log lines: what happened, who holds the connection, and what to do next."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from sqla_typedpool import PoolClosed, holder_label
from sqla_typedpool.errors import Holder
from tests.support.fake_driver import Connect, Server, loop_pool, new_pool, refused
from tests.support.virtual_clock import run

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "logs.md"
HOLDER = Holder("Task-7", 1.5, "app.py:3 in run", "GET /reports", "app.find")
LABELLED = "GET /reports (Task-7) for 1.5 s in query app.find at app.py:3 in run"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "sqla_typedpool")
    return caplog


def test_a_leak_and_its_return_name_the_holder_once_with_label_query_and_line(
    lines: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_leak_threshold=10)
        with holder_label("GET /reports"):
            entry = await pool.wait_and_take()
        await asyncio.sleep(20)
        pool.give_back(entry)

    run(main())
    held = r"held by GET /reports \(Task-\d+\) for [\d.]+ s at \S+:\d+ in main"
    leak, returned = [record.getMessage() for record in lines.records]
    assert re.fullmatch(
        rf"pool \S+: leak: a connection has been out for longer than pool_leak_threshold=10, {held}"
        r"; next: close the connection or the session at that line, or raise the threshold",
        leak,
    )
    assert re.fullmatch(rf"pool \S+: leak returned: the connection was {held}", returned)


def test_a_dirty_return_names_its_holder_and_counts_only_what_is_not_in_the_line(
    lines: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        reports = loop_pool(new_pool(Server())).reports
        reports.dirty_return(HOLDER, is_kept=False)
        reports.dirty_return(None, is_kept=False)
        await asyncio.sleep(60)
        reports.dirty_return(None, is_kept=False)

    run(main())
    first, second = [record.getMessage() for record in lines.records]
    assert f"a connection held by {LABELLED} was returned inside a transaction" in first
    assert "since the last such line" not in first
    assert "a connection was idle inside a transaction" in second
    assert "; 2 since the last such line; next: " in second


def test_waiting_callers_and_pool_timeout_have_one_spelling_in_all_lines_and_errors(
    lines: pytest.LogCaptureFixture,
) -> None:
    async def main() -> str:
        pool = new_pool(Server(usual=Connect(error=refused)), timeout=3)
        with pytest.raises(Exception, match=", 1 waiting, ") as raised:
            await pool.wait_and_take()
        return str(raised.value)

    assert "(pool_timeout=3)" in run(main())
    (began,) = lines.records
    assert ", 1 waiting; " in began.getMessage()
    assert "pool_timeout=3)" in began.getMessage()
    assert began.waiting_callers == 1  # type: ignore[attr-defined]


def test_a_closed_pool_names_the_next_step() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0)
        await pool.wait_and_take()
        waiter = asyncio.create_task(pool.wait_and_take())
        await asyncio.sleep(0)
        await pool.close(timeout=0.1)
        for attempt in (waiter, pool.wait_and_take()):
            with pytest.raises(PoolClosed, match=r"; next: call engine\.dispose\(\) to start"):
                await attempt

    run(main())


def test_the_documented_formatter_writes_each_field_as_json(
    lines: pytest.LogCaptureFixture,
) -> None:
    names: dict[str, Any] = {}
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    exec(compile(code, str(PAGE), "exec", dont_inherit=True), names)

    async def main() -> None:
        pool = new_pool(Server(), pool_name="json", pool_leak_threshold=10)
        entry = await pool.wait_and_take()
        await asyncio.sleep(20)
        pool.give_back(entry)

    run(main())
    leak = json.loads(names["JsonFormatter"]().format(lines.records[0]))
    assert (leak["level"], leak["event"], leak["pool"]) == ("WARNING", "leak", "json")
    assert leak["message"].startswith("pool json: leak: ")
    assert leak["threshold_seconds"] == 10
    assert set(leak) == {
        *("level", "message", "event", "pool"),
        *("held_seconds", "threshold_seconds", "holder", "site"),
    }
