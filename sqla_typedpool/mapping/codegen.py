"""Plan -> one function that maps rows.

What every row needs is written out inline: unpacking, exact types, NULLs, and how
the object is made. Everything rare is one call away. No text from outside becomes
code: names of fields and classes are used where they are plain names, keys are quoted,
and columns' names do not appear.
"""

from __future__ import annotations

import linecache
import weakref
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, TypeVar

from sqla_typedpool.errors import RowValueError
from sqla_typedpool.mapping.coercions import takes_subclasses
from sqla_typedpool.mapping.construction import Strategy, is_name
from sqla_typedpool.mapping.plan import ColumnPlan, ObjectPlan, Plan
from sqla_typedpool.mapping.rowtype import Field, RowType
from sqla_typedpool.mapping.typespec import Kind, TypeSpec
from sqla_typedpool.mapping.value_error import ConversionError, Convert
from sqla_typedpool.mapping.values import converter_of

T = TypeVar("T")
MapRows = Callable[..., list[T]]
"""``map_rows(rows, first=0)``; ``first`` rows have been mapped before these."""

_numbers = count(1)
_BROKEN_PROMISE = 'the statement promises with "!" that it is never NULL; keep that, or drop it'


def compile_plan(plan: Plan) -> tuple[MapRows[Any], str]:
    """The function for a plan, and its source."""
    writer = _Writer(plan)
    source = writer.source()
    file = f"<sqla_typedpool mapper {next(_numbers)} of {plan.make.target.text}>"
    space: dict[str, Any] = {"__builtins__": {}, **writer.bound}
    exec(compile(source, file, "exec", dont_inherit=True), space)
    map_rows: MapRows[Any] = space["map_rows"]
    # so that a traceback shows the line, for as long as the function lives
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    weakref.finalize(map_rows, linecache.cache.pop, file, None)
    return map_rows, source


class _Writer:
    """Writes one function, and collects the values that its source has names for."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._taken = {"rows", "first", "out", "add", "row", "map_rows"}
        self._numbers = count(len(plan.columns))
        self._locals = {
            each.position: self._local(each.field, each.position) for each in plan.make.reads()
        }
        self.bound: dict[str, Any] = {"type": type}

    def source(self) -> str:
        """``def map_rows``; what it has names for are defaults, and so locals."""
        columns = _tuple([self._locals[place] for place in range(len(self._locals))])
        body = "\n".join(f"        {line}" for line in self._row())
        defaults = "".join(f", {name}={name}" for name in self.bound)
        return (
            f"def map_rows(rows, first=0{defaults}):\n"
            "    out = []\n"
            "    add = out.append\n"
            f"    for {columns} in rows:\n"
            f"{body}\n"
            "    return out\n"
        )

    def _row(self) -> list[str]:
        lines, made = self._object(self._plan.make, "row")
        return [*lines, f"add({made})"]

    def _object(self, make: ObjectPlan, name: str) -> tuple[list[str], str]:
        """The lines that make an object, and the expression for it."""
        lines: list[str] = []
        values: list[tuple[Field, str]] = []
        for part in make.parts:
            if isinstance(part, ColumnPlan):
                lines += self._check(part)
                values.append((part.field, self._locals[part.position]))
            elif part.field is not None:
                inner = self._local(part.field, next(self._numbers))
                lines += self._inner(part, inner)
                values.append((part.field, inner))
        more, made = self._construct(make, values, name)
        return [*lines, *more], made

    def _inner(self, make: ObjectPlan, name: str) -> list[str]:
        """A flattened object, which may be None."""
        lines, made = self._object(make, name)
        if made != name:
            lines.append(f"{name} = {made}")
        if not make.is_optional:
            return lines
        nulls = " and ".join(f"{self._locals[each.position]} is None" for each in make.reads())
        return [f"if {nulls}:", f"    {name} = None", "else:", *(f"    {line}" for line in lines)]

    def _check(self, read: ColumnPlan) -> list[str]:
        """The lines that look at one column's value, and mend it if need be."""
        name, wanted = self._locals[read.position], read.wanted
        test = self._test(name, wanted)
        if test is None:
            return []
        fix = self._bind(f"fix{read.position}", _fixer(read, self._plan.family))
        call = f"{name} = {fix}({name}, out, first)"
        return [f"if {test}:", f"    {call}"] if test else [call]

    def _test(self, name: str, wanted: TypeSpec) -> str | None:
        """When a value has to be looked at closely: "" = always, None = never."""
        marked = wanted.json or wanted.decode
        if wanted.kind is Kind.ANYTHING and not marked:
            return None if wanted.optional else f"{name} is None"
        if wanted.kind is not Kind.EXACT or marked:
            return f"{name} is not None" if wanted.optional else ""
        test = self._is_not(name, wanted.annotation)
        return f"{name} is not None and {test}" if wanted.optional else test

    def _is_not(self, name: str, cls: type) -> str:
        if cls is bool:
            return f"{name} is not True and {name} is not False"  # quicker than its type
        bound = self._bind(cls.__name__, cls)
        if takes_subclasses(cls):
            return f"not {self._bind('isinstance', isinstance)}({name}, {bound})"
        return f"type({name}) is not {bound}"

    def _construct(
        self, make: ObjectPlan, values: list[tuple[Field, str]], name: str
    ) -> tuple[list[str], str]:
        way, target = make.way, make.target
        if way is Strategy.VALUE:
            return [], values[0][1]
        if way is Strategy.TUPLE:
            return [], _tuple([value for _, value in values])
        if way is Strategy.DICT:
            return [], f"{{{', '.join(f'{field.name!r}: {value}' for field, value in values)}}}"
        cls = self._bind(target.cls.__name__, target.cls)
        if way is Strategy.CALL:
            return [], f"{cls}({', '.join(_arguments(target, values))})"
        made = (
            cls if way is Strategy.STORES else self._bind(f"{cls}Draft", target.construction.draft)
        )
        lines = [f"{name} = {self._bind('new', object.__new__)}({made})"]
        lines += [f"{name}.{field.name} = {value}" for field, value in values]
        return lines + ([] if way is Strategy.STORES else [f"{name}.__class__ = {cls}"]), name

    def _local(self, field: Field, number: int) -> str:
        name = f"{field.name if is_name(field.name) else 'value'}_{number}"
        self._taken.add(name)
        return name

    def _bind(self, wish: str, value: object) -> str:
        """A name for a value: the one it has, or as near to the wish as may be."""
        base = name = wish if is_name(wish) else "cls"
        numbers = count(2)
        while name in self._taken or self.bound.get(name, value) is not value:
            name = f"{base}{next(numbers)}"
        self.bound[name] = value
        return name


def _tuple(names: list[str]) -> str:
    return f"({names[0]},)" if len(names) == 1 else f"({', '.join(names)})"


def _arguments(target: RowType, values: list[tuple[Field, str]]) -> Iterator[str]:
    """By position as far as possible, which is twice as fast, then by name."""
    given = {field.name: (field, value) for field, value in values}
    for name in target.construction.positional:
        if name not in given:
            break
        yield given.pop(name)[1]
    parameters = {field.parameter: value for field, value in given.values()}
    yield from (f"{name}={value}" for name, value in parameters.items() if is_name(name))
    odd = [f"{name!r}: {value}" for name, value in parameters.items() if not is_name(name)]
    if odd:
        yield f"**{{{', '.join(odd)}}}"


def _fixer(read: ColumnPlan, family: str) -> Callable[[Any, list[Any], int], Any]:
    """What turns one column's value into what is wanted, or tells where it could not."""
    db_type = read.column.db_type
    is_decoded = db_type is not None and db_type.json
    convert: Convert = converter_of(read.wanted, family, is_decoded=is_decoded)

    def fix(value: Any, out: list[Any], first: int) -> Any:
        try:
            return convert(value)
        except ConversionError as mismatch:
            is_broken_promise = value is None and read.column.is_asserted
            raise RowValueError(
                first + len(out) + 1,
                read.column.name,
                mismatch.expected,
                mismatch.found,
                path=mismatch.path,
                hint=_BROKEN_PROMISE if is_broken_promise else mismatch.hint,
                value=value,
            ) from mismatch.__cause__

    return fix
