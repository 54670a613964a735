"""What the queries of a run require of the annotations of fields, rows and parameters.

An annotation may only be changed if all queries that use it agree.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqla_typedpool.check.annotation_code import AnnotationCode
from sqla_typedpool.check.annotation_places import AnnotationPlaces
from sqla_typedpool.check.core_types import with_core_types
from sqla_typedpool.check.null_checks import may_be_none
from sqla_typedpool.check.parameter_types import accepted_by, unsupported
from sqla_typedpool.describe.model import (
    NULLABILITY_UNKNOWN,
    ColumnDescription,
    Description,
    ParameterDescription,
)
from sqla_typedpool.errors import DeclarationError, RowShapeError
from sqla_typedpool.mapping.annotations import spec_of
from sqla_typedpool.mapping.dbtypes import SCALAR_TYPES, DbType
from sqla_typedpool.mapping.handlers import fit_of
from sqla_typedpool.mapping.plan import Column, ColumnPlan, ObjectPlan, mark_of, partial_plan
from sqla_typedpool.mapping.rowtype import Field, RowType, class_row_type, row_type_of
from sqla_typedpool.mapping.shape_error import ShapeIssueKind
from sqla_typedpool.mapping.typespec import Kind, TypeSpec, type_name
from sqla_typedpool.queries import Cardinality, QueryInfo
from sqla_typedpool.queries.parameter_lists import declared_type

_LIST: Any = list  # indexed at run time


@dataclass(frozen=True, eq=False)
class Use:
    """The use of an annotation by one query: for a column, or for a parameter."""

    query: QueryInfo

    # The position of the column, or the name of the parameter; None = the column is not known.
    of: int | str | None

    declared: TypeSpec

    # Returns the source code of the annotation, or raises NotFixable.
    find: Callable[[], AnnotationCode]

    # Whether None must be part of the type.
    needs_none: bool = False

    # Why None must stay part of the type, if it is one; why nothing may be changed; "" = no reason.
    keeps_none: str = ""
    keeps_all: str = ""

    # The only right type; None = it is not known, or there are several.
    right: Any = None

    # Why there is no such type.
    no_right: str = "the right type is not known, or not the only one"

    # Returns whether a type is possible.
    accepts: Callable[[Any], bool] = lambda annotation: False


def uses_of(
    info: QueryInfo, description: Description | None, places: AnnotationPlaces
) -> Iterator[Use]:
    """Yield the annotations that a query uses, with what it requires of them.

    Nothing is yielded for a query whose declaration is wrong.

    :param description: None if there is none; then no field of its row type may be changed, except
        that None may be added.
    """
    try:
        row_type = None if info.row_type is None else row_type_of(info.row_type)
        if row_type is not None:
            yield from _RowUses(info, places).all(row_type, description)
        if description is not None:
            yield from _parameter_uses(info, description, places)
    except (DeclarationError, RowShapeError):
        return


# ---------------------------------------------------------------------------- rows


@dataclass(frozen=True)
class _RowUses:
    """The uses of the fields of a row type, or of the parts of a tuple, by one query."""

    info: QueryInfo
    places: AnnotationPlaces

    def all(self, row_type: RowType, description: Description | None) -> Iterator[Use]:
        if description is None or not description.columns:
            yield from self.unknown(row_type, f"{self.info.name} was not compared", ())
            return
        description = with_core_types(self.info, description)
        columns = tuple(Column(each.name, each.db_type) for each in description.columns)
        plan = partial_plan(self.info.row_type, columns, description.family)
        is_count = any(issue.kind is ShapeIssueKind.COUNT for issue in plan.issues)
        reason = "the number of columns is wrong" if is_count else ""
        if not description.is_nullability_known:
            reason = f"{NULLABILITY_UNKNOWN} for {self.info.name}"
        yield from self.of_object(plan.root, description, reason)

    def of_object(
        self, plan: ObjectPlan, description: Description, keeps_all: str
    ) -> Iterator[Use]:
        """Yield the uses of the fields of an object, and of the objects inside it.

        :param keeps_all: why none of the fields may be changed.
        """
        if plan.is_optional:
            keeps_all = f"{self.info.name} uses it in an optional Flatten()"
        for part in plan.parts:
            if isinstance(part, ObjectPlan):
                yield from self.of_object(part, description, keeps_all)
            else:
                yield self.of_column(part, plan, description, keeps_all)
                yield from self.inside(part.field.spec, ())

    def of_column(
        self, part: ColumnPlan, owner: ObjectPlan, description: Description, keeps_all: str
    ) -> Use:
        column, mark = description.columns[part.position], mark_of(part.column.name)
        if owner.field is not None and column.missing_with is not None:
            keeps_all = keeps_all or f"the whole {owner.row_type.text} can be missing"
        return Use(
            self.info,
            part.position,
            part.field.spec,
            self.finder(owner.row_type, part.field, part.position),
            needs_none=column.nullable if not mark else mark == "?",
            keeps_none=self.keeps_none(part, owner, column),
            keeps_all=keeps_all,
            right=_right_type(column.db_type),
            accepts=partial(_can_be, column.db_type, description.family),
        )

    def finder(
        self, row_type: RowType, field: Field, position: int
    ) -> Callable[[], AnnotationCode]:
        if field.name:
            has_default = field.has_default and row_type.kind != "TypedDict"  # NotRequired
            return partial(self.places.of_field, row_type.cls, field.name, has_default=has_default)
        return partial(self.places.of_column, self.info, row_type, position)

    def keeps_none(self, part: ColumnPlan, owner: ObjectPlan, column: ColumnDescription) -> str:
        mark, name = mark_of(column.name), self.info.name
        if mark == "?" or (not mark and may_be_none(column)):
            return f"{name} needs the None"
        if column.db_type.json or part.field.spec.json is not None:
            return f"{name} reads JSON, which can be null"
        if owner.row_type.kind == "scalar" and self.info.cardinality is Cardinality.OPTIONAL:
            return "the None stands for no row"
        return ""

    # --------------------------------------------------------------------- unknown

    def unknown(self, row_type: RowType, reason: str, seen: tuple[Any, ...]) -> Iterator[Use]:
        """Yield the uses of the fields of a class, if nothing is known about the values."""
        if row_type.cls in seen:
            return
        for field in row_type.fields if row_type.fields[0].name else ():
            find = self.finder(row_type, field, 0)
            yield Use(self.info, None, field.spec, find, keeps_none=reason)
            yield from self.inside(field.spec, (*seen, row_type.cls))

    def inside(self, spec: TypeSpec, seen: tuple[Any, ...]) -> Iterator[Use]:
        """Yield the uses of the classes that a value contains: of JSON, of composite values."""
        if spec.kind is Kind.NESTED:
            reason = f"{self.info.name} has it inside a value"
            yield from self.unknown(class_row_type(spec.annotation), reason, seen)
        for each in spec.of:
            yield from self.inside(each, seen)


def _right_type(db_type: DbType) -> Any:
    """Return the only Python type of a column; None if it is not known or not the only one."""
    if db_type.python is list and db_type.element is not None:
        element = _right_type(db_type.element)
        return None if element is None else _LIST[element]
    is_scalar = db_type.python in SCALAR_TYPES and not db_type.driver
    return db_type.python if is_scalar and not db_type.labels else None


def _can_be(db_type: DbType, family: str, annotation: Any) -> bool:
    return not fit_of(spec_of(annotation), db_type, family).is_refused


# ---------------------------------------------------------------------- parameters


def _parameter_uses(
    info: QueryInfo, description: Description, places: AnnotationPlaces
) -> Iterator[Use]:
    described = {each.name: each for each in description.parameters}
    for bind in info.binds:
        spec = declared_type(bind.annotation) if bind.name in described else None
        if spec is None:
            continue  # it is not compared
        yield _of_parameter(info, bind.name, spec, described[bind.name], description.family, places)


def _of_parameter(
    info: QueryInfo,
    name: str,
    declared: TypeSpec,
    described: ParameterDescription,
    family: str,
    places: AnnotationPlaces,
) -> Use:
    db_type, is_list = described.db_type, described.is_list
    if db_type is not None and db_type.element is not None and not is_list:
        db_type, is_list = db_type.element, True
    accepted = accepted_by(db_type, family) or ()
    right = accepted[0] if len(accepted) == 1 else None
    no_right = Use.no_right
    if len(accepted) > 1:
        no_right = f"several types are right: {', '.join(map(type_name, accepted))}"
    if is_list:  # what callers pass must change, if it is no list now
        is_array = declared.kind is Kind.ARRAY
        right = _LIST[right] if right is not None and is_array else None
        no_right = no_right if is_array else "the callers must pass a list then"
    return Use(
        info,
        name,
        declared,
        partial(places.of_parameter, info.function, name),
        keeps_none="None is never removed from a parameter",
        right=right,
        no_right=no_right,
        accepts=partial(_can_be_passed, db_type, family, is_list=is_list),
    )


def _can_be_passed(db_type: DbType | None, family: str, annotation: Any, *, is_list: bool) -> bool:
    if (typing.get_origin(annotation) is list) is not is_list:
        return False
    python = typing.get_args(annotation)[0] if is_list else annotation
    return unsupported(python, db_type, family) is None
