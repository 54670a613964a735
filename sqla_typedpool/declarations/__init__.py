"""Write Python declarations for a description: row classes, and declared queries."""

from __future__ import annotations

from sqla_typedpool.declarations.module import QUERY, code_of_query, code_of_row
from sqla_typedpool.declarations.parameters import optional_parameters
from sqla_typedpool.declarations.row_kinds import ROW_KINDS

__all__ = ["QUERY", "ROW_KINDS", "code_of_query", "code_of_row", "optional_parameters"]
