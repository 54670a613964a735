"""Each case has the same outcome on the fast and on the slow path, but for the listed differences.

The list is in docs/internals/both-paths.md.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.both_paths import Pair, pair_of
from tests.support.both_paths_cases import CASES
from tests.support.both_paths_page import listed_differences
from tests.support.fetch_lab import DRIVERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.both_paths import Case

SERVERS = {"postgresql": pytest.mark.postgres, "mysql": pytest.mark.mariadb}
LISTED = listed_differences()


class Pairs:
    """The pair of each driver that the tests have asked for."""

    def __init__(self, request: pytest.FixtureRequest, factory: pytest.TempPathFactory) -> None:
        self._request = request
        self._factory = factory
        self._pairs: dict[str, Pair] = {}

    def of(self, driver: str) -> Pair:
        if driver not in self._pairs:
            folder = self._factory.mktemp(driver)
            self._pairs[driver] = pair_of(driver, self._request, folder, asyncio.new_event_loop())
        return self._pairs[driver]

    def close(self) -> None:
        for pair in self._pairs.values():
            pair.close()


# A fixture with parameters would be set up again for each case.
@pytest.fixture(scope="module")
def pairs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pairs]:
    pairs = Pairs(request, tmp_path_factory)
    yield pairs
    pairs.close()


RUNS = [
    pytest.param(
        driver,
        case,
        id=f"{driver}-{case.name}",
        marks=[SERVERS[DRIVERS[driver]]] if DRIVERS[driver] in SERVERS else [],
    )
    for driver in DRIVERS
    for case in CASES
    if case.fits(driver)
]


@pytest.mark.parametrize(("driver", "case"), RUNS)
@pytest.mark.filterwarnings("ignore:SELECT statement has a cartesian product")
def test_both_paths_have_the_same_outcome(pairs: Pairs, driver: str, case: Case) -> None:
    pair = pairs.of(driver)
    found = pair.differences(case)
    listed = [each for each in LISTED if each.is_about(pair.driver, case.name)]
    unlisted = [each for each in found if not any(entry.covers(each) for entry in listed)]
    assert not unlisted, "differences that are not listed:\n" + "\n".join(map(str, unlisted))
    idle = [entry for entry in listed if not any(entry.covers(each) for each in found)]
    assert not idle, f"listed differences that do not occur: {idle}"


def test_names_of_cases_are_unique() -> None:
    assert [name for name, count in Counter(each.name for each in CASES).items() if count > 1] == []


def test_each_listed_difference_is_of_a_case_and_has_a_reason() -> None:
    assert LISTED
    cases = {(driver, case.name) for driver in DRIVERS for case in CASES if case.fits(driver)}
    for entry in LISTED:
        listed = {(driver, case) for driver in entry.drivers for case in entry.cases}
        assert listed <= cases, entry
        assert entry.reason, entry
