"""What a statement writes to each column, as far as it is certain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sqla_typedpool.describe.postgres import pg_enums as pg
from sqla_typedpool.describe.postgres.certain_nulls import certain_null
from sqla_typedpool.describe.postgres.nodes import Node, nodes_in
from sqla_typedpool.describe.postgres.row_conditions import all_parameters
from sqla_typedpool.describe.postgres.scope import Inference, Scope
from sqla_typedpool.describe.postgres.sources import sources
from sqla_typedpool.describe.postgres.targets import WrittenColumn, WrittenRelation
from sqla_typedpool.describe.postgres.write_parts import Part, parts
from sqla_typedpool.describe.writes import ColumnWrite, TargetColumn, ValueSource

# What may stand around a parameter without a change of its value.
_CASTS = frozenset({"RELABELTYPE", "COERCETODOMAIN", "COERCEVIAIO"})


def writes_of(
    query: Node,
    inference: Inference,
    written: Mapping[int, WrittenRelation],
    converted: frozenset[str] = frozenset(),
) -> tuple[ColumnWrite, ...]:
    """Return what a statement writes, in the order of the statement.

    :param inference: of the statement.
    :param written: the relations to which it writes, by OID.
    :param converted: the names of the parameters whose None may be sent as another value.
    """
    scope = Scope(inference, query)
    unknown = all_parameters(_case_conditions(query), scope) | converted
    found = (
        write
        for part in parts(scope, written)
        for write in _writes(part, converted, unknown | part.deciding)
    )
    return tuple(dict.fromkeys(found))


def _case_conditions(query: Node) -> list[Node | None]:
    """Return the conditions of all CASE expressions, which may exclude that a parameter is None."""
    cases = [each for each in nodes_in(query) if each.kind == "CASEEXPR"]
    return [part for case in cases for part in (case.arg, *(w.expr for w in case.nodes("args")))]


def _writes(
    part: Part, converted: frozenset[str], unknown: frozenset[str]
) -> Iterator[ColumnWrite]:
    inference = replace(part.scope.inference, known={}, unknown_parameters=unknown)
    judge = _Judge(part, part.scope.using(inference), converted)
    for entry in part.entries:
        number = entry.number("resno")
        column = part.target.column(number)
        if column is not None and not part.ignores(column):
            yield from judge.value(part.target.columns[number], column, entry.expr)
    yield from judge.omitted()


@dataclass(frozen=True)
class _Judge:
    """Judges the values that one part of a statement writes."""

    part: Part
    # In which values are inferred.
    scope: Scope
    # The names of the parameters whose None may be sent as another value.
    converted: frozenset[str]

    def omitted(self) -> Iterator[ColumnWrite]:
        """Yield the columns that an INSERT leaves out, and that have no default."""
        if not self.part.is_insert:
            return
        target = self.part.target
        named = {target.columns.get(each.number("resno")) for each in self.part.entries}
        for number, column in target.table.columns.items():
            if column.is_required and number not in named | target.with_default:
                yield self._null(column, ValueSource.OMITTED, "the column has no default")

    def value(self, number: int, column: WrittenColumn, value: Node) -> Iterator[ColumnWrite]:
        """Yield the write of a value to a column of the table with this number."""
        is_refused = self._is_refused(column, value)
        if _is_default(value, self.part.scope):
            if is_refused and number not in self.part.target.with_default:
                yield self._null(column, ValueSource.DEFAULT, "the column has no default")
            return
        certain = certain_null(value, self.part.scope)
        if not certain.always:
            yield from self._expression(column, value, certain.parameters, is_refused)
        elif is_refused:
            yield self._null(column, ValueSource.NULL, "the value is NULL")

    def _null(self, column: WrittenColumn, source: ValueSource, why: str) -> ColumnWrite:
        return ColumnWrite(self.part.action, _target(column, True), source, (), True, why)

    def _expression(
        self, column: WrittenColumn, value: Node, names: tuple[str, ...], is_refused: bool
    ) -> Iterator[ColumnWrite]:
        unsure = self.converted | (self.part.deciding if is_refused else frozenset())
        parameters = tuple(name for name in names if name not in unsure)
        is_parameter = parameters == (_unchanged(value, self.part.scope),)
        why = self._why_nullable(value, parameters) if is_refused else ""
        if is_parameter or (is_refused and (parameters or why)):
            source = ValueSource.PARAMETER if is_parameter else ValueSource.EXPRESSION
            target = _target(column, is_refused)
            yield ColumnWrite(self.part.action, target, source, parameters, bool(why), why)

    def _why_nullable(self, value: Node, parameters: tuple[str, ...]) -> str:
        """Return why a value may be NULL; "" if that is not known."""
        for name in parameters:
            if name not in self.scope.inference.never_null:
                return f"parameter {name} may be None"
        if value.kind == "COERCETODOMAIN":
            value = value.arg  # the value that the domain checks
        return self.scope.infer(value).cause

    def _is_refused(self, column: WrittenColumn, value: Node) -> bool:
        """Return whether the database refuses NULL as this value of the column."""
        inherits = self.part.target.inherits and not self.part.is_insert
        if column.not_null_in_all if inherits else column.not_null:
            return True
        return column.type.not_null and _is_checked(value, self.part.scope)


def _target(column: WrittenColumn, not_null: bool) -> TargetColumn:
    return TargetColumn(column.full_name, not_null, column.max_length, column.accepted)


def _is_default(value: Node, scope: Scope) -> bool:
    """Return whether a value is the word DEFAULT, by itself or in a row of VALUES."""
    values = [each.expression for each in sources(value, scope)] if value.kind == "VAR" else [value]
    return any(each is not None and each.kind == "SETTODEFAULT" for each in values)


def _is_checked(value: Node | None, scope: Scope) -> bool:
    """Return whether the server converts a value to the column's domain, and so checks it.

    A column that has the type of the domain already may contain NULL, as after an outer join.
    """
    if value is None:
        return False
    if value.kind == "VAR":
        found = sources(value, scope)
        return bool(found) and all(_is_checked(*each) for each in found)
    is_parameter = value.kind == "PARAM" and value.paramkind == pg.ParamKind.EXTERNAL
    return is_parameter or value.kind in ("COERCETODOMAIN", "SETTODEFAULT")


def _unchanged(value: Node | None, scope: Scope) -> str | None:
    """Return the name of the parameter that is the value; None if it is anything else."""
    while value is not None and (value.kind in _CASTS or _is_implicit_cast(value)):
        value = value.nodes("args")[0] if value.kind == "FUNCEXPR" else value.arg
    if value is None:
        return None
    if value.kind == "VAR":
        found = sources(value, scope)
        return _unchanged(*found[0]) if len(found) == 1 else None
    if value.kind != "PARAM" or value.paramkind != pg.ParamKind.EXTERNAL:
        return None
    names, number = scope.inference.parameters, value.number("paramid")
    return names[number - 1] if number <= len(names) else None


def _is_implicit_cast(value: Node) -> bool:
    """Return whether it is a cast that the statement does not contain, as to ``varchar(20)``."""
    is_cast = value.kind == "FUNCEXPR" and value.funcformat == pg.CoercionForm.IMPLICIT_CAST
    return is_cast and bool(value.nodes("args"))
