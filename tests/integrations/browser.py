"""An application with a live page under uvicorn, and the page in headless Chromium."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, async_playwright
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.routing import Mount

from sqla_typedpool import fetch_one, holder_label
from sqla_typedpool.embedded.process import free_port
from sqla_typedpool.integrations.asgi import PoolMonitor

# Without them Chromium contacts hosts of its own.
SWITCHES = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
WAIT = 15_000  # milliseconds for something that must be shown
NARROW = {"width": 390, "height": 844}
WIDE = {"width": 1100, "height": 900}


@asynccontextmanager
async def serving(*engines: AsyncEngine, port: int = 0, **options: Any) -> AsyncIterator[str]:
    """Serve an application with a monitor at /_pool; return the address of the page."""
    monitor = PoolMonitor(*engines, **(options or {"unsafe_public": True}))
    app = Starlette(routes=[Mount("/_pool", monitor)])
    port = port or free_port()
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}/_pool/"
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def load(engine: AsyncEngine, workers: int, seconds: float = 0.02) -> AsyncIterator[None]:
    """Run statements in so many tasks inside the block; their errors are ignored."""

    async def work(number: int) -> None:
        with holder_label(f"GET /orders/{{id}} {number % 3}"):
            while True:
                try:
                    await fetch_one(engine, int, f"SELECT 1 FROM pg_sleep({seconds})")
                except Exception:
                    await asyncio.sleep(0.05)

    tasks = [asyncio.ensure_future(work(number)) for number in range(workers)]
    try:
        yield
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Shown:
    """A live page, and what the browser complains about."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    async def until(self, selector: str, text: str | re.Pattern[str]) -> None:
        """Wait until an element contains a text."""
        await self.page.locator(selector, has_text=text).first.wait_for(timeout=WAIT)

    async def keeps_updating(self) -> None:
        """Wait until the time of the latest state has changed twice."""
        for _ in range(2):
            before = await self.page.locator("#origin").inner_text()
            await self.page.wait_for_function(
                "before => document.getElementById('origin').textContent !== before",
                arg=before,
                timeout=WAIT,
            )

    async def number(self, name: str) -> str:
        """Return one of the numbers of the first pool."""
        pair = self.page.locator(".numbers div", has=self.page.locator(f"dt:text-is('{name}')"))
        return await pair.first.locator("dd").inner_text()

    async def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        wider: int = await self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return wider

    async def too_wide(self, selector: str) -> list[str]:
        """Return the texts of the elements that are wider than the element that contains them."""
        texts: list[str] = await self.page.locator(selector).evaluate_all(
            "all => all.filter(each => each.offsetWidth > each.parentElement.clientWidth)"
            ".map(each => each.innerText)"
        )
        return texts

    async def violations(self) -> list[str]:
        """Return the violations that axe-core finds serious or critical."""
        found = (await Axe().run(self.page)).response["violations"]
        return [
            f"{each['id']}: {each['help']}: {[node['target'] for node in each['nodes']]}"
            for each in found
            if each["impact"] in ("serious", "critical")
        ]


@asynccontextmanager
async def showing(
    chromium: str, address: str, scheme: Any = "light", size: Any = WIDE
) -> AsyncIterator[Shown]:
    """Show a page in a new browser inside the block."""
    async with async_playwright() as playwright:
        switches: Sequence[str] = list(SWITCHES)
        browser = await playwright.chromium.launch(executable_path=chromium, args=switches)
        try:
            page = await browser.new_page(color_scheme=scheme, viewport=size)
            shown = Shown(page)
            shown.listen()
            await page.goto(address)
            yield shown
        finally:
            await browser.close()
