"""The five-minute page works: its files and commands, in its order, with the output that it shows.

A block that begins with a comment with a file name is that file. A ```console block has commands
and their output. `python database.py` and `uvicorn` run on in the background, as in terminals of
their own; a ```text block has lines that the latter has printed. Comments in the page, such as
`<!-- test: Enter in database.py -->`, stand for what a reader does by hand.

Python packages come from the environment of the tests, so the commands of section 1 are not run.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import NamedTuple

import pytest

from sqla_typedpool.embedded.process import free_port, wait_until
from tests.support.commands import ROOT, user_environment

PAGE = ROOT / "docs" / "start" / "five-minutes.md"
STEP = re.compile(
    r"^```(?P<kind>\w+)\n(?P<block>.*?)^```$|^<!-- test: (?P<action>.*?) -->$",
    re.MULTILINE | re.DOTALL,
)
FILE = re.compile(r"(?:#|--) (\S+\.\w+)\n")
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
PATIENCE = 60.0
SHOWN_DATABASE = "127.0.0.1:40123"
SHOWN_SERVER = "127.0.0.1:8000"
INSTALLING = ("mkdir ", "cd ", "python3 -m venv ", ". .venv/", "python -m pip ")
COMMANDS = {"python": "", "sqla-typedpool": "-m sqla_typedpool"} | {
    name: f"-m {name}" for name in ("uvicorn", "pytest")
}
VARYING = [
    (re.compile(r"^date: .*$", re.MULTILINE), "date: now"),
    (re.compile(r"\d+\.\d+ ?s\b"), "0.0 s"),
    (re.compile(r"PostgreSQL \d+ \(ephemeral, [^()]+\)"), "PostgreSQL 0"),
    (re.compile(r" +\[100%\]"), " [100%]"),
    (re.compile(r"process \[\d+\]"), "process [0]"),
    (re.compile(r"\bfailed checkout\b"), "failed checkouts"),  # how many depends on the machine
]


class Step(NamedTuple):
    """A block of the page, or what a reader does by hand."""

    line: int
    kind: str
    text: str


def steps() -> list[Step]:
    page = PAGE.read_text()
    return [
        Step(
            page[: found.start()].count("\n") + 1,
            found["kind"] or "action",
            found["block"] or found["action"],
        )
        for found in STEP.finditer(page)
    ]


def without_varying_parts(text: str) -> str:
    for pattern, replacement in VARYING:
        text = pattern.sub(replacement, text.replace("\r", ""))
    return text.strip()


def without_numbers(text: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "0", text)


class Reader:
    """Follows the page in an empty folder.

    Ports differ from those of the page. `_ports` has the shown and the real addresses.
    """

    def __init__(self, folder: Path, commands: Path, address: str) -> None:
        self._folder = folder
        self._environment = user_environment(
            PATH=f"{commands}{os.pathsep}{os.environ['PATH']}",
            PYTHONUNBUFFERED="1",
            UVICORN_PORT=address.rpartition(":")[2],
            UVICORN_LOOP="asyncio",  # the page does not install uvloop
            # starlette's warning of httpx is about the environment of these tests
            PYTEST_ADDOPTS="-p no:cacheprovider -p no:warnings",
        )
        self._addresses = {SHOWN_SERVER: address}
        self._programs: dict[str, Program] = {}

    def follow(self, step: Step) -> None:
        if (named := FILE.match(step.text)) is not None:
            (self._folder / named[1]).write_text(step.text)
        elif step.kind == "console":
            environment = dict(self._environment)  # a block is one terminal
            for command, shown in COMMAND.findall(step.text):
                self._run(command, shown, environment)
        elif step.kind == "text":
            self._programs["uvicorn"].wait_for_lines(self._real(step.text))
        elif step.kind == "action":
            self._act(step.text)

    def close(self) -> None:
        for program in self._programs.values():
            program.end()

    def _run(self, command: str, shown: str, environment: dict[str, str]) -> None:
        if command.startswith(INSTALLING):
            return
        command = self._real(command)
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            environment[name] = value
        elif command.startswith(("python database.py", "uvicorn ")):
            self._start(command, shown, environment)
        else:
            printed = self._shown(self._output_of(command, environment))
            assert not shown or without_varying_parts(printed) == without_varying_parts(shown)

    def _output_of(self, command: str, environment: dict[str, str]) -> str:
        ended = subprocess.run(
            ["sh", "-c", command],
            cwd=self._folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return ended.stdout + ended.stderr

    def _start(self, command: str, shown: str, environment: dict[str, str]) -> None:
        name = "database.py" if "database.py" in command else "uvicorn"
        log = self._folder.with_name(f"{name}.log")
        program = Program(command, self._folder, environment, log)
        self._programs[name] = program
        if name == "database.py":
            found = program.wait_for(r"@(127\.0\.0\.1:\d+)/")
            self._addresses[SHOWN_DATABASE] = found[1]
        program.wait_for_lines(self._real(shown))

    def _act(self, action: str) -> None:
        what, _, where = self._real(action).partition(" in ")
        if what == "Enter":
            self._programs[where].press_enter()
        elif what == "Ctrl-C":
            self._programs[where].press_ctrl_c()
        else:
            verb, _, address = what.partition(" ")
            assert verb == "open", action
            assert "<title>" in page_at(address)

    def _real(self, text: str) -> str:
        for shown, real in self._addresses.items():
            text = text.replace(shown, real)
        return text

    def _shown(self, text: str) -> str:
        for shown, real in self._addresses.items():
            text = text.replace(real, shown)
        return text


class Program:
    """A program that runs on in a terminal of its own."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str], log: Path) -> None:
        self._log = log
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                ["sh", "-c", f"exec {command}"],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until its output contains the pattern."""
        self._wait(lambda: re.search(pattern, self._printed()) is not None, pattern)
        found = re.search(pattern, self._printed())
        assert found is not None
        return found

    def wait_for_lines(self, shown: str) -> None:
        """Wait until its output has these lines, apart from the numbers in them."""
        for line in filter(None, map(str.strip, without_numbers(shown).splitlines())):
            self._wait(lambda line=line: line in without_numbers(self._printed()), line)

    def press_enter(self) -> None:
        """Press Enter, and wait for the next prompt."""
        before = self._printed().count("Enter ")
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        self._wait(lambda: self._printed().count("Enter ") > before, "the next prompt")

    def press_ctrl_c(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(PATIENCE)

    def _printed(self) -> str:
        return self._log.read_text()

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        assert wait_until(condition, PATIENCE), f"not printed: {what}\n{self._printed()}"

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(PATIENCE)
        if self._process.stdin is not None:
            self._process.stdin.close()


def page_at(address: str) -> str:
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    with opener.open(address, timeout=PATIENCE) as response:
        return str(response.read().decode())


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """Return a folder with the commands of the page, which run this source tree."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, options in COMMANDS.items():
        file = folder / name
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}" {options} "$@"\n')
        file.chmod(0o755)
    return folder


@pytest.fixture
def reader(tmp_path: Path, commands: Path) -> Iterator[Reader]:
    folder = tmp_path / "shelf"
    folder.mkdir()
    reader = Reader(folder, commands, f"127.0.0.1:{free_port()}")
    yield reader
    reader.close()


@pytest.mark.usefixtures("postgres")  # the commands start one
@pytest.mark.slow
@pytest.mark.timeout(480)
def test_who_follows_the_page_sees_what_it_shows(reader: Reader) -> None:
    for module in ("asyncpg", "fastapi", "httpx", "prometheus_client", "uvicorn"):
        pytest.importorskip(module)
    if shutil.which("curl") is None and not os.environ.get("CI"):
        pytest.skip("curl is not installed")
    for step in steps():
        try:
            reader.follow(step)
        except AssertionError as error:
            raise AssertionError(f"{PAGE.name}:{step.line}: {error}") from error


def test_the_page_installs_extras_that_exist() -> None:
    (extras,) = re.findall(r"sqla-typedpool\[([\w,]+)\]", PAGE.read_text())
    settings = (ROOT / "pyproject.toml").read_text()
    for extra in extras.split(","):
        assert re.search(rf"^{extra} = \[", settings, re.MULTILINE), extra


def test_the_page_shows_every_file_and_every_way_to_look_at_the_application() -> None:
    blocks = [step.text for step in steps()]
    files = [found[1] for found in map(FILE.match, blocks) if found]
    assert files == ["schema.sql", "app.py", "pyproject.toml", "database.py", "test_app.py"]
    commands = [command for block in blocks for command, _ in COMMAND.findall(block)]
    assert sum(command.startswith("curl ") for command in commands) == 8
