"""PostgreSQL's own functions, operators and casts, called with values that are not NULL.

Most return NULL only for NULL; some return it for other values too, which the manual does not
document. Each that is described as NOT NULL is called with many values of its argument types.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import asyncpg

from sqla_typedpool.check import CannotRun, Refused
from tests.describe.execution import PostgresDataSets
from tests.describe.soundness.check import Describe

BATCH = 50
"""How many calls are described in one statement."""

_VALUES: dict[str, list[str]] = {
    "bool": ["true", "false"],
    "int2": ["0", "1", "-1", "5"],
    "int4": ["0", "1", "-1", "5", "2000000000"],
    "int8": ["0", "1", "-1", "5"],
    "numeric": ["NaN", "0", "1.50", "-1", "Infinity", "-Infinity"],
    "float4": ["NaN", "0", "1.5", "Infinity"],
    "float8": ["NaN", "0", "1.5", "-1", "Infinity", "-Infinity"],
    "money": ["0", "1.5"],
    "text": ["", "a", "abc", "YYYY", "UTC", "(", "{}", "day", "public", "NaN", "no such"],
    "varchar": ["", "a", "abc"],
    "bpchar": ["", "a"],
    "name": ["", "a", "public", "pg_class", "no such"],
    "char": ["", "a"],
    "bytea": ["", "\\x00ff"],
    "date": ["infinity", "-infinity", "2020-02-29"],
    "time": ["00:00", "24:00"],
    "timetz": ["00:00+00", "10:00+02"],
    "timestamp": ["infinity", "-infinity", "2020-02-29 10:00"],
    "timestamptz": ["infinity", "-infinity", "2020-02-29 10:00+00"],
    "interval": ["0", "1 month 2 days", "-1 day"],
    "uuid": ["00000000-0000-0000-0000-000000000000"],
    "json": ["null", "{}", "[]", "1", '"s"', '{"a" : null}', "[1, null]"],
    "jsonb": ["null", "{}", "[]", "1", '"s"', '{"a" : null}', "[1, null]"],
    "jsonpath": ["$", "$.a", "strict $.nope", "$ > 1"],
    "inet": ["10.0.0.1", "10.0.0.0/8", "::1", "0.0.0.0/0"],
    "cidr": ["10.0.0.0/8", "::1"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "bit": ["0", "1"],
    "varbit": ["", "101"],
    "tsvector": ["", "a:1 b:2"],
    "tsquery": ["", "a & b"],
    "point": ["(0,0)", "(1,1)", "(NaN,1)", "(Infinity,0)"],
    "lseg": ["[(0,0),(1,1)]", "[(5,5),(6,7)]", "[(0,0),(0,0)]"],
    "line": ["{1,0,0}", "{1,0,5}", "{0,1,0}"],
    "box": ["(0,0),(1,1)", "(5,5),(6,6)"],
    "path": ["((0,0),(1,1))", "[(0,0),(1,1)]", "[(1,1)]"],
    "polygon": ["((0,0),(1,1),(1,0))", "((9,9))"],
    "circle": ["<(0,0),1>", "<(9,9),0>"],
    "int4range": ["empty", "(,)", "[1,5)", "[3,)", "(,2)"],
    "int4multirange": ["{}", "{(,)}", "{[1,2),[5,9)}"],
    "numrange": ["empty", "(,)", "[1,5)"],
    "tsrange": ["empty", "(,)"],
    "daterange": ["empty", "(,)", "[2020-01-01,)"],
    "int2vector": ["", "1 2"],
    "oidvector": ["", "1 2"],
    "oid": ["0", "1259", "999999"],
    "regclass": ["pg_class", "999999"],
    "regtype": ["int4", "999999"],
    "xid": ["0", "3"],
    "xid8": ["3"],
    "cid": ["0"],
    "tid": ["(0,1)"],
    "pg_lsn": ["0/0", "1/2"],
    "mood": ["sad", "happy"],
    "_int4": ["{}", "{1,2}", "{NULL}", "{{1,2},{3,4}}"],
    "_int8": ["{}", "{1}", "{NULL}"],
    "_text": ["{}", "{a,b}", "{NULL}", "{a}"],
    "_float8": ["{}", "{1}", "{NULL}"],
    "_numeric": ["{}", "{1}"],
    "_bool": ["{}", "{t}"],
    "_name": ["{}", "{a}"],
    "_char": ["{}", "{a}"],
}
_INSTEAD = {
    "anyelement": "int4",
    "anynonarray": "int4",
    "anyarray": "_int4",
    "anycompatible": "int4",
    "anycompatiblenonarray": "int4",
    "anycompatiblearray": "_int4",
    "anyrange": "int4range",
    "anymultirange": "int4multirange",
    "anycompatiblerange": "int4range",
    "anycompatiblemultirange": "int4multirange",
    "anyenum": "mood",
    "any": "int4",
    "cstring": "",
}

# Functions that do not write. Operators and casts are called by their own syntax.
_FUNCTIONS = """
    select p.proname as name, array(select t.typname from unnest(p.proargtypes::oid[])
        with ordinality a(oid, n) join pg_type t on t.oid = a.oid order by n)::text[] as arguments
    from pg_proc p where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind = 'f'
        and not p.proretset and p.provolatile in ('i', 's') and p.pronargs <= 4
        and p.prorettype not in ('internal'::regtype, 'trigger'::regtype, 'void'::regtype)
    order by 1, 2
"""
_OPERATORS = """
    select o.oprname as name, array_remove(array[l.typname, r.typname], null)::text[] as arguments
    from pg_operator o left join pg_type l on l.oid = o.oprleft
        join pg_type r on r.oid = o.oprright
    where o.oprnamespace = 'pg_catalog'::regnamespace order by 1, 2
"""
_CASTS = """
    select t.typname as name, array[s.typname]::text[] as arguments
    from pg_cast c join pg_type s on s.oid = c.castsource join pg_type t on t.oid = c.casttarget
    union select t.typname, array[s.typname]::text[] from pg_type s, pg_type t
        where t.typname in ('text', 'varchar', 'int4', 'jsonb') and s.typtype = 'b'
    order by 1, 2
"""


@dataclass
class SweepReport:
    """How many calls were described and executed, and which descriptions were wrong."""

    described: int = 0
    not_null: int = 0
    calls: int = 0
    unsound: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Call:
    sql_of: Callable[[str, list[str]], str]
    name: str
    kinds: list[str]

    def over(self, values: tuple[str, ...]) -> str:
        """Return the SQL of the call with these values."""
        constants = [
            f"'{value}'::{_quoted(kind)}" for value, kind in zip(values, self.kinds, strict=True)
        ]
        return self.sql_of(self.name, constants)

    def combinations(self, at_most: int) -> list[tuple[str, ...]]:
        """Return combinations of values for its arguments, evenly chosen if there are too many."""
        product = list(itertools.product(*(_VALUES[kind] for kind in self.kinds)))
        return product[:: len(product) // at_most + 1]


async def sweep(data: PostgresDataSets, describe: Describe, most_calls: int) -> SweepReport:
    """Describe a call of each function, and execute those that are described as NOT NULL.

    :param most_calls: the largest number of combinations of values for one function.
    """
    connection, found = data.connection("empty"), SweepReport()
    calls = []
    for query, sql_of in ((_FUNCTIONS, _function), (_OPERATORS, _operator), (_CASTS, _cast)):
        for name, arguments in await connection.fetch(query):
            kinds = [_INSTEAD.get(kind, kind) for kind in arguments]
            if all(kind in _VALUES for kind in kinds):
                calls.append(_Call(sql_of, name, kinds))
    for at in range(0, len(calls), BATCH):
        for call, why in await _described_not_null(describe, calls[at : at + BATCH], found):
            await _try(connection, call, why, most_calls, found)
    return found


async def _described_not_null(
    describe: Describe, calls: list[_Call], found: SweepReport
) -> list[tuple[_Call, str]]:
    """Return the calls that are described as NOT NULL, and why.

    All are described in one statement; if it is refused, each half is described by itself.
    """
    listed = ", ".join(call.over(call.combinations(1)[-1]) for call in calls)
    try:
        columns = (await describe(f"select {listed}", frozenset())).columns
    except (Refused, CannotRun):
        if len(calls) == 1:
            return []  # no such function for these types
        half = len(calls) // 2
        first = await _described_not_null(describe, calls[:half], found)
        return first + await _described_not_null(describe, calls[half:], found)
    found.described += len(calls)
    pairs = zip(calls, columns, strict=True)
    not_null = [(call, column.why) for call, column in pairs if not column.nullable]
    found.not_null += len(not_null)
    return not_null


async def _try(
    connection: asyncpg.Connection, call: _Call, why: str, most_calls: int, found: SweepReport
) -> None:
    for values in call.combinations(most_calls):
        found.calls += 1
        if await _is_null(connection, call.over(values)):
            found.unsound.append(f"{call.over(values)}: {why}")
            return


async def _is_null(connection: asyncpg.Connection, expression: str) -> bool:
    try:
        return bool(await connection.fetchval(f"select {expression} is null", timeout=5))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, OverflowError):
        return False  # a value that it does not accept


def _function(name: str, arguments: list[str]) -> str:
    return f'(pg_catalog."{name}"({", ".join(arguments)}))'


def _operator(name: str, arguments: list[str]) -> str:
    return f"({f' operator(pg_catalog.{name}) '.join(['', *arguments][-2:])})"


def _cast(name: str, arguments: list[str]) -> str:
    return f"({arguments[0]}::{_quoted(name)})"


def _quoted(kind: str) -> str:
    return "varbit" if kind == "varbit" else f'pg_catalog."{kind}"' if kind != "mood" else kind
