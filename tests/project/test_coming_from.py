"""The tables of names in docs/start/coming-from.md have names that exist, and our defaults."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

import sqla_typedpool
from sqla_typedpool import PoolOptions, PoolStats, TypedPool
from tests.support.commands import ROOT

PAGE = ROOT / "docs" / "start" / "coming-from.md"
NAME = re.compile(r"`([^`]*)`")
OPTIONS_HEADING = "here (default)"
# The columns of the tables of options.
THEIRS, OURS = 0, 1
OPTIONS = frozenset(PoolOptions.__annotations__)
STATS = frozenset(PoolStats.__annotations__)


class Row(NamedTuple):
    pool: str
    """The heading above it: the pool that the reader comes from."""
    table: str
    """The heading of the column of our names."""
    cells: list[str]

    def names(self, column: int) -> list[str]:
        without_defaults = re.sub(r" \([^()]*\)", "", self.cells[column])
        return NAME.findall(without_defaults)


def rows() -> Iterator[Row]:
    pool = table = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            pool = line.removeprefix("## ")
        elif line.startswith("| "):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            table = table or cells[OURS]
            yield Row(pool, table, cells)
        elif not line:
            table = ""


def rows_of_options() -> list[Row]:
    return [row for row in rows() if row.table == OPTIONS_HEADING]


def default_of(option: str) -> object:
    engine = create_async_engine("sqlite+aiosqlite:///shop.db", poolclass=TypedPool)
    return getattr(TypedPool.of(engine).options, option.replace("pool_timeout", "timeout"))


def test_the_defaults_of_our_options_are_those_of_the_code() -> None:
    pytest.importorskip("aiosqlite")
    compared = 0
    for row in rows_of_options():
        (option, *_) = [*row.names(OURS), ""]
        shown = re.match(r"`\w+` \(`?([\w.]+)`?\)", row.cells[OURS])
        if option in OPTIONS - {"pool_name"} and shown:
            assert str(default_of(option)).removesuffix(".0") == shown[1], row
            compared += 1
    assert compared > 20


def test_every_option_and_number_of_ours_exists() -> None:
    text = PAGE.read_text()
    named = set(re.findall(r"`(pool_\w+|max_overflow)\b", text))
    theirs = {"pool_min", "pool_max", "pool_size", "pool_available"}
    stock = {"pool_recycle", "pool_pre_ping", "pool_use_lifo", "pool_reset_on_return"}
    assert named - theirs - stock <= OPTIONS
    assert {"pool_size", "pool_keepalive", "pool_max_waiting"} <= named
    for name in re.findall(r"`(fetch_\w+|execute|stream|Pool[A-Z]\w+)`", text):
        assert hasattr(sqla_typedpool, name), name
    (numbers,) = re.findall(r"\| field of `stats\(\)` \|\n\|[-|]+\|\n((?:\|.*\n)+)", text)
    for row in numbers.splitlines():
        for name in NAME.findall(row.split(" | ")[1]):
            assert re.split(r"[.\[]", name)[0] in STATS, name


def parameters(function: object) -> set[str]:
    return set(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_every_name_of_psycopg_pool_exists() -> None:
    pool = pytest.importorskip("psycopg_pool").AsyncConnectionPool
    known = parameters(pool.__init__) | set(dir(pool))
    known |= set(dir(pytest.importorskip("psycopg_pool")))
    assert unknown_names("psycopg_pool", known) == []


def test_every_name_of_asyncpg_exists() -> None:
    asyncpg = pytest.importorskip("asyncpg")
    known = parameters(asyncpg.create_pool) | parameters(asyncpg.connect) | set(dir(asyncpg))
    known |= {*dir(asyncpg.pool.Pool), *dir(asyncpg.connection.Connection)}
    assert unknown_names("asyncpg.Pool", known) == []


def unknown_names(pool: str, known: set[str]) -> list[str]:
    """Return the names in the first column that the pool does not have."""
    table = [row for row in rows_of_options() if row.pool == pool]
    written = [name for row in table[1:] for name in row.names(THEIRS)]
    names = [re.split(r"[(=]", name.removeprefix("pool."))[0] for name in written]
    assert len(names) > 15
    return [name for name in names if name not in known]
