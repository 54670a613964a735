"""Compare the values that a statement writes with what their columns accept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqla_typedpool._sqlalchemy.compiling import Placeholder, compile_statement
from sqla_typedpool.check import rules
from sqla_typedpool.check.model import Finding
from sqla_typedpool.check.rules import Rule, finding
from sqla_typedpool.check.value_checks import wider_values
from sqla_typedpool.check.write_locations import Place, Places
from sqla_typedpool.describe.model import Description
from sqla_typedpool.describe.writes import ColumnWrite, TargetColumn, ValueSource, WriteAction
from sqla_typedpool.mapping.deferred import python_signature
from sqla_typedpool.mapping.typespec import Kind
from sqla_typedpool.queries import Bind, QueryInfo
from sqla_typedpool.queries.parameter_lists import declared_type

_INSERTS = (WriteAction.INSERT, WriteAction.MERGE_INSERT)
_FAILS = "every call that writes such a row fails"


def write_findings(info: QueryInfo, description: Description) -> list[Finding]:
    """Return what is wrong with the values that a statement writes.

    :raises DeclarationError: an annotation cannot be resolved.
    """
    if not description.writes:
        return []
    checks = _WriteChecks(info, description, description.writes)
    return list(dict.fromkeys(checks.all()))  # several rows of VALUES can have the same finding


@dataclass(frozen=True)
class _WriteChecks:
    """The checks of one statement."""

    info: QueryInfo
    description: Description
    writes: Sequence[ColumnWrite]

    def all(self) -> Iterator[Finding]:
        required = [each for each in self.writes if each.column.not_null]
        yield from self.check_omitted(required)
        for write in filter(self.is_always_null, required):
            yield self.always_null(write)
        for bind in self.info.binds:
            yield from self.check_bind(bind, required)
        for write in filter(self.may_be_null, required):
            yield self.maybe_null(write)

    # -------------------------------------------------------------------- parameters

    @cached_property
    def placeholders(self) -> Mapping[str, Placeholder]:
        """The placeholders by the names of their parameters."""
        family, names = self.description.family, self.info.bind_names
        compiled = compile_statement(self.info.statement, family, names)
        return {each.name: each for each in compiled.placeholders}

    @cached_property
    def optional(self) -> frozenset[str]:
        """The parameters that can be None, and are then sent as NULL."""
        return frozenset(
            bind.name
            for bind in self.info.binds
            if _accepts_none(self.info, bind) and self.none_is_null(bind.name)
        )

    @cached_property
    def places(self) -> Places:
        return Places(self.info, self.description.sql)

    def none_is_null(self, name: str) -> bool:
        placeholder = self.placeholders.get(name)
        return placeholder is not None and placeholder.none_is_null

    def is_none(self, name: str) -> bool:
        """Return whether a Core statement contains None as the value, and sends it as NULL."""
        return self.none_is_null(name) and self.placeholders[name].is_none

    def is_never_null(self, name: str) -> bool:
        """Return whether a parameter is not NULL; False also if that is not known."""
        is_known = self.none_is_null(name) and not self.placeholders[name].is_computed
        return is_known and name not in self.optional and not self.is_none(name)

    # -------------------------------------------------------------- values that are NULL

    def check_omitted(self, required: Sequence[ColumnWrite]) -> Iterator[Finding]:
        """Yield one finding for all columns that an INSERT leaves out."""
        omitted: dict[tuple[WriteAction, str], list[ColumnWrite]] = {}
        for write in required:
            if write.source is ValueSource.OMITTED:
                key = write.action, _table(write.column)
                omitted.setdefault(key, []).append(write)
        for (action, table), writes in omitted.items():
            columns = _columns(writes)
            is_one = len(columns) == 1
            default = "has no default" if is_one else "have no default"
            yield self.finding(
                rules.FORBIDDEN_NULL,
                f"{action.value} leaves out {_which_not_null(columns)} and {default}",
                self.places.of_target(table if action is WriteAction.INSERT else ""),
                columns,
                reason=_FAILS,
                hint=f"insert {'a value for it' if is_one else 'values for them'}, or give "
                f"{'the column a default' if is_one else 'the columns defaults'}",
            )

    def is_always_null(self, write: ColumnWrite) -> bool:
        """Return whether it writes NULL, or DEFAULT without a default, in every call."""
        is_null = write.source in (ValueSource.NULL, ValueSource.DEFAULT)
        return is_null or any(map(self.is_none, write.parameters))

    def always_null(self, write: ColumnWrite) -> Finding:
        is_default, is_insert = write.source is ValueSource.DEFAULT, write.action in _INSERTS
        word = "DEFAULT" if is_default else "NULL"
        no_default = " and has no default" if is_default else ""
        column, table = _name(write.column), _table(write.column)
        place = self.places.of_value(column, word, is_insert=is_insert, table=table)
        return self.finding(
            rules.FORBIDDEN_NULL,
            f"{write.action.value} writes {word} to {_which_not_null([write.column])}{no_default}",
            place,
            [write.column],
            reason=_FAILS,
            hint="write a value" + (", or give the column a default" if is_default else ""),
        )

    # ----------------------------------------------------------- values that may be NULL

    def check_bind(self, bind: Bind, required: Sequence[ColumnWrite]) -> Iterator[Finding]:
        refused = [each for each in required if bind.name in each.parameters]
        if refused and bind.name in self.optional:
            yield self.optional_parameter(bind, refused)
        yield from self.check_values(bind, [each for each in self.writes if _is(bind, each)])

    def optional_parameter(self, bind: Bind, writes: Sequence[ColumnWrite]) -> Finding:
        first, columns = writes[0], _columns(writes)
        part = first.action.value if len(columns) == 1 else "the statement"
        return self.finding(
            rules.NULL_PARAMETER,
            f":{bind.name} can be None, but {part} writes it to {_which_not_null(columns)}",
            self.place_of(bind, first),
            columns,
            subject=bind.name,
            reason="a call with None fails if it writes a row",
            hint=f"{self.without_none(bind)}, or {self.coalesced(bind, first)}",
        )

    def without_none(self, bind: Bind) -> str:
        """Return the advice how to declare a parameter that cannot be None."""
        spec = declared_type(bind.annotation)
        default = " without the default None" if _default(self.info, bind) is None else ""
        if spec is None or spec.kind in (Kind.ANYTHING, Kind.NULL):
            return f"declare it with a type that does not include None{default}"
        return f"declare it {spec.text.removesuffix(' | None')}{default}"

    def coalesced(self, bind: Bind, write: ColumnWrite) -> str:
        """Return the advice how to write another value than None."""
        if not self.info.is_text:
            return "pass it to func.coalesce()"
        column, table = _name(write.column), _table(write.column)
        kept = {
            WriteAction.UPDATE: column,
            WriteAction.CONFLICT_UPDATE: f"{table}.{column}",
            WriteAction.DUPLICATE_UPDATE: column,
        }.get(write.action)
        is_plain = kept is not None and kept.replace(".", "").isidentifier() and kept.islower()
        if not is_plain:
            return f"write coalesce(:{bind.name}, ...)"
        return f"write coalesce(:{bind.name}, {kept}) to keep the value of the row"

    def may_be_null(self, write: ColumnWrite) -> bool:
        """Return whether an expression may be NULL, and no parameter is the reason."""
        is_expression = write.source is ValueSource.EXPRESSION and write.nullable
        return is_expression and all(map(self.is_never_null, write.parameters))

    def maybe_null(self, write: ColumnWrite) -> Finding:
        column, table = _name(write.column), _table(write.column)
        is_insert = write.action in _INSERTS
        return self.finding(
            rules.NULL_EXPRESSION,
            f"{write.action.value} writes a value that may be NULL to "
            f"{_which_not_null([write.column])}",
            self.places.of_expression(column, is_insert=is_insert, table=table),
            [write.column],
            reason=write.why,
            hint="write coalesce(..., ...), or exclude NULL with a condition",
        )

    # ------------------------------------------------------------ values that do not fit

    def check_values(self, bind: Bind, writes: Sequence[ColumnWrite]) -> Iterator[Finding]:
        """Yield a note for each column that cannot store all values of a parameter."""
        described = [each for each in self.description.parameters if each.name == bind.name]
        declared = declared_type(bind.annotation)
        if not described or described[0].is_processed or declared is None:
            return
        for column in _columns(writes):
            db_type, family = described[0].db_type, self.description.family
            found = wider_values(bind.name, declared, column, db_type, family)
            if found is not None:
                write = next(each for each in writes if each.column == column)
                yield self.finding(
                    rules.WIDER_PARAMETER,
                    found.message,
                    self.place_of(bind, write),
                    [column],
                    subject=bind.name,
                    hint=found.hint,
                )

    # ---------------------------------------------------------------------- findings

    def place_of(self, bind: Bind, write: ColumnWrite) -> Place:
        is_insert = write.action in _INSERTS
        column, table = _name(write.column), _table(write.column)
        return self.places.of_bind(bind.name, column, is_insert=is_insert, table=table)

    def finding(
        self,
        rule: Rule,
        message: str,
        place: Place,
        columns: Sequence[TargetColumn],
        *,
        subject: str = "",
        reason: str = "",
        hint: str = "",
    ) -> Finding:
        return finding(
            rule,
            message,
            place.location,
            query=self.info.name,
            reason=reason,
            hint=hint,
            subject=subject or ", ".join(map(_name, columns)),
            details={"column": ", ".join(each.name for each in columns)} | place.details,
        )


# -------------------------------------------------------------------------- parameters


def _default(info: QueryInfo, bind: Bind) -> Any:
    return python_signature(info.function).parameters[bind.name].default


def _accepts_none(info: QueryInfo, bind: Bind) -> bool:
    """Return whether a parameter is declared so that it can be None.

    ``Any`` declares nothing.
    """
    return bind.is_optional and (bind.annotation is not Any or _default(info, bind) is None)


def _is(bind: Bind, write: ColumnWrite) -> bool:
    """Return whether a parameter is written unchanged."""
    return write.source is ValueSource.PARAMETER and bind.name in write.parameters


# ----------------------------------------------------------------------------- columns


def _name(column: TargetColumn) -> str:
    return column.name.rpartition(".")[2]


def _table(column: TargetColumn) -> str:
    """Return the name of its table, without the schema."""
    return column.name.rpartition(".")[0].rpartition(".")[2]


def _columns(writes: Sequence[ColumnWrite]) -> list[TargetColumn]:
    return list(dict.fromkeys(each.column for each in writes))


def _which_not_null(columns: Sequence[TargetColumn]) -> str:
    """Return ``users.name and users.email, which are NOT NULL``."""
    *others, last = (f"{_table(each)}.{_name(each)}" for each in columns)
    if not others:
        return f"{last}, which is NOT NULL"
    return f"{', '.join(others)} and {last}, which are NOT NULL"
