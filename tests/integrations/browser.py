"""The live page in headless Chromium."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, async_playwright

# Without them Chromium contacts hosts of its own.
SWITCHES = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
WAIT = 15_000  # milliseconds for something that must be shown
NARROW = {"width": 390, "height": 844}
WIDE = {"width": 1100, "height": 900}


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
