"""Who waits how long when there are more clients than connections."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from benchmarks import lineup, workloads
from benchmarks.contestants import Sizes
from benchmarks.interleave import Goal

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from benchmarks.conftest import Stage

CLIENTS = 100
CONNECTIONS = 5
HOLD = 0.002
HOG_HOLD = 0.01

NEAR_IDEAL = [Goal("p99 / ideal", lineup.TYPED, 1.5)]
NEVER_PASSED = [Goal("turns passed by", lineup.TYPED, 0)]

both_forms = pytest.mark.parametrize("form", [workloads.async_with, workloads.plain])


@both_forms
def test_a_crowd_waits_evenly(stage: Stage, server: URL, form: workloads.Form) -> None:
    laps = stage.scaled(20, 2)
    sizes = Sizes(core=CONNECTIONS, most=CONNECTIONS, warm=CONNECTIONS)
    with stage.opened(lineup.on_a_server(server), sizes) as pools:
        turns = {
            name: partial(workloads.crowd, form, pool, CLIENTS, CONNECTIONS, laps, HOLD)
            for name, pool in pools.items()
        }
        title = f"crowd of {CLIENTS} on {CONNECTIONS} connections, {form.__name__}, {laps} x 2 ms"
        stage.race(title, turns, NEAR_IDEAL, rounds=10)


@both_forms
def test_a_looper_does_not_pass_a_waiter(stage: Stage, server: URL, form: workloads.Form) -> None:
    most = stage.scaled(50, 10)
    with stage.opened(lineup.on_a_server(server), Sizes(core=1, most=1, warm=1)) as pools:
        turns = {
            name: partial(workloads.hog, form, pool, most, HOG_HOLD) for name, pool in pools.items()
        }
        title = f"hog: {form.__name__}, {most} times on the only connection, while one waits"
        stage.race(title, turns, NEVER_PASSED, rounds=5)
