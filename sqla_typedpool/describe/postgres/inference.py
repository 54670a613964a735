"""The table of all rules: from the kind of a node to the function that infers its nullability.

A kind that is not in the table may be NULL: a later version of PostgreSQL may add kinds.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqla_typedpool.describe.postgres import calls, columns, expressions
from sqla_typedpool.describe.postgres.scope import Rule

RULES: Mapping[str, Rule] = {
    "VAR": columns.variable,
    "CONST": expressions.constant,
    "PARAM": expressions.parameter,
    "FUNCEXPR": calls.function,
    "OPEXPR": calls.operator,
    "AGGREF": calls.aggregate,
    "WINDOWFUNC": calls.window,
    "SCALARARRAYOPEXPR": expressions.array_comparison,
    "BOOLEXPR": expressions.boolean,
    "COALESCEEXPR": expressions.first_not_null("COALESCE"),
    "MINMAXEXPR": expressions.first_not_null("GREATEST, LEAST"),
    "CASEEXPR": expressions.case,
    "NULLTEST": expressions.always("IS NULL is true or false"),
    "BOOLEANTEST": expressions.always("IS TRUE is true or false"),
    "DISTINCTEXPR": expressions.distinct,
    "SUBLINK": expressions.sublink,
    "ARRAYEXPR": expressions.always("ARRAY[...] is never NULL"),
    "ROWEXPR": expressions.always("ROW(...) is never NULL"),
    "SQLVALUEFUNCTION": expressions.value_function,
    "GROUPINGFUNC": expressions.always("GROUPING() is never NULL"),
    "MERGESUPPORTFUNC": expressions.always("merge_action() is never NULL"),
    "RELABELTYPE": expressions.same_as("arg"),
    "COERCEVIAIO": expressions.same_as("arg"),
    "ARRAYCOERCEEXPR": expressions.same_as("arg"),
    "CONVERTROWTYPEEXPR": expressions.same_as("arg"),
    "COERCETODOMAIN": expressions.same_as("arg"),
    "COLLATEEXPR": expressions.same_as("arg"),
    "NAMEDARGEXPR": expressions.same_as("arg"),
    "JSONCONSTRUCTOREXPR": expressions.json_constructor,
    "JSONISPREDICATE": expressions.same_as("expr"),
}
