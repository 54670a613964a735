"""The examples of the documentation compile, and print what the documentation shows.

A ```python block that is directly followed by a ```text block is run, on SQLite. In the ```text
block the message of an uncaught error may be wrapped.
"""

from __future__ import annotations

import ast
import asyncio
import io
import re
import subprocess
import sys
from contextlib import redirect_stdout
from inspect import iscoroutine
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sqla_typedpool.mapping.coercions import rule_table

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
MAPPING = ROOT / "docs" / "mapping.md"
QUERIES = ROOT / "docs" / "queries.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    file: Path
    line: int
    code: str
    printed: str
    """What it prints; "" where it is not run."""


def examples(file: Path) -> list[Example]:
    page = file.read_text()
    return [
        Example(file, page[: found.start()].count("\n") + 2, found[1], found[2] or "")
        for found in BLOCK.finditer(page)
    ]


def compiled(example: Example) -> Any:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # as in `python -m asyncio`
    code = "\n" * (example.line - 1) + example.code
    return compile(code, str(example.file), "exec", flags=flags, dont_inherit=True)


def of_an_error(error: Exception) -> str:
    """What a traceback ends with."""
    return f"{type(error).__module__}.{type(error).__qualname__}: {error}\n"


async def run_example(example: Example, names: dict[str, Any]) -> str:
    """What it prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        try:
            running = eval(compiled(example), names)
            if iscoroutine(running):
                await running
        except Exception as error:
            printed.write(of_an_error(error))
    return printed.getvalue()


def unwrapped(text: str) -> str:
    """Lines that are shown wrapped, as they were printed."""
    if not text.startswith("sqla_typedpool.errors."):
        return text.rstrip()
    return " ".join(text.split())


@pytest.mark.parametrize(
    "file", [README, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda f: f.name
)
def test_every_python_example_compiles(file: Path) -> None:
    for example in examples(file):
        compiled(example)


@pytest.mark.parametrize("page", [MAPPING, QUERIES], ids=lambda page: page.name)
def test_the_examples_of_a_page_print_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: Path
) -> None:
    pytest.importorskip("aiosqlite")
    monkeypatch.chdir(tmp_path)
    shown = [example for example in examples(page) if example.printed]

    async def main() -> None:
        names: dict[str, Any] = {"__name__": "examples"}
        try:
            for example in shown:
                where = f"{example.file.name}:{example.line}"
                printed = await run_example(example, names)
                assert unwrapped(printed) == unwrapped(example.printed), where
        finally:
            await names["engine"].dispose()

    asyncio.run(main())
    assert len(shown) >= 9


def test_the_example_of_the_readme_prints_what_is_shown(tmp_path: Path) -> None:
    pytest.importorskip("aiosqlite")
    (example,) = [each for each in examples(README) if each.printed]
    script = tmp_path / "example.py"
    script.write_text(example.code)
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    *_, error = ended.stderr.splitlines()
    assert f"{ended.stdout}{error}".split() == example.printed.split()
    assert ended.returncode == 1


def test_the_rule_table_is_the_one_that_is_in_force() -> None:
    page = MAPPING.read_text()
    shown = re.search(r"<!-- the rule table: .*? -->\n(.*?)\n<!--", page, re.DOTALL)
    assert shown is not None
    assert shown[1] == rule_table(), "print rule_table() and paste it"


@pytest.mark.parametrize(
    "file", [README, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda f: f.name
)
def test_every_link_to_a_file_leads_somewhere(file: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", file.read_text())
    assert [link for link in links if not (file.parent / link).exists()] == []


def privates_of(source: str) -> set[str]:
    """The private attributes that a file uses of others."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and re.match(r"_[^_]", node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    }


# The modules of _sqlalchemy/ that fetch and the checker use.
MODULES = (
    *("eligibility", "driver_statement", "asyncpg_adapter", "driver_errors", "results"),
    "compiling",
)


def test_every_private_of_sqlalchemy_that_a_fetch_uses_is_listed() -> None:
    package = ROOT / "sqla_typedpool" / "_sqlalchemy"
    used = privates_of("\n".join((package / f"{name}.py").read_text() for name in MODULES))
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert sorted(name for name in used if not re.search(rf"\b{name}\b", page)) == []
    assert "_compile_w_cache" in used


def quoted_tests(page: str, folder: Path) -> list[tuple[Path, str]]:
    """The tests that a page names, a link to a file with parts of their names behind it."""
    targets = dict(re.findall(r"^\[(\w+)\]: (\S+\.py)$", page, re.MULTILINE))
    found: list[tuple[Path, str]] = []
    pattern = r"\[(\w+)\](?:\((\S+?\.py)\))?:?\s*((?:`[\w ]+`[,\s]*)+)"
    for name, link, parts in re.findall(pattern, page):
        target = link or targets.get(name)
        if target is not None:
            file = (folder / target).resolve()
            found += [(file, part) for part in re.findall(r"`([\w ]+)`", parts)]
    return found


def names_a_test(file: Path, part: str) -> bool:
    """Whether a part of a name is that of a test, or a parameter's id, in this file."""
    source = file.read_text()
    return f'"{part}"' in source or bool(re.search(rf"\btest_\w*{part}", source))


@pytest.mark.parametrize("name", ["guarantees.md", "drivers.md", "deployment.md"])
def test_every_test_that_a_page_names_exists(name: str) -> None:
    page = ROOT / "docs" / name
    quoted = quoted_tests(page.read_text(), page.parent)
    assert len(quoted) >= 10
    missing = [f"{file.name}: {part}" for file, part in quoted if not names_a_test(file, part)]
    assert missing == []
