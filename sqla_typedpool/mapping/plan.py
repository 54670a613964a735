"""Target x columns -> ``Plan``: which column becomes which field, and how.

A plan is data. The compiler makes a function of it, the checker reads it, and
``str(plan)`` shows it. All that does not fit is found here, before there are rows.
There are two doors: ``make_plan`` for those who want a plan or an error, ``partial_plan``
for the checker, which wants whatever can be told.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.mapping.coercions import Action
from sqla_typedpool.mapping.construction import Strategy
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.judgement import Verdict, judge
from sqla_typedpool.mapping.rowtype import Field, RowType, class_row_type, row_type_of
from sqla_typedpool.mapping.shape_error import ShapeIssue, ShapeIssueKind
from sqla_typedpool.mapping.typespec import Kind, TypeSpec

_MARKED = re.compile(r".*!|(?!\?column\?$).*\w\?", re.DOTALL)


def mark_of(name: str) -> str:
    """The ``!`` or ``?`` at the end of a column's name, which says whether it may be NULL.

    "" where there is none: ``?column?`` is what PostgreSQL calls an expression without a
    name, and SQLite calls it as it was written: ``count(*) > ?``.
    """
    return name[-1] if _MARKED.fullmatch(name) else ""


@dataclass(frozen=True)
class Column:
    """One column of a result."""

    name: str
    db_type: DbType | None = None
    """What its values arrive as; None = nothing is known."""

    @property
    def label(self) -> str:
        """The name without the ``!`` or ``?`` that says whether it may be NULL."""
        return self.name[:-1] if mark_of(self.name) else self.name

    @property
    def is_asserted(self) -> bool:
        """Whether the statement says that it is never NULL: ``AS "name!"``."""
        return self.name.endswith("!")

    def __str__(self) -> str:
        return f'"{self.name}"' + (f" {self.db_type}" if self.db_type else "")


@dataclass(frozen=True)
class ColumnPlan:
    """A column that becomes a value."""

    field: Field
    position: int
    column: Column
    wanted: TypeSpec
    verdict: Verdict


@dataclass(frozen=True)
class ObjectPlan:
    """An object that is made of columns and of other objects."""

    field: Field | None
    """Which field of its owner it is; None = it is the row."""

    target: RowType
    parts: tuple[ColumnPlan | ObjectPlan, ...]

    is_optional: bool = False
    """Whether it is None where all its columns are NULL."""

    @property
    def way(self) -> Strategy:
        """How it is made: only its constructor knows the defaults of what is missing."""
        way = self.target.construction.way
        if way in (Strategy.STORES, Strategy.DRAFT) and len(self.parts) < len(self.target.fields):
            return Strategy.CALL
        return way

    def reads(self) -> Iterator[ColumnPlan]:
        """Every column below."""
        for part in self.parts:
            if isinstance(part, ObjectPlan):
                yield from part.reads()
            else:
                yield part


@dataclass(frozen=True)
class Plan:
    """How a row of these columns becomes the row type."""

    row_type: Any
    columns: tuple[Column, ...]
    family: str
    make: ObjectPlan

    def __str__(self) -> str:
        target = self.make.target
        head = (
            f"{target.text} ({target.kind}) from {_count(len(self.columns))} "
            f"on {self.family}, by {self.make.way.value}"
        )
        return "\n".join([head, *_lines(self.make, "  ")])


@dataclass(frozen=True)
class PartialPlan:
    """A plan as far as it goes, and what keeps it from being one."""

    make: ObjectPlan
    """Of every part that has a column, whether or not the column fits."""

    faults: tuple[ShapeIssue, ...]


def _lines(make: ObjectPlan, indent: str) -> Iterator[str]:
    for part in make.parts:
        if isinstance(part, ColumnPlan):
            name = f"{part.field.name}: " if part.field.name else ""
            yield f"{indent}{name}{part.wanted} <- {part.column}: {part.verdict.reason}"
        elif part.field is not None:
            maybe = ", None where all its columns are NULL" if part.is_optional else ""
            yield f"{indent}{part.field.name}: {part.target.text}, by {part.way.value}{maybe}"
            yield from _lines(part, f"{indent}  ")


def make_plan(row_type: Any, columns: Sequence[Column], family: str) -> Plan:
    """Decide for each field where it comes from.

    :param family: ``"postgresql"``, ``"sqlite"`` or ``"mysql"``.
    :raises RowShapeError: naming everything that does not fit.
    """
    draft = partial_plan(row_type, columns, family)
    if draft.faults:
        raise RowShapeError(*map(str, draft.faults))
    return Plan(row_type, tuple(columns), family, draft.make)


def partial_plan(row_type: Any, columns: Sequence[Column], family: str) -> PartialPlan:
    """As ``make_plan``, but with the faults as values beside what could be planned.

    :raises RowShapeError: when the row type itself cannot be understood.
    """
    target = row_type_of(row_type)
    planner = _Planner(tuple(columns), family)
    make = planner.by_name(target) if target.fields[0].name else planner.by_position(target)
    return PartialPlan(make, tuple(planner.faults))


class _Planner:
    """Collects the parts of a plan and everything that is wrong with them."""

    def __init__(self, columns: tuple[Column, ...], family: str) -> None:
        self.faults: list[ShapeIssue] = []
        self._columns = columns
        self._family = family
        self._unread = {column.label: place for place, column in enumerate(columns)}

    def by_position(self, target: RowType) -> ObjectPlan:
        """A tuple or a single value; names mean nothing."""
        columns = self._columns
        fields = target.fields * len(columns) if target.repeats else target.fields
        if len(fields) != len(columns):
            message = (
                f"{target.text} wants {_count(len(fields))}, and there "
                f"{'is' if len(columns) == 1 else 'are'} {_count(len(columns))}: {_list(columns)}"
            )
            self.faults.append(ShapeIssue(ShapeIssueKind.COUNT, message))
        places = range(min(len(fields), len(columns)))
        reads = tuple(self._read(fields[place], place, target.text) for place in places)
        return ObjectPlan(None, target, reads)

    def by_name(self, target: RowType) -> ObjectPlan:
        """A class with fields; every column has to be one of them, once."""
        self._find_duplicates()
        make = self._class(None, target, "")
        self.faults += [self._extra(place, target) for place in self._unread.values()]
        return make

    def _extra(self, place: int, target: RowType) -> ShapeIssue:
        message = f'extra column "{self._columns[place].name}": {target.text} has no such field'
        hint = "select it no more, or declare it"
        return ShapeIssue(ShapeIssueKind.EXTRA, message, hint=hint, columns=(place,))

    def _find_duplicates(self) -> None:
        for label, count in Counter(column.label for column in self._columns).items():
            if count > 1:
                self.faults.append(self._duplicate(label))

    def _duplicate(self, label: str) -> ShapeIssue:
        places = [place for place, each in enumerate(self._columns) if each.label == label]
        numbers = ", ".join(str(place + 1) for place in places)
        message = f'duplicate column "{label}" (columns {numbers})'
        hint = "give each a name of its own with AS"
        return ShapeIssue(ShapeIssueKind.DUPLICATE, message, hint=hint, columns=tuple(places))

    def _class(self, field: Field | None, target: RowType, prefix: str) -> ObjectPlan:
        found = (self._part(each, target, prefix) for each in target.fields)
        parts = tuple(part for part in found if part is not None)
        return ObjectPlan(field, target, parts, field is not None and field.wanted.optional)

    def _part(self, field: Field, target: RowType, prefix: str) -> ColumnPlan | ObjectPlan | None:
        if field.wanted.flatten is not None:
            return self._flattened(field, target, prefix)
        place = self._unread.pop(f"{prefix}{field.column}", None)
        if place is not None:
            return self._read(field, place, f"{target.text}.{field.name}")
        if not field.may_miss:
            self.faults.append(self._missing(field, target, prefix))
        return None

    def _flattened(self, field: Field, target: RowType, prefix: str) -> ObjectPlan | None:
        flatten = field.wanted.flatten
        inner = f"{prefix}{flatten.prefix if flatten else ''}"
        known = len(self.faults)
        try:
            make = self._class(field, class_row_type(field.wanted.annotation), inner)
        except RowShapeError as error:
            subject = f"{target.text}.{field.name}"
            self.faults += [
                ShapeIssue(ShapeIssueKind.ROW_TYPE, each, subject=subject) for each in error.faults
            ]
            return None
        if make.is_optional and len(self.faults) == known and not any(map(_tells, make.parts)):
            self.faults.append(_ambiguous(field, target, make))
        return make

    def _read(self, field: Field, place: int, subject: str) -> ColumnPlan:
        column, wanted = self._columns[place], field.wanted
        verdict = judge(wanted, column.db_type, self._family)
        if verdict.action is Action.REFUSE:
            self.faults.append(_impossible(column, place, wanted, verdict, subject))
        if column.is_asserted:
            wanted = replace(wanted, optional=False)
        return ColumnPlan(field, place, column, wanted, verdict)

    def _missing(self, field: Field, target: RowType, prefix: str) -> ShapeIssue:
        name, subject = f"{prefix}{field.column}", f"{target.text}.{field.name}"
        near = difflib.get_close_matches(name, self._unread, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"there are: {_list(self._columns)}"
        message = f'missing column "{name}" for {subject} ({field.wanted})'
        return ShapeIssue(ShapeIssueKind.MISSING, message, hint=hint, subject=subject)


def _tells(part: ColumnPlan | ObjectPlan) -> bool:
    """Whether this part is never NULL in an object that is there."""
    if isinstance(part, ObjectPlan):
        return not part.is_optional and any(map(_tells, part.parts))
    return not part.wanted.optional


def _ambiguous(field: Field, target: RowType, make: ObjectPlan) -> ShapeIssue:
    reads = tuple(make.reads())
    names = ", ".join(f'"{read.column.name}"' for read in reads)
    subject = f"{target.text}.{field.name}"
    message = (
        f"{subject}: every field of {make.target.text} may be None, so nobody "
        f"can tell one that is all NULL from none at all (columns {names})"
    )
    hint = 'declare a field that is never None, or select its column AS "...!"'
    places = tuple(read.position for read in reads)
    return ShapeIssue(ShapeIssueKind.AMBIGUOUS, message, hint=hint, columns=places, subject=subject)


def _impossible(
    column: Column, place: int, wanted: TypeSpec, verdict: Verdict, subject: str
) -> ShapeIssue:
    what = f"cannot be {wanted}" if wanted.kind is not Kind.NULL else "is not always NULL"
    message = f"column {column} {what}" + (f" for {subject}" if subject != wanted.text else "")
    return ShapeIssue(
        ShapeIssueKind.IMPOSSIBLE, message, verdict.reason, verdict.hint, (place,), subject=subject
    )


def _count(number: int) -> str:
    return "1 column" if number == 1 else f"{number} columns"


def _list(columns: Sequence[Column]) -> str:
    return ", ".join(f'"{column.name}"' for column in columns)
