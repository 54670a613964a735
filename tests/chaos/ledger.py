"""What must be in the database at the end, by the acknowledgements that the clients have seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# What a client knows of its row.
ABSENT = 0  # no commit was ever sent: it must not be there
COMMITTED = 1  # acknowledged: it must be there, once
EITHER = 2  # the commit was sent and its answer never seen: there or not, but not twice

_WORDS = {ABSENT: "never committed", COMMITTED: "acknowledged", EITHER: "of unknown outcome"}


class Ledger:
    """A byte per row, so that an hour of rows is no memory worth speaking of.

    Rows come in pairs: an even one and, in the same transaction, perhaps an odd one behind a
    savepoint. A pair is committed together or not at all.
    """

    def __init__(self) -> None:
        self._verdicts = bytearray()

    def __len__(self) -> int:
        return len(self._verdicts)

    def open_pair(self) -> int:
        """The number of a new pair's even row; the odd one is the next."""
        self._verdicts += bytes(2)
        return len(self._verdicts) - 2

    def note(self, verdict: int, rows: Iterable[int]) -> None:
        for row in rows:
            self._verdicts[row] = verdict

    def knows(self, row: int) -> bool:
        """Whether this row is there for certain."""
        return row < len(self) and self._verdicts[row] == COMMITTED

    def count(self, verdict: int) -> int:
        return self._verdicts.count(verdict)

    def faults(self, found: Iterable[int], since: int = 0) -> list[str]:
        """Where the rows that are in the database differ from what must be there."""
        times = bytearray(len(self._verdicts))
        faults: list[str] = []
        for row in found:
            if not 0 <= row < len(times):
                faults.append(f"row {row} was never written by anybody")
            else:
                times[row] = min(255, times[row] + 1)
        for row in range(since, len(times)):
            verdict, count = self._verdicts[row], times[row]
            if count > (verdict != ABSENT) or (verdict == COMMITTED and count == 0):
                faults.append(f"row {row} ({_WORDS[verdict]}) is there {count} times")
        faults += self._torn_pairs(times, since)
        return faults

    def _torn_pairs(self, times: bytearray, since: int) -> list[str]:
        return [
            f"rows {row} and {row + 1} of one transaction are there {times[row]} and "
            f"{times[row + 1]} times"
            for row in range(since, len(times), 2)
            if self._verdicts[row] == self._verdicts[row + 1] == EITHER
            and times[row] != times[row + 1]
        ]
