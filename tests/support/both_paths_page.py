"""The differences between the paths that are intended, read from the page that lists them."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy

if TYPE_CHECKING:
    from tests.support.both_paths import Difference

PAGE = Path(__file__).parents[2] / "docs" / "internals" / "both-paths.md"


@dataclass(frozen=True)
class Listed:
    """One row of the table."""

    drivers: tuple[str, ...]
    cases: tuple[str, ...]
    calls: str
    attributes: tuple[str, ...]
    reason: str

    def is_about(self, driver: str, case: str) -> bool:
        """Return whether the row is about this case on this driver."""
        return driver in self.drivers and case in self.cases

    def covers(self, difference: Difference) -> bool:
        """Return whether the row lists this difference."""
        words = {*difference.call.replace("_", " ").split(), "any"}
        is_listed = any(self._is(difference, each) for each in self.attributes)
        is_about = self.is_about(difference.driver, difference.case)
        return is_about and set(self.calls.split()) <= words and is_listed

    def _is(self, difference: Difference, listed: str) -> bool:
        """Return whether an attribute is listed; after " = " stands what the fast path has."""
        attribute, separator, fast = listed.partition(" = ")
        is_value = not separator or difference.fast.endswith(fast)
        return is_value and fnmatchcase(difference.attribute, attribute)


def listed_differences() -> list[Listed]:
    """Return the rows of the table in docs/internals/both-paths.md."""
    rows = [
        [cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.startswith("| ")
    ]
    return [
        Listed(_drivers(drivers), _parts(cases), calls, _parts(attributes), reason)
        for drivers, cases, calls, attributes, reason in rows[1:]
        if not set(drivers) <= {"-"}
    ]


def _drivers(cell: str) -> tuple[str, ...]:
    """Return the drivers of a cell, without those of another line of SQLAlchemy."""
    parts = [part.partition(" with SQLAlchemy ") for part in _parts(cell)]
    return tuple(driver for driver, _, line in parts if sqlalchemy.__version__.startswith(line))


def _parts(cell: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(";"))
