"""How long clients wait when there are more clients than connections."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from benchmarks import pools, workloads
from benchmarks.interleave import Goal
from benchmarks.pools import Sizes

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from benchmarks.conftest import Runner

CLIENTS = 100
CONNECTIONS = 5
HOLD = 0.002
LOOPING_HOLD = 0.01

NEAR_IDEAL = [Goal("p99 / ideal", pools.TYPED, 1.5)]
FIRST_COME = [Goal("turns while one waits", pools.TYPED, 0)]

both_forms = pytest.mark.parametrize("form", [workloads.async_with, workloads.plain])


@both_forms
def test_many_clients_wait_evenly(runner: Runner, server: URL, form: workloads.Form) -> None:
    times = runner.scaled(20, 2)
    sizes = Sizes(core=CONNECTIONS, most=CONNECTIONS, warm=CONNECTIONS)
    with runner.opened(pools.on_a_server(server), sizes) as opened:
        turns = {
            name: partial(workloads.many_clients, form, pool, CLIENTS, CONNECTIONS, times, HOLD)
            for name, pool in opened.items()
        }
        title = f"{CLIENTS} clients on {CONNECTIONS} connections, {form.__name__}, {times} x 2 ms"
        runner.compare(title, turns, NEAR_IDEAL, rounds=10)


@both_forms
def test_a_looping_client_does_not_pass_a_waiter(
    runner: Runner, server: URL, form: workloads.Form
) -> None:
    times = runner.scaled(50, 10)
    with runner.opened(pools.on_a_server(server), Sizes(core=1, most=1, warm=1)) as opened:
        turns = {
            name: partial(workloads.looping_client, form, pool, times, LOOPING_HOLD)
            for name, pool in opened.items()
        }
        title = f"looping client, {form.__name__}, {times} times on the only connection"
        runner.compare(title, turns, FIRST_COME, rounds=5)
