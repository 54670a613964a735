"""How much processor time other processes take: on a busy machine, figures are not those of a pool.

A late event loop shows this only if it works: an idle one is woken at once on a busy machine too.
So the machine is measured by a computation, before and after a run and not during it, when the
pool and its servers work as well.
"""

from __future__ import annotations

from time import perf_counter, process_time

SECONDS = 0.15  # of one measurement
MOST = 15.0  # percent; with more, a run is invalid


def taken_by_others(seconds: float = SECONDS) -> float:
    """How much of this time other processes take from a computation, in percent."""
    began, cpu = perf_counter(), process_time()
    while perf_counter() - began < seconds:
        pass
    worked, passed = process_time() - cpu, perf_counter() - began
    return max(0.0, 100 * (1 - worked / passed))
