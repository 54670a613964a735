"""Random statements that write on PostgreSQL: TP501 and TP502 are found only if they fail.

make fuzz SECONDS=600 SEED=7 ARGS="-k random_writes"     longer, with a given seed
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from dataclasses import replace

import pytest

from sqla_typedpool.check import Description
from sqla_typedpool.describe.writes import ColumnWrite, TargetColumn, ValueSource, WriteAction
from sqla_typedpool.embedded import Postgres
from tests.describe.writes.fuzz.run import fuzz_writes
from tests.describe.writes.fuzz.statements import random_write
from tests.describe.writes.fuzz.tables import random_tables

GIVEN_SECONDS = os.environ.get("SQLA_TYPEDPOOL_FUZZ_SECONDS")
SECONDS = float(GIVEN_SECONDS or 60)
STATEMENTS = 10**9 if GIVEN_SECONDS else 300
# The short run always has the same seed, so that it fails only after a change.
FIXED_SEED = None if GIVEN_SECONDS else "1"
SEED = int(os.environ.get("SQLA_TYPEDPOOL_FUZZ_SEED") or FIXED_SEED or random.randrange(10**6))

LEAST_REPORTED = 0.95
"""The least share of the statements that fail with 23502 for which something is found."""


def log(line: str) -> None:
    """Write to the terminal during the run (pytest -s)."""
    sys.stderr.write(f"{line}\n\n")


@pytest.mark.postgres
@pytest.mark.timeout(SECONDS + 120)
def test_random_writes_with_a_certain_finding_fail(server: Postgres) -> None:
    report = asyncio.run(fuzz_writes(server, SEED, seconds=SECONDS, statements=STATEMENTS, log=log))
    log(f"seed {SEED}, PostgreSQL {server.version}:\n{report}")
    total = report.total
    missed = "\n".join(report.missed[:10])
    assert not report.failures, f"seed {SEED}:\n{report}\n\n" + "\n\n".join(report.failures)
    assert total.other_errors <= 0.15 * total.statements, report.errors.most_common(9)
    assert total.violations >= 0.2 * total.statements, f"too few fail:\n{report}"
    assert total.reported >= LEAST_REPORTED * total.plain, f"{report}\n{missed}"


@pytest.mark.postgres
@pytest.mark.timeout(120)
def test_the_fuzzer_finds_a_describer_that_reports_every_parameter(postgres: Postgres) -> None:
    def change(found: Description) -> Description:
        names = tuple(each.name for each in found.parameters)
        column = TargetColumn("fuzz.t.c", not_null=True)
        wrong = ColumnWrite(WriteAction.UPDATE, column, ValueSource.EXPRESSION, names)
        return replace(found, writes=(*(found.writes or ()), wrong))

    report = asyncio.run(
        fuzz_writes(postgres, 1, seconds=30, statements=60, change=change, shrink_seconds=0.5)
    )
    assert report.failures
    assert "and it succeeds with None" in report.failures[0]


def test_one_seed_makes_the_same_tables_and_statement_each_time() -> None:
    tables = random_tables("7", 15, 5)
    assert tables == random_tables("7", 15, 5) != random_tables("8", 15, 5)
    assert random_write("7:1", tables, 15) == random_write("7:1", tables, 15)
    assert random_write("7:1", tables, 15) != random_write("7:2", tables, 15)
