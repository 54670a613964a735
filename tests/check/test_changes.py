"""Polling for changes, with scripted states; the states of real files and folders."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from sqla_typedpool.check import changes
from sqla_typedpool.check.changes import FilePoller, States, await_changes, state_of


class EndOfScript(Exception):
    """No further states are scripted."""


class ScriptedPoller:
    """Returns one entry of a script at each polling, and notes the waits."""

    def __init__(self, *script: States) -> None:
        self._script = list(script)
        self.waits: list[float] = []

    def states(self, paths: Iterable[str]) -> States:
        if not self._script:
            raise EndOfScript
        found = self._script.pop(0)
        assert set(found) == set(paths)
        return found

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    @property
    def left(self) -> int:
        """The number of states that were not read."""
        return len(self._script)


OLD: States = {"a.py": (1, 10), "b.sql": (1, 20), "later.json": None}
NEW_A: States = {**OLD, "a.py": (2, 10)}
NEW_AB: States = {**NEW_A, "b.sql": (3, 20)}


def test_nothing_is_returned_while_nothing_changes() -> None:
    poller = ScriptedPoller(*[OLD] * 50)
    with pytest.raises(EndOfScript):
        await_changes(OLD, poller)
    assert len(poller.waits) == 50


def test_a_changed_file_is_returned_when_a_second_polling_is_the_same() -> None:
    poller = ScriptedPoller(OLD, NEW_A, NEW_A, OLD)
    assert await_changes(OLD, poller) == ["a.py"]
    assert poller.left == 1


@pytest.mark.parametrize("state", [None, (1, 11), (0, 10), ("a.py",)])
def test_each_kind_of_change_is_found(state: tuple[int, int] | None) -> None:
    changed: States = {**OLD, "a.py": state}
    assert await_changes(OLD, ScriptedPoller(changed, changed)) == ["a.py"]


def test_a_file_that_appears_is_a_change() -> None:
    appeared: States = {**OLD, "later.json": (5, 5)}
    assert await_changes(OLD, ScriptedPoller(appeared, appeared)) == ["later.json"]


def test_a_burst_of_changes_is_returned_at_once_after_its_end() -> None:
    poller = ScriptedPoller(NEW_A, NEW_AB, NEW_AB)
    assert await_changes(OLD, poller) == ["a.py", "b.sql"]


def test_a_file_that_is_replaced_in_two_steps_is_one_change() -> None:
    removed: States = {**OLD, "a.py": None}
    poller = ScriptedPoller(removed, NEW_A, NEW_A)
    assert await_changes(OLD, poller) == ["a.py"]
    assert poller.left == 0


def test_a_change_that_is_undone_within_the_burst_is_none() -> None:
    poller = ScriptedPoller(NEW_A, OLD, OLD, OLD, NEW_AB, NEW_AB)
    assert await_changes(OLD, poller) == ["a.py", "b.sql"]


def test_a_burst_without_an_end_is_interrupted_after_two_seconds() -> None:
    poller = ScriptedPoller(*[{**OLD, "a.py": (number, 1)} for number in range(2, 1000)])
    assert await_changes(OLD, poller) == ["a.py"]
    assert 1.5 < sum(poller.waits) < 2.5


def test_a_burst_is_awaited_in_shorter_steps_than_a_change() -> None:
    poller = ScriptedPoller(OLD, NEW_A, NEW_A)
    await_changes(OLD, poller)
    first, second = poller.waits
    assert second < first <= 0.1


# -------------------------------------------------------------------------------- real files


def test_the_state_of_a_file_changes_with_its_time_and_with_its_size(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    assert state_of(str(file)) is None
    file.write_text("12345")
    os.utime(file, ns=(5, 1_000_000_001))
    assert state_of(str(file)) == (1_000_000_001, 5)
    os.utime(file, ns=(5, 1_000_000_002))
    assert state_of(str(file)) == (1_000_000_002, 5)


def test_the_state_of_a_folder_is_the_names_of_what_can_be_checked(tmp_path: Path) -> None:
    for name in ("b.py", "a.sql", "c.json", "package", ".a.py.swp", "b.py~", "x.tmp", "4913.log"):
        (tmp_path / name).touch()
    (tmp_path / "__pycache__").mkdir()
    assert state_of(str(tmp_path)) == ("a.sql", "b.py", "c.json", "package")


@pytest.mark.parametrize("path", ["/nowhere/a.py", "nul\0byte", ""])
def test_an_impossible_path_has_no_state(path: str) -> None:
    assert state_of(path) is None


def test_a_slow_polling_makes_the_waits_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = [0.0], []

    def slow(path: str) -> None:
        now[0] += 0.02

    monkeypatch.setattr(changes, "state_of", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "sleep", slept.append)
    poller = FilePoller()
    poller.wait(0.1)
    poller.states(["a"])
    poller.wait(0.1)
    poller.states(["a", "b"])
    poller.wait(0.05)
    assert slept == pytest.approx([0.1, 0.4, 0.8])
