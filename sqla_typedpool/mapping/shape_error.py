"""Why columns and a row type do not fit: values for the checker, sentences for an error."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ShapeIssueKind(Enum):
    """What sort of misfit it is."""

    COUNT = "count"
    """A tuple or a single value of another number of columns."""
    MISSING = "missing"
    EXTRA = "extra"
    DUPLICATE = "duplicate"
    IMPOSSIBLE = "impossible"
    """The column's type can never become the declared one."""
    AMBIGUOUS = "ambiguous"
    """An optional ``Flatten`` of which nobody can tell whether it is there."""
    ROW_TYPE = "row type"
    """A flattened class that cannot be understood."""


@dataclass(frozen=True)
class ShapeIssue:
    """One misfit; ``str(fault)`` is its line in a ``RowShapeError``."""

    kind: ShapeIssueKind
    message: str
    reason: str = ""
    hint: str = ""
    """The next step; of a missing column what was perhaps meant."""

    columns: tuple[int, ...] = ()
    """The positions of the columns it is about, from 0."""

    subject: str = ""
    """The field, ``User.name``; or the row type, where its parts have no names."""

    def __str__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        step = self.hint if self.kind is ShapeIssueKind.MISSING else f"next: {self.hint}"
        return f"{self.message}{why}" + (f"; {step}" if self.hint else "")
