"""The tutorial is real: its files are written, its commands run, and their output is compared.

A ```python or ```toml block that begins with a comment naming a file is that file from then on, a
```diff block changes one. A ```console block runs its command. After a change that is meant,
`SQLA_TYPEDPOOL_WRITE_TUTORIAL=1 pytest tests/project/test_tutorial.py` puts the new output into the
page.
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
]


def write(folder: Path, block: str) -> None:
    """A file, if the block begins with its name."""
    named = re.match(r"# (\S+)\n", block)
    if named is not None:
        file = folder / named[1]
        file.parent.mkdir(exist_ok=True)
        file.write_text(block[named.end() :])


def change(folder: Path, block: str) -> None:
    """Replace the one place where the lines with `-` stand by those with `+`."""
    first, *lines = block.splitlines(keepends=True)
    file = folder / first.removeprefix("--- ").strip()
    old = "".join(line[1:] for line in lines if line[0] in " -")
    new = "".join(line[1:] for line in lines if line[0] in " +")
    assert file.read_text().count(old) == 1, f"{file.name} has not one place with:\n{old}"
    file.write_text(file.read_text().replace(old, new))


def run(folder: Path, block: str) -> str:
    """The block with what its command prints now."""
    command = block.splitlines()[0]
    program, *arguments = shlex.split(command.removeprefix("$ "))
    if program == "python":
        assert arguments.pop(0) == "-m"
    else:
        arguments.insert(0, program.replace("-", "_"))
    ended = run_module(folder, *arguments)
    printed = (ended.stdout + ended.stderr).replace(str(folder), "/home/you/project").strip("\n")
    return f"{command}\n{printed}\n"


DOING: dict[str, Callable[[Path, str], str | None]] = {
    "python": write,
    "toml": write,
    "diff": change,
    "console": run,
}


def lived_through(page: str, folder: Path) -> str:
    """The page, with what its commands print now."""

    def live(found: re.Match[str]) -> str:
        kind, block = found.groups()
        return f"```{kind}\n{DOING[kind](folder, block) or block}```"

    return BLOCK.sub(live, page)


def steady(text: str) -> str:
    """Without what differs from run to run."""
    for pattern, stand_in in VARYING:
        text = pattern.sub(stand_in, text)
    return text


def consoles(page: Path) -> list[str]:
    return [steady(block) for kind, block in BLOCK.findall(page.read_text()) if kind == "console"]


def test_the_readme_shows_what_the_tutorial_does() -> None:
    (shown,) = [block for block in consoles(README) if "TP101" in block]
    assert shown in consoles(PAGE)


@pytest.mark.usefixtures("postgres")  # there is one to start
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_commands_of_the_tutorial_print_what_is_shown(tmp_path: Path) -> None:
    pytest.importorskip("asyncpg")
    shown = PAGE.read_text()
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    now = lived_through(shown, tmp_path)
    if os.environ.get(WRITE):
        PAGE.write_text(now)
    assert steady(now) == steady(shown)
