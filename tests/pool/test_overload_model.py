"""The order of service and shedding in a simulated pool (`overload_model.py`)."""

from __future__ import annotations

import pytest

from tests.pool.overload_model import (
    FOREVER,
    AfterCancel,
    Model,
    Request,
    Scenario,
    Times,
    fixed,
    heavy_tail,
    one_of,
    simulate,
    uniform,
)

SEEDS = (1, 2, 3)
MIXED = uniform(0.01, 0.14)
MIXED_PATIENCE = one_of(0.2, 0.5, 2.0)

# ---------------------------------------------------------------------------- goodput

GOODPUT = {
    "fixed times, 1.2 x": Scenario(load=[(8, 1.2)]),
    "fixed times, 1.5 x": Scenario(),
    "fixed times, 3 x": Scenario(load=[(8, 3.0)]),
    "mixed times, 1.2 x": Scenario(service=MIXED, load=[(8, 1.2)]),
    "mixed times, 1.5 x": Scenario(service=MIXED),
    "mixed times, 3 x": Scenario(service=MIXED, load=[(8, 3.0)]),
    "heavy tail, 1.5 x": Scenario(service=heavy_tail(0.05)),
    "heavy tail, 3 x": Scenario(service=heavy_tail(0.05), load=[(8, 3.0)]),
    "size 1": Scenario(size=1, load=[(30, 1.5)]),
    "size 50": Scenario(size=50, load=[(4, 1.5)]),
    "size 500": Scenario(size=500, load=[(1.5, 1.5)]),
    "deadlines of 0.2 s": Scenario(patience=fixed(0.2)),
    "deadlines of 0.2 s, mixed times": Scenario(service=MIXED, patience=fixed(0.2)),
    "deadlines of 2 s": Scenario(patience=fixed(2.0), load=[(12, 1.5)]),
    "mixed deadlines": Scenario(patience=MIXED_PATIENCE),
    "slow statements": Scenario(5, fixed(2.0), fixed(5.0), load=[(300, 1.5)]),
    "two retries": Scenario(retries=2, load=[(8, 1.2)]),
    "two retries, size 50": Scenario(size=50, retries=2, load=[(4, 1.5)]),
    "five retries, one burst": Scenario(retries=5, load=[(3, 0.9), (1, 3.0), (20, 0.95)]),
    "connections kept": Scenario(after_cancel=AfterCancel.KEEP),
    "cancelled statements run on": Scenario(after_cancel=AfterCancel.RUN_ON),
    "cancelled statements run on, 3 x": Scenario(after_cancel=AfterCancel.RUN_ON, load=[(8, 3.0)]),
}


@pytest.mark.parametrize("scenario", GOODPUT.values(), ids=GOODPUT)
def test_goodput_under_overload_is_at_least_90_percent_of_the_capacity(scenario: Scenario) -> None:
    assert min(simulate(scenario, seed).goodput() for seed in SEEDS) >= 0.9


@pytest.mark.parametrize("service", [fixed(0.05), MIXED], ids=["fixed", "mixed"])
@pytest.mark.parametrize("load", [1.5, 3.0])
def test_goodput_of_ten_connections_is_at_least_95_percent_of_the_capacity(
    service: Times, load: float
) -> None:
    scenario = Scenario(service=service, load=[(8, load)])
    assert min(simulate(scenario, seed).goodput() for seed in SEEDS) >= 0.95


@pytest.mark.parametrize("load", [1.5, 3.0])
def test_without_the_rule_the_model_loses_most_of_its_goodput(load: float) -> None:
    scenario = Scenario(load=[(8, load)])
    assert simulate(scenario, is_adaptive=False).goodput() < 0.3


def test_a_burst_costs_little_goodput_at_a_load_that_fifo_carries() -> None:
    scenario = Scenario(load=[(2, 0.7), (0.3, 3.0)] * 5)
    for seed in SEEDS:
        in_order = simulate(scenario, seed, is_adaptive=False)
        assert simulate(scenario, seed).goodput() >= in_order.goodput() - 0.06


# ------------------------------------------------------------ first come, first served

BELOW_CAPACITY = {
    "size 1": Scenario(size=1, patience=fixed(2.0), load=[(60, 0.8)]),
    "size 10": Scenario(load=[(20, 0.8)]),
    "mixed times": Scenario(service=MIXED, load=[(20, 0.8)]),
    "size 50": Scenario(size=50, load=[(6, 0.8)]),
    "size 500": Scenario(size=500, load=[(1, 0.8)]),
    "15 % impatient": Scenario(load=[(20, 0.8)], impatient=0.15),
    "30 % impatient": Scenario(load=[(20, 0.7)], impatient=0.3),
    "15 % impatient, 0.9 x": Scenario(load=[(20, 0.9)], impatient=0.15),
    "15 % impatient, size 50, 0.9 x": Scenario(size=50, load=[(6, 0.9)], impatient=0.15),
}


@pytest.mark.parametrize("scenario", BELOW_CAPACITY.values(), ids=BELOW_CAPACITY)
def test_service_below_the_capacity_is_strictly_in_order(scenario: Scenario) -> None:
    for seed in SEEDS:
        model = simulate(scenario, seed)
        assert (model.inversions, model.overloads, model.refused) == ([], 0, 0)


def batch(size: int, count: int) -> tuple[Model, list[Request]]:
    """So many requests without a deadline, all at once."""
    model = Model(Scenario(size=size, after_cancel=AfterCancel.KEEP), seed=1)
    return model, [model.request(FOREVER) for _ in range(count)]


@pytest.mark.parametrize("spread", [0.0, 0.02, 2.0], ids=["at once", "in 20 ms", "in 2 s"])
@pytest.mark.parametrize("cancelled", [0, 60])
def test_a_batch_is_served_in_order_also_when_many_are_cancelled(
    cancelled: int, spread: float
) -> None:
    model, requests = batch(10, 500)
    for number, request in enumerate(model.rng.sample(requests, cancelled)):
        model.at(0.2 + spread * number / 60, model.give_up, request)
    model.run()
    assert len(model.served) >= 500 - cancelled
    assert model.inversions == []


@pytest.mark.parametrize("size", [10, 50, 200])
@pytest.mark.parametrize("spread", [0.0, 0.005, 0.05])
def test_large_groups_that_are_cancelled_do_not_change_the_order_of_others(
    size: int, spread: float
) -> None:
    model, requests = batch(size, 3600)
    for group in range(4):
        for number, request in enumerate(requests[group::6]):
            model.at(0.3 * (group + 1) + spread * number / 600, model.give_up, request)
    model.run()
    assert model.inversions == []


@pytest.mark.parametrize("patience", [0.2, 0.5])
@pytest.mark.parametrize("load", [1.2, 3.0])
def test_order_returns_soon_after_the_load_falls_below_the_capacity(
    patience: float, load: float
) -> None:
    scenario = Scenario(patience=fixed(patience), load=[(4, load), (6, 0.8)])
    for seed in SEEDS:
        model = simulate(scenario, seed)
        assert model.inversions
        assert model.inversions[-1] <= 4 + 1.5
        assert model.changes[-1].ended_at is not None
        assert model.changes[-1].ended_at <= 4 + 1.5


def test_an_overload_is_over_soon_after_the_last_request() -> None:
    model = Model(Scenario(load=[(4, 3.0)]), seed=1)
    model.start()
    model.run(until=4 + 1.5)
    assert model.overloads == 1
    assert not model.order.is_overloaded(4 + 1.5, has_waiters=bool(model.queue))


@pytest.mark.parametrize(
    ("patience", "longest"), [(fixed(0.5), 0.5), (MIXED_PATIENCE, 2.0), (fixed(2.0), 2.0)]
)
@pytest.mark.parametrize("load", [1.2, 1.5, 3.0])
def test_a_client_without_a_deadline_does_not_starve(
    patience: Times, longest: float, load: float
) -> None:
    scenario = Scenario(patience=patience, patient=1.0, load=[(20, load)])
    for seed in SEEDS:
        model = simulate(scenario, seed)
        assert model.inversions
        assert model.longest_patient <= 2.5 * longest
        assert not model.queue


# --------------------------------------------------------------------------- shedding

LIMIT = 0.2  # pool_shed_after


@pytest.mark.parametrize("load", [1.5, 3.0])
@pytest.mark.parametrize("service", [fixed(0.05), MIXED], ids=["fixed", "mixed"])
@pytest.mark.parametrize("size", [1, 10, 50])
def test_shedding_keeps_the_goodput_once_it_has_begun(
    size: int, service: Times, load: float
) -> None:
    scenario = Scenario(size, service, load=[(20 if size == 1 else 10, load)])
    for seed in SEEDS:
        model = simulate(scenario, seed, is_adaptive=False, shed_after=LIMIT)
        assert model.refused
        assert model.goodput(since=5.0) >= 0.9
        assert model.inversions == []


@pytest.mark.parametrize("size", [10, 50])
def test_nobody_is_refused_below_the_capacity(size: int) -> None:
    scenario = Scenario(size, load=[(10, 0.8), (0.3, 3.0), (10, 0.7)])
    for seed in SEEDS:
        assert simulate(scenario, seed, is_adaptive=False, shed_after=LIMIT).refused == 0
