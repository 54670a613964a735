"""Compare the parameters of a query's function with the types that the database expects."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sqla_typedpool.check import rules
from sqla_typedpool.check.casts import cast_of
from sqla_typedpool.check.list_checks import list_findings
from sqla_typedpool.check.model import Finding, Severity
from sqla_typedpool.check.null_checks import labels_of
from sqla_typedpool.check.null_comparisons import never_true_for_null
from sqla_typedpool.check.parameter_findings import parameter_finding
from sqla_typedpool.check.parameter_types import (
    Unsupported,
    enum_base,
    is_compared,
    unsupported,
)
from sqla_typedpool.check.rules import Rule
from sqla_typedpool.describe.model import Description, ParameterDescription
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.mapping.typespec import Kind, TypeSpec
from sqla_typedpool.queries import Bind, QueryInfo
from sqla_typedpool.queries.parameter_lists import declared_type, elements_of


def compare_parameters(info: QueryInfo, description: Description) -> list[Finding]:
    """Return what is wrong with the parameters of a query.

    :raises DeclarationError: an annotation cannot be resolved.
    """
    described = {each.name: each for each in description.parameters}
    return [
        each
        for bind in info.binds
        if bind.name in described
        for each in _ParameterChecks(info, bind, described[bind.name], description.family).all()
    ]


@dataclass(frozen=True)
class _ParameterChecks:
    """The checks of one parameter."""

    info: QueryInfo
    bind: Bind
    described: ParameterDescription
    family: str

    # Whether the checks are about the elements of a list.
    is_element: bool = False

    def all(self) -> Iterator[Finding]:
        yield from self.check_none()
        yield from list_findings(self.info, self.bind, self.described, self.family)
        if self.described.is_processed:
            return  # SQLAlchemy's type converts the value
        declared = declared_type(self.bind.annotation)
        if declared is None:
            return
        if self.described.db_type is None and self.family == "postgresql":
            yield self.unknown_type()
        else:
            yield from self.check_value(declared)

    def check_none(self) -> Iterator[Finding]:
        name = self.bind.name
        if not self.bind.is_optional or not self.info.is_text or name in self.info.lists:
            return
        operator = never_true_for_null(self.info.sql, name)
        if operator is not None:
            equal = "use IS NOT DISTINCT FROM, or a separate IS NULL condition"
            yield self.finding(
                rules.NULL_COMPARISON,
                f":{name} can be None, but `{operator} NULL` is never true",
                hint=equal if operator == "=" else "handle NULL explicitly in the SQL",
            )

    def unknown_type(self) -> Finding:
        name = self.bind.name
        return self.finding(
            rules.UNKNOWN_PARAMETER_TYPE,
            f"the database does not report the type of :{name}",
            hint=cast_of(name, self.bind.annotation),
            severity=Severity.WARNING,
        )

    # ------------------------------------------------------------------------ values

    def check_value(self, declared: TypeSpec) -> Iterator[Finding]:
        db_type = self.described.db_type
        if self.described.is_list:
            yield from self.check_elements(declared, db_type, "IN takes a list")
        elif db_type is not None and db_type.element is not None:
            yield from self.check_elements(declared, db_type.element, "the type is an array")
        else:
            yield from self.check_single(declared, db_type)

    def check_elements(
        self, declared: TypeSpec, element: DbType | None, why: str
    ) -> Iterator[Finding]:
        if declared.kind in (Kind.ARRAY, Kind.TUPLE):
            parts = declared.of
            while parts and parts[0].kind is Kind.ARRAY and not self.described.is_list:
                parts = parts[0].of  # the database type does not include the dimensions
            inside = replace(self, is_element=True)
            for part in parts[:1] if declared.kind is Kind.ARRAY else parts:
                yield from inside.check_single(part, element)
        elif declared.kind in (Kind.EXACT, Kind.ENUM, Kind.LITERAL):
            message = f"{self.declared()}, but a list is required"
            yield self.finding(
                rules.PARAMETER_TYPE, message, why, f"declare it list[{declared.text}]"
            )

    def check_single(self, declared: TypeSpec, db_type: DbType | None) -> Iterator[Finding]:
        if declared.kind is Kind.UNION:
            for each in declared.of:
                yield from self.check_single(each, db_type)
        elif declared.kind is Kind.ENUM:
            yield from self.check_enum(declared, db_type)
        elif declared.kind is Kind.LITERAL:
            yield from self.check_literal(declared, db_type)
        elif declared.kind is Kind.EXACT:
            yield from self.check_exact(declared.annotation, db_type)
        elif declared.kind in _STRUCTURES:
            yield from self.check_structure(declared, db_type)

    def check_exact(self, python: type, db_type: DbType | None) -> Iterator[Finding]:
        reason = unsupported(python, db_type, self.family)
        if reason is not None:
            yield self.unsupported(reason)
        elif db_type is not None and not is_compared(python, db_type, self.family):
            yield self.uncompared(db_type)

    def check_enum(self, declared: TypeSpec, db_type: DbType | None) -> Iterator[Finding]:
        base = enum_base(declared.annotation, self.family)
        if base is None:
            yield self.unsupported_value(
                "the driver gets the member itself, not its value",
                f"declare class {declared.text}(str, Enum), pass the member's .value, or use "
                f"SQLAlchemy's Enum type: {self.bindparams()}",
            )
            return
        findings = list(self.check_exact(base, db_type))
        yield from findings or self.check_labels(declared, db_type)

    def check_literal(self, declared: TypeSpec, db_type: DbType | None) -> Iterator[Finding]:
        types = {type(value) for value in typing.get_args(declared.annotation)}
        in_order = sorted(types, key=lambda each: each.__name__)
        findings = [found for each in in_order for found in self.check_exact(each, db_type)]
        yield from findings or self.check_labels(declared, db_type)

    def check_labels(self, declared: TypeSpec, db_type: DbType | None) -> Iterator[Finding]:
        labels = () if db_type is None else db_type.labels
        unknown = [f"'{each}'" for each in labels_of(declared) or () if each not in labels]
        if db_type is not None and labels and unknown:
            listed = ", ".join(unknown)
            yield self.finding(
                rules.ENUM_LABELS,
                f":{self.bind.name} can be {listed}, but {db_type.name} has no such label",
                f"the labels of {db_type.name} are {', '.join(map(repr, labels))}",
                f"run ALTER TYPE {db_type.name} ADD VALUE, or remove {listed} from {declared.text}",
            )

    def check_structure(self, declared: TypeSpec, db_type: DbType | None) -> Iterator[Finding]:
        """Check a list, a dict or a class with fields where the database takes a single value."""
        if db_type is not None and db_type.json:
            yield self.unsupported_value(
                "drivers accept JSON as text",
                "declare it str and pass json.dumps(...), or use SQLAlchemy's JSON type: "
                + self.bindparams("JSON"),
            )
        elif declared.kind in (Kind.ARRAY, Kind.TUPLE):
            reason = unsupported(list, db_type, self.family)
            if reason is not None:
                name = self.bind.name
                hint = f"to compare with several values, write IN :{name} without brackets"
                if self.family == "postgresql":
                    hint += f", or = ANY(:{name})"
                yield self.wrong_type(reason.reason, hint)
        elif unsupported(dict, db_type, self.family) is not None:
            yield self.unsupported_value(
                "drivers accept only simple values", "pass each part as a separate parameter"
            )

    # ---------------------------------------------------------------------- findings

    def uncompared(self, db_type: DbType) -> Finding:
        return self.finding(
            rules.INCOMPLETE_DESCRIPTION,
            f"{self.declared()}, which was not compared with {db_type.name}: which Python types "
            "are accepted depends on the driver",
            hint=f"run the query in a test, or declare it str and write "
            f"CAST(CAST(:{self.bind.name} AS text) AS {db_type.name})",
        )

    def unsupported(self, why: Unsupported) -> Finding:
        if self.family != "postgresql":
            hint = "pass a str or a number, or use a SQLAlchemy type: " + self.bindparams()
            return self.unsupported_value(why.reason, hint)
        if self.is_element:
            return self.wrong_type(why.reason, f"declare it list[{why.instead}]")
        cast = f", or write CAST(:{self.bind.name} AS {why.cast})" if why.cast else ""
        return self.wrong_type(why.reason, f"declare it {why.instead}{cast}")

    def bindparams(self, sql_type: str = "...") -> str:
        return f"text(...).bindparams(bindparam({self.bind.name!r}, type_={sql_type}))"

    def wrong_type(self, reason: str, hint: str) -> Finding:
        expected = self.described.type or "a single value"
        message = f"{self.declared()}, but the database expects {expected}"
        return self.finding(rules.PARAMETER_TYPE, message, reason, hint)

    def unsupported_value(self, reason: str, hint: str) -> Finding:
        message = f"{self.declared()}, which the driver does not accept"
        return self.finding(rules.UNSUPPORTED_VALUE, message, reason, hint)

    def declared(self) -> str:
        declared = declared_type(self.bind.annotation)
        text = declared.text if declared else self.bind.annotation
        return f":{self.bind.name} is declared {text}"

    def finding(
        self,
        rule: Rule,
        message: str,
        reason: str = "",
        hint: str = "",
        severity: Severity | None = None,
    ) -> Finding:
        details = {} if self.described.type is None else {"type": self.described.type}
        return parameter_finding(
            self.info, self.bind.name, rule, message, reason, hint, severity, details
        )


# -------------------------------------------------------------------- annotations

_STRUCTURES = (Kind.NESTED, Kind.TAGGED, Kind.MAPPING, Kind.ARRAY, Kind.TUPLE)


def has_no_none(annotation: Any) -> bool:
    """Return whether this is a list of which no element can be None: ``list[int] | None``."""
    elements = elements_of(annotation)
    return bool(elements) and all(map(_is_never_none, elements))


def _is_never_none(element: TypeSpec) -> bool:
    while element.kind is Kind.ARRAY and element.of and not element.optional:
        (element,) = element.of
    return element.kind not in (Kind.ARRAY, Kind.ANYTHING, Kind.NULL) and not element.optional
