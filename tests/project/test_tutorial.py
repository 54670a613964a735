"""The commands of the tutorial print the output that the page shows.

A ```python or ```toml block that begins with a comment with a file name is written to that file, a
```diff block changes a file, and a ```console block runs a command. After an intended change,
`SQLA_TYPEDPOOL_WRITE_TUTORIAL=1 pytest tests/project/test_tutorial.py` writes the new output into
the page.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import ROOT, run_module

README = ROOT / "README.md"
PAGE = ROOT / "docs" / "tutorial.md"
WRITE = "SQLA_TYPEDPOOL_WRITE_TUTORIAL"
BLOCK = re.compile(r"^```(python|toml|diff|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARYING = [
    (re.compile(r"\d+\.\d+ ?s\b"), "0.0 s"),
    (re.compile(r"PostgreSQL \d+"), "PostgreSQL 0"),
    (re.compile(r"\(ephemeral, [^()]+\)"), "(ephemeral)"),
]


def write(folder: Path, block: str) -> None:
    """Write the file whose name is in the first line of the block, if there is one."""
    named = re.match(r"# (\S+)\n", block)
    if named is not None:
        file = folder / named[1]
        file.parent.mkdir(exist_ok=True)
        file.write_text(block[named.end() :])


def change(folder: Path, block: str) -> None:
    """Replace the lines with `-` by those with `+`."""
    first, *lines = block.splitlines(keepends=True)
    file = folder / first.removeprefix("--- ").strip()
    old = "".join(line[1:] for line in lines if line[0] in " -")
    new = "".join(line[1:] for line in lines if line[0] in " +")
    assert file.read_text().count(old) == 1, f"{file.name} must contain this text once:\n{old}"
    file.write_text(file.read_text().replace(old, new))


def run(folder: Path, block: str) -> str:
    """Run the command of a block, and return the block with the output."""
    command = block.splitlines()[0]
    program, *arguments = shlex.split(command.removeprefix("$ "))
    if program == "python":
        assert arguments.pop(0) == "-m"
    else:
        arguments.insert(0, program.replace("-", "_"))
    ended = run_module(folder, *arguments)
    printed = (ended.stdout + ended.stderr).replace(str(folder), "/home/you/project").strip("\n")
    return f"{command}\n{printed}\n"


ACTIONS: dict[str, Callable[[Path, str], str | None]] = {
    "python": write,
    "toml": write,
    "diff": change,
    "console": run,
}


def page_with_new_output(page: str, folder: Path) -> str:
    """Process all blocks of a page, and return it with the new output of its commands."""

    def process(found: re.Match[str]) -> str:
        kind, block = found.groups()
        return f"```{kind}\n{ACTIONS[kind](folder, block) or block}```"

    return BLOCK.sub(process, page)


def without_varying_parts(text: str) -> str:
    """Replace times and versions, which differ from run to run."""
    for pattern, replacement in VARYING:
        text = pattern.sub(replacement, text)
    return text


def console_blocks(page: Path) -> list[str]:
    return [
        without_varying_parts(block)
        for kind, block in BLOCK.findall(page.read_text())
        if kind == "console"
    ]


def test_the_output_in_the_readme_is_that_of_the_tutorial() -> None:
    (shown,) = [block for block in console_blocks(README) if "TP101" in block]
    assert shown in console_blocks(PAGE)


@pytest.mark.usefixtures("postgres")  # the commands start one
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_commands_of_the_tutorial_print_the_output_on_the_page(tmp_path: Path) -> None:
    pytest.importorskip("asyncpg")
    shown = PAGE.read_text()
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    now = page_with_new_output(shown, tmp_path)
    if os.environ.get(WRITE):
        PAGE.write_text(now)
    assert without_varying_parts(now) == without_varying_parts(shown)
