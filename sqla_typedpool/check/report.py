"""The report of a check, and the parts that several formats have in common.

Each format has a file: ``report_text``, ``report_json``, ... ``report_formats`` is their table.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqla_typedpool.check.model import Finding, Location, Severity
from sqla_typedpool.describe.model import Description
from sqla_typedpool.queries import QueryInfo


@dataclass(frozen=True)
class Report:
    """The result of a check."""

    findings: tuple[Finding, ...]

    # The number of queries that were checked, including faulty declarations.
    queries: int

    # What they were compared with: ``PostgreSQL 15 at host/db``, ``snapshots in ...``.
    source: str

    seconds: float

    # The queries with their descriptions; None for a query that could not be described.
    descriptions: tuple[tuple[QueryInfo, Description | None], ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether there are neither errors nor warnings."""
        return all(each.severity is Severity.NOTE for each in self.findings)

    @property
    def counts(self) -> dict[Severity, int]:
        """The number of findings of each severity."""
        found = Counter(each.severity for each in self.findings)
        return {severity: found[severity] for severity in Severity}

    def in_order(self) -> list[Finding]:
        """Sort by file, line and column; findings without a location come last."""
        return sorted(self.findings, key=_position)


def _position(each: Finding) -> tuple[Any, ...]:
    location = each.location
    if location is None:
        return True, "", 0, 0, each.code
    return False, str(location.file), location.line or 0, location.column or 0, each.code


def shown_path(file: Path) -> str:
    """Return a path relative to the working directory, if it is below that directory."""
    try:
        return file.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return file.as_posix()


def shown_location(location: Location) -> str:
    """Return a location as ``app/users.py:14:12``."""
    parts = [shown_path(location.file), location.line, location.column]
    return ":".join(str(part) for part in parts if part is not None)


def sentences_of(each: Finding) -> str:
    """Return the message, the reason and the hint of a finding, one a line."""
    lines = [each.message]
    if each.reason:
        lines.append(f"because: {each.reason}")
    if each.hint:
        lines.append(f"next: {each.hint}")
    return "\n".join(lines)
