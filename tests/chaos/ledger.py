"""Which rows must be in the database, by the acknowledgements that the clients have received."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# The state of a row for its client.
ABSENT = 0  # no commit was sent: the row must not be stored
COMMITTED = 1  # the commit was acknowledged: the row must be stored exactly once
UNKNOWN = 2  # the commit was sent, but no answer received: the row may be stored, at most once

_DESCRIPTIONS = {
    ABSENT: "never committed",
    COMMITTED: "acknowledged",
    UNKNOWN: "of unknown outcome",
}


class Ledger:
    """The expected outcome of each row, in one byte per row: an hour of rows needs little memory.

    Rows come in pairs: an even row and, in the same transaction, sometimes an odd row after a
    savepoint. Both rows of a pair are committed together or not at all.
    """

    def __init__(self) -> None:
        self._outcomes = bytearray()

    def __len__(self) -> int:
        return len(self._outcomes)

    def open_pair(self) -> int:
        """Start a new pair; return the number of its even row. The odd row has the next number."""
        self._outcomes += bytes(2)
        return len(self._outcomes) - 2

    def set_outcome(self, outcome: int, rows: Iterable[int]) -> None:
        """Set the outcome of these rows."""
        for row in rows:
            self._outcomes[row] = outcome

    def is_committed(self, row: int) -> bool:
        """Whether this row is certainly stored."""
        return row < len(self) and self._outcomes[row] == COMMITTED

    def count(self, outcome: int) -> int:
        """How many rows have this outcome."""
        return self._outcomes.count(outcome)

    def differences(self, found: Iterable[int], since: int = 0) -> list[str]:
        """Where the rows found in the database differ from the expected ones."""
        times = bytearray(len(self._outcomes))
        differences: list[str] = []
        for row in found:
            if not 0 <= row < len(times):
                differences.append(f"row {row} was never written")
            else:
                times[row] = min(255, times[row] + 1)
        for row in range(since, len(times)):
            outcome, count = self._outcomes[row], times[row]
            if count > (outcome != ABSENT) or (outcome == COMMITTED and count == 0):
                differences.append(f"row {row} ({_DESCRIPTIONS[outcome]}) is stored {count} times")
        differences += self._torn_pairs(times, since)
        return differences

    def _torn_pairs(self, times: bytearray, since: int) -> list[str]:
        return [
            f"rows {row} and {row + 1} of one transaction are stored {times[row]} and "
            f"{times[row + 1]} times"
            for row in range(since, len(times), 2)
            if self._outcomes[row] == self._outcomes[row + 1] == UNKNOWN
            and times[row] != times[row + 1]
        ]
