"""What the checker reports: findings, how much they weigh, and where they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


class Severity(str, Enum):
    """How much a finding weighs."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Location:
    """Where something stands: a file, and if known a line and a column of it, from 1."""

    file: Path
    line: int | None = None
    column: int | None = None
    length: int = 1
    """How many characters are meant; they are underlined."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or worth a look."""

    code: str
    """``TP101``; `sqla_typedpool.check.rules` explains each."""
    severity: Severity
    message: str
    """One sentence: what is wrong, by name."""
    place: Location | None
    query: str | None = None
    """The declared query: ``app.users.get_user``."""
    reason: str = ""
    """Why the database says so."""
    hint: str = ""
    """The next step."""
    subject: str = ""
    """Which column or parameter it is about."""
    details: dict[str, str] = field(default_factory=dict, compare=False)
    """Further facts, for the JSON report."""
