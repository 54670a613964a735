"""The judgement of a case, compared with its description and with its execution."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from tests.describe.writes.execution import Describe, Written
from tests.describe.writes.judged import NOT_NULL_VIOLATION, WriteCase
from tests.describe.writes.verdict import findings


class WritingDatabase(Protocol):
    """A database that executes statements and rolls them back."""

    family: str

    async def run(self, sql: str, values: dict[str, Any], set_up: str = "") -> Written:
        """Execute SQL with `:name` parameters, after the statements of `set_up`."""
        ...


async def description_failures(cases: Iterable[WriteCase], describe: Describe) -> list[str]:
    """Return the differences between what is found and what must be found."""
    lines = []
    for case in cases:
        found = findings(await describe(case.sql, case.never_null), case.never_null)
        lines += [_line(case, f"{each} is not found") for each in case.missing(found)]
        lines += [_line(case, f"{each} is found") for each in case.wrong(found)]
    return lines


async def execution_failures(cases: Iterable[WriteCase], database: WritingDatabase) -> list[str]:
    """Execute cases with each Optional parameter bound to None, and with values."""
    lines = []
    for case in cases:
        for none in (True, False) if case.optional else (True,):
            values = case.bound(to_none=none)
            written = await database.run(case.sql, values, case.set_up)
            errors = (case.error,) if case.error else NOT_NULL_VIOLATION[database.family]
            label = "with None" if none else "with values"
            found = _differences(case, written, errors, none=none)
            lines += [_line(case, f"{each} {label}") for each in found]
    return lines


def _differences(
    case: WriteCase, written: Written, errors: tuple[str, ...], *, none: bool
) -> list[str]:
    if case.fails_when(none=none):
        return [] if written.code in errors else [f"{written} instead of the error {errors}"]
    if written.code:
        return [f"fails: {written.error}"]
    is_idle = case.writes_nothing or (none and case.writes_nothing_with_none)
    is_right = case.writes_elsewhere or (written.rows == 0) == is_idle
    return [] if is_right else [f"{written.rows} rows are written"]


def _line(case: WriteCase, text: str) -> str:
    return f"{case.name}: {text}\n  {case.sql.strip()}"
