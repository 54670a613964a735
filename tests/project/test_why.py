"""The figures of docs/start/why.md are those of benchmarks/README.md."""

from __future__ import annotations

import re

from tests.support.commands import ROOT

PAGE = ROOT / "docs" / "start" / "why.md"
BENCHMARKS = ROOT / "benchmarks" / "README.md"
FIGURE = re.compile(r"\b(\d+(?:\.\d+)?) ?(µs|ms|s|%)(?!\w)")
# Limits of clients and drivers, and 20 % = the 1.20 of the benchmarks.
NOT_MEASURED = {"60 s", "5 s", "20 %"}


def test_every_figure_is_one_of_the_benchmarks() -> None:
    measured = BENCHMARKS.read_text().replace(" us", " µs")
    found = {f"{number} {unit}" for number, unit in FIGURE.findall(PAGE.read_text())}
    shares = {figure for figure in found if figure.endswith("%")} - NOT_MEASURED
    assert len(found) > 15
    assert [each for each in found - shares - NOT_MEASURED if each not in measured] == []
    goodput = [line for line in measured.splitlines() if line.startswith("| stock (asyncpg) |")]
    goodput += [line for line in measured.splitlines() if line.startswith("| TypedPool (asyncpg)")]
    at_150_percent = {re.split(r" / ", line)[1] for line in goodput}
    assert shares == {f"{share} %" for share in at_150_percent}
