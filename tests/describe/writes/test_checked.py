"""The checker reports what was judged by hand, for a declared query of each statement."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from sqla_typedpool.check.compare import compare
from sqla_typedpool.check.describing import compile_query
from sqla_typedpool.check.model import Finding
from sqla_typedpool.embedded import Postgres
from sqla_typedpool.queries import QueryInfo
from tests.describe.writes.execution import writes_database, writes_describer
from tests.describe.writes.judged import WriteCase, load
from tests.support.check_lab import declare

CASES = load("postgresql")


@pytest.mark.postgres
@pytest.mark.parametrize("subject", CASES)
def test_the_checker_reports_the_judged_findings(server: Postgres, subject: str) -> None:
    async def main() -> list[str]:
        async with writes_database(server) as database, writes_describer(server) as describe:
            wrong = []
            for case in CASES[subject]:
                if database.accepts(case.since, case.needs):
                    info = declared(case)
                    never_null = frozenset(compile_query(info, "postgresql").never_null)
                    description = await describe(info.statement, never_null)
                    wrong += _differences(case, set(reported(compare(info, description))))
            return wrong

    wrong = asyncio.run(main())
    assert not wrong, "\n".join(wrong)


def declared(case: WriteCase) -> QueryInfo:
    """Return a query whose parameters are annotated as the case has them."""
    return declare(case.sql, None, **{name: _annotation(case, name) for name in case.values})


def _annotation(case: WriteCase, name: str) -> Any:
    value = case.values[name]
    found: Any = list[str] if isinstance(value, list) else type(value)
    return found | None if name in case.optional else found


def reported(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield the codes: "TP502 name" with its parameter, and "TP501" or "TP503" without a column."""
    for each in findings:
        if each.code == "TP502":
            yield f"TP502 {each.subject}"
        elif each.code in ("TP501", "TP503"):
            yield each.code


def _differences(case: WriteCase, codes: set[str]) -> list[str]:
    """Compare the codes and parameters; the columns are compared in `test_judged.py`."""
    expected = [set(map(_without_column, each.split("|"))) for each in case.findings]
    allowed = set(map(_without_column, case.also)).union(*expected)
    lines = [f"{each} is not reported" for each in expected if not each & codes]
    lines += [f"{each} is reported" for each in sorted(codes - allowed)]
    return [f"{case.name}: {line}\n  {case.sql.strip()}" for line in lines]


def _without_column(line: str) -> str:
    """Return "TP502 name" for "TP502 name -> author.name", and "TP501" for "TP501 author.name"."""
    code, rest = line.split(" ", 1)
    return f"{code} {rest.split(' -> ')[0]}" if " -> " in rest else code
