"""Tests of the parts that `test_drivers.py` uses: the bare drivers, the goals, the table."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from benchmarks.bare import open_bare, with_markers
from benchmarks.interleave import Comparison
from benchmarks.people import INSERT, TWO, make_engine, make_tables
from benchmarks.report import table
from benchmarks.test_drivers import BARE, BY_HAND, ONE_OF_SIX, TYPED, UPDATED, goals_of
from tests.support.drivers import ALL


@pytest.mark.parametrize(
    ("marker", "expected"), [("${}", "a = $1 AND b = $2"), ("%s", "a = %s AND b = %s")]
)
def test_names_become_the_markers_of_the_driver(marker: str, expected: str) -> None:
    assert with_markers("a = :a AND b = :b", marker) == expected


@pytest.mark.parametrize("driver", ALL)
def test_no_goal_is_set_twice_and_all_ratios_are_printed(driver: str) -> None:
    for place in ("engine", "transaction", "session"):
        goals = [(each.metric, each.subject, each.compared_to) for each in goals_of(driver, place)]
        assert len(set(goals)) == len(goals) == 14


def test_the_limits_are_those_of_their_driver_and_place() -> None:
    limits = {
        (each.metric, each.compared_to): each.limit
        for each in goals_of("psycopg", "engine")
        if each.subject == TYPED
    }
    assert limits[ONE_OF_SIX, BARE] == 1.35
    assert limits[UPDATED, BY_HAND] == 0.35
    assert all(each.limit is None for each in goals_of("asyncmy", "engine"))


def test_many_metrics_are_a_line_each() -> None:
    reading = {f"metric {number}": 2.0 * number for number in range(6)}
    other = {**reading, "only there": 1.0}
    lines = table([Comparison("much", {"ours": [reading], "theirs": [other]})])
    assert [line.split() for line in lines if "metric 3" in line or "only" in line] == [
        ["metric", "3", "6", "(6)", "6", "(6)"],
        ["only", "there", "1", "(1)"],
    ]


def test_what_the_bare_sqlite_writes_is_final_except_in_a_transaction(tmp_path: Path) -> None:
    url = make_url(f"sqlite+aiosqlite:///{tmp_path / 'file.db'}")

    async def main() -> None:
        engine = make_engine(url, {})
        await make_tables(engine)
        await engine.dispose()
        bare, other = await open_bare("aiosqlite", url), await open_bare("aiosqlite", url)
        insert = with_markers(INSERT, bare.marker)
        await bare.execute(insert, (1, "kept"))
        await bare.begin()
        await bare.execute(insert, (1, "undone"))
        await bare.roll_back()
        assert await other.all("SELECT body FROM notes", ()) == [("kept",)]
        assert await other.one(with_markers(f"{TWO} WHERE id = :id", "?"), (7,)) == (7, "name 7")
        await bare.close()
        await other.close()

    asyncio.run(main())
