"""What typed writes report agrees with what is stored, whatever is cancelled, refused or changed.

make cancellations COUNT=10000 SEED=7      makes more calls, with the given seed
"""

from __future__ import annotations

import os
import random
import sys
from typing import TYPE_CHECKING

import pytest

from sqla_typedpool.fetch.fast import path
from tests.chaos.fetch_ledger_run import LedgerRun
from tests.support.engines import by_loop, run
from tests.support.fetch_lab import DRIVERS

if TYPE_CHECKING:
    from pathlib import Path

COUNT = int(os.environ.get("SQLA_TYPEDPOOL_CANCELLATIONS") or 300)
SEED = os.environ.get("SQLA_TYPEDPOOL_CANCELLATIONS_SEED")
FIXTURES = {"postgresql": "postgres", "mysql": "mariadb"}


@pytest.mark.slow
@pytest.mark.timeout(60 + COUNT / 5)
@by_loop
@pytest.mark.parametrize(
    "driver",
    [
        pytest.param(driver, marks=[getattr(pytest.mark, FIXTURES[family])])
        if family in FIXTURES
        else driver
        for driver, family in DRIVERS.items()
    ],
)
def test_the_ledger_of_typed_writes_agrees_with_the_table(
    driver: str, loop: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    pytest.importorskip(driver)
    fixture = FIXTURES.get(DRIVERS[driver])
    url = f"sqlite+aiosqlite:///{tmp_path / 'file.db'}"
    if fixture is not None:
        url = request.getfixturevalue(fixture).url(driver)
    seed = int(SEED) if SEED else random.SystemRandom().randrange(10**9)
    ledger_run = LedgerRun(driver, url, COUNT, seed)
    summary = run(ledger_run.run(), loop)
    if driver in path._DRIVERS:
        assert ledger_run.paths["fast"] > COUNT / 10, summary
        assert ledger_run.paths["slow"] > COUNT / 10, summary
    if COUNT > 300:
        sys.stdout.write(f"\n{loop}, {summary}\n")
