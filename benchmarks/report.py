"""Comparisons as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.interleave import Comparison, Outcome

PACKAGES = (
    *("SQLAlchemy", "greenlet", "asyncpg", "psycopg", "psycopg-pool", "aiosqlite", "aiomysql"),
    *("asyncmy", "uvloop"),
)

MOST_METRICS = 4  # in the table with a line for each figure

Row = Sequence[str]
Rows = list[tuple[str, ...]]


def table(comparisons: Iterable[Comparison]) -> list[str]:
    """For each comparison the figures of all subjects, then the goals."""
    lines: list[str] = []
    for comparison in comparisons:
        lines += ["", f"{comparison.title}   [{comparison.rounds} rounds]"]
        lines += _summaries(comparison)
        if comparison.goals:
            lines += aligned(
                [("goal", "", "medians", "minima", "paired", "limit"), *_goals(comparison)]
            )
    return lines


def _summaries(comparison: Comparison) -> list[str]:
    """A line for each figure; with many of them, a line for each metric."""
    if any(len(comparison.metrics(subject)) > MOST_METRICS for subject in comparison.readings):
        return aligned([("median (min)", "", *comparison.readings), *_by_metric(comparison)])
    return aligned([("", "", "median", "min", "max"), *_figures(comparison)])


def _by_metric(comparison: Comparison) -> Iterable[Row]:
    subjects = list(comparison.readings)
    every = dict.fromkeys(each for subject in subjects for each in comparison.metrics(subject))
    for metric in every:
        yield metric, "", *(_of_subject(comparison, subject, metric) for subject in subjects)


def _of_subject(comparison: Comparison, subject: str, metric: str) -> str:
    """Median and minimum; nothing if the subject does not have this metric."""
    if metric not in comparison.metrics(subject):
        return ""
    summary = comparison.summary(subject, metric)
    return f"{_figure(summary.median)} ({_figure(summary.minimum)})"


def _figures(comparison: Comparison) -> Iterable[Row]:
    for subject in comparison.readings:
        for metric in comparison.metrics(subject):
            summary = comparison.summary(subject, metric)
            figures = (summary.median, summary.minimum, summary.maximum)
            yield subject, metric, *map(_figure, figures)


def _goals(comparison: Comparison) -> Iterable[Row]:
    for outcome in comparison.outcomes():
        figures = (outcome.medians, outcome.minima, outcome.paired)
        yield outcome.goal.text, "", *map(_figure, figures), _limit(outcome)


def _limit(outcome: Outcome) -> str:
    if outcome.goal.limit is None:
        return ""
    return f"<= {outcome.goal.limit:g} {'reached' if outcome.reached else 'MISSED'}"


def _figure(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"


def aligned(rows: Sequence[Row]) -> list[str]:
    """The rows with aligned columns: the first two to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(_cell(*cell) for cell in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def _cell(column: int, cell: tuple[str, int]) -> str:
    text, width = cell
    return text.ljust(width) if column < 2 else text.rjust(width)


def as_json(comparisons: Iterable[Comparison], settings: Mapping[str, Any]) -> str:
    """All readings of all rounds, with the machine and the settings they were taken under."""
    document = {
        "machine": machine(),
        "settings": dict(settings),
        "comparisons": [_comparison(comparison) for comparison in comparisons],
    }
    return json.dumps(document, indent=2) + "\n"


def _comparison(comparison: Comparison) -> dict[str, Any]:
    summaries = {
        subject: {
            metric: asdict(comparison.summary(subject, metric))
            for metric in comparison.metrics(subject)
        }
        for subject in comparison.readings
    }
    goals = [{**asdict(outcome), "reached": outcome.reached} for outcome in comparison.outcomes()]
    return {
        "title": comparison.title,
        "rounds": comparison.rounds,
        "summaries": summaries,
        "goals": goals,
        "readings": {name: list(all_rounds) for name, all_rounds in comparison.readings.items()},
    }


def machine() -> dict[str, Any]:
    """Hardware and versions; nothing that identifies the machine."""
    return {
        "python": sys.version.split()[0],
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's name from /proc/cpuinfo on Linux, else its family."""
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in facts.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def headline(facts: Mapping[str, Any]) -> str:
    """Hardware and versions in one line."""
    packages = ", ".join(f"{name} {number}" for name, number in facts["packages"].items())
    return (
        f"{facts['implementation']} {facts['python']} on {facts['system']}, {facts['cores']} x "
        f"{facts['processor']}, load {facts['load']}; {packages}"
    )
