"""What the database says of statements that are not run, compared with what was declared."""

from .describe import describe
from .model import (
    CannotRun,
    ColumnDescription,
    Description,
    Finding,
    ParameterDescription,
    Refused,
    Severity,
)

__all__ = [
    "CannotRun",
    "ColumnDescription",
    "Description",
    "Finding",
    "ParameterDescription",
    "Refused",
    "Severity",
    "describe",
]
