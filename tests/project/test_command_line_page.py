"""The reference of the command line shows each command with its options."""

from __future__ import annotations

from pathlib import Path

from tests.support.command_line_page import page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"


def test_the_page_of_the_command_line_is_the_one_that_the_parsers_make() -> None:
    command = "python -m tests.support.command_line_page > docs/reference/command-line.md"
    assert PAGE.read_text() == page(), f"next: {command}"


def test_the_page_has_the_options_of_each_command() -> None:
    sections = page().split("\n## ")
    (check,) = [each for each in sections if each.startswith("check\n")]
    assert "| `--snapshots DIR` | the folder of snapshots" in check
    assert "| `MODULE` | a module, a package" in check
    assert "--help" not in check
