"""Describe statements by a database, without running them, and compare them with declarations."""

from sqla_typedpool.check.model import Finding, Location, Severity
from sqla_typedpool.describe import describe
from sqla_typedpool.describe.model import ColumnDescription, Description, ParameterDescription
from sqla_typedpool.describe.writes import ColumnWrite, TargetColumn, ValueSource, WriteAction
from sqla_typedpool.errors import CannotRun, Refused
from sqla_typedpool.mapping.dbtypes import DbType

__all__ = [
    "CannotRun",
    "ColumnDescription",
    "ColumnWrite",
    "DbType",
    "Description",
    "Finding",
    "Location",
    "ParameterDescription",
    "Refused",
    "Severity",
    "TargetColumn",
    "ValueSource",
    "WriteAction",
    "describe",
]
