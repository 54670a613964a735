"""What was said of a statement, against what it returned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from sqla_typedpool.describe.model import ColumnDescription, Description
from sqla_typedpool.errors import CannotRun, Refused

from .generator import Statement
from .judge import Court, Outcome

Describe = Callable[[str, frozenset[str]], Awaitable[Description]]


@dataclass(frozen=True)
class Verdict:
    """One statement, described and run."""

    statement: Statement
    described: Description | None
    refusal: str
    """Why it was not described."""
    runs: tuple[Outcome, ...]
    """Over the data sets with which it did not fail."""

    @property
    def columns(self) -> tuple[ColumnDescription, ...]:
        """As they were described."""
        return self.described.columns if self.described else ()

    @property
    def has_rows(self) -> bool:
        """Whether there was a row to be NULL in."""
        return any(run.rows for run in self.runs)

    @property
    def nulls(self) -> frozenset[int]:
        """The columns that were NULL at least once, from 0."""
        return frozenset[int]().union(*(run.nulls for run in self.runs))

    def faults(self) -> dict[str, list[str]]:
        """What is wrong with the description: by kind of fault, one sentence each."""
        if not self.runs:
            return {}
        if self.described is None:
            return {"refusal": [f"wrongly refused: {self.refusal}"]}
        names = tuple(column.name for column in self.columns)
        if any(run.names != names for run in self.runs):
            return {"names": [f"columns {self.runs[0].names} are described as {names}"]}
        found = {
            "unsound": list(self._unsound()),
            "torn": list(self._torn()),
            "type": list(self._mistyped()),
        }
        return {kind: sentences for kind, sentences in found.items() if sentences}

    def _unsound(self) -> Iterator[str]:
        for at in sorted(self.nulls):
            column = self.columns[at]
            if not column.nullable:
                yield f"{_called(at, column)} is called NOT NULL and was NULL: {column.why}"

    def _torn(self) -> Iterator[str]:
        """Columns that are missing with the same relation, and were not NULL together."""
        for relation in {column.missing_with for column in self.columns} - {None}:
            group = {at for at, each in enumerate(self.columns) if each.missing_with == relation}
            for pattern in frozenset[frozenset[int]]().union(*(run.patterns for run in self.runs)):
                if pattern & group not in (frozenset(), group):
                    missing = ", ".join(_called(at, self.columns[at]) for at in sorted(group))
                    yield f"{missing}: missing with {relation}, and only {set(pattern & group)}"

    def _mistyped(self) -> Iterator[str]:
        found = frozenset[tuple[int, type]]().union(*(run.types for run in self.runs))
        for at, kind in sorted(found, key=str):
            column = self.columns[at]
            if column.python_type not in (None, kind):
                yield f"{_called(at, column)}, {column.type}, is no {column.python_type} but {kind}"


def _called(at: int, column: ColumnDescription) -> str:
    return f"column {at + 1} ({column.name})"


async def verdict_of(one: Statement, describe: Describe, bench: Court) -> Verdict:
    """Describe a statement, run it over all data sets, and keep both."""
    described, refusal = None, ""
    try:
        described = await describe(one.sql, one.never_null)
    except (Refused, CannotRun) as error:
        refusal = f"{type(error).__name__}: {error}"
    except Exception as error:
        refusal = f"crashed with {type(error).__name__}: {error}"
    outcomes = (await bench.outcomes(one.sql, values=one.values)).values()
    return Verdict(one, described, refusal, tuple(run for run in outcomes if not run.error))
