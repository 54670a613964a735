"""Plan -> one function that maps rows.

The generated code does inline what every row needs: it unpacks the row, checks exact types
and NULLs, and makes the object. Everything else is one function call. No text from outside
becomes code: names of fields and classes are used only if they are identifiers, keys are
quoted, and names of columns do not appear.
"""

from __future__ import annotations

import linecache
import weakref
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import count
from typing import Any, TypeVar

from sqla_typedpool.errors import RowValueError
from sqla_typedpool.mapping.coercions import accepts_subclasses
from sqla_typedpool.mapping.construction import Strategy, is_name
from sqla_typedpool.mapping.dbtypes import DbType, is_aware
from sqla_typedpool.mapping.handlers import converter_of
from sqla_typedpool.mapping.plan import ColumnPlan, ObjectPlan, Plan
from sqla_typedpool.mapping.rowtype import Field, RowType
from sqla_typedpool.mapping.typespec import Kind, TypeSpec
from sqla_typedpool.mapping.value_error import ConversionError, refused_by_constructor

T = TypeVar("T")
# ``map_rows(rows, first=0)``; ``first`` rows have been mapped before.
MapRows = Callable[..., list[T]]
# Fields, and the expressions for their values.
_Values = list[tuple[Field, str]]

_numbers = count(1)
_ASSERTION_HINT = 'change the query, or remove the "!", which declares the column never NULL'


def compile_plan(plan: Plan) -> tuple[MapRows[Any], str]:
    """Return the function for a plan, and its source."""
    writer = _Writer(plan)
    source = writer.source()
    file = f"<sqla_typedpool mapper {next(_numbers)} of {plan.root.row_type.text}>"
    namespace: dict[str, Any] = {"__builtins__": {}, **writer.bound}
    exec(compile(source, file, "exec", dont_inherit=True), namespace)
    map_rows: MapRows[Any] = namespace["map_rows"]
    # so that tracebacks show the generated lines, until the function is freed
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    weakref.finalize(map_rows, linecache.cache.pop, file, None)
    return map_rows, source


class _Writer:
    """Writes one function, and collects the objects to which its source refers by name."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._taken = {"rows", "first", "out", "add", "row", "map_rows", "error"}
        self._numbers = count(len(plan.columns))
        columns = plan.root.column_plans()
        self._locals = {each.position: self._local(each.field, each.position) for each in columns}
        self.bound: dict[str, Any] = {"type": type}

    def source(self) -> str:
        """Return the source of ``map_rows``.

        The objects to which it refers are defaults of parameters: locals are the fastest.
        """
        columns = _tuple([self._locals[position] for position in range(len(self._locals))])
        lines, row = self._object(self._plan.root, "row")
        body = "\n".join(f"        {line}" for line in [*lines, f"add({row})"])
        defaults = "".join(f", {name}={name}" for name in self.bound)
        return (
            f"def map_rows(rows, first=0{defaults}):\n"
            "    out = []\n"
            "    add = out.append\n"
            f"    for {columns} in rows:\n"
            f"{body}\n"
            "    return out\n"
        )

    def _object(self, plan: ObjectPlan, name: str) -> tuple[list[str], str]:
        """Return the lines that make an object, and the expression for it.

        :param name: the local variable to use if an expression is not enough.
        """
        lines: list[str] = []
        values: _Values = []
        for part in plan.parts:
            if isinstance(part, ColumnPlan):
                lines += self._check(part)
                values.append((part.field, self._locals[part.position]))
            elif part.field is not None:
                inner = self._local(part.field, next(self._numbers))
                lines += self._flattened(part, inner)
                values.append((part.field, inner))
        construction, expression = self._construct(plan, values, name)
        return [*lines, *construction], expression

    def _flattened(self, plan: ObjectPlan, name: str) -> list[str]:
        """Return the lines that assign a flattened object, or None, to a variable."""
        lines, expression = self._object(plan, name)
        if expression != name:
            lines.append(f"{name} = {expression}")
        if not plan.is_optional:
            return lines
        names = (self._locals[each.position] for each in plan.column_plans())
        all_null = " and ".join(f"{each} is None" for each in names)
        indented = [f"    {line}" for line in lines]
        return [f"if {all_null}:", f"    {name} = None", "else:", *indented]

    # ------------------------------------------------------------------ checking a value

    def _check(self, column_plan: ColumnPlan) -> list[str]:
        """Return the lines that check one column's value, and convert it if necessary."""
        name = self._locals[column_plan.position]
        test = self._test(name, column_plan.spec, column_plan.column.db_type)
        if test is None:
            return []
        fix = self._bind(f"fix{column_plan.position}", _fixer(column_plan, self._plan.family))
        call = f"{name} = {fix}({name}, out, first)"
        return [f"if {test}:", f"    {call}"] if test else [call]

    def _test(self, name: str, spec: TypeSpec, db_type: DbType | None) -> str | None:
        """Return the condition on which a value is passed to the converter.

        "" means always, None never.
        """
        if spec.kind is Kind.ANYTHING and not spec.is_marked:
            return None if spec.optional else f"{name} is None"
        if spec.kind is not Kind.EXACT or spec.is_marked:
            return f"{name} is not None" if spec.optional else ""
        test = self._is_not(name, spec.annotation)
        if spec.annotation is datetime and is_aware(db_type):
            test = f"({test} or {name}.tzinfo is None)"  # asyncpg's infinity
        return f"{name} is not None and {test}" if spec.optional else test

    def _is_not(self, name: str, cls: type) -> str:
        if cls is bool:
            return f"{name} is not True and {name} is not False"  # faster than type()
        bound = self._bind(cls.__name__, cls)
        if accepts_subclasses(cls):
            return f"not {self._bind('isinstance', isinstance)}({name}, {bound})"
        return f"type({name}) is not {bound}"

    # ------------------------------------------------------------------ making an object

    def _construct(self, plan: ObjectPlan, values: _Values, name: str) -> tuple[list[str], str]:
        """Return the lines that make an object of its values, and the expression for it."""
        strategy, row_type = plan.strategy, plan.row_type
        if strategy is Strategy.VALUE:
            return [], values[0][1]
        if strategy is Strategy.TUPLE:
            return [], _tuple([value for _, value in values])
        if strategy is Strategy.DICT:
            return [], f"{{{', '.join(f'{field.name!r}: {value}' for field, value in values)}}}"
        cls = self._bind(row_type.cls.__name__, row_type.cls)
        if strategy is Strategy.CALL:
            return self._call(cls, plan, f"{cls}({', '.join(_arguments(row_type, values))})", name)
        return self._stores(cls, row_type.construction.draft, values, name), name

    def _call(self, cls: str, plan: ObjectPlan, call: str, name: str) -> tuple[list[str], str]:
        """Return the lines that call a constructor, which may raise anything."""
        refused = self._bind(f"refused_by_{cls}", _refuser(plan.row_type.text))
        lines = [
            "try:",
            f"    {name} = {call}",
            f"except {self._bind('Exception', Exception)} as error:",
            f"    raise {refused}(error, out, first) from error",
        ]
        return lines, name

    def _stores(self, cls: str, draft: type | None, values: _Values, name: str) -> list[str]:
        created = cls if draft is None else self._bind(f"{cls}Draft", draft)
        lines = [f"{name} = {self._bind('new', object.__new__)}({created})"]
        lines += [f"{name}.{field.name} = {value}" for field, value in values]
        return lines if draft is None else [*lines, f"{name}.__class__ = {cls}"]

    # ------------------------------------------------------------------------------ names

    def _local(self, field: Field, number: int) -> str:
        name = f"{field.name if is_name(field.name) else 'value'}_{number}"
        self._taken.add(name)
        return name

    def _bind(self, preferred: str, value: object) -> str:
        """Return a name for an object: ``preferred`` if possible, or else with a number."""
        base = name = preferred if is_name(preferred) else "cls"
        numbers = count(2)
        while name in self._taken or self.bound.get(name, value) is not value:
            name = f"{base}{next(numbers)}"
        self.bound[name] = value
        return name


def _tuple(names: list[str]) -> str:
    return f"({names[0]},)" if len(names) == 1 else f"({', '.join(names)})"


def _arguments(row_type: RowType, values: _Values) -> Iterator[str]:
    """Return the arguments of a constructor: by position if possible, which is twice as fast."""
    remaining = {field.name: (field, value) for field, value in values}
    for name in row_type.construction.positional:
        if name not in remaining:
            break
        yield remaining.pop(name)[1]
    keywords = {field.parameter: value for field, value in remaining.values()}
    yield from (f"{name}={value}" for name, value in keywords.items() if is_name(name))
    others = [f"{name!r}: {value}" for name, value in keywords.items() if not is_name(name)]
    if others:
        yield f"**{{{', '.join(others)}}}"


def _fixer(column_plan: ColumnPlan, family: str) -> Callable[[Any, list[Any], int], Any]:
    """Return the function that converts one column's value, or raises ``RowValueError``."""
    column = column_plan.column
    convert = converter_of(column_plan.spec, family, column.db_type)

    def fix(value: Any, out: list[Any], first: int) -> Any:
        try:
            return convert(value)
        except ConversionError as error:
            is_broken_assertion = value is None and column.is_asserted
            raise RowValueError(
                first + len(out) + 1,
                column.name,
                error.expected,
                error.found,
                path=error.path,
                hint=_ASSERTION_HINT if is_broken_assertion else error.hint,
                value=value,
            ) from error.__cause__

    return fix


def _refuser(text: str) -> Callable[[Exception, list[Any], int], RowValueError]:
    """Return the function that makes the error for a constructor that has raised.

    :param text: the class as it is written in Python.
    """

    def refused(error: Exception, out: list[Any], first: int) -> RowValueError:
        refusal = refused_by_constructor(text, error)
        return RowValueError(
            first + len(out) + 1, None, refusal.expected, refusal.found, hint=refusal.hint
        )

    return refused
