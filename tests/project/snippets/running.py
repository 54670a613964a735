"""Runs the blocks of a page, in order, in one folder and one namespace."""

from __future__ import annotations

import ast
import asyncio
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from inspect import iscoroutine
from pathlib import Path
from traceback import extract_tb, format_list
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock
from weakref import WeakValueDictionary

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_typedpool.pool import names as pool_names
from tests.project.snippets import commands
from tests.project.snippets.blocks import Block, Page
from tests.project.snippets.checks import EXTRAS, faults_of
from tests.project.snippets.outcomes import Outcome, file_of, outcomes

# The name of the module in which a page is run; some outputs contain it.
MODULE = "examples"


def compiled(block: Block) -> Any:
    """Compile a block, which may contain `await` outside functions."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # as in `python -m asyncio`
    code = "\n" * (block.line - 1) + block.code
    return compile(code, str(block.page), "exec", flags=flags, dont_inherit=True)


def unwrapped(text: str) -> str:
    """Join the lines of an error message, which a page may wrap."""
    message = re.search(r"^(?:\w+\.)+\w+: ", text, re.MULTILINE)
    at = message.start() if message else len(text)
    return text[:at].rstrip() + "\n" + " ".join(text[at:].split())


def rewritten(page: str, differences: list[Difference]) -> str:
    """Return the text of a page with the new outputs."""
    lines = page.splitlines()
    for each in sorted(differences, key=lambda each: each.line, reverse=True):
        end = each.line - 1 + len(each.shown.rstrip("\n").split("\n"))
        lines[each.line - 1 : end] = each.printed.rstrip("\n").split("\n")
    return "\n".join(lines) + "\n"


def agree(printed: str, shown: str) -> bool:
    """Whether a page shows this output, in which `...` stands for any text.

    Times and versions are not compared, nor are the line ends of a wrapped error message.
    """
    printed, shown = (unwrapped(commands.without_varying_parts(text)) for text in (printed, shown))
    if printed == shown:
        return True
    parts = [re.escape(part) for part in shown.split("...")]
    return len(parts) > 1 and re.fullmatch(".*?".join(parts), printed, re.DOTALL) is not None


class Difference(NamedTuple):
    """An output that differs from that on the page."""

    block: Block
    line: int
    shown: str
    printed: str

    def __str__(self) -> str:
        return f"{self.block.place} prints\n{self.printed}\n--- the page shows\n{self.shown}\n---"


class SnippetFailed(Exception):
    """A block raises an exception."""


def all_pool_names_free() -> Any:
    """Let a page give its pools any name, also one that a pool of another test has."""
    return mock.patch.object(pool_names._registry, "live", WeakValueDictionary())


class PageRun:
    """A page whose blocks are run."""

    def __init__(self, page: Page, folder: Path, **names: str) -> None:
        """
        :param folder: the working directory: files are written there, and commands run there.
        :param names: what the blocks can use, such as `url`.
        """
        self.differences: list[Difference] = []
        self.page = page
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._module = ModuleType(MODULE)
        self._environment = {"SQLA_TYPEDPOOL_TEST_DATABASE_URL": names.get("postgresql_url", "")}
        self._names: dict[str, Any] = vars(self._module)
        self._names |= {"folder": folder, "environment": self._environment, **names}
        self._hidden: dict[str, ModuleType] = {}  # modules of the names of the page's files

    def run(self) -> None:
        """Run all blocks, and collect the differences.

        :raises AssertionError: a command fails, or a block has names that do not exist.
        """
        found = outcomes(self.page)
        with self._open(), all_pool_names_free():
            for (block, outcome), after in zip(found, [*found[1:], None], strict=True):
                shown = after[0] if after and after[1] is Outcome.COMPARED else None
                self._do(block, outcome, shown)

    def _do(self, block: Block, outcome: Outcome, shown: Block | None) -> None:
        if outcome in (Outcome.NOT_RUN, Outcome.ELSEWHERE):
            if block.language == "python":
                compiled(block)
            return
        if block.language == "console":
            self._console(block)
            return
        if outcome is Outcome.RUN:
            run = {"python": self._python, "diff": self._diff, "sql": self._sql}
            run[block.language](block, shown)
        elif outcome is Outcome.WRITTEN:
            self._write(block)
        if outcome is Outcome.CHECKED or block.language in {"toml", "ini"}:
            self._check(block)

    # ------------------------------------------------------------------------------- set-up

    @contextmanager
    def _open(self) -> Iterator[None]:
        """Make the page's module and files importable; close what the page has opened."""
        replaced = sys.modules.get(MODULE)
        sys.modules[MODULE] = self._module
        sys.path.insert(0, str(self._folder))
        try:
            yield
        finally:
            self._loop.run_until_complete(self._close())
            self._loop.close()
            sys.path.remove(str(self._folder))
            del sys.modules[MODULE]
            if replaced is not None:
                sys.modules[MODULE] = replaced
            for name in [name for name, each in sys.modules.items() if self._is_ours(each)]:
                del sys.modules[name]
            sys.modules.update(self._hidden)

    def _hide(self, package: str) -> None:
        """Hide a module or package that other tests have imported under this name."""
        for name, module in list(sys.modules.items()):
            if name.split(".")[0] == package and not self._is_ours(module):
                self._hidden[name] = sys.modules.pop(name)

    def _is_ours(self, module: Any) -> bool:
        return str(getattr(module, "__file__", None) or "").startswith(str(self._folder))

    async def _close(self) -> None:
        for engine in list(self._names.values()):
            if isinstance(engine, AsyncEngine):
                await engine.dispose()
        await self._loop.shutdown_asyncgens()

    # --------------------------------------------------------------------------- the actions

    def _python(self, block: Block, shown: Block | None) -> None:
        printed = io.StringIO()
        with redirect_stdout(printed):
            try:
                running = eval(compiled(block), self._names)
                if iscoroutine(running):
                    self._loop.run_until_complete(running)
            except Exception as error:
                if shown is None:
                    raise SnippetFailed(self._report(block, error)) from error
                kind = type(error)
                printed.write(f"{kind.__module__}.{kind.__qualname__}: {error}\n")
        if shown is not None:
            self._compare(shown, shown.line, shown.code, printed.getvalue())

    def _report(self, block: Block, error: Exception) -> str:
        """The traceback, without the lines of this file."""
        frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename != __file__]
        return f"{block.place}\n{''.join(format_list(frames))}{type(error).__name__}: {error}"

    def _compare(self, block: Block, line: int, shown: str, printed: str) -> None:
        if not agree(printed, shown):
            self.differences.append(Difference(block, line, shown, printed))

    def _sql(self, block: Block, shown: Block | None) -> None:
        self._loop.run_until_complete(self._execute(block.code))

    async def _execute(self, script: str) -> None:
        engine = create_async_engine(self._names["url"])
        async with engine.begin() as connection:
            code = re.sub(r"--.*$", "", script, flags=re.MULTILINE)
            for statement in re.split(r";\s*$", code, flags=re.MULTILINE):
                if statement.strip():
                    await connection.exec_driver_sql(statement)
        await engine.dispose()

    def _write(self, block: Block) -> None:
        name = file_of(block)
        assert name is not None
        self._hide(Path(name).parts[0].removesuffix(".py"))
        file = self._folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        first, rest = block.code.split("\n", 1)
        file.write_text(rest if first[2:].strip() == name else block.code)

    def _diff(self, block: Block, shown: Block | None) -> None:
        """Replace the lines with `-` by those with `+`, in the file that the first line names."""
        first, code = block.code.split("\n", 1)
        file = self._folder / first.removeprefix("--- ").strip()
        text = file.read_text()
        for hunk in re.split(r"^@@.*\n", re.sub(r"^\+\+\+.*\n", "", code), flags=re.MULTILINE):
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] or "\n" for line in lines if line[0] in " -\n")
            new = "".join(line[1:] or "\n" for line in lines if line[0] in " +\n")
            assert not old or text.count(old) == 1, f"{block.place}: {file.name} has not:\n{old}"
            text = text.replace(old, new) if old else text
        file.write_text(text)

    def _console(self, block: Block) -> None:
        """Run the commands; one that shows no output must end with the exit code 0."""
        for command in commands.commands_of(block.code):
            if command.way == "check":
                fault = commands.fault(command, EXTRAS)
                assert fault is None, f"{block.place}: {fault}"
                continue
            printed, code = commands.run(command, self._folder, self._environment)
            if command.shown:
                line = block.line + command.line + command.text.count("\n") + 1
                self._compare(block, line, command.shown, printed)
            else:
                assert code == 0, f"{block.place}: exit code {code}\n{printed}"
                assert " skipped" not in printed, f"{block.place}:\n{printed}"

    def _check(self, block: Block) -> None:
        faults = faults_of(block)
        assert faults == [], f"{block.place}: {faults}"
