"""Random statements: what is called NOT NULL is never NULL, in some seconds or in an hour.

make fuzz SECONDS=600 SEED=7      for longer, and with a certain seed
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from dataclasses import replace

import pytest

from sqla_typedpool.describe.model import Description
from sqla_typedpool.embedded import Postgres
from tests.describe.soundness.fuzz import Tally, fuzz, postgres_describe
from tests.describe.soundness.generator import statement
from tests.describe.soundness.judge import court
from tests.describe.soundness.sweep import sweep

ASKED = os.environ.get("SQLA_TYPEDPOOL_FUZZ_SECONDS")
SECONDS = float(ASKED or 150)
STATEMENTS = 10**9 if ASKED else 400
FIXED = None if ASKED else "1"  # the short run is the same each time, so that it fails for a reason
SEED = int(os.environ.get("SQLA_TYPEDPOOL_FUZZ_SEED") or FIXED or random.randrange(10**6))


def say(line: str) -> None:
    """To the terminal, while it goes on (pytest -s)."""
    sys.stderr.write(f"{line}\n\n")


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(SECONDS + 120)
def test_no_random_column_is_called_not_null_wrongly(server: Postgres) -> None:
    tally = asyncio.run(fuzz(server, SEED, seconds=SECONDS, statements=STATEMENTS, say=say))
    say(f"seed {SEED}, PostgreSQL {server.version}: {tally}")
    assert not tally.found, f"seed {SEED}: {tally}\n\n" + "\n\n".join(tally.found)
    assert tally.accepted >= 0.8 * tally.statements, f"too much was refused: {tally}"
    assert tally.put_to_test >= 500 or ASKED, f"too little was put to the test: {tally}"


@pytest.mark.postgres
@pytest.mark.timeout(180)
def test_no_catalogue_function_called_not_null_returns_null_for_other_values(
    server: Postgres,
) -> None:
    async def main() -> None:
        async with court(server) as bench, postgres_describe(server) as describe:
            found = await sweep(bench, describe, 150 if ASKED else 20)
        assert not found.unsound, "\n".join(found.unsound)
        assert found.not_null > 500, f"only {found.not_null} of {found.described} are trusted"

    asyncio.run(main())


@pytest.mark.postgres
@pytest.mark.timeout(120)
def test_a_describer_that_trusts_everything_is_found_out(postgres: Postgres) -> None:
    """The fuzzer can fail: this one says NOT NULL of all."""

    async def main() -> Tally:
        async with court(postgres), postgres_describe(postgres) as honest:

            async def describe(sql: str, never_null: frozenset[str]) -> Description:
                said = await honest(sql, never_null)
                trusted = (replace(each, nullable=False, why="so I say") for each in said.columns)
                return replace(said, columns=tuple(trusted))

            return await fuzz(postgres, 1, seconds=30, statements=3, describe=describe)

    tally = asyncio.run(main())
    assert tally.found
    assert "is called NOT NULL and was NULL: so I say" in tally.found[0]


def test_the_same_seed_makes_the_same_statements() -> None:
    assert statement("7:1", 15) == statement("7:1", 15)
    assert statement("7:1", 15) != statement("7:2", 15)
