"""Hand-judged statements: the describer may be cautious, and is never wrong.

The truth of each case was written down before it was run, and PostgreSQL is asked as well: a
column that can be NULL is shown as NULL, one that cannot never is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool.describe import describer
from sqla_typedpool.describe.model import Description
from sqla_typedpool.embedded import Postgres
from tests.describe.soundness.cases import CASES, ROOMS, Case
from tests.describe.soundness.generator import Statement
from tests.describe.soundness.judge import PREFIX, Court, court
from tests.describe.soundness.verdict import Verdict

MOST_CAUTION = 0.1
"""The share of the columns that are never NULL which may be called nullable."""


def in_court(server: Postgres, hearing: Callable[[Court], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with court(server) as bench:
            await hearing(bench)

    asyncio.run(main())


async def heard(bench: Court, cases: list[Case]) -> list[Case]:
    """The cases that this server understands."""
    features = await bench.features()
    return [case for case in cases if case.since <= bench.major and case.needs in features]


@pytest.mark.postgres
@pytest.mark.parametrize("room", ROOMS)
def test_postgresql_agrees_with_what_was_judged_by_hand(server: Postgres, room: str) -> None:
    async def hearing(bench: Court) -> None:
        wrong = []
        for case in await heard(bench, ROOMS[room]):
            outcomes = await bench.outcomes(
                case.sql, data=case.data, path=case.path, values=case.values
            )
            nulls = frozenset[int]().union(*(outcome.nulls for outcome in outcomes.values()))
            seen = "".join("1" if at in nulls else "0" for at in range(len(case.truth)))
            errors = {outcome.error for outcome in outcomes.values()} - {""}
            if seen != case.truth or errors:
                wrong.append(f"{case.name}: judged {case.truth}, seen {seen} {errors or ''}")
        assert not wrong, "\n".join(wrong)

    in_court(server, hearing)


@pytest.mark.postgres
def test_no_hand_judged_column_is_called_not_null_wrongly(server: Postgres) -> None:
    async def hearing(bench: Court) -> None:
        wrong, cautious, certain = [], 0, 0
        async for case, said in described(server, await heard(bench, CASES)):
            columns = said.columns
            inferred = "".join("1" if column.nullable else "0" for column in columns)
            marks = list(zip(case.truth, inferred, strict=True))
            certain += case.truth.count("0")
            cautious += marks.count(("0", "1"))
            if ("1", "0") in marks:
                why = "".join(f"\n  {column.name}: {column.why}" for column in columns)
                wrong.append(f"{case.name}: {case.truth}, inferred {inferred}\n  {case.sql}{why}")
            wrong += [f"{case.name}: {fault}" for fault in await faults(bench, case, said)]
        assert not wrong, "\n".join(wrong)
        assert cautious <= MOST_CAUTION * certain, f"{cautious} of {certain} needlessly nullable"

    in_court(server, hearing)


async def faults(bench: Court, case: Case, said: Description) -> list[str]:
    """Whatever else is wrong with a description: types, names, what is missing with what."""
    outcomes = await bench.outcomes(case.sql, data=case.data, path=case.path, values=case.values)
    one = Statement(case.sql, dict(case.values), frozenset(case.never_null))
    found = Verdict(one, said, "", tuple(outcomes.values())).faults()
    return [fault for kind in found for fault in found[kind] if kind != "unsound"]


async def described(server: Postgres, cases: list[Case]) -> AsyncIterator[tuple[Case, Description]]:
    """What the describer says of each case, on one connection for each search_path."""
    engine = create_async_engine(server.url("asyncpg", PREFIX + "empty"))
    for path in sorted({case.path for case in cases}):
        async with engine.connect() as connection:
            if path:
                await connection.execute(text(f"set local search_path = {path}"))
            async with describer(connection) as witness:
                for case in cases:
                    if case.path == path:
                        never = case.never_null
                        yield case, await witness.describe(text(case.sql), never_null=never)
    await engine.dispose()
