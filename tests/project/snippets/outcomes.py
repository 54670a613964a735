"""What is done with each block of a page."""

from __future__ import annotations

import enum
import re

from tests.project.snippets.blocks import ROOT, RUN_ELSEWHERE, Block, Page
from tests.project.snippets.commands import commands_of

# The kinds of reasons why a block is not run.
REASONS = {
    "diagram": "boxes and arrows, a picture in characters",
    "other software": "code or settings of programs that are not installed here",
    "a server that is not here": "needs a host, a cluster or an account of the reader",
    "takes long": "the explanation is the command that runs it",
    "wrong on purpose": "what a reader must not write, and what no test can show",
}


class Outcome(enum.Enum):
    RUN = "executed"
    WRITTEN = "written to a file, which other blocks use"
    COMPARED = "the output of the block before it"
    ELSEWHERE = "run by another test, which the page names"
    CHECKED = "parsed, and its names checked"
    NOT_RUN = "not run, with a reason"
    UNKNOWN = "not run, without a reason"


EXECUTED = {Outcome.RUN, Outcome.WRITTEN, Outcome.COMPARED, Outcome.ELSEWHERE}
PARSED = {"toml", "yaml", "ini", "json"}
FILES = {"python", "toml", "ini", "sql"}
FILE_NAME = re.compile(r"(?:#|--) (?P<file>[\w./-]+\.\w+)\n")
URL = re.compile(r"(?:\w+=)?\w+(?:\+\w+)?://\S+$")


def file_of(block: Block) -> str | None:
    """Return the file that a block is written to, or None.

    A comment before the block names it, or the first line of the block does: `# app/users.py`.
    """
    named = FILE_NAME.match(block.code) if block.language in FILES else None
    return block.file or (named["file"] if named else None)


def is_urls(block: Block) -> bool:
    """Whether each line of a block is a database URL, or sets a variable to one."""
    lines = block.code.splitlines()
    return bool(lines) and all(URL.match(line) for line in lines)


def reason_of(page: Page, block: Block) -> str | None:
    """Return the kind of reason why a block is not run, or None if it has none."""
    not_run = block.not_run or page.not_run
    return not_run.kind if not_run else None


def outcomes(page: Page) -> list[tuple[Block, Outcome]]:
    """Return what is done with each block of a page."""
    found: list[tuple[Block, Outcome]] = []
    for block in page.blocks:
        before = found[-1] if found else None
        found.append((block, _outcome(page, block, before)))
    return found


def _outcome(page: Page, block: Block, before: tuple[Block, Outcome] | None) -> Outcome:
    reason = reason_of(page, block)
    if reason == RUN_ELSEWHERE:
        return Outcome.ELSEWHERE
    if reason in REASONS:
        return Outcome.NOT_RUN
    if file_of(block):
        return Outcome.WRITTEN
    if block.language in {"text", ""}:
        return _outcome_of_text(block, before)
    if block.language == "console":
        return _outcome_of_console(block)
    if block.language in {"python", "diff", "sql"}:
        return Outcome.RUN
    return Outcome.CHECKED if block.language in PARSED else Outcome.UNKNOWN


def _outcome_of_text(block: Block, before: tuple[Block, Outcome] | None) -> Outcome:
    if is_output_of(before[0] if before else None, block) and before[1] is Outcome.RUN:
        return Outcome.COMPARED
    return Outcome.CHECKED if is_urls(block) else Outcome.UNKNOWN


def is_output_of(before: Block | None, block: Block) -> bool:
    """Whether a ```text block follows a ```python block without a line between them."""
    if before is None or before.language != "python" or block.language != "text":
        return False
    end = before.line + before.code.count("\n")
    return block.line == end + 2


def _outcome_of_console(block: Block) -> Outcome:
    ways = {command.way for command in commands_of(block.code)}
    if not ways or "unknown" in ways:
        return Outcome.UNKNOWN
    return Outcome.RUN if "run" in ways else Outcome.CHECKED


def reason_is_complete(page: Page) -> bool:
    """Whether the reasons of a page are of the closed list, and the tests that it names read it."""
    return all(
        _names_the_page(page, each.text) if each.kind == RUN_ELSEWHERE else each.kind in REASONS
        for each in [page.not_run, *(block.not_run for block in page.blocks)]
        if each is not None
    )


def _names_the_page(page: Page, path: str) -> bool:
    test = ROOT / path
    return test.is_file() and page.file.name in test.read_text()
