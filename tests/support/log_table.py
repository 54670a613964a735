"""The table of events in docs/reference/logs.md, and a handler that compares records with it."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs/reference/logs.md"

_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class Row(NamedTuple):
    level: str
    fields: frozenset[str]


def documented() -> dict[str, Row]:
    """Return the row of each event."""
    cells = [line.strip("|").split("|") for line in PAGE.read_text().splitlines()]
    rows = [[cell.strip() for cell in row] for row in cells if len(row) == 5]
    return {
        event.strip("`"): Row(level, frozenset(re.findall(r"`(\w+)`", fields)))
        for event, level, _, fields, _ in rows
        if event.startswith("`")
    }


def fields_of(record: logging.LogRecord) -> set[str]:
    """Return the attributes of a record that not every record has."""
    return vars(record).keys() - _STANDARD


class ComparesWithTable(logging.Handler):
    """Collects what is wrong with the records that the pool writes."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = documented()
        self.faults: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        event = str(getattr(record, "event", None))
        row = self.rows.get(event)
        found = Row(record.levelname, frozenset(fields_of(record) - {"event", "pool"}))
        if row != found:
            self.faults.append(f"{event} has {found}, and {PAGE.name} documents {row}")
        elif not record.getMessage().startswith(f"pool {record.pool}: "):  # type: ignore[attr-defined]
            self.faults.append(f"the message does not begin with the pool: {record.getMessage()}")
