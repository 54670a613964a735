"""Report the columns whose types could not be compared with the declared ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqla_typedpool.check import rules
from sqla_typedpool.check.locations import location_of_column
from sqla_typedpool.check.model import Finding
from sqla_typedpool.check.rules import finding
from sqla_typedpool.describe.model import Description
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.plan import ColumnPlan, PartialPlan
from sqla_typedpool.mapping.typespec import Kind, TypeSpec
from sqla_typedpool.queries import QueryInfo


def uncompared(
    info: QueryInfo, description: Description, plan: PartialPlan, impossible: Collection[int]
) -> Iterator[Finding]:
    """Yield a note for each column of PostgreSQL with a type that was not compared.

    SQLAlchemy converts the values of Core statements: nothing is reported for those.

    :param impossible: positions of columns whose type is wrong. They have a finding already.
    """
    if description.family != "postgresql" or not info.is_text:
        return
    for part in plan.root.column_plans():
        db_type = description.columns[part.position].db_type
        if part.position not in impossible and not _is_compared(part.spec, db_type):
            yield _uncompared(info, description, part)


def _is_compared(spec: TypeSpec, db_type: DbType) -> bool:
    if spec.kind in (Kind.ANYTHING, Kind.NULL) or spec.is_marked:
        return True  # the type of the column does not matter
    if db_type.is_range and spec.kind is Kind.RANGE:
        return True
    return db_type.python is not None or db_type.json or bool(db_type.fields)


def _uncompared(info: QueryInfo, description: Description, part: ColumnPlan) -> Finding:
    column = description.columns[part.position]
    declared = part.field.spec.text
    return finding(
        rules.INCOMPLETE_DESCRIPTION,
        f'"{column.name}" ({column.type}) was not compared with {declared}: in which Python type '
        "it arrives depends on the driver or the value",
        location_of_column(info, part.position, len(description.columns)),
        query=info.name,
        hint="run the query in a test, or cast the column in SQL: CAST(... AS text)",
        subject=column.name,
    )
