"""The labels of a database enum x the members of an Enum or the values of a Literal."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqla_typedpool.check.model import Finding, Location, Severity
from sqla_typedpool.check.rules import finding
from sqla_typedpool.describe.model import ColumnDescription
from sqla_typedpool.mapping.enums import literal_keys, member_keys
from sqla_typedpool.mapping.typespec import Kind, TypeSpec
from sqla_typedpool.queries import QueryInfo


def label_findings(
    info: QueryInfo, wanted: TypeSpec, column: ColumnDescription, place: Callable[[], Location]
) -> Iterator[Finding]:
    """Where a column's labels and what is declared differ.

    :param place: where the column stands; asked only where there is something to say.
    """
    db_type = column.db_type
    while wanted.kind is Kind.ARRAY and wanted.of and db_type.element is not None:
        (wanted,), db_type = wanted.of, db_type.element
    known = labels_of(wanted)
    if known is None or not db_type.labels:
        return
    name, reason = column.name, f"the type {db_type.name} has {_list(db_type.labels)}"
    unknown = [label for label in db_type.labels if label not in known]
    if unknown:
        yield finding(
            "TP111",
            f'"{name}" may be {_list(unknown)}, which {wanted.text} does not know',
            place(),
            query=info.name,
            reason=reason,
            hint=f"add {_list(unknown)} to {wanted.text}",
            subject=name,
        )
    if unused := [label for label in known if label not in db_type.labels]:
        yield finding(
            "TP111",
            f'"{name}" is never {_list(unused)}, which {wanted.text} knows',
            place(),
            query=info.name,
            severity=Severity.WARNING,
            reason=reason,
            hint=f"remove it, or ALTER TYPE {db_type.name} ADD VALUE",
            subject=name,
        )


def labels_of(wanted: TypeSpec) -> list[str] | None:
    """The texts that stand for what is declared; None = it is not a matter of texts."""
    if wanted.json or wanted.decode:
        return None
    if wanted.kind is Kind.LITERAL:
        values = [value for _, value in literal_keys(wanted)]
    elif wanted.kind is Kind.ENUM and wanted.by_name:
        values = list(wanted.annotation.__members__)
    elif wanted.kind is Kind.ENUM:
        values = [value for _, value in member_keys(wanted.annotation)]
    else:
        return None
    return [value for value in values if isinstance(value, str)]


def _list(labels: list[str] | tuple[str, ...]) -> str:
    shown = [f"'{label}'" for label in labels[:8]]
    return ", ".join(shown) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
