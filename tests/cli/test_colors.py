"""Colours: the option, NO_COLOR, FORCE_COLOR, TERM and the terminal, in every command alike."""

from __future__ import annotations

import io
import sys

import pytest

from sqla_typedpool.cli import database, top
from sqla_typedpool.cli.colors import can_overwrite, has_colors
from sqla_typedpool.cli.top_lines import Lines


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("asked", "environment", "on_terminal", "elsewhere"),
    [
        (None, {}, True, False),
        (None, {"TERM": "xterm-256color"}, True, False),
        (None, {"TERM": "dumb"}, False, False),
        (None, {"NO_COLOR": "1"}, False, False),
        (None, {"NO_COLOR": ""}, True, False),
        (None, {"FORCE_COLOR": "1"}, True, True),
        (None, {"FORCE_COLOR": ""}, True, False),
        (None, {"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
        (None, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        (None, {"GITHUB_ACTIONS": "true", "CI": "true"}, True, False),
        (True, {"NO_COLOR": "1", "TERM": "dumb"}, True, True),
        (False, {"FORCE_COLOR": "1"}, False, False),
    ],
)
def test_the_option_decides_before_no_color_force_color_and_the_terminal(
    asked: bool | None, environment: dict[str, str], on_terminal: bool, elsewhere: bool
) -> None:
    assert has_colors(Terminal(), asked, environment) is on_terminal
    assert has_colors(io.StringIO(), asked, environment) is elsewhere


@pytest.mark.parametrize(("term", "can"), [("xterm", True), ("dumb", False), ("unknown", False)])
def test_a_dumb_terminal_is_not_overwritten(term: str, can: bool) -> None:
    assert can_overwrite(Terminal(), {"TERM": term}) is can
    assert not can_overwrite(io.StringIO(), {"TERM": term})


def test_progress_is_not_shown_on_a_dumb_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(database, "_SHOW_PROGRESS_AFTER", -1)
    monkeypatch.setenv("TERM", "dumb")
    database._Progress(is_wanted=True)(1, 2)
    assert shown.getvalue() == ""
    monkeypatch.setenv("TERM", "xterm")
    database._Progress(is_wanted=True)(1, 2)
    assert shown.getvalue() == "\r1 of 2 queries"


@pytest.mark.parametrize(
    ("asked", "environment", "has_no_color"),
    [
        (None, {}, False),
        (None, {"NO_COLOR": "1"}, True),
        (False, {}, True),
        (True, {"NO_COLOR": "1"}, False),
    ],
)
def test_top_decides_like_check(
    asked: bool | None,
    environment: dict[str, str],
    has_no_color: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("rich")
    from sqla_typedpool.cli.top_screen import Screen

    monkeypatch.setattr(sys, "stdout", Terminal())
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    view = top._view(asked)
    assert isinstance(view, Screen)
    assert view._console.no_color is has_no_color
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(top._view(asked), Lines)
