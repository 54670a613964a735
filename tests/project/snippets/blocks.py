"""The fenced blocks of a Markdown page, and the comments that say what is done with them.

A comment has an effect in these forms; readers of the page do not see it:

    <!-- not run: KIND: explanation -->                before a block
    <!-- not run on this page: KIND: explanation -->   before the first block
    <!-- run by tests/pool/test_x.py -->               before a block that this test runs
    <!-- run on this page by tests/pool/test_x.py -->  before the first block
    <!-- database: postgresql -->                      before the first block: what `url` names
    <!-- database: sqlite and postgresql -->           the same; `postgresql_url` is the second
    <!-- file: app/users.py -->                        before a block
    <!-- hidden python                                 a block that is run, but not shown
    engine = create_typed_engine(url)
    -->
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[3]

# Directives of the site that contain no code, such as {toctree}.
MARKUP = re.compile(r"\{(?!code|doctest|testcode|sourcecode)")
FENCE = re.compile(r" *(?P<fence>```+|~~~+)(?P<language>[^`]*)$")
NOT_RUN = re.compile(r"not run(?P<page> on this page)?: (?P<kind>[^:]+)(?:: (?P<text>.*))?$", re.S)
RUN_BY = re.compile(r"run(?P<page> on this page)? by (?P<text>\S+)$")
FILE = re.compile(r"file: (?P<file>\S+)$")
DATABASE = re.compile(r"database: (?P<database>.+)$")
HIDDEN = re.compile(r"hidden (?P<language>\w+)\n(?P<code>.*)$", re.S)


@dataclass(frozen=True)
class NotRun:
    """Why a block is not run here."""

    kind: str
    text: str


RUN_ELSEWHERE = "another test runs it"


@dataclass(eq=False)
class Block:
    page: Path
    line: int
    """The first line of the code."""
    language: str
    """The language in the fence, or ""."""
    code: str
    is_hidden: bool = False
    file: str | None = None
    """The file that the block is written to, if a comment names one."""
    not_run: NotRun | None = None

    @property
    def place(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


@dataclass
class Page:
    file: Path
    blocks: list[Block] = field(default_factory=list)
    not_run: NotRun | None = None
    database: str = "sqlite"

    @property
    def name(self) -> str:
        return name_of(self.file)


def name_of(file: Path) -> str:
    """The path of a file from the root of the repository."""
    return file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.name


def read_page(file: Path) -> Page:
    """Return the blocks of a page, hidden ones included."""
    return _Reader(file).page


class _Reader:
    """Reads a page line by line."""

    def __init__(self, file: Path) -> None:
        self.page = Page(file)
        self._lines = file.read_text().splitlines()
        self._at = 0
        self._comments: list[str] = []  # those before the next block
        while self._at < len(self._lines):
            self._step()

    def _step(self) -> None:
        line = self._lines[self._at]
        fence = FENCE.match(line)
        if fence:
            self._read_block(fence)
        elif line.lstrip().startswith("<!--"):
            self._read_comment()
        elif line.strip():
            self._comments.clear()
        self._at += 1

    def _read_block(self, fence: re.Match[str]) -> None:
        first = self._at + 1
        self._at = first
        while self._lines[self._at].strip() != fence["fence"]:
            self._at += 1
        code = dedent("".join(f"{line}\n" for line in self._lines[first : self._at]))
        block = Block(self.page.file, first + 1, fence["language"].strip(), code)
        for comment in self._comments:
            self._apply(comment, block)
        self._comments.clear()
        if not MARKUP.match(block.language) or "code-block" in code:
            self.page.blocks.append(block)

    def _apply(self, comment: str, block: Block) -> None:
        if match := NOT_RUN.match(comment):
            block.not_run = NotRun(match["kind"], match["text"] or "")
        elif match := RUN_BY.match(comment):
            block.not_run = NotRun(RUN_ELSEWHERE, match["text"])
        elif match := FILE.match(comment):
            block.file = match["file"]

    def _read_comment(self) -> None:
        first = self._at
        while "-->" not in self._lines[self._at]:
            self._at += 1
        text = "\n".join(self._lines[first : self._at + 1]).strip()
        comment = text.removeprefix("<!--").partition("-->")[0].strip(" ")
        if match := HIDDEN.match(comment):
            block = Block(self.page.file, first + 2, match["language"], dedent(match["code"]), True)
            self.page.blocks.append(block)
        elif match := DATABASE.match(comment):
            self.page.database = match["database"]
        elif (match := NOT_RUN.match(comment)) and match["page"]:
            self.page.not_run = NotRun(match["kind"], match["text"] or "")
        elif (match := RUN_BY.match(comment)) and match["page"]:
            self.page.not_run = NotRun(RUN_ELSEWHERE, match["text"])
        else:
            self._comments.append(comment)
