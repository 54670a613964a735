"""The commands of ```console blocks."""

from __future__ import annotations

import re
import shlex
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from sqla_typedpool.cli import build_parser
from tests.project.snippets.blocks import ROOT
from tests.support.commands import run_python

PIP_EXTRAS = re.compile(r"(?:sqla-typedpool|\.)\[([\w,]+)\]")
# Ignored because they differ from run to run, or between systems.
VARYING = [
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:0"),
    (re.compile(r"\d+\.\d+ ?s\b"), "0.0 s"),
    (re.compile(r"PostgreSQL \d+"), "PostgreSQL 0"),
    (re.compile(r"\(ephemeral, [^()]+\)"), "(ephemeral)"),
]


class Command(NamedTuple):
    line: int
    """The line within the block, from 0."""
    words: list[str]
    text: str
    """The lines of the command, with the prompt."""
    shown: str
    """The output on the page; "" = none."""

    @property
    def way(self) -> str:
        """What is done with it: run, check, unknown."""
        way = WAYS.get(self.words[0] if self.words else "", "unknown")
        return "check" if self.words[:2] == ["sqla-typedpool", "top"] else way


WAYS = {
    "sqla-typedpool": "run",  # but `top` needs a running application
    "python": "run",
    "pytest": "run",
    "pip": "check",
    "make": "check",
}


def commands_of(code: str) -> list[Command]:
    """Return the commands of a block: lines that begin with `$ `, each followed by its output."""
    found: list[Command] = []
    lines = code.splitlines()
    at = 0
    while at < len(lines):
        first = at
        at = _end(lines, at, lambda line: line.endswith("\\")) + 1
        text = lines[first:at]
        at = _end(lines, at, lambda line: not line.startswith("$ "))
        shown = "\n".join(lines[first + len(text) : at])
        found.append(Command(first, _words(text), "\n".join(text), shown.strip("\n")))
    return found


def _end(lines: list[str], at: int, goes_on) -> int:  # type: ignore[no-untyped-def]
    while at < len(lines) and goes_on(lines[at]):
        at += 1
    return at


def _words(lines: list[str]) -> list[str]:
    """Return the words of a command, or [] if this is not one."""
    if not lines[0].startswith("$ "):
        return []
    command = " ".join(line.removesuffix("\\") for line in lines)
    return shlex.split(command.removeprefix("$ "), comments=True)


def run(command: Command, folder: Path, environment: dict[str, str]) -> tuple[str, int]:
    """Run a command in a folder, and return its output and its exit code."""
    program, *arguments = command.words
    if program != "python":
        arguments = ["-m", program.replace("-", "_"), *arguments]
    ended = run_python(folder, *arguments, **environment)
    printed = (ended.stdout + ended.stderr).replace(str(folder), "/home/you/project")
    return printed.strip("\n"), ended.returncode


def fault(command: Command, extras: set[str]) -> str | None:
    """Return what is wrong in a command that is only checked, or None.

    :param extras: the extras of the package.
    """
    if command.words[0] == "sqla-typedpool":
        return fault_of_options(command.words[1:])
    if command.words[0] == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        named = {word for word in command.words[1:] if "=" not in word}
        return f"no such target: {named - targets}" if named - targets else None
    return fault_of_pip(command.text, extras)


def fault_of_options(arguments: list[str]) -> str | None:
    """Return the message of the command line for options that it refuses, or None."""
    printed = StringIO()
    try:
        with redirect_stderr(printed):
            build_parser().parse_args(arguments)
    except SystemExit:
        return printed.getvalue()
    return None


def fault_of_pip(text: str, extras: set[str]) -> str | None:
    """Return the extras in a call of pip that the package does not have, or None."""
    named = {extra for found in PIP_EXTRAS.findall(text) for extra in found.split(",")}
    return f"no such extra: {named - extras}" if named - extras else None


def without_varying_parts(text: str) -> str:
    """Replace times and versions, which differ from run to run."""
    for pattern, replacement in VARYING:
        text = pattern.sub(replacement, text)
    return text
