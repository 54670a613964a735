"""Random statements on PostgreSQL: no column that is described as NOT NULL may be NULL.

make fuzz SECONDS=600 SEED=7                                   longer, with a given seed
make fuzz SECONDS=1200 SEED=7 ARGS='-k "random and wheel"'     only the PostgreSQL of the wheel
make fuzz SECONDS=1200 SEED=7 ARGS='-k "random and system"'    only the one of the system
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from dataclasses import replace

import pytest

from sqla_typedpool.check import Description
from sqla_typedpool.embedded import Postgres
from tests.describe.execution import postgres_data_sets
from tests.describe.soundness.fuzz import SCHEMA, FuzzReport, fuzz, postgres_describe
from tests.describe.soundness.generator import random_statement
from tests.describe.soundness.sweep import sweep

GIVEN_SECONDS = os.environ.get("SQLA_TYPEDPOOL_FUZZ_SECONDS")
SECONDS = float(GIVEN_SECONDS or 150)
STATEMENTS = 10**9 if GIVEN_SECONDS else 400
# The short run always has the same seed, so that it fails only after a change.
FIXED_SEED = None if GIVEN_SECONDS else "1"
SEED = int(os.environ.get("SQLA_TYPEDPOOL_FUZZ_SEED") or FIXED_SEED or random.randrange(10**6))


def log(line: str) -> None:
    """Write to the terminal during the run (pytest -s)."""
    sys.stderr.write(f"{line}\n\n")


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(SECONDS + 120)
def test_no_random_column_is_wrongly_described_as_not_null(server: Postgres) -> None:
    report = asyncio.run(fuzz(server, SEED, seconds=SECONDS, statements=STATEMENTS, log=log))
    log(f"seed {SEED}, PostgreSQL {server.version}: {report}")
    assert not report.failures, f"seed {SEED}: {report}\n\n" + "\n\n".join(report.failures)
    assert report.accepted >= 0.8 * report.statements, f"too many were refused: {report}"
    assert report.tested >= 500 or GIVEN_SECONDS, f"too few columns were tested: {report}"


@pytest.mark.postgres
@pytest.mark.timeout(180)
def test_no_builtin_function_described_as_not_null_returns_null(server: Postgres) -> None:
    async def main() -> None:
        async with (
            postgres_data_sets(server, SCHEMA) as data,
            postgres_describe(server) as describe,
        ):
            found = await sweep(data, describe, 150 if GIVEN_SECONDS else 20)
        assert not found.unsound, "\n".join(found.unsound)
        assert found.not_null > 500, f"{found.not_null} of {found.described} are NOT NULL"

    asyncio.run(main())


@pytest.mark.postgres
@pytest.mark.timeout(120)
def test_the_fuzzer_finds_a_describer_that_describes_everything_as_not_null(
    postgres: Postgres,
) -> None:
    async def main() -> FuzzReport:
        async with postgres_data_sets(postgres, SCHEMA), postgres_describe(postgres) as correct:

            async def describe(sql: str, never_null: frozenset[str]) -> Description:
                found = await correct(sql, never_null)
                wrong = (replace(each, nullable=False, why="a wrong one") for each in found.columns)
                return replace(found, columns=tuple(wrong))

            return await fuzz(postgres, 1, seconds=30, statements=3, describe=describe)

    report = asyncio.run(main())
    assert report.failures
    assert "is described as NOT NULL and was NULL: a wrong one" in report.failures[0]


def test_one_seed_generates_the_same_statement_each_time() -> None:
    assert random_statement("7:1", 15) == random_statement("7:1", 15)
    assert random_statement("7:1", 15) != random_statement("7:2", 15)
