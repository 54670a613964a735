"""Whether a column can become a field, judged before there are rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Flag
from typing import Any
from uuid import UUID

from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.mapping.annotations import spec_of
from sqla_typedpool.mapping.coercions import (
    Action,
    advice,
    conversions_to,
    is_storable,
    takes_subclasses,
)
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.enums import literal_keys, member_keys
from sqla_typedpool.mapping.rowtype import Field, class_row_type
from sqla_typedpool.mapping.typespec import Kind, TypeSpec

UNKNOWN = DbType("unknown type")
"""What nobody has described; each value is looked at."""

JSON_AS_TEXT = frozenset({"sqlite", "mysql"})
"""The families whose JSON arrives as text."""


_PLAIN = frozenset({bool, int, float, Decimal, str, bytes, date, datetime, time, timedelta, UUID})


@dataclass(frozen=True)
class Verdict:
    """What becomes of a column's values, and why."""

    action: Action
    reason: str
    hint: str = ""


Judge = Callable[[TypeSpec, DbType, str], Verdict]


def judge(annotation: Any, db_type: DbType | None, family: str) -> Verdict:
    """Whether values of a database type can become values of an annotated type.

    :param annotation: a type, or what ``spec_of`` made of it.
    :param delivered: what is known of the column; None = nothing.
    :param family: ``"postgresql"``, ``"sqlite"`` or ``"mysql"``.
    :raises AnnotationError: when no column can be of such a type.
    """
    wanted = annotation if isinstance(annotation, TypeSpec) else spec_of(annotation)
    try:
        return _judge(wanted, db_type or UNKNOWN, family)
    except RowShapeError as error:  # a nested class that cannot be understood
        return Verdict(Action.REFUSE, "; ".join(error.faults))


def _judge(wanted: TypeSpec, db_type: DbType, family: str) -> Verdict:
    if wanted.decode is not None:
        return Verdict(Action.CONVERT, "by Decode()")
    if wanted.json is not None and family != "json":
        return _judge_json(wanted, db_type, family)
    if db_type.json and wanted.kind is not Kind.ANYTHING:
        return Verdict(Action.REFUSE, "it is JSON", "annotate it with Json()")
    return _JUDGES[wanted.kind](wanted, db_type, family)


def _accepted(db_type: DbType) -> Verdict:
    if db_type.python is None:
        return Verdict(Action.ACCEPT, "as each value is")
    zone = {None: "", True: ", aware", False: ", naive"}[db_type.aware]
    return Verdict(Action.ACCEPT, f"as it is{zone}")


def _refused(wanted: TypeSpec, db_type: DbType, hint: str) -> Verdict:
    arrives = "" if db_type.python is None else f"it arrives as {db_type.python.__name__}"
    return Verdict(Action.REFUSE, arrives, hint)


def _judge_anything(wanted: TypeSpec, db_type: DbType, family: str) -> Verdict:
    return Verdict(Action.ACCEPT, "unchecked")


def _judge_null(wanted: TypeSpec, db_type: DbType, family: str) -> Verdict:
    return Verdict(Action.ACCEPT, "NULL alone")


def _judge_exact(wanted: TypeSpec, db_type: DbType, family: str) -> Verdict:
    python, arrives = wanted.annotation, db_type.python
    if not is_storable(python, family):
        return Verdict(Action.REFUSE, f"JSON holds no {python.__name__}", "use Decode(function)")
    if db_type.is_range and python in _PLAIN:
        return Verdict(Action.REFUSE, "it arrives as a range", "cast it in SQL: CAST(x AS text)")
    if arrives is None or arrives is python:
        return _accepted(db_type)
    if takes_subclasses(python) and issubclass(arrives, python):
        return _accepted(db_type)
    rule = conversions_to(python, family).get(arrives)
    if rule is not None:
        return Verdict(Action.CONVERT, f"from {arrives.__name__}: {rule.words}")
    return _refused(wanted, db_type, advice(arrives, python, family))


def _judge_enum(wanted: TypeSpec, db_type: DbType, family: str) -> Verdict:
    cls, arrives = wanted.annotation, db_type.python
    by = "name" if wanted.by_name else "value"
    types = {str} if wanted.by_name else {python for python, _ in member_keys(cls)}
    if arrives is None or arrives in types or (arrives is int and issubclass(cls, Flag)):
        return Verdict(Action.CONVERT, f"to the member by its {by}")
    named = "annotate it with ByName()" if arrives is str else f"look at {cls.__name__}'s values"
    return _refused(wanted, db_type, named)


def _judge_literal(wanted: TypeSpec, db_type: DbType, family: str) -> Verdict:
    types = {python for python, _ in literal_keys(wanted)}
    if db_type.python is None or db_type.python in types:
        return Verdict(Action.ACCEPT, "one of the literals")
    return _refused(wanted, db_type, "declare literals of that type")


def _judge_union(wanted: TypeSpec, db_type: DbType, family: str) -> Verdict:
    verdicts = [_judge(each, db_type, family) for each in wanted.of]
    possible = [each for each in verdicts if each.action is not Action.REFUSE]
    return possible[0] if possible else verdicts[0]


def _judge_array(wanted: TypeSpec, db_type: DbType, family: str) -> Verdict:
    if db_type.python not in (None, list):
        return _refused(wanted, db_type, f"declare it {db_type.python.__name__}")
    innermost = wanted
    while innermost.kind is Kind.ARRAY and innermost.of and innermost.decode is None:
        (innermost,) = innermost.of  # the database's type does not tell the dimensions
    if innermost is wanted:
        return _accepted(db_type)
    verdict = _judge(innermost, db_type.element or UNKNOWN, family)
    return replace(verdict, reason=f"elements: {verdict.reason}")


def _judge_tuple(wanted: TypeSpec, db_type: DbType, family: str) -> Verdict:
    if family != "json" and db_type.python not in (None, tuple):
        return _refused(wanted, db_type, "declare it list[...]")
    return _worst([_judge(each, UNKNOWN, family) for each in wanted.of])


def _judge_mapping(wanted: TypeSpec, db_type: DbType, family: str) -> Verdict:
    if family == "json" or db_type.python is dict:
        return _worst([_judge(each, UNKNOWN, family) for each in wanted.of])
    return _refused(wanted, db_type, "annotate it with Json() if it is JSON")


def _judge_range(wanted: TypeSpec, db_type: DbType, family: str) -> Verdict:
    if family == "json":
        return Verdict(Action.REFUSE, "JSON holds no ranges", "use Decode(function)")
    if db_type.python is None:
        return _accepted(db_type)
    return _refused(wanted, db_type, f"declare it {db_type.python.__name__}")


def _worst(verdicts: list[Verdict]) -> Verdict:
    refused = [each for each in verdicts if each.action is Action.REFUSE]
    return refused[0] if refused else Verdict(Action.CONVERT, "each part is checked")


# ------------------------------------------------------------------ nested types


def _judge_json(wanted: TypeSpec, db_type: DbType, family: str) -> Verdict:
    as_text = family in JSON_AS_TEXT and db_type.python is str
    if not db_type.json and db_type.python not in (None, dict, list) and not as_text:
        return _refused(wanted, db_type, "Json() is for JSON columns; in SQL: x::jsonb")
    fault = _document_fault(wanted, ())
    return fault or Verdict(Action.CONVERT, "built from JSON")


def _document_fault(wanted: TypeSpec, above: tuple[Any, ...]) -> Verdict | None:
    """What is refused in a document; types may contain themselves."""
    if wanted.decode is not None or wanted.annotation in above:
        return None
    if wanted.kind is Kind.NESTED:
        inside = (*above, wanted.annotation)
        fields = class_row_type(wanted.annotation).fields
        return _first(_field_fault(wanted, field, inside) for field in fields)
    if wanted.of and wanted.kind is not Kind.RANGE:
        return _first(_document_fault(each, above) for each in wanted.of)
    verdict = _judge(wanted, UNKNOWN, "json")
    return verdict if verdict.action is Action.REFUSE else None


def _first(faults: Iterable[Verdict | None]) -> Verdict | None:
    return next((fault for fault in faults if fault is not None), None)


def _field_fault(wanted: TypeSpec, field: Field, above: tuple[Any, ...]) -> Verdict | None:
    if field.wanted.flatten is None:
        fault = _document_fault(field.wanted, above)
    else:
        fault = Verdict(Action.REFUSE, "Flatten() has no meaning inside JSON", "drop it")
    if fault is None:
        return None
    return replace(fault, reason=f"{wanted.text}.{field.name}: {fault.reason}")


def _judge_nested(wanted: TypeSpec, db_type: DbType, family: str) -> Verdict:
    if db_type.fields:
        return _judge_composite(wanted, db_type, family)
    if family == "postgresql" and db_type.python is None:
        class_row_type(wanted.annotation)  # refused now rather than at the first value
        return Verdict(Action.CONVERT, "from a composite value")
    hint = "annotate it with Json() if it is JSON, or Flatten() if its fields are columns"
    return _refused(wanted, db_type, hint)


def _judge_composite(wanted: TypeSpec, db_type: DbType, family: str) -> Verdict:
    parts = dict(db_type.fields)
    fields = {field.column: field for field in class_row_type(wanted.annotation).fields}
    if strange := sorted(fields.keys() ^ parts.keys()):
        return Verdict(Action.REFUSE, f"{', '.join(strange)}: on one side only", "align the fields")
    return _worst([_judge(fields[name].wanted, part, family) for name, part in parts.items()])


_JUDGES: dict[Kind, Judge] = {
    Kind.ANYTHING: _judge_anything,
    Kind.NULL: _judge_null,
    Kind.EXACT: _judge_exact,
    Kind.ENUM: _judge_enum,
    Kind.LITERAL: _judge_literal,
    Kind.UNION: _judge_union,
    Kind.ARRAY: _judge_array,
    Kind.TUPLE: _judge_tuple,
    Kind.MAPPING: _judge_mapping,
    Kind.RANGE: _judge_range,
    Kind.NESTED: _judge_nested,
}
