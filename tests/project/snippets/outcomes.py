"""What is done with each block of a page."""

from __future__ import annotations

import enum
import re

from tests.project.snippets.blocks import ROOT, Block, Page
from tests.project.snippets.commands import commands_of

# The kinds of reasons why a block is not run.
REASONS = {
    "diagram": "boxes and arrows, a picture in characters",
    "output": "what a program prints; the text is the path of the test that compares it",
    "other software": "code or settings of programs that are not installed here",
    "a server that is not here": "needs a host, a cluster or an account of the reader",
    "tested elsewhere": "the text is the path of the test that runs it",
    "takes long": "the text is the command that runs it, or the path of the test",
    "wrong on purpose": "what a reader must not write, and what no test can show",
}
# The reasons whose text is the path of a test, which must exist.
NAMES_A_TEST = {"output", "tested elsewhere"}


class Outcome(enum.Enum):
    RUN = "executed"
    WRITTEN = "written to a file, which other blocks use"
    COMPARED = "the output of the block before it"
    CHECKED = "parsed, and its names checked"
    NOT_RUN = "not run, with a reason"
    UNKNOWN = "not run, without a reason"


EXECUTED = {Outcome.RUN, Outcome.WRITTEN, Outcome.COMPARED}
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
    if reason_of(page, block) in REASONS:
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


def path_in_reason(block: Block) -> str | None:
    """Return the path of the test that a reason must name, or None."""
    if block.not_run is None or block.not_run.kind not in NAMES_A_TEST:
        return None
    return block.not_run.text


def reason_is_complete(block: Block) -> bool:
    """Whether the reason of a block is of the closed list, and a test that it names exists."""
    if block.not_run is None:
        return True
    path = path_in_reason(block)
    return block.not_run.kind in REASONS and (path is None or (ROOT / path).is_file())
