"""The report with one line for each finding, for editors and for `grep`."""

from __future__ import annotations

from sqla_typedpool.check.model import Finding
from sqla_typedpool.check.report import Report, shown_location


def as_concise(report: Report) -> str:
    """Return ``app/users.py:14:12: TP101 error ... [app.users.get_user]`` for each finding."""
    return "\n".join(_line(each) for each in report.in_order())


def _line(each: Finding) -> str:
    where = "" if each.location is None else f"{shown_location(each.location)}: "
    query = f" [{each.query}]" if each.query else ""
    line = f"{where}{each.code} {each.severity.value} {each.message}{query}"
    return "".join(character if character.isprintable() else " " for character in line)
