"""The description of a statement, compared with what the statement returns when it is executed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from sqla_typedpool.check import CannotRun, ColumnDescription, Description, Refused
from tests.describe.execution import DataSets, Outcome

Describe = Callable[[str, frozenset[str]], Awaitable[Description]]
"""Describes SQL text, given the names of the parameters that are never None."""


@dataclass(frozen=True)
class Statement:
    """A statement with the values of its parameters."""

    sql: str
    values: dict[str, object]
    never_null: frozenset[str]
    """Parameters that are described as never None."""


@dataclass(frozen=True)
class Result:
    """One statement, described and executed."""

    statement: Statement
    described: Description | None
    refusal: str
    """Why it was not described."""

    outcomes: tuple[Outcome, ...]
    """The outcomes over the data sets on which it succeeded."""

    @property
    def columns(self) -> tuple[ColumnDescription, ...]:
        """The columns as described."""
        return self.described.columns if self.described else ()

    @property
    def has_rows(self) -> bool:
        """Whether it returned at least one row."""
        return any(outcome.rows for outcome in self.outcomes)

    @property
    def nulls(self) -> frozenset[int]:
        """The columns, from 0, that were NULL in at least one row."""
        return frozenset[int]().union(*(outcome.nulls for outcome in self.outcomes))

    def failures(self) -> dict[str, list[str]]:
        """Return what is wrong with the description: sentences, by kind of failure."""
        if not self.outcomes:
            return {}
        if self.described is None:
            return {"refusal": [f"wrongly refused: {self.refusal}"]}
        names = tuple(column.name for column in self.columns)
        if any(outcome.names != names for outcome in self.outcomes):
            return {"names": [f"columns {self.outcomes[0].names} are described as {names}"]}
        found = {
            "unsound": list(self._unsound()),
            "missing_with": list(self._not_missing_together()),
            "type": list(self._wrong_types()),
        }
        return {kind: sentences for kind, sentences in found.items() if sentences}

    def _unsound(self) -> Iterator[str]:
        for at in sorted(self.nulls):
            column = self.columns[at]
            if not column.nullable:
                yield f"{_label(at, column)} is described as NOT NULL and was NULL: {column.why}"

    def _not_missing_together(self) -> Iterator[str]:
        """Find columns with one `missing_with` of which only some were NULL in a row."""
        null_sets = frozenset[frozenset[int]]().union(*(each.null_sets for each in self.outcomes))
        for relation in {column.missing_with for column in self.columns} - {None}:
            group = {at for at, each in enumerate(self.columns) if each.missing_with == relation}
            for nulls in null_sets:
                if nulls & group not in (frozenset(), group):
                    labels = ", ".join(_label(at, self.columns[at]) for at in sorted(group))
                    yield f"{labels}: missing with {relation}, but only {set(nulls & group)} NULL"

    def _wrong_types(self) -> Iterator[str]:
        found = frozenset[tuple[int, type]]().union(*(each.types for each in self.outcomes))
        for at, kind in sorted(found, key=str):
            column = self.columns[at]
            if column.python_type not in (None, kind):
                label = f"{_label(at, column)}, {column.type}"
                yield f"{label}, returned {kind} and not {column.python_type}"


def _label(at: int, column: ColumnDescription) -> str:
    return f"column {at + 1} ({column.name})"


async def check_by_execution(statement: Statement, describe: Describe, data: DataSets) -> Result:
    """Describe a statement and execute it over all data sets."""
    described, refusal = None, ""
    try:
        described = await describe(statement.sql, statement.never_null)
    except (Refused, CannotRun) as error:
        refusal = f"{type(error).__name__}: {error}"
    except Exception as error:
        refusal = f"crashed with {type(error).__name__}: {error}"
    outcomes = (await data.run(statement.sql, values=statement.values)).values()
    return Result(statement, described, refusal, tuple(each for each in outcomes if not each.error))
