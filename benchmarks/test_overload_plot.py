"""The charts of `overload_plot.py`, and the pools that `overload.py` can measure."""

from __future__ import annotations

from xml.etree import ElementTree

from benchmarks import pools
from benchmarks.overload_plot import goodput_chart, waiters_chart

SVG = "{http://www.w3.org/2000/svg}"


def run(pool: str, load: float, *, valid: bool = True) -> dict[str, object]:
    return {"scenario": "fixed", "pool": pool, "load": load, "goodput %": 50.0, "valid": valid}


def dots(svg: str) -> int:
    return len(list(ElementTree.fromstring(svg).iter(f"{SVG}circle")))


def test_an_invalid_run_is_not_drawn() -> None:
    runs = [run(pools.TYPED, 0.8), run(pools.TYPED, 1.5, valid=False), run(pools.STOCK, 0.8)]
    assert dots(goodput_chart(runs)) == 2


def test_only_the_pools_that_others_have_are_drawn() -> None:
    assert dots(goodput_chart([run(pools.TYPED, 0.8), run(pools.TYPED_AIOMYSQL, 0.8)])) == 1


def test_a_stand_still_is_drawn_for_each_number_of_waiters() -> None:
    trial = {"pool": pools.TYPED, "connections": 10, "longest": 0.02}
    growth = [
        {**trial, "ending": "time out", "waiters": 1_000},
        {**trial, "ending": "time out", "waiters": 20_000},
        {**trial, "ending": "are closed", "waiters": 20_000},
        {**trial, "ending": "time out", "waiters": 2_000, "connections": 2_000},
    ]
    assert dots(waiters_chart(growth)) == 3
