"""Queries, descriptions and findings for the tests of the checker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqla_typedpool import Executor, query
from sqla_typedpool.check import compare as comparing
from sqla_typedpool.check.compare import compare
from sqla_typedpool.check.describing import compile_query
from sqla_typedpool.check.model import Finding
from sqla_typedpool.describe.model import ColumnDescription, Description, ParameterDescription
from sqla_typedpool.describe.writes import ColumnWrite, TargetColumn, ValueSource, WriteAction
from sqla_typedpool.errors import Refused
from sqla_typedpool.mapping.dbtypes import DbType, db_type_of
from sqla_typedpool.queries import QueryInfo, query_info


def declare(statement: Any, returns: Any, **binds: Any) -> QueryInfo:
    """Declare a query whose SQL is in no file."""
    signature = ", ".join(f"{name}: binds[{name!r}]" for name in binds)
    source = (
        f"async def declared(db: Executor{', *, ' if binds else ''}{signature}) -> returns:\n"
        "    raise NotImplementedError\n"
    )
    names: dict[str, Any] = {"Executor": Executor, "returns": returns, "binds": binds}
    exec(compile(source, __file__, "exec", dont_inherit=True), names)
    names["declared"].__module__ = __name__
    return query_info(query(statement)(names["declared"]))


def in_file(file: Path, source: str, name: str = "declared") -> QueryInfo:
    """Declare a query in a separate file."""
    file.write_text(source, encoding="utf-8")
    names: dict[str, Any] = {"__name__": file.stem, "__file__": str(file)}
    exec(compile(source, str(file), "exec", dont_inherit=True), names)
    return query_info(names[name])


def never(name: str, kind: str | DbType, why: str = "t.x is NOT NULL") -> ColumnDescription:
    """Return a column that is never NULL."""
    return ColumnDescription(name, _db_type(kind), False, why)


def maybe(
    name: str, kind: str | DbType, why: str = "t.x may be NULL", missing: str | None = None
) -> ColumnDescription:
    """Return a column that can be NULL."""
    return ColumnDescription(name, _db_type(kind), True, why, missing_with=missing)


def takes(
    name: str, kind: str | DbType | None, *, is_list: bool = False, is_processed: bool = False
) -> ParameterDescription:
    """Return a parameter with a database type."""
    db_type = None if kind is None else _db_type(kind)
    return ParameterDescription(name, db_type, is_list, is_processed)


def written(
    column: str,
    source: ValueSource = ValueSource.PARAMETER,
    *parameters: str,
    action: WriteAction = WriteAction.INSERT,
    nullable: bool = True,
    why: str = "",
    **of_column: Any,
) -> ColumnWrite:
    """Return a value that is written to a column, which is NOT NULL unless it is told.

    :param column: ``name`` stands for ``public.users.name``.
    """
    name = column if "." in column else f"public.users.{column}"
    target = TargetColumn(name, of_column.pop("not_null", True), **of_column)
    return ColumnWrite(action, target, source, parameters, nullable, why)


def _db_type(kind: str | DbType) -> DbType:
    return db_type_of(kind, "postgresql") if isinstance(kind, str) else kind


def described(
    *parts: ColumnDescription | ParameterDescription | ColumnWrite,
    family: str = "postgresql",
    sql: str = "",
    notes: tuple[str, ...] = (),
) -> Description:
    """Return the description of a statement with these columns, parameters and writes."""
    parameters = tuple(each for each in parts if isinstance(each, ParameterDescription))
    columns = tuple(each for each in parts if isinstance(each, ColumnDescription))
    writes = tuple(each for each in parts if isinstance(each, ColumnWrite)) or None
    return Description(
        family, sql, parameters, columns, "PostgreSQL 15", notes=notes, writes=writes
    )


def codes(findings: Sequence[Finding]) -> list[str]:
    """Return the codes and subjects of findings: ``TP101 nick``."""
    return [f"{each.code} {each.subject}".strip() for each in findings]


def compared(
    statement: Any, returns: Any, *columns: ColumnDescription, **binds: Any
) -> list[Finding]:
    """Return the findings of a query that has these columns."""
    return compare(declare(statement, returns, **binds), described(*columns))


def refused(info: QueryInfo, error: Refused) -> Finding:
    """Return the finding for a query that PostgreSQL refuses."""
    sql = compile_query(info, "postgresql").compiled.sql
    return comparing.refused(info, error, "postgresql", sql)
