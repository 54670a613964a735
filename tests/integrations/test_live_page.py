"""The live page in headless Chromium, of a real application on a real PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool.embedded import Postgres
from sqla_typedpool.embedded.process import free_port
from tests.integrations.browser import NARROW, showing
from tests.integrations.served import load, serving
from tests.integrations.test_metrics import file_engine
from tests.support.engines import engine_on, open_all, return_all, run
from tests.support.proxy import FaultProxy

pytest.importorskip("asyncpg")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

OPTIONS = {"pool_size": 2, "max_overflow": 2, "pool_timeout": 0.5, "pool_connect_retry": 1}


@asynccontextmanager
async def orders(url: str | URL) -> AsyncIterator[AsyncEngine]:
    """An engine with a small pool, which reports slow checkouts."""
    async with engine_on(url, **OPTIONS, pool_name="orders", pool_slow_checkout=0.3) as engine:
        yield engine


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_under_load_the_page_shows_the_present_numbers(
    chromium: str, postgres_url: str, scheme: str
) -> None:
    async def main() -> None:
        async with orders(postgres_url) as engine, serving(engine) as address:
            async with showing(chromium, address, scheme) as shown:
                await shown.until(".state", "Working.")
                async with load(engine, 3):
                    await shown.until(".numbers", "3 of 4")
                    await shown.until(".holders", "GET /orders/{id} 1")
                    await shown.until(".quantiles", "≤ 50 ms")
                    await shown.keeps_updating()
                    assert float(await shown.number("checkouts / s")) > 1
                    assert await shown.violations() == []
                await shown.until(".numbers", "0 of 4")
                assert await shown.page.title() == "Connection pools"
                assert shown.complaints == []

    run(main())


def test_with_every_connection_in_use_the_page_goes_on(chromium: str, postgres_url: str) -> None:
    async def main() -> None:
        async with orders(postgres_url) as engine, serving(engine) as address:
            held = await open_all(engine, 4)
            async with showing(chromium, address) as shown:
                async with load(engine, 8):
                    await shown.until(".state.bad", "Every connection is in use")
                    await shown.until("#status.bad", "orders: exhausted")
                    await shown.until(".totals tr", re.compile(r"timeouts\s*[1-9]"))
                    await shown.keeps_updating()
                    assert await shown.violations() == []
                await return_all(held)
                await shown.until("#status.good", "Live")
                assert shown.complaints == []

    run(main())


def test_without_its_database_the_page_goes_on_and_shows_the_end_of_the_outage(
    chromium: str, postgres: Postgres
) -> None:
    async def main() -> None:
        async with FaultProxy("127.0.0.1", postgres.port) as proxy:
            url = make_url(postgres.url("asyncpg")).set(host="127.0.0.1", port=proxy.port)
            async with orders(url) as engine, serving(engine) as address, load(engine, 3):
                async with showing(chromium, address, "dark") as shown:
                    await shown.until(".numbers", "3 of 4")
                    proxy.refuse()
                    proxy.reset_all()
                    await shown.until(".state.bad", "ConnectionRefusedError")
                    await shown.until("#status.bad", "orders: outage")
                    await shown.until("#events", "outage_began")
                    await shown.keeps_updating()
                    assert await shown.violations() == []
                    await proxy.accept()
                    await shown.until(".state.good", "Working.")
                    assert shown.complaints == []

    run(main())


def test_the_page_says_that_the_application_is_gone_and_goes_on_when_it_is_back(
    chromium: str, postgres_url: str
) -> None:
    async def main() -> None:
        port = free_port()
        async with orders(postgres_url) as engine:
            async with serving(engine, port=port) as address:
                browser = showing(chromium, address)
                shown = await browser.__aenter__()
                await shown.until("#status", "Live")
            try:
                await shown.until("#status.bad", "The application does not answer")
                async with serving(engine, port=port):
                    await shown.until("#status.good", "Live")
                async with serving(engine, port=port, authorize=lambda scope: False):
                    await shown.until("#status.bad", "Access is refused")
                async with serving(engine, port=port):
                    await shown.until("#status.good", "Live")
            finally:
                await browser.__aexit__(None, None, None)

    run(main())


def test_the_keyboard_pauses_the_page(chromium: str, postgres_url: str) -> None:
    async def main() -> None:
        async with orders(postgres_url) as engine, serving(engine) as address:
            async with showing(chromium, address) as shown:
                await shown.until("#status", "Live")
                await shown.page.keyboard.press("Tab")
                focused = shown.page.locator(":focus-visible")
                assert await focused.inner_text() == "Pause"
                outline = await focused.evaluate("each => getComputedStyle(each).outlineStyle")
                assert outline == "solid"
                await shown.page.keyboard.press("Space")
                await shown.until("#status", "Paused")
                async with load(engine, 3):
                    await shown.page.wait_for_timeout(2500)
                    assert await shown.number("in use") == "0 of 4"
                    assert await focused.get_attribute("aria-pressed") == "true"
                    assert await shown.violations() == []
                    await shown.page.keyboard.press("Space")
                    await shown.until(".numbers", "3 of 4")
                await shown.until("#status", "Live")
                assert shown.complaints == []

    run(main())


def test_every_width_shows_everything_without_scrolling_sideways(
    chromium: str, postgres_url: str
) -> None:
    async def main() -> None:
        async with orders(postgres_url) as engine, serving(engine) as address:
            async with showing(chromium, address, size=NARROW) as shown, load(engine, 8, 0.4):
                await shown.until(".holders", "GET /orders/{id} 1")
                await shown.until("#events", "slow_checkout")
                for width in (390, 560, 700, 900, 1400):
                    await shown.page.set_viewport_size({"width": width, "height": 800})
                    assert await shown.overflow() == 0
                    assert await shown.too_wide("table") == [], width
                    assert await shown.violations() == [], width
                assert shown.complaints == []

    run(main())


def test_a_page_that_is_opened_later_shows_the_time_before(
    chromium: str, postgres_url: str
) -> None:
    async def main() -> None:
        async with orders(postgres_url) as engine, serving(engine) as address, load(engine, 3):
            async with showing(chromium, address) as first:
                await first.until(".numbers", "3 of 4")
                await first.page.wait_for_timeout(4000)
                second = await first.page.context.browser.new_page()
                await second.goto(address)
                shape = await second.locator(".connections path.used").get_attribute("d")
                assert len(re.findall("[ML]", shape or "")) >= 10  # two points for each second

    run(main())


def test_names_from_the_application_are_text(chromium: str, tmp_path: Path) -> None:
    async def main() -> None:
        name = "<img src=x onerror=alert(1)>"
        engine = file_engine(tmp_path, pool_name=name)
        async with serving(engine) as address, showing(chromium, address) as shown:
            await shown.until("h2", name)
            assert await shown.page.locator("img").count() == 0
            assert shown.complaints == []
        await engine.dispose()

    run(main())
