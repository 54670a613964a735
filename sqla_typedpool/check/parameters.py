"""A query's signature x the types of its parameters, as the database understands them."""

from __future__ import annotations

import collections.abc
import typing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Union

from sqla_typedpool.check.labels import labels_of
from sqla_typedpool.check.locations import place_of_bind
from sqla_typedpool.check.model import Finding, Severity
from sqla_typedpool.check.null_comparisons import never_true_for_null
from sqla_typedpool.check.parameter_types import Unsupported, enum_base, objection_to
from sqla_typedpool.check.rules import finding
from sqla_typedpool.describe.model import Description, ParameterDescription
from sqla_typedpool.mapping.annotations import AnnotationError, spec_of
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.typespec import Kind, TypeSpec, is_union
from sqla_typedpool.queries import Bind, QueryInfo


def compare_parameters(info: QueryInfo, description: Description) -> list[Finding]:
    """What is wrong with a query's parameters.

    :raises DeclarationError: an annotation means nothing.
    """
    described = {each.name: each for each in description.parameters}
    return [
        found
        for bind in info.binds
        if bind.name in described
        for found in _Look(info, bind, described[bind.name], description.family).all()
    ]


@dataclass(frozen=True)
class _Look:
    """At one parameter."""

    info: QueryInfo
    bind: Bind
    described: ParameterDescription
    family: str
    is_in_list: bool = False
    """Whether it is an element of the parameter that is looked at."""

    def all(self) -> Iterator[Finding]:
        yield from self.at_none()
        if self.described.is_processed:
            return  # SQLAlchemy's type takes what it takes
        wanted = _wanted(self.bind.annotation)
        if wanted is None:
            return
        if self.described.db_type is None and self.family == "postgresql":
            yield self.untold()
            return
        yield from self.at_value(wanted)

    def at_none(self) -> Iterator[Finding]:
        name = self.bind.name
        if not self.bind.is_optional or not self.info.is_text:
            return
        operator = never_true_for_null(self.info.sql, name)
        if operator is not None:
            equal = "write IS NOT DISTINCT FROM, or IS NULL for None"
            yield self.found(
                "TP203",
                f":{name} may be None, and `{operator} NULL` is never true",
                hint=equal if operator == "=" else "say in SQL what None means",
            )

    def untold(self) -> Finding:
        name = self.bind.name
        return self.found(
            "TP202",
            f"the database does not tell what type :{name} has",
            severity=Severity.WARNING,
            hint=f"say it: CAST(:{name} AS integer)",
        )

    # ------------------------------------------------------------------------ values

    def at_value(self, wanted: TypeSpec) -> Iterator[Finding]:
        db_type = self.described.db_type
        if self.described.is_list:
            yield from self.at_elements(wanted, db_type, "IN takes a list")
        elif db_type is not None and db_type.element is not None:
            yield from self.at_elements(wanted, db_type.element, "it is an array")
        else:
            yield from self.at_single(wanted, db_type)

    def at_elements(self, wanted: TypeSpec, element: DbType | None, why: str) -> Iterator[Finding]:
        if wanted.kind in (Kind.ARRAY, Kind.TUPLE):
            parts = wanted.of
            while parts and parts[0].kind is Kind.ARRAY and not self.described.is_list:
                parts = parts[0].of  # the type does not tell the dimensions
            inside = replace(self, is_in_list=True)
            for part in parts[:1] if wanted.kind is Kind.ARRAY else parts:
                yield from inside.at_single(part, element)
        elif wanted.kind in (Kind.EXACT, Kind.ENUM, Kind.LITERAL):
            message = f"{self.declared()}, and one value is no list"
            yield self.found("TP201", message, why, f"declare it list[{wanted.text}]")

    def at_single(self, wanted: TypeSpec, db_type: DbType | None) -> Iterator[Finding]:
        if wanted.kind is Kind.UNION:
            for each in wanted.of:
                yield from self.at_single(each, db_type)
        elif wanted.kind is Kind.ENUM:
            yield from self.at_enum(wanted, db_type)
        elif wanted.kind is Kind.LITERAL:
            yield from self.at_literal(wanted, db_type)
        elif wanted.kind is Kind.EXACT:
            yield from self.objected(objection_to(wanted.annotation, db_type, self.family))
        elif wanted.kind in (Kind.NESTED, Kind.MAPPING, Kind.ARRAY, Kind.TUPLE):
            yield from self.at_structure(wanted, db_type)

    def at_enum(self, wanted: TypeSpec, db_type: DbType | None) -> Iterator[Finding]:
        base = enum_base(wanted.annotation, self.family)
        if base is None:
            yield self.unpassable(
                "the driver is given the member itself, not its value",
                f"class {wanted.text}(str, Enum), pass its .value, or bind it with "
                "SQLAlchemy's Enum type: text(...).bindparams(bindparam(name, type_=...))",
            )
            return
        objection = objection_to(base, db_type, self.family)
        yield from self.objected(objection)
        if objection is None and db_type is not None:
            yield from self.at_labels(wanted, db_type)

    def at_literal(self, wanted: TypeSpec, db_type: DbType | None) -> Iterator[Finding]:
        types = {type(value) for value in typing.get_args(wanted.annotation)}
        objections = {objection_to(each, db_type, self.family) for each in types} - {None}
        for objection in sorted(filter(None, objections), key=lambda each: each.reason):
            yield from self.objected(objection)
        if not objections and db_type is not None:
            yield from self.at_labels(wanted, db_type)

    def at_labels(self, wanted: TypeSpec, db_type: DbType) -> Iterator[Finding]:
        given = labels_of(wanted) or []
        unknown = [f"'{each}'" for each in given if each not in db_type.labels]
        if db_type.labels and unknown:
            listed = ", ".join(unknown)
            yield self.found(
                "TP111",
                f":{self.bind.name} may be {listed}, which {db_type.name} does not know",
                f"the type {db_type.name} has {', '.join(map(repr, db_type.labels))}",
                f"ALTER TYPE {db_type.name} ADD VALUE, or take {listed} out of {wanted.text}",
            )

    def at_structure(self, wanted: TypeSpec, db_type: DbType | None) -> Iterator[Finding]:
        """Lists, dicts, classes with fields, where a single value is meant."""
        if db_type is not None and db_type.json:
            yield self.unpassable(
                "JSON is passed as text",
                "pass json.dumps(...), declared str; or bind it with SQLAlchemy's JSON type: "
                "text(...).bindparams(bindparam(name, type_=JSON))",
            )
        elif wanted.kind in (Kind.ARRAY, Kind.TUPLE):
            objection = objection_to(list, db_type, self.family)
            hint = f"= ANY(:{self.bind.name}), or bindparam({self.bind.name!r}, expanding=True)"
            if objection is not None:
                yield self.mistyped(objection.reason, f"for one of several write {hint}")
        elif objection_to(dict, db_type, self.family) is not None:
            yield self.unpassable("drivers know plain values only", "pass its parts one by one")

    # ---------------------------------------------------------------------- findings

    def objected(self, objection: Unsupported | None) -> Iterator[Finding]:
        if objection is None:
            return
        if self.family == "postgresql" and self.is_in_list:
            yield self.mistyped(objection.reason, f"declare it list[{objection.instead}]")
        elif self.family == "postgresql":
            cast = (
                f", or write CAST(:{self.bind.name} AS {objection.cast})" if objection.cast else ""
            )
            yield self.mistyped(objection.reason, f"declare it {objection.instead}{cast}")
        else:
            yield self.unpassable(
                objection.reason,
                "pass a str or a number, or bind it with a type of SQLAlchemy's: "
                "text(...).bindparams(bindparam(name, type_=...))",
            )

    def mistyped(self, reason: str, hint: str) -> Finding:
        taken = self.described.type or "a single value"
        message = f"{self.declared()}, and the database takes {taken}"
        return self.found("TP201", message, reason, hint)

    def unpassable(self, reason: str, hint: str) -> Finding:
        hint = hint.replace("(name,", f"({self.bind.name!r},")
        message = f"{self.declared()}, which no driver takes as it is"
        return self.found("TP204", message, reason, hint)

    def declared(self) -> str:
        wanted = _wanted(self.bind.annotation)
        return f":{self.bind.name} is declared {wanted.text if wanted else self.bind.annotation}"

    def found(
        self,
        code: str,
        message: str,
        reason: str = "",
        hint: str = "",
        *,
        severity: Severity | None = None,
    ) -> Finding:
        name, facts = self.bind.name, {}
        if self.described.type is not None:
            facts["type"] = self.described.type
        return finding(
            code,
            message,
            place_of_bind(self.info, name),
            query=self.info.name,
            severity=severity,
            reason=reason,
            hint=hint,
            subject=name,
            details=facts,
        )


# ------------------------------------------------------------------- annotations

_ANNOTATED: Any = Annotated
_UNION: Any = Union
_LIST: Any = list
_LISTS = (
    *(set, frozenset, collections.abc.Sequence, collections.abc.Collection),
    *(collections.abc.Iterable, collections.abc.Set, collections.abc.MutableSequence),
)


def _wanted(annotation: Any) -> TypeSpec | None:
    """What is passed; None = nothing can be told of it."""
    try:
        return spec_of(_as_list(annotation))
    except AnnotationError:
        return None


def _as_list(annotation: Any) -> Any:
    """``Sequence[int]`` and the like are lists to a driver."""
    arguments = typing.get_args(annotation)
    if hasattr(annotation, "__supertype__"):  # NewType
        return _as_list(annotation.__supertype__)
    if typing.get_origin(annotation) is Annotated:
        parts = (_as_list(arguments[0]), *arguments[1:])
        return _ANNOTATED[parts]
    if is_union(annotation):
        return _UNION[tuple(map(_as_list, arguments))]
    if typing.get_origin(annotation) in _LISTS:
        return _LIST[arguments[0]]
    return annotation
