"""The chaos test: minutes of load on a server that is hurt all the time, and a ledger.

`ledger` knows what must be in the database, `load` are the clients, `faults` what is done to them
and to their server, `sides` the servers, `gauges` what is measured, `trial` the whole of it.
"""
