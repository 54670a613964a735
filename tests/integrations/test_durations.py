"""Single durations that the pool keeps for an integration."""

from __future__ import annotations

import itertools
from array import array
from collections import Counter

import pytest

from sqla_typedpool.pool.durations import Durations
from sqla_typedpool.pool.stats import Counters, DurationKind


class Recorder:
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.seconds: dict[DurationKind, list[float]] = {kind: [] for kind in DurationKind}
        self.durations = Durations(self.record)

    def record(self, kind: DurationKind, seconds: float) -> None:
        self.seconds[kind].append(seconds)


def test_every_duration_is_recorded_once_while_there_are_few() -> None:
    recorder = Recorder()
    recorder.durations.add(DurationKind.USE, array("d", range(1000)))
    recorder.durations.record()
    recorder.durations.record()
    assert recorder.seconds[DurationKind.USE] == list(range(1000))
    assert recorder.seconds[DurationKind.WAIT] == []


@pytest.mark.parametrize("batch", [1, 7, 1000, 50_000])
def test_of_many_durations_a_uniform_sample_is_kept(batch: int) -> None:
    recorder = Recorder()
    for start in range(0, 50_000, batch):
        recorder.durations.add(DurationKind.USE, array("d", range(start, start + batch)))
    recorder.durations.record()
    found = recorder.seconds[DurationKind.USE]
    assert 500 <= len(found) <= 1000
    gaps = Counter(int(b - a) for a, b in itertools.pairwise(found))
    (gap, count), *_ = gaps.most_common(1)
    assert 32 <= gap <= 128
    assert count >= len(found) - 20  # where the step was doubled, one gap differs


def test_a_limited_recording_leaves_the_rest_for_the_next_one() -> None:
    recorder = Recorder()
    recorder.durations.add(DurationKind.USE, array("d", range(250)))
    for expected in (100, 200, 250, 250):
        recorder.durations.record(100)
        assert len(recorder.seconds[DurationKind.USE]) == expected


def test_counters_pass_on_waits_uses_connects_and_checkouts_that_took_no_time() -> None:
    recorder = Recorder()
    counters = Counters()
    counters.checkouts = 5  # before: they are not passed on
    counters.keep_durations(recorder.durations.add)
    counters.checkouts += 3
    counters.wait_time.add(0.5)
    counters.connect_time.add(0.25)
    for seconds in (1.0, 2.0, 3.0):
        counters.note_use(seconds)
    for _ in range(2):
        counters.sort_uses()
    recorder.durations.record()
    assert recorder.seconds == {
        DurationKind.WAIT: [0.5, 0.0, 0.0],
        DurationKind.USE: [1.0, 2.0, 3.0],
        DurationKind.CONNECT: [0.25],
    }


def test_nothing_is_kept_when_durations_are_no_longer_wanted() -> None:
    recorder = Recorder()
    counters = Counters(recorder.durations.add)
    counters.keep_durations(None)
    counters.wait_time.add(0.5)
    counters.note_use(1.0)
    counters.sort_uses()
    recorder.durations.record()
    assert not any(recorder.seconds.values())
    assert counters.wait_time.noted is None
