"""Row type x columns -> ``Plan``: which column becomes which field, and how.

A plan is data: codegen generates a function for it, the checker uses it, and ``str(plan)``
shows it. Everything that does not fit is found here, before there are rows. ``make_plan``
returns a complete plan or raises; ``partial_plan``, for the checker, returns as much of the
plan as possible together with the issues.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.mapping.construction import Strategy
from sqla_typedpool.mapping.context import Fit
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.handlers import fit_of
from sqla_typedpool.mapping.rowtype import Field, RowType, class_row_type, row_type_of
from sqla_typedpool.mapping.shape_error import ShapeIssue, ShapeIssueKind
from sqla_typedpool.mapping.typespec import TypeSpec

_MARKED = re.compile(r".+!|(?!\?column\?$).*\w\?", re.DOTALL)


def mark_of(name: str) -> str:
    """Return the ``!`` or ``?`` at the end of a column name; "" if there is none.

    ``!`` declares that the column is never NULL, ``?`` that it may be NULL. PostgreSQL's
    ``?column?`` and SQLite's ``count(*) > ?`` are names of expressions and have no mark, nor has
    a column that is named ``!``.
    """
    return name[-1] if _MARKED.fullmatch(name) else ""


@dataclass(frozen=True)
class Column:
    """One column of a result."""

    name: str
    # The type of the column; None = unknown.
    db_type: DbType | None = None

    @property
    def label(self) -> str:
        """The name without its mark ``!`` or ``?``."""
        return self.name[:-1] if mark_of(self.name) else self.name

    @property
    def is_asserted(self) -> bool:
        """Whether the statement declares it never NULL: ``AS "name!"``."""
        return mark_of(self.name) == "!"

    def __str__(self) -> str:
        return f'"{self.name}"' + (f" {self.db_type}" if self.db_type else "")


# ------------------------------------------------------------------------------- the plan


@dataclass(frozen=True)
class ColumnPlan:
    """A column that becomes a value."""

    field: Field
    position: int
    column: Column

    # The field's type; without None if the column is asserted.
    spec: TypeSpec

    fit: Fit


@dataclass(frozen=True)
class ObjectPlan:
    """An object that is made of columns and of other objects."""

    # The field of its owner; None if it is the row.
    field: Field | None

    row_type: RowType
    parts: tuple[ColumnPlan | ObjectPlan, ...]

    # Whether it is None if all its columns are NULL.
    is_optional: bool = False

    @property
    def strategy(self) -> Strategy:
        """How the object is made. Defaults of missing columns need the constructor."""
        strategy = self.row_type.construction.strategy
        is_complete = len(self.parts) == len(self.row_type.fields)
        if strategy in (Strategy.STORES, Strategy.DRAFT) and not is_complete:
            return Strategy.CALL
        return strategy

    def column_plans(self) -> Iterator[ColumnPlan]:
        """Iterate over the columns of this object and of the objects inside it."""
        for part in self.parts:
            if isinstance(part, ObjectPlan):
                yield from part.column_plans()
            else:
                yield part


@dataclass(frozen=True)
class Plan:
    """How a row of these columns becomes the row type."""

    columns: tuple[Column, ...]
    family: str
    # The plan of the row itself.
    root: ObjectPlan

    def __str__(self) -> str:
        row_type = self.root.row_type
        head = (
            f"{row_type.text} ({row_type.kind}) from {_count(self.columns)} "
            f"on {self.family}, by {self.root.strategy.value}"
        )
        return "\n".join([head, *_lines(self.root, "  ")])


@dataclass(frozen=True)
class PartialPlan:
    """As much of a plan as possible, and the issues that prevent a complete one."""

    # Contains every field that has a column, whether or not the column fits.
    root: ObjectPlan

    issues: tuple[ShapeIssue, ...]


def _lines(plan: ObjectPlan, indent: str) -> Iterator[str]:
    for part in plan.parts:
        if isinstance(part, ColumnPlan):
            name = f"{part.field.name}: " if part.field.name else ""
            yield f"{indent}{name}{part.spec} <- {part.column}: {part.fit.reason}"
        elif part.field is not None:
            optional = ", None if all its columns are NULL" if part.is_optional else ""
            head = f"{part.field.name}: {part.row_type.text}, by {part.strategy.value}"
            yield f"{indent}{head}{optional}"
            yield from _lines(part, f"{indent}  ")


# --------------------------------------------------------------------------- making a plan


def make_plan(annotation: Any, columns: Sequence[Column], family: str) -> Plan:
    """Decide for each field of a row type which column it is made from.

    :param annotation: the row type as it is written in Python.
    :param family: ``"postgresql"``, ``"sqlite"`` or ``"mysql"``.
    :raises RowShapeError: the columns do not fit; the error names every issue.
    """
    partial = partial_plan(annotation, columns, family)
    if partial.issues:
        raise RowShapeError(*map(str, partial.issues))
    return Plan(tuple(columns), family, partial.root)


def partial_plan(annotation: Any, columns: Sequence[Column], family: str) -> PartialPlan:
    """Do the same as ``make_plan``, but return the issues instead of raising them.

    :raises RowShapeError: rows cannot have this type at all.
    """
    row_type = row_type_of(annotation)
    planner = _Planner(tuple(columns), family)
    is_named = bool(row_type.fields[0].name)
    root = planner.by_name(row_type) if is_named else planner.by_position(row_type)
    return PartialPlan(root, tuple(planner.issues))


class _Planner:
    """Collects the parts of a plan and the issues."""

    def __init__(self, columns: tuple[Column, ...], family: str) -> None:
        self.issues: list[ShapeIssue] = []
        self._columns = columns
        self._family = family
        self._unused = {column.label: position for position, column in enumerate(columns)}

    def by_position(self, row_type: RowType) -> ObjectPlan:
        """Plan a tuple or a single value; the names of the columns do not matter."""
        columns = self._columns
        fields = row_type.fields * len(columns) if row_type.repeats else row_type.fields
        if len(fields) != len(columns):
            message = f"{row_type.text} needs {_count(fields)}, but {_result(columns)}"
            self.issues.append(ShapeIssue(ShapeIssueKind.COUNT, message))
        positions = range(min(len(fields), len(columns)))
        parts = [self._column_plan(fields[i], i, row_type.text) for i in positions]
        return ObjectPlan(None, row_type, tuple(parts))

    def by_name(self, row_type: RowType) -> ObjectPlan:
        """Plan a class with fields; every column must belong to exactly one of them."""
        labels = Counter(column.label for column in self._columns)
        duplicates = [label for label, count in labels.items() if count > 1]
        self.issues += [_duplicate(self._columns, label) for label in duplicates]
        root = self._object_plan(None, row_type, "")
        self.issues += [_extra(self._columns, i, row_type) for i in self._unused.values()]
        return root

    def _object_plan(self, field: Field | None, row_type: RowType, prefix: str) -> ObjectPlan:
        found = (self._part(each, row_type, prefix) for each in row_type.fields)
        parts = tuple(part for part in found if part is not None)
        return ObjectPlan(field, row_type, parts, field is not None and field.spec.optional)

    def _part(self, field: Field, row_type: RowType, prefix: str) -> ColumnPlan | ObjectPlan | None:
        if field.spec.flatten is not None:
            return self._flattened(field, row_type, f"{prefix}{field.spec.flatten.prefix}")
        position = self._unused.pop(f"{prefix}{field.column}", None)
        if position is not None:
            return self._column_plan(field, position, f"{row_type.text}.{field.name}")
        if not field.may_be_missing:
            self.issues.append(self._missing(field, row_type, prefix))
        return None

    def _flattened(self, field: Field, owner: RowType, prefix: str) -> ObjectPlan | None:
        count_before = len(self.issues)
        try:
            plan = self._object_plan(field, class_row_type(field.spec.annotation), prefix)
        except RowShapeError as error:
            subject = f"{owner.text}.{field.name}"
            self.issues += [
                ShapeIssue(ShapeIssueKind.ROW_TYPE, each, subject=subject) for each in error.faults
            ]
            return None
        has_issues = len(self.issues) > count_before
        if plan.is_optional and not has_issues and not any(map(_is_never_none, plan.parts)):
            self.issues.append(_ambiguous(field, owner, plan))
        return plan

    def _column_plan(self, field: Field, position: int, subject: str) -> ColumnPlan:
        column = self._columns[position]
        spec = replace(field.spec, optional=False) if column.is_asserted else field.spec
        fit = fit_of(spec, column.db_type, self._family)
        plan = ColumnPlan(field, position, column, spec, fit)
        if fit.is_refused:
            self.issues.append(_impossible(plan, subject))
        return plan

    def _missing(self, field: Field, owner: RowType, prefix: str) -> ShapeIssue:
        name, subject = f"{prefix}{field.column}", f"{owner.text}.{field.name}"
        similar = difflib.get_close_matches(name, self._unused, n=1)
        hint = f'did you mean "{similar[0]}"?' if similar else _result(self._columns)
        message = f'missing column "{name}" for {subject} ({field.spec})'
        return ShapeIssue(ShapeIssueKind.MISSING, message, hint=hint, subject=subject)


# ------------------------------------------------------------------------------ the issues


def _extra(columns: Sequence[Column], position: int, row_type: RowType) -> ShapeIssue:
    message = f'extra column "{columns[position].name}": {row_type.text} has no such field'
    hint = "remove it from the SELECT, or add a field"
    return ShapeIssue(ShapeIssueKind.EXTRA, message, hint=hint, columns=(position,))


def _duplicate(columns: Sequence[Column], label: str) -> ShapeIssue:
    positions = tuple(i for i, column in enumerate(columns) if column.label == label)
    numbers = ", ".join(str(position + 1) for position in positions)
    message = f'duplicate column "{label}" (columns {numbers})'
    hint = "give each of them its own name with AS"
    return ShapeIssue(ShapeIssueKind.DUPLICATE, message, hint=hint, columns=positions)


def _is_never_none(part: ColumnPlan | ObjectPlan) -> bool:
    """Return whether a column of this part is never NULL in an object that is not missing."""
    if isinstance(part, ColumnPlan):
        return not part.spec.optional
    return not part.is_optional and any(map(_is_never_none, part.parts))


def _ambiguous(field: Field, owner: RowType, plan: ObjectPlan) -> ShapeIssue:
    column_plans = tuple(plan.column_plans())
    names = _list([each.column for each in column_plans])
    subject = f"{owner.text}.{field.name}"
    message = (
        f"{subject}: every field of {plan.row_type.text} may be None, so a missing object "
        f"cannot be distinguished from one whose columns are all NULL ({names})"
    )
    hint = 'declare a field that is never None, or select its column AS "...!"'
    positions = tuple(each.position for each in column_plans)
    return ShapeIssue(ShapeIssueKind.AMBIGUOUS, message, "", hint, positions, subject)


def _impossible(plan: ColumnPlan, subject: str) -> ShapeIssue:
    spec, fit, columns = plan.field.spec, plan.fit, (plan.position,)
    purpose = "" if subject == spec.text else f" for {subject}"
    message = f"column {plan.column} cannot be {spec}{purpose}"
    return ShapeIssue(ShapeIssueKind.IMPOSSIBLE, message, fit.reason, fit.hint, columns, subject)


def _result(columns: Sequence[Column]) -> str:
    names = f": {_list(columns)}" if columns else ""
    return f"the result has {_count(columns)}{names}"


def _count(columns: Sequence[Column | Field]) -> str:
    return "1 column" if len(columns) == 1 else f"{len(columns) or 'no'} columns"


def _list(columns: Sequence[Column]) -> str:
    return ", ".join(f'"{column.name}"' for column in columns)
