"""`python -m benchmarks.overload_plot`: the charts of docs/, from the results of `overload`.

`overload-goodput.svg` shows the goodput over the load, `overload-waiters.svg` how long the event
loop stands still when many waiters end together.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import pools
from benchmarks.growth import CONNECTIONS, ENDINGS
from benchmarks.overload import RESULTS, SCENARIOS
from benchmarks.plot import Axis, Panel, Point, chart

FOLDER = Path(__file__).parents[1] / "docs" / "images"
POOLS = (pools.TYPED, pools.STOCK, pools.ASYNCPG, pools.PSYCOPG)  # one line each
PANELS = ("fixed", "mixed")  # scenarios
Records = Sequence[Mapping[str, Any]]

LOAD = Axis("load / capacity", 0.8, 3.0, (0.8, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0))
GOODPUT = Axis("goodput, % of capacity", 0, 110, (0, 25, 50, 75, 100))
WAITERS = Axis("waiters", 1_000, 20_000, (1_000, 5_000, 20_000), is_logarithmic=True)
STAND_STILL = Axis(
    "stand-still, seconds", 0.001, 10, (0.001, 0.01, 0.1, 1, 10), is_logarithmic=True
)


def goodput_chart(runs: Records) -> str:
    """Goodput over load, one panel for each kind of statement; invalid runs are left out."""
    panels = []
    for scenario in PANELS:
        found = [run for run in runs if run["scenario"] == scenario and run["valid"]]
        panels.append(Panel(SCENARIOS[scenario].times.name, lines(found, "load", "goodput %")))
    return chart(panels, LOAD, GOODPUT, columns=1)


def waiters_chart(growth: Records) -> str:
    """The longest stand-still over the number of waiters, one panel for each ending."""
    panels = []
    for ending in ENDINGS:
        found = [one for one in growth if one["ending"] == ending]
        small = [one for one in found if one["connections"] == CONNECTIONS]
        panels.append(Panel(f"waiters that {ending} together", lines(small, "waiters", "longest")))
    return chart([panel for panel in panels if panel.lines], WAITERS, STAND_STILL)


def lines(records: Records, x: str, y: str) -> dict[str, list[Point]]:
    """The points of each pool, in the order of `POOLS`."""
    found: dict[str, list[Point]] = {}
    for pool in POOLS:
        points = sorted((one[x], one[y]) for one in records if one["pool"] == pool)
        if points:
            found[pool] = points
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload_plot", description=__doc__)
    parser.add_argument("--json", type=Path, default=RESULTS, help="the results of `overload`")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the folder of the charts")
    chosen = parser.parse_args()
    results = json.loads(chosen.json.read_text(encoding="utf-8"))
    if missing := sum(not run["valid"] for run in results["runs"] if run["pool"] in POOLS):
        print(f"{missing} points are missing, since the machine was too busy; next: run it again")
    chosen.folder.mkdir(exist_ok=True)
    for name, drawn in (
        ("overload-goodput.svg", goodput_chart(results["runs"])),
        ("overload-waiters.svg", waiters_chart(results["growth"])),
    ):
        (chosen.folder / name).write_text(drawn, encoding="utf-8")
        print(chosen.folder / name)


if __name__ == "__main__":
    main()
