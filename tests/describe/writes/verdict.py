"""What a description of writes means for a check: the findings TP501, TP502 and TP503."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqla_typedpool.check import Description
from sqla_typedpool.describe.writes import ColumnWrite, ValueSource

_ALWAYS_NULL = {ValueSource.OMITTED, ValueSource.DEFAULT, ValueSource.NULL}
CERTAIN = ("TP501", "TP502")
"""The findings that the statement fails."""


def findings(found: Description, never_null: Collection[str]) -> frozenset[str]:
    """Return the findings in a statement: "TP502 name -> author.name".

    :param never_null: the parameters that are never None; all others may be.
    """
    return frozenset(each for write in found.writes or () for each in _findings(write, never_null))


def _findings(write: ColumnWrite, never_null: Collection[str]) -> Iterator[str]:
    column = write.column.name.partition(".")[2]  # without the schema
    if not write.column.not_null:
        return
    nulls = [name for name in write.parameters if name not in never_null]
    if write.source in _ALWAYS_NULL:
        yield f"TP501 {column}"
    for name in nulls:
        yield f"TP502 {name} -> {column}"
    if write.source is ValueSource.EXPRESSION and write.nullable and not nulls:
        yield f"TP503 {column}"


def is_certain(found: Collection[str]) -> bool:
    """Return whether one of the findings is that the statement fails."""
    return any(each.startswith(CERTAIN) for each in found)
