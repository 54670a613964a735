"""Values of PostgreSQL's C enums and flags, as they stand in node trees and catalogs.

Node trees are text, so most values are strings. Only values that are used here are listed. Each
docstring names the C type, or the prefix of the C macros, and the header file in ``src/include/``
of PostgreSQL. The values are the same in PostgreSQL 14 to 18, except that MERGE is new in 15,
and `RteKind.GROUP` and `Returning` are new in 18.
"""

from __future__ import annotations


class CommandType:
    """``CmdType``, nodes/nodes.h."""

    SELECT, UPDATE, INSERT, DELETE, MERGE = "1", "2", "3", "4", "5"


class RteKind:
    """``RTEKind``, nodes/parsenodes.h: what an entry of a query's range table is."""

    RELATION, SUBQUERY, JOIN, FUNCTION = "0", "1", "2", "3"
    VALUES, CTE, GROUP = "5", "6", "9"


class JoinType:
    """``JoinType``, nodes/nodes.h."""

    INNER, LEFT, FULL, RIGHT = "0", "1", "2", "3"


class SetOperation:
    """``SetOperation``, nodes/parsenodes.h."""

    UNION, INTERSECT, EXCEPT = "1", "2", "3"


class GroupingSetKind:
    """``GroupingSetKind``, nodes/parsenodes.h."""

    EMPTY, SIMPLE, SETS = "0", "1", "4"


class MergeMatchKind:
    """``MergeMatchKind``, nodes/primnodes.h."""

    MATCHED, NOT_MATCHED_BY_TARGET = "0", "2"


class Returning:
    """``VarReturningType``, nodes/primnodes.h: plain columns, or those of OLD or NEW."""

    DEFAULT, OLD, NEW = 0, 1, 2


class NullTestType:
    """``NullTestType``, nodes/primnodes.h."""

    IS_NULL, IS_NOT_NULL = "0", "1"


class BoolTestType:
    """``BoolTestType``, nodes/primnodes.h."""

    IS_TRUE, IS_NOT_TRUE, IS_FALSE, IS_NOT_FALSE = "0", "1", "2", "3"
    IS_UNKNOWN, IS_NOT_UNKNOWN = "4", "5"


class SubLinkType:
    """``SubLinkType``, nodes/primnodes.h: how a subquery stands in an expression."""

    EXISTS, ALL, ANY, EXPRESSION, MULTIPLE, ARRAY = "0", "1", "2", "4", "5", "6"


class ParamKind:
    """``ParamKind``, nodes/primnodes.h: ``$1``, or a column of a subquery.

    The subquery is that of ``x IN (...)``, or of ``SET (x, y) = (...)``.
    """

    EXTERNAL, SUBLINK, MULTIPLE = "0", "2", "3"


class CoercionForm:
    """``CoercionForm``, nodes/primnodes.h."""

    EXPLICIT_CAST, IMPLICIT_CAST = "1", "2"


class JsonConstructorType:
    """``JsonConstructorType``, nodes/primnodes.h."""

    OBJECT, ARRAY = "1", "2"


class SqlValueFunction:
    """``SQLValueFunctionOp``, nodes/primnodes.h; CURRENT_SCHEMA is the last one."""

    CURRENT_SCHEMA = 14


class AggregateKind:
    """``AGGKIND_``, catalog/pg_aggregate.h."""

    HYPOTHETICAL = "h"


class FrameOption:
    """``FRAMEOPTION_``, nodes/parsenodes.h: flags of a window's frame."""

    ROWS, GROUPS = 0x4, 0x8
    START_UNBOUNDED_PRECEDING, START_CURRENT_ROW, START_OFFSET_PRECEDING = 0x20, 0x200, 0x800
    END_UNBOUNDED_FOLLOWING, END_CURRENT_ROW, END_OFFSET_FOLLOWING = 0x100, 0x400, 0x4000
    EXCLUDE_CURRENT_ROW, EXCLUDE_GROUP = 0x8000, 0x10000


class RelationKind:
    """``RELKIND_``, catalog/pg_class.h."""

    TABLE, PARTITIONED, MATERIALIZED_VIEW, VIEW = "r", "p", "m", "v"


class TriggerEvent:
    """``TRIGGER_TYPE_``, catalog/pg_trigger.h: flags of ``tgtype``."""

    INSERT, DELETE, UPDATE = 4, 8, 16


class Overriding:
    """``OverridingKind``, nodes/primnodes.h: OVERRIDING USER VALUE."""

    USER_VALUE = "1"


class TypeKind:
    """``TYPTYPE_``, catalog/pg_type.h."""

    COMPOSITE, DOMAIN, ENUM, RANGE, MULTIRANGE = "c", "d", "e", "r", "m"
