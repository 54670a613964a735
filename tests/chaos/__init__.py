"""The chaos test: load on a server for minutes, with faults injected at random.

`load` runs the clients, `faults` injects the faults, `targets` describes the servers, `ledger`
stores which rows must be in the database, `expected_errors` lists the errors that faults explain,
`measurements` measures durations, descriptors and memory, and `chaos_run` runs all of it.
"""
