"""Single durations, kept for an integration that makes histograms of its own."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from sqla_typedpool.pool.stats import DurationKind

_MOST: Final = 1000  # durations of one kind that are kept


# Records one duration, in seconds. It must not raise.
Record: TypeAlias = Callable[[DurationKind, float], object]


class _Sample:
    """At most ``_MOST`` durations: all of them, or every second, every fourth, ... one."""

    def __init__(self) -> None:
        self._values = array("d")
        self._step = 1
        self._skipped = 0  # since the latest one that was kept

    def add(self, values: array[float]) -> None:
        self._values.extend(values[self._step - 1 - self._skipped :: self._step])
        self._skipped = (self._skipped + len(values)) % self._step
        while len(self._values) > _MOST:
            self._values = self._values[::2]
            self._step *= 2

    def take(self, most: int | None) -> array[float]:
        taken = self._values[:most]
        self._values = self._values[len(taken) :]
        if not self._values:
            self._step, self._skipped = 1, 0
        return taken


class Durations:
    """The durations of one pool that have still to be recorded.

    The event loops add them, and an exporter takes them, in any thread. If there are more than a
    thousand of one kind until they are recorded, a uniform sample is kept.

    :param record: records one duration.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._lock = threading.Lock()
        self._samples: Mapping[DurationKind, _Sample] = {each: _Sample() for each in DurationKind}

    def emptied(self) -> Durations:
        """Return durations that are recorded by the same function, without any yet."""
        return Durations(self._record)

    def add(self, kind: DurationKind, values: array[float]) -> None:
        """Keep durations of one kind, in seconds."""
        with self._lock:
            self._samples[kind].add(values)

    def record(self, most: int | None = None) -> None:
        """Record what is kept.

        :param most: of each kind; the rest is kept. None = all.
        """
        for kind, sample in self._samples.items():
            with self._lock:
                taken = sample.take(most)
            for seconds in taken:
                self._record(kind, seconds)
