"""Compare the declared values of a parameter with those that a column can store."""

from __future__ import annotations

from dataclasses import dataclass

from sqla_typedpool.check.null_checks import labels_of, listed
from sqla_typedpool.describe.writes import TargetColumn
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.typespec import Kind, TypeSpec

_MAX_LITERALS = 8  # values in one hint


@dataclass(frozen=True)
class WiderValues:
    """Values of a parameter that a column cannot store."""

    message: str
    hint: str


def wider_values(
    name: str, declared: TypeSpec, column: TargetColumn, db_type: DbType | None, family: str
) -> WiderValues | None:
    """Return the values of a parameter that a column cannot store; None if it stores them all.

    :param db_type: the type that the database expects. If it is an enum, its labels were
        compared already with those of a Literal or Enum.
    :param family: of the database.
    """
    short = ".".join(column.name.split(".")[-2:])
    for part in declared.of if declared.kind is Kind.UNION else (declared,):
        if part.kind is Kind.EXACT and part.annotation is str and column.accepted:
            return _of_str(name, column, short, declared)
        values = labels_of(part) or ()
        is_enum = db_type is not None and bool(db_type.labels)
        refused = [each for each in values if not _accepts(column, each, family)]
        if column.accepted and refused and not is_enum:
            return _of_values(
                name, part, refused, f"{short} accepts only {listed(column.accepted)}"
            )
        limit = column.max_length
        # the database drops spaces at the end that do not fit
        long = [] if limit is None else [each for each in values if len(each.rstrip()) > limit]
        if long:
            characters = "1 character" if limit == 1 else f"{limit} characters"
            return _of_values(name, part, long, f"{short} stores at most {characters}")
    return None


def _accepts(column: TargetColumn, value: str, family: str) -> bool:
    """Return whether a column with accepted texts may store this one."""
    if family != "mysql":
        return value in column.accepted
    # its enums accept a label's number too, and most collations ignore case, accents and spaces
    labels = [each.casefold() for each in column.accepted]
    return value.isdigit() or not value.isascii() or value.rstrip().casefold() in labels


def _of_str(name: str, column: TargetColumn, short: str, declared: TypeSpec) -> WiderValues:
    is_short = len(column.accepted) <= _MAX_LITERALS
    literals = ", ".join(map(repr, column.accepted)) if is_short else "..."
    none = " | None" if declared.optional and not column.not_null else ""
    return WiderValues(
        f":{name} is declared str, but {short} accepts only {listed(column.accepted)}",
        f"declare it Literal[{literals}]{none}",
    )


def _of_values(name: str, declared: TypeSpec, values: list[str], limit: str) -> WiderValues:
    text = declared.text.removesuffix(" | None")
    return WiderValues(
        f":{name} can be {listed(values)}, but {limit}", f"remove {listed(values)} from {text}"
    )
