"""The log records on docs/reference/logs.md have the words of those that the pool writes.

Numbers, names of pools, holders and places in files may differ.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from sqla_typedpool import holder_label
from tests.project.snippets.blocks import ROOT, read_page
from tests.project.snippets.running import agree
from tests.support.fake_driver import Connect, Server, new_pool, refused, use
from tests.support.virtual_clock import run

PAGE = read_page(ROOT / "docs" / "reference" / "logs.md")
DIFFERENT = [
    (re.compile(r"\s+"), " "),
    (re.compile(r"pool \S+: "), "pool POOL: "),
    (re.compile(r"\S+\.py:\d+ in \w+"), "PLACE"),
    (re.compile(r"(?:\w+ /\w+ \()?Task-\d+\)?"), "HOLDER"),
    (re.compile(r"\d+(\.\d+)?"), "0"),
]


def form_of(text: str) -> str:
    for pattern, name in DIFFERENT:
        text = pattern.sub(name, text)
    return text


def shown(event: str) -> str:
    """The form of the record on the page that begins with these words, after the pool's name."""
    text = "\n".join(block.code for block in PAGE.blocks)
    records = re.findall(r"^pool .*\n(?: .*\n)*", text, re.MULTILINE)
    (found,) = [each for each in records if f": {event}" in each.split(";")[0]]
    return form_of(found).strip()


def test_the_records_of_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = Server(usual=Connect(seconds=0.001, error=refused))
        pool = new_pool(server, timeout=30, pool_name="shown-records")
        clients = [asyncio.ensure_future(use(pool)) for _ in range(10)]
        await asyncio.sleep(1)
        server.usual = Connect()
        await asyncio.wait(clients)

    run(main())
    began, recovered = (form_of(record.getMessage()) for record in caplog.records)
    assert agree(began, shown("outage began"))
    assert agree(recovered, shown("recovered"))


async def outer(pool: Any) -> None:
    with holder_label("POST /orders"):
        entry = await pool.wait_and_take()
        await asyncio.sleep(0.04)
        await inner(pool)
        pool.give_back(entry)


async def inner(pool: Any) -> None:
    pool.give_back(await pool.wait_and_take())


def test_the_records_of_a_nested_checkout_and_of_a_deadlock(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        options = {"pool_size": 10, "max_overflow": 0, "timeout": 30, "pool_leak_threshold": 100}
        pool = new_pool(Server(), **options)
        tasks = [asyncio.ensure_future(outer(pool)) for _ in range(10)]
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    run(main())
    nested, deadlock, _ = (form_of(record.getMessage()) for record in caplog.records)
    assert agree(nested, shown("nested checkout"))
    assert agree(deadlock, shown("deadlock"))
