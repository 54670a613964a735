"""Running everything on one CPU, so that times do not depend on where the scheduler puts what."""

from __future__ import annotations

import os


def use_one_cpu(number: int | None) -> int | None:
    """Run this process and those it starts on one CPU.

    :param number: the CPU; None = the last one, -1 = all.
    :return: the number of the CPU; None if this is not possible.

    On several CPUs, the time of a round trip depends on where the scheduler puts the two processes,
    or the two threads of aiosqlite, which changes from turn to turn.
    """
    if number == -1 or not hasattr(os, "sched_setaffinity"):
        return None
    cpu = max(os.sched_getaffinity(0)) if number is None else number
    os.sched_setaffinity(0, {cpu})
    return cpu
