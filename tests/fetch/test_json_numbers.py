"""Decimals in JSON, from text on each database and from each driver's own decoding."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Annotated

import pytest
from sqlalchemy import JSON, column, event, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_typedpool import Json, RowValueError, fetch_one
from tests.support.engines import make_engine, run
from tests.support.fetch_lab import LABS, Lab, lab_of, no_listener

if TYPE_CHECKING:
    from pathlib import Path

DIGITS = "12345678901234567.10"
DOCUMENT = f'{{"price": {DIGITS}, "weight": 0.1}}'
SELECTS = {
    "postgresql": f"SELECT '{DOCUMENT}'::jsonb AS doc".replace(": ", "\\: ").replace("\\::", "::"),
    "sqlite": f"SELECT '{DOCUMENT}' AS doc".replace(": ", "\\: "),
    "mysql": f"SELECT '{DOCUMENT}' AS doc".replace(": ", "\\: "),
}


@dataclass
class Item:
    price: Decimal
    weight: float


ITEM = Annotated[Item, Json()]


@pytest.fixture(params=LABS)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    return lab_of(request, tmp_path)


def engine_of(lab: Lab) -> AsyncEngine:
    """Return an engine whose JSON is decoded with Decimals."""
    engine = make_engine(lab.url, json_deserializer=partial(json.loads, parse_float=Decimal))
    if lab.is_slow:
        event.listen(engine.sync_engine, "before_cursor_execute", no_listener)
    return engine


def test_json_that_arrives_as_text_gives_exact_decimals(lab: Lab) -> None:
    async def main() -> None:
        async with lab.engine_on() as engine:
            if lab.family == "postgresql":
                with pytest.raises(RowValueError, match=r"json_deserializer=partial\(json.loads"):
                    await fetch_one(engine, ITEM, SELECTS[lab.family])
            else:
                item = await fetch_one(engine, ITEM, SELECTS[lab.family])
                assert (str(item.price), item.weight) == (DIGITS, 0.1)

    run(main())


def test_an_engine_that_decodes_decimals_gives_exact_decimals(lab: Lab) -> None:
    async def main() -> None:
        engine = engine_of(lab)
        try:
            item = await fetch_one(engine, ITEM, SELECTS[lab.family])
            assert (str(item.price), item.weight, type(item.weight)) == (DIGITS, 0.1, float)
            core = select(column("doc", JSON)).select_from(
                text(SELECTS[lab.family]).columns(column("doc", JSON)).subquery("d")
            )
            item = await fetch_one(engine, ITEM, core)
            assert (str(item.price), item.weight, type(item.weight)) == (DIGITS, 0.1, float)
        finally:
            await engine.dispose()

    run(main())
