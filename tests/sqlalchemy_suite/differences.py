"""The tests of SQLAlchemy that TypedPool does not pass, each with its reason.

A name is `Class.test`, with `[parameters]` or `@driver` if only that case fails. All other tests
must pass. A listed test that passes is an error: remove it from these tables.
"""

from __future__ import annotations

import sqlalchemy

_ON_2_0 = sqlalchemy.__version__.startswith("2.0.")

_PING = "pool_pre_ping: the pool rolls back after a ping that may have begun a transaction"
_CALLS = "it counts the calls of a mock connection; the pool reads a new connection's state"
_FILE = "aiosqlite is not pinged, as a file does not disconnect; pool_pre_ping changes nothing"

# The pool intentionally behaves differently.
BY_DESIGN = {
    "OnConnectTest.test_initialize_connect_calls": (
        "a second connection to an in-memory SQLite database is refused; the error names StaticPool"
    ),
    "DialectEventTest.test_connect_do_connect@asyncpg": _CALLS,
    "DialectEventTest.test_connect_do_connect@psycopg": _CALLS,
    "DialectEventTest.test_connect_replace_params@asyncpg": _CALLS,
    "DialectEventTest.test_connect_replace_params@psycopg": _CALLS,
    "HandleErrorTest.test_alter_invalidate_pool_stays_true": (
        "after one disconnect the other connections are pinged before use, not closed"
    ),
    "PoolEventsTest.test_checkin_event_gc_reference_cycle[is_asyncio]": (
        "a connection that the garbage collector found is returned in the loop's next iteration"
    ),
    "QueuePoolTest.test_dispose_closes_pooled": (
        "a connection that is in use at dispose() is closed when it is returned"
    ),
    "QueuePoolTest.test_fifo": "idle connections are reused last in, first out by default",
    "QueuePoolTest.test_recycle_pool_no_race": (
        "after one disconnect the other connections are pinged before use, not closed"
    ),
    "PrePingMockTest.test_ping_not_on_first_connect": _PING,
    "PrePingMockTest.test_ping_not_on_reconnect": _PING,
    "PrePingMockTest.test_pre_ping_weakref_finalizer": _PING,
    "PrePingRealTest.test_pre_ping_db_is_restarted@aiosqlite": _FILE,
    "PrePingRealTest.test_pre_ping_db_stays_shutdown@aiosqlite": _FILE,
    "RealPrePingEventHandlerTest.test_control@aiosqlite": _FILE,
    "RealPrePingEventHandlerTest.test_event_handler_can_downgrade_disconnect@aiosqlite": _FILE,
    "RealPrePingEventHandlerTest.test_event_handler_didnt_upgrade_disconnect@aiosqlite": _FILE,
}
if _ON_2_0:  # 2.1 no longer tests the order
    BY_DESIGN["QueuePoolTest.test_hanging_connect_within_overflow"] = (
        "the first connection that is opened goes to the caller that has waited longest"
    )

# The test reads or replaces private parts of the stock pool.
PATCHES_INTERNALS = {
    "QueuePoolTest.test_recycle": "replaces time.time; the pool measures age with time.monotonic",
}

# Not run at all: these fail, or may fail, with the stock pool as well.
FAILS_WITH_THE_STOCK_POOL = {
    "InvalidateDuringResultTest.test_invalidate_on_results@pysqlite": (
        "its teardown finds the database locked"
    ),
}

# Run with the real `time` and `threading` (see on_a_loop.py): these do not test a queue pool.
NEEDS_THREADS = {
    "SingletonThreadPoolTest.test_cleanup": "the pool under test has one connection per thread",
}

EXPECTED_FAILURES = {
    **{name: f"by design: {reason}" for name, reason in BY_DESIGN.items()},
    **{name: f"patches internals: {reason}" for name, reason in PATCHES_INTERNALS.items()},
}
