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
from sqla_typedpool.mapping.annotations import wanted_of
from sqla_typedpool.mapping.delivered import Delivered
from sqla_typedpool.mapping.members import literal_keys, member_keys
from sqla_typedpool.mapping.rules import (
    Action,
    advice,
    conversions_to,
    is_storable,
    takes_subclasses,
)
from sqla_typedpool.mapping.targets import Field, class_target
from sqla_typedpool.mapping.wanted import Kind, Wanted

__all__ = ["JSON_AS_TEXT", "UNKNOWN", "Verdict", "judge"]

UNKNOWN = Delivered("unknown type")
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


Judge = Callable[[Wanted, Delivered, str], Verdict]


def judge(annotation: Any, delivered: Delivered | None, family: str) -> Verdict:
    """Whether values of a database type can become values of an annotated type.

    :param annotation: a type, or what ``wanted_of`` made of it.
    :param delivered: what is known of the column; None = nothing.
    :param family: ``"postgresql"``, ``"sqlite"`` or ``"mysql"``.
    :raises AnnotationError: when no column can be of such a type.
    """
    wanted = annotation if isinstance(annotation, Wanted) else wanted_of(annotation)
    try:
        return _judge(wanted, delivered or UNKNOWN, family)
    except RowShapeError as error:  # a nested class that cannot be understood
        return Verdict(Action.REFUSE, "; ".join(error.faults))


def _judge(wanted: Wanted, delivered: Delivered, family: str) -> Verdict:
    if wanted.decode is not None:
        return Verdict(Action.CONVERT, "by Decode()")
    if wanted.json is not None and family != "json":
        return _judge_json(wanted, delivered, family)
    if delivered.json and wanted.kind is not Kind.ANYTHING:
        return Verdict(Action.REFUSE, "it is JSON", "annotate it with Json()")
    return _JUDGES[wanted.kind](wanted, delivered, family)


def _accepted(delivered: Delivered) -> Verdict:
    if delivered.python is None:
        return Verdict(Action.ACCEPT, "as each value is")
    zone = {None: "", True: ", aware", False: ", naive"}[delivered.aware]
    return Verdict(Action.ACCEPT, f"as it is{zone}")


def _refused(wanted: Wanted, delivered: Delivered, hint: str) -> Verdict:
    arrives = "" if delivered.python is None else f"it arrives as {delivered.python.__name__}"
    return Verdict(Action.REFUSE, arrives, hint)


def _judge_anything(wanted: Wanted, delivered: Delivered, family: str) -> Verdict:
    return Verdict(Action.ACCEPT, "unchecked")


def _judge_null(wanted: Wanted, delivered: Delivered, family: str) -> Verdict:
    return Verdict(Action.ACCEPT, "NULL alone")


def _judge_exact(wanted: Wanted, delivered: Delivered, family: str) -> Verdict:
    python, arrives = wanted.annotation, delivered.python
    if not is_storable(python, family):
        return Verdict(Action.REFUSE, f"JSON holds no {python.__name__}", "use Decode(function)")
    if delivered.is_range and python in _PLAIN:
        return Verdict(Action.REFUSE, "it arrives as a range", "cast it in SQL: CAST(x AS text)")
    if arrives is None or arrives is python:
        return _accepted(delivered)
    if takes_subclasses(python) and issubclass(arrives, python):
        return _accepted(delivered)
    rule = conversions_to(python, family).get(arrives)
    if rule is not None:
        return Verdict(Action.CONVERT, f"from {arrives.__name__}: {rule.words}")
    return _refused(wanted, delivered, advice(arrives, python, family))


def _judge_enum(wanted: Wanted, delivered: Delivered, family: str) -> Verdict:
    cls, arrives = wanted.annotation, delivered.python
    by = "name" if wanted.by_name else "value"
    types = {str} if wanted.by_name else {python for python, _ in member_keys(cls)}
    if arrives is None or arrives in types or (arrives is int and issubclass(cls, Flag)):
        return Verdict(Action.CONVERT, f"to the member by its {by}")
    named = "annotate it with ByName()" if arrives is str else f"look at {cls.__name__}'s values"
    return _refused(wanted, delivered, named)


def _judge_literal(wanted: Wanted, delivered: Delivered, family: str) -> Verdict:
    types = {python for python, _ in literal_keys(wanted)}
    if delivered.python is None or delivered.python in types:
        return Verdict(Action.ACCEPT, "one of the literals")
    return _refused(wanted, delivered, "declare literals of that type")


def _judge_union(wanted: Wanted, delivered: Delivered, family: str) -> Verdict:
    verdicts = [_judge(each, delivered, family) for each in wanted.of]
    possible = [each for each in verdicts if each.action is not Action.REFUSE]
    return possible[0] if possible else verdicts[0]


def _judge_array(wanted: Wanted, delivered: Delivered, family: str) -> Verdict:
    if delivered.python not in (None, list):
        return _refused(wanted, delivered, f"declare it {delivered.python.__name__}")
    innermost = wanted
    while innermost.kind is Kind.ARRAY and innermost.of and innermost.decode is None:
        (innermost,) = innermost.of  # the database's type does not tell the dimensions
    if innermost is wanted:
        return _accepted(delivered)
    verdict = _judge(innermost, delivered.element or UNKNOWN, family)
    return replace(verdict, reason=f"elements: {verdict.reason}")


def _judge_tuple(wanted: Wanted, delivered: Delivered, family: str) -> Verdict:
    if family != "json" and delivered.python not in (None, tuple):
        return _refused(wanted, delivered, "declare it list[...]")
    return _worst([_judge(each, UNKNOWN, family) for each in wanted.of])


def _judge_mapping(wanted: Wanted, delivered: Delivered, family: str) -> Verdict:
    if family == "json" or delivered.python is dict:
        return _worst([_judge(each, UNKNOWN, family) for each in wanted.of])
    return _refused(wanted, delivered, "annotate it with Json() if it is JSON")


def _judge_range(wanted: Wanted, delivered: Delivered, family: str) -> Verdict:
    if family == "json":
        return Verdict(Action.REFUSE, "JSON holds no ranges", "use Decode(function)")
    if delivered.python is None:
        return _accepted(delivered)
    return _refused(wanted, delivered, f"declare it {delivered.python.__name__}")


def _worst(verdicts: list[Verdict]) -> Verdict:
    refused = [each for each in verdicts if each.action is Action.REFUSE]
    return refused[0] if refused else Verdict(Action.CONVERT, "each part is checked")


# ------------------------------------------------------------------ nested types


def _judge_json(wanted: Wanted, delivered: Delivered, family: str) -> Verdict:
    as_text = family in JSON_AS_TEXT and delivered.python is str
    if not delivered.json and delivered.python not in (None, dict, list) and not as_text:
        return _refused(wanted, delivered, "Json() is for JSON columns; in SQL: x::jsonb")
    fault = _document_fault(wanted, ())
    return fault or Verdict(Action.CONVERT, "built from JSON")


def _document_fault(wanted: Wanted, above: tuple[Any, ...]) -> Verdict | None:
    """What is refused in a document; types may contain themselves."""
    if wanted.decode is not None or wanted.annotation in above:
        return None
    if wanted.kind is Kind.NESTED:
        inside = (*above, wanted.annotation)
        fields = class_target(wanted.annotation).fields
        return _first(_field_fault(wanted, field, inside) for field in fields)
    if wanted.of and wanted.kind is not Kind.RANGE:
        return _first(_document_fault(each, above) for each in wanted.of)
    verdict = _judge(wanted, UNKNOWN, "json")
    return verdict if verdict.action is Action.REFUSE else None


def _first(faults: Iterable[Verdict | None]) -> Verdict | None:
    return next((fault for fault in faults if fault is not None), None)


def _field_fault(wanted: Wanted, field: Field, above: tuple[Any, ...]) -> Verdict | None:
    if field.wanted.flatten is None:
        fault = _document_fault(field.wanted, above)
    else:
        fault = Verdict(Action.REFUSE, "Flatten() has no meaning inside JSON", "drop it")
    if fault is None:
        return None
    return replace(fault, reason=f"{wanted.text}.{field.name}: {fault.reason}")


def _judge_nested(wanted: Wanted, delivered: Delivered, family: str) -> Verdict:
    if delivered.fields:
        return _judge_composite(wanted, delivered, family)
    if family == "postgresql" and delivered.python is None:
        class_target(wanted.annotation)  # refused now rather than at the first value
        return Verdict(Action.CONVERT, "from a composite value")
    hint = "annotate it with Json() if it is JSON, or Flatten() if its fields are columns"
    return _refused(wanted, delivered, hint)


def _judge_composite(wanted: Wanted, delivered: Delivered, family: str) -> Verdict:
    parts = dict(delivered.fields)
    fields = {field.column: field for field in class_target(wanted.annotation).fields}
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
