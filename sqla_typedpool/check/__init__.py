"""Describe statements by a database, without running them, and compare them with declarations."""

from sqla_typedpool.check.model import Finding, Severity
from sqla_typedpool.describe import describe
from sqla_typedpool.describe.model import ColumnDescription, Description, ParameterDescription
from sqla_typedpool.describe.writes import ColumnWrite, TargetColumn, ValueSource, WriteAction
from sqla_typedpool.errors import CannotRun, Refused

__all__ = [
    "CannotRun",
    "ColumnDescription",
    "ColumnWrite",
    "Description",
    "Finding",
    "ParameterDescription",
    "Refused",
    "Severity",
    "TargetColumn",
    "ValueSource",
    "WriteAction",
    "describe",
]
