"""A description as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sqla_typedpool.describe.model import ColumnDescription, Description, ParameterDescription
from sqla_typedpool.describe.writes import ColumnWrite
from sqla_typedpool.mapping.dbtypes import DbType


def as_table(description: Description) -> str:
    """Return a table with one line for each column, each parameter and each written value."""
    lines = [description.server] if description.server else []
    if description.columns:
        head = ("column", "type", "python", "nullable", "why", "origin")
        lines += ["", *_table(head, [_column(each) for each in description.columns])]
    else:
        lines += ["", "returns no rows"]
    if description.parameters:
        rows = [_parameter(each) for each in description.parameters]
        lines += ["", *_table(("parameter", "type", "python"), rows)]
    if description.writes:
        of_write = ("writes to", "not null", "by", "value", "may be NULL because")
        lines += ["", *_table(of_write, [_write(each) for each in description.writes])]
    lines += [f"\nnote: {note}" for note in description.notes]
    return "\n".join(lines).strip("\n")


def _column(each: ColumnDescription) -> tuple[str, ...]:
    nullable = "yes" if each.nullable else "no"
    python = _annotation(each.db_type)
    declared = f"{python} | None" if each.nullable and python != "?" else python
    return each.name, each.type, declared, nullable, each.why, each.origin or ""


def _parameter(each: ParameterDescription) -> tuple[str, ...]:
    kind = each.type or "?"
    python = "?" if each.db_type is None else _annotation(each.db_type)
    if each.is_list:
        return each.name, f"list of {kind}", "?" if python == "?" else f"list[{python}]"
    return each.name, kind, python


def _write(each: ColumnWrite) -> tuple[str, ...]:
    names = ", ".join(f":{name}" for name in each.parameters)
    value = f"{each.source.value} {names}".strip()
    not_null = "yes" if each.column.not_null else "no"
    return each.column.name, not_null, each.action.value, value, each.why


def _annotation(db_type: DbType) -> str:
    """Return the annotation of a column, without None; "?" if its type is not known."""
    if db_type.json:
        return "Annotated[Any, Json()]"
    if db_type.usual:
        return " | ".join(each.__name__ for each in db_type.usual)
    element = "?" if db_type.element is None else _annotation(db_type.element)
    if db_type.python is list and element != "?":
        return f"list[{element}]"
    return _python(db_type.python)


def _python(kind: type | None) -> str:
    return "?" if kind is None else kind.__name__


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join(cells).rstrip()


def as_json(description: Description) -> str:
    """Return a JSON object. Its keys are stable; types are shown by their names."""
    of_column = ("name", "type", "python_type", "nullable", "why", "origin")
    of_parameter = ("name", "type", "is_list")
    document = {
        "server": description.server,
        "sql": description.sql,
        "columns": [_object(each, of_column) for each in description.columns],
        "parameters": [_object(each, of_parameter) for each in description.parameters],
        "notes": list(description.notes),
        "writes": None
        if description.writes is None
        else [_write_object(each) for each in description.writes],
    }
    return json.dumps(document, indent=2, ensure_ascii=False, default=_python)


def _write_object(each: ColumnWrite) -> dict[str, Any]:
    column = each.column
    return {
        "action": each.action.value,
        "column": column.name,
        "not_null": column.not_null,
        "max_length": column.max_length,
        "accepted": list(column.accepted),
        "source": each.source.value,
        "parameters": list(each.parameters),
        "nullable": each.nullable,
        "why": each.why,
    }


def _object(each: ColumnDescription | ParameterDescription, keys: Sequence[str]) -> dict[str, Any]:
    return {key: getattr(each, key) for key in keys}
