"""The findings of a check: what is wrong, how severe it is, and where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


class Severity(str, Enum):
    """How severe a finding is."""

    ERROR = "error"
    """It fails, or can fail, when the query runs."""
    WARNING = "warning"
    """It can become an error later."""
    NOTE = "note"
    """It does not change the exit code, except with ``--strict``."""


@dataclass(frozen=True)
class Location:
    """A place in a file. Lines and columns are counted from 1, columns in characters."""

    file: Path
    """The file."""
    line: int | None = None
    """Its line; None if the place is the whole file."""
    column: int | None = None
    """The column in the line; None if the place is the whole line."""
    length: int = 1
    """The number of characters to underline."""


@dataclass(frozen=True)
class Finding:
    """A fault that the checker has found, or something that needs attention."""

    code: str
    """The code of the rule, such as ``TP101``; see docs/reference/findings.md."""
    severity: Severity
    """How severe it is."""
    message: str
    """One sentence: what is wrong, with the names of the columns or parameters."""
    location: Location | None
    """Where it is; None if the place is not known."""
    query: str | None = None
    """The name of the declared query, such as ``app.users.get_user``."""
    reason: str = ""
    """Why the database or the driver behaves like this."""
    hint: str = ""
    """What to do next."""
    subject: str = ""
    """The name of the column or parameter."""
    column: int | None = field(default=None, compare=False)
    """The position of the column in the result, from 0; None if it is not about one column."""
    not_fixed: str = field(default="", compare=False)
    """Why ``check --fix`` does not correct it; "" if it does, or never corrects this rule."""
    details: dict[str, str] = field(default_factory=dict, compare=False)
    """Further facts for the JSON report."""
