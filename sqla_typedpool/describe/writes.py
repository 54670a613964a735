"""What a statement writes: the values of INSERT, UPDATE and MERGE, by column."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class WriteAction(Enum):
    """The part of a statement that writes a row. The value is its name in a message."""

    INSERT = "INSERT"
    UPDATE = "UPDATE"
    CONFLICT_UPDATE = "ON CONFLICT DO UPDATE"
    DUPLICATE_UPDATE = "ON DUPLICATE KEY UPDATE"
    MERGE_INSERT = "INSERT of MERGE"
    MERGE_UPDATE = "UPDATE of MERGE"


class ValueSource(Enum):
    """What is written to a column."""

    OMITTED = "omitted"
    """An INSERT does not name the column, which has no default."""

    DEFAULT = "default"
    """The word DEFAULT, for a column that has no default."""

    NULL = "null"
    """An expression that is always NULL."""

    PARAMETER = "parameter"
    """A parameter; its value is not changed, apart from a cast to the type of the column."""

    EXPRESSION = "expression"
    """Any other expression: a column of a SELECT, a call, a subquery."""


@dataclass(frozen=True)
class TargetColumn:
    """A column that a statement writes."""

    name: str
    """``schema.table.column``, with the table that stores the row, not a view."""

    not_null: bool
    """Whether the database refuses NULL: because of NOT NULL, or of the column's domain."""

    max_length: int | None = None
    """The most characters that it can store: ``varchar(20)``; None = there is no limit."""

    accepted: tuple[str, ...] = ()
    """The only texts that it can store, by its enum or a CHECK like ``IN ('a', 'b')``.

    () = it is not limited, or that is not known.
    """


@dataclass(frozen=True)
class ColumnWrite:
    """A value that a statement writes to a column.

    A statement that writes a row through this part fails, if ``column.not_null`` is True and
    ``source`` is OMITTED, DEFAULT or NULL, or if one of ``parameters`` is None.
    """

    action: WriteAction
    """The part of the statement."""

    column: TargetColumn
    """Where it is written."""

    source: ValueSource
    """What is written."""

    parameters: tuple[str, ...] = ()
    """The parameters of which each one alone makes the value NULL, if it is None."""

    nullable: bool = True
    """Whether the value may be NULL, with the parameters that the caller has named as never None.

    False also if that is unknown: unlike a column of the result, a write counts as harmless until
    the contrary is known.
    """

    why: str = ""
    """The reason why it may be NULL, in a few words; "" if it may not."""
