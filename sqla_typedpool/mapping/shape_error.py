"""``ShapeIssue``: one reason why the columns of a result do not fit a row type."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ShapeIssueKind(Enum):
    """The kinds of issues. The checker has a rule for each."""

    # A tuple or a single value needs another number of columns.
    COUNT = "count"
    MISSING = "missing"
    EXTRA = "extra"
    DUPLICATE = "duplicate"
    # The values of the column can never have the declared type.
    IMPOSSIBLE = "impossible"
    # A missing object of an optional ``Flatten`` cannot be recognised.
    AMBIGUOUS = "ambiguous"
    # The flattened class cannot be a row type.
    ROW_TYPE = "row type"


@dataclass(frozen=True)
class ShapeIssue:
    """One reason why columns do not fit; ``str(issue)`` is its line in ``RowShapeError``."""

    kind: ShapeIssueKind
    message: str
    reason: str = ""
    # The next step; for a missing column, a similar column.
    hint: str = ""

    # The positions of the columns concerned, from 0.
    columns: tuple[int, ...] = ()

    # The field, ``User.name``; the row type if its parts have no names.
    subject: str = ""

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        step = self.hint if self.kind is ShapeIssueKind.MISSING else f"next: {self.hint}"
        return f"{self.message}{reason}" + (f"; {step}" if self.hint else "")
