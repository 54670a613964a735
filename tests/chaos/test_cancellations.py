"""What a cancelled request did does not reach the next borrower of its connection.

make cancellations COUNT=10000 SEED=7      cancels more requests, with the given seed
"""

from __future__ import annotations

import os
import random
import sys
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection
from sqlalchemy.pool.base import _ConnectionRecord
from sqlalchemy.util import LRUCache

from sqla_typedpool._sqlalchemy.asyncpg_adapter import (
    AsyncpgAdapter,
    WatchedStatements,
    forget_transaction,
    statements_of,
)
from sqla_typedpool._sqlalchemy.record import HookedRecord
from sqla_typedpool.pool import backend
from sqla_typedpool.pool.drivers import asyncpg as driver
from sqla_typedpool.pool.drivers.base import never_in_transaction
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
# Without any one of its precautions, a pool that keeps cancelled connections is found out.

FOUND = {
    # what is left out, the kinds of requests: what is found
    ("the unlock", "lock_for_session"): "advisory_locks is 1, not 0",
    ("the check", "prepare_by_sql"): "prepared_by_sql is 1, not 0",
    ("the rollback", "write"): "transaction_id is|transaction began|manually started",
    ("the rollback", "fetch_on_connection"): "transaction began|manually started",
    ("the note of a commit", "commit_settings"): "settings is work_mem=",
    ("the note of a commit", "commit_role"): "role is typedpool",
    ("the note of SQL", "commit_role_by_sql"): "role is typedpool",
    ("the note of autocommit", "change_role_with_autocommit"): "role is typedpool",
    ("the note of the driver's connection", "set_through_driver"): "settings is work_mem=",
    ("the reset of the isolation level", "change_isolation read"): "isolation is serializable",
    # the old cursor is closed, or its connection is returned, while the next borrower uses it
    ("the end of the borrower's cursors", "use_stale_stream"): "in (stale stream|return)",
}


def leave_out(monkeypatch: pytest.MonkeyPatch, precaution: str) -> None:
    """Remove one of the precautions that the pool takes when it keeps a connection."""
    replace = monkeypatch.setattr
    stock = AsyncAdapt_asyncpg_connection
    if precaution == "the unlock":
        replace(driver, "_UNLOCK_AND_CHECK", "SELECT WHERE false")
    elif precaution == "the check":
        replace(driver, "_UNLOCK_AND_CHECK", "SELECT pg_advisory_unlock_all(); SELECT WHERE false")
    elif precaution == "the rollback":
        replace(driver, "_end_statement", wait_for_the_cancel_request)
        replace(driver.Asyncpg, "make_transaction_check", lambda *_: never_in_transaction)
        replace(driver.Asyncpg, "make_probe", lambda _, connection: connection.is_closed)
    elif precaution == "the note of a commit":
        replace(AsyncpgAdapter, "commit", stock.commit)
    elif precaution == "the note of SQL":
        replace(WatchedStatements, "__setitem__", LRUCache.__setitem__)
    elif precaution == "the note of autocommit":
        replace(AsyncpgAdapter, "set_isolation_level", stock.set_isolation_level)
        replace(driver, "is_undone_by_rollback", lambda _: True)
    elif precaution == "the note of the driver's connection":
        replace(AsyncpgAdapter, "driver_connection", property(lambda self: self._connection))
        replace(HookedRecord, "driver_connection", _ConnectionRecord.driver_connection)
        replace(backend, "note_driver_use", lambda _: None)
    elif precaution == "the reset of the isolation level":
        replace(HookedRecord, "complete_return", lambda *_: None)
    else:
        replace(driver, "release", forget_transaction)
        replace(driver.Asyncpg, "set_aside", without_a_new_number(driver.Asyncpg.set_aside))


async def wait_for_the_cancel_request(connection: Any, *_: object) -> None:
    await connection._protocol._wait_for_cancellation()
    connection._top_xact = None


def without_a_new_number(set_aside: Any) -> Any:
    """Let asyncpg's cursors of the last borrower remain valid."""

    def changed(self: Any, connection: Any, adapted: Any, record: Any) -> Any:
        number = connection._pool_release_ctr
        result = set_aside(self, connection, adapted, record)
        connection._pool_release_ctr = number
        for prepared in [] if result is None else statements_of(result.adapted):
            prepared._con_release_ctr = number
        return result

    return changed


@pytest.mark.parametrize(("what", "found"), FOUND.items(), ids=map(" of ".join, FOUND))
def test_a_pool_that_keeps_connections_without_a_precaution_is_found_out(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, what: tuple[str, str], found: str
) -> None:
    precaution, kinds = what
    leave_out(monkeypatch, precaution)
    with pytest.raises(AssertionError, match=found):
        run(CancellationRun(postgres, 3000, 1, kinds=kinds.split()).run())
