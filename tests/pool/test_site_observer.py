"""The observer of checkouts, which the pytest plugin sets, changes no report of the pool."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sqla_typedpool.pool import observers
from sqla_typedpool.pool.call_sites import CallSite
from tests.support.fake_driver import Server, borrow, give_back, new_pool
from tests.support.virtual_clock import run


@pytest.mark.parametrize("threshold", [None, 60])
def test_holders_report_the_current_line_unless_the_pool_has_a_leak_threshold(
    monkeypatch: pytest.MonkeyPatch, threshold: int | None
) -> None:
    noted: list[CallSite | None] = []
    monkeypatch.setattr(observers, "site_noted", lambda _, site: noted.append(site))

    async def checks_out(pool: Any) -> Any:
        return await borrow(pool)

    async def works(pool: Any) -> None:
        fairy = await checks_out(pool)
        await asyncio.sleep(5)
        await give_back(fairy)

    async def main() -> None:
        pool = new_pool(Server(), pool_leak_threshold=threshold)
        task = asyncio.ensure_future(works(pool))
        await asyncio.sleep(1)
        (holder,) = pool.holders()
        (site,) = noted
        assert site is not None
        assert (holder.where == site.where) == (threshold is not None)
        await task

    run(main())
