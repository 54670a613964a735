"""What a cancelled request did does not reach the next borrower of its connection.

make cancellations COUNT=10000 SEED=7      cancels more requests, with the given seed
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sqla_typedpool._sqlalchemy.asyncpg_adapter import forget_transaction
from sqla_typedpool._sqlalchemy.record import HookedRecord
from sqla_typedpool.pool.drivers.asyncpg import Asyncpg
from sqla_typedpool.pool.drivers.base import never_in_transaction
from sqla_typedpool.pool.entry import PoolEntry
from tests.chaos.cancellation_run import CancellationRun
from tests.support.engines import by_loop, run

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres

COUNT = int(os.environ.get("SQLA_TYPEDPOOL_CANCELLATIONS") or 300)
SEED = os.environ.get("SQLA_TYPEDPOOL_CANCELLATIONS_SEED")


@pytest.mark.slow
@pytest.mark.timeout(60 + COUNT / 10)
@by_loop
def test_no_session_carries_over_what_a_cancelled_request_did(
    postgres: Postgres, loop: str
) -> None:
    seed = int(SEED) if SEED else random.SystemRandom().randrange(10**9)
    summary = run(CancellationRun(postgres, COUNT, seed).run(), loop)
    if COUNT > 300:
        sys.stdout.write(f"\n{loop}, {summary}\n")


# ------------------------------------------------------------ tests of the checks themselves
#
# A pool that keeps every cancelled connection after a mere ROLLBACK is found out.


def keep_after_rollback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep each connection whose statement was cancelled; its return rolls back."""

    def invalidate(self: PoolEntry, e: BaseException | None = None, soft: bool = False) -> None:
        if soft or not isinstance(e, asyncio.CancelledError):
            HookedRecord.invalidate(self, e, soft)
        elif self.dbapi_connection is not None:
            forget_transaction(self.dbapi_connection)

    monkeypatch.setattr(PoolEntry, "invalidate", invalidate)


FOUND = {
    # the kind of requests: what is found
    "lock_for_session": "advisory_locks is 1, not 0",
    "commit_settings": "settings is work_mem=",
    "commit_role": "role is typedpool",
    "commit_temporary_table": "temporary_tables is 1, not 0",
    "change_role_with_autocommit": "role is typedpool",
    "use_stale_stream": "use_stale_stream, in stale stream",
    "listen_through_driver": "channels is 1, not 0",
}


@pytest.mark.parametrize(("kind", "found"), FOUND.items())
def test_a_pool_that_keeps_cancelled_connections_after_a_mere_rollback_is_found_out(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, kind: str, found: str
) -> None:
    keep_after_rollback(monkeypatch)
    with pytest.raises(AssertionError, match=found):
        run(CancellationRun(postgres, 300, 1, kinds=[kind]).run())


@pytest.mark.parametrize("kind", ["read", "write", "fetch_on_connection"])
def test_a_pool_that_keeps_cancelled_connections_without_a_rollback_is_found_out(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    async def end_cancel_only(self: Asyncpg, connection: Any) -> None:
        await connection._protocol._wait_for_cancellation()
        connection._top_xact = None

    keep_after_rollback(monkeypatch)
    monkeypatch.setattr(Asyncpg, "roll_back", end_cancel_only)
    monkeypatch.setattr(Asyncpg, "make_transaction_check", lambda *_: never_in_transaction)
    monkeypatch.setattr(Asyncpg, "make_probe", lambda _, connection: connection.is_closed)
    found = r"transaction began|transaction_id is|manually started"
    with pytest.raises(AssertionError, match=found):
        run(CancellationRun(postgres, 300, 1, kinds=[kind]).run())
