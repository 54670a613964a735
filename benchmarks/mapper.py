"""`python -m benchmarks.mapper [--rounds 40]`: the mapper compared with other converters.

10,000 rows of 8 columns, as tuples, become dataclasses, without a database. The other converters
read mappings, so the time to make those is included. Each is configured to be as strict and as fast
as its documentation allows.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, make_dataclass
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from time import perf_counter
from typing import Annotated, Any, get_type_hints
from uuid import UUID

from benchmarks.interleave import Comparison, Goal, Reading, Rounds, Turn
from benchmarks.report import table
from sqla_typedpool import Json
from sqla_typedpool.mapping.mapper import mapper_for
from sqla_typedpool.mapping.plan import Column

ROWS = 10_000
METRIC = "ns/row"
SEED = 4


@dataclass(slots=True)
class Order:
    id: int
    customer: str
    email: str | None
    total: Decimal
    score: float
    paid: bool
    placed: datetime
    token: UUID


@dataclass(frozen=True, slots=True)
class FrozenOrder:
    id: int
    customer: str
    email: str | None
    total: Decimal
    score: float
    paid: bool
    placed: datetime
    token: UUID


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


@dataclass(slots=True)
class Address:
    street: str
    number: int


@dataclass(slots=True)
class StoredOrder:
    """An order as SQLite stores it: with an Enum, a nested object in JSON, and stored forms."""

    id: int
    mood: Mood
    paid: bool
    total: Decimal
    placed: datetime
    address: Annotated[Address, Json()]


NAMES = tuple(Order.__dataclass_fields__)
MOMENT = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)

OURS, BY_HAND = "sqla-typedpool, slots", "C(*row), slots"
FROZEN_OURS, FROZEN_BY_HAND = "sqla-typedpool, frozen", "C(*row), frozen"

Rows = list[tuple[Any, ...]]
Convert = Callable[[Rows], list[Any]]


def rows() -> Rows:
    return [
        (
            number,
            f"customer {number}",
            None if number % 3 else "mail@example.org",
            Decimal(number) / 100,
            number / 7,
            number % 2 == 0,
            MOMENT,
            UUID(int=number),
        )
        for number in range(ROWS)
    ]


def stored_rows() -> Rows:
    """The rows of `StoredOrder`."""
    moods = tuple(each.value for each in Mood)
    address = '{"street": "Main Street", "number": 5}'
    return [
        (number, moods[number % 2], number % 2, number / 100, "2026-01-31 12:00:00", address)
        for number in range(ROWS)
    ]


def our_converting_mapper() -> Convert:
    columns = tuple(map(Column, StoredOrder.__dataclass_fields__))
    return mapper_for(StoredOrder, columns, "sqlite").map_rows


def new_class() -> type:
    """A dataclass with the fields of `Order` that no mapper was made for."""
    return make_dataclass("Order", list(get_type_hints(Order).items()))


def our_mapper(cls: type) -> Convert:
    return mapper_for(cls, tuple(Column(name) for name in NAMES), "postgresql").map_rows


def dicts(found: Rows) -> list[dict[str, Any]]:
    return [dict(zip(NAMES, row, strict=True)) for row in found]


def msgspec_converter() -> Convert:
    import msgspec

    row_type = list[Order]
    kept = (bytes, datetime, Decimal, UUID)
    return lambda found: msgspec.convert(dicts(found), row_type, builtin_types=kept)


def pydantic_converter() -> Convert:
    from pydantic import TypeAdapter

    validate = TypeAdapter(list[Order]).validate_python
    return lambda found: validate(dicts(found))


def cattrs_converter() -> Convert:
    import cattrs

    converter = cattrs.Converter()
    for cls in (datetime, Decimal, UUID):
        converter.register_structure_hook(cls, lambda value, _: value)
    structure = converter.get_structure_hook(Order)
    return lambda found: [structure(each, Order) for each in dicts(found)]


def adaptix_converter() -> Convert:
    from adaptix import Retort, as_is_loader

    kept = [as_is_loader(cls) for cls in (datetime, Decimal, UUID)]
    load = Retort(recipe=kept).get_loader(list[Order])
    return lambda found: load(dicts(found))


CONVERTERS: dict[str, Callable[[], Convert]] = {
    "msgspec.convert": msgspec_converter,
    "pydantic": pydantic_converter,
    "cattrs": cattrs_converter,
    "adaptix": adaptix_converter,
}


def subjects() -> Iterator[tuple[str, Convert]]:
    """Our mapper, the plain constructors, and the converters that are installed."""
    yield OURS, our_mapper(Order)
    yield BY_HAND, lambda found: [Order(*row) for row in found]
    yield FROZEN_OURS, our_mapper(FrozenOrder)
    yield FROZEN_BY_HAND, lambda found: [FrozenOrder(*row) for row in found]
    for name, converter in CONVERTERS.items():
        with suppress(ImportError):
            yield name, converter()


def turn_of(convert: Convert, found: Rows) -> Turn:
    async def turn() -> Reading:
        started = perf_counter()
        converted = convert(found)
        elapsed = perf_counter() - started
        assert len(converted) == ROWS
        return {METRIC: elapsed / ROWS * 1e9}

    return turn


def goals(names: list[str]) -> Iterator[Goal]:
    yield Goal(METRIC, OURS, 1.5, compared_to=BY_HAND)
    yield Goal(METRIC, FROZEN_OURS, 0.85, compared_to=FROZEN_BY_HAND)
    for name in names:
        if name in CONVERTERS:
            yield Goal(METRIC, OURS, 1.0, compared_to=name)


async def compare(rounds: int) -> Comparison:
    found = rows()
    turns = {name: turn_of(convert, found) for name, convert in subjects()}
    measured = Rounds(turns, seed=SEED)
    for _ in range(3):
        await measured.run_one()
    measured.forget()
    for _ in range(rounds):
        await measured.run_one()
    title = f"{ROWS} rows x {len(NAMES)} columns from tuples to dataclasses"
    return Comparison(title, measured.readings, tuple(goals(list(turns))))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mapper")
    parser.add_argument("--rounds", type=int, default=40)
    comparison = asyncio.run(compare(parser.parse_args().rounds))
    print("\n".join(table([comparison])))


if __name__ == "__main__":
    main()
