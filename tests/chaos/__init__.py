"""Tests with random faults and cancellations.

The chaos test puts load on a server for minutes, with faults injected at random.

`load` runs the clients, `faults` injects the faults, `targets` describes the servers, `ledger`
stores which rows must be in the database, `expected_errors` lists the errors that faults explain,
`measurements` measures durations, descriptors and memory, and `chaos_run` runs all of it.

The test of cancellations cancels requests on asyncpg. `cancelled_work` contains the requests,
`clean_session` the query that shows what is left in a session, and `cancellation_run` cancels them.

The test of typed writes cancels and refuses calls of `execute` and `fetch_*` on each driver, while
the table changes: `fetch_ledger_run`.
"""
