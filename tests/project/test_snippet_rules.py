"""What test_snippets.py does with each kind of block, shown on small pages: page.md."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sqla_typedpool.pool.names import PoolName
from tests.project.snippets.blocks import ROOT, Page, read_page
from tests.project.snippets.outcomes import Outcome, outcomes, reason_is_complete
from tests.project.snippets.running import PageRun, SnippetFailed, agree, rewritten


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def page_of(folder: Path, text: str) -> Page:
    """A page; `'''` stands for the fence."""
    file = folder / "page.md"
    file.write_text(text.replace("'''", "```"))
    return read_page(file)


def run(folder: Path, text: str) -> PageRun:
    page_run = PageRun(page_of(folder, text), folder, url="sqlite+aiosqlite:///app.db")
    page_run.run()
    return page_run


def only_outcome(folder: Path, text: str) -> Outcome:
    ((_, outcome),) = outcomes(page_of(folder, text))
    return outcome


def test_a_page_imports_its_own_files_and_leaves_the_modules_of_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_others = ModuleType("shop")
    monkeypatch.setitem(sys.modules, "shop", of_others)
    text = """
'''python
# shop.py
name = "of the page"
'''
'''python
import shop

print(shop.name)
'''
'''text
of the page
'''
"""
    assert run(folder, text).differences == []
    assert sys.modules["shop"] is of_others


def test_a_page_may_give_its_pool_the_name_of_a_pool_of_another_test(folder: Path) -> None:
    pytest.importorskip("aiosqlite")
    of_others = PoolName("shop", is_given=True)
    of_others.take()
    text = """
'''python
from sqla_typedpool import TypedPool, create_typed_engine, fetch_one

engine = create_typed_engine(url, pool_name="shop")
await fetch_one(engine, int, "SELECT 1")
print(TypedPool.of(engine).stats().name)
'''
'''text
shop
'''
"""
    assert run(folder, text).differences == []
    assert str(of_others) == "shop"
    of_others.release()


def test_blocks_share_their_names_and_await(folder: Path) -> None:
    text = """
'''python
import asyncio
x = 1
'''
In a list:

  '''python
  await asyncio.sleep(0)
  print(x)
  '''
  '''text
  1
  '''
"""
    assert run(folder, text).differences == []


def test_a_hidden_block_is_run_and_may_have_an_output(folder: Path) -> None:
    text = """
<!-- hidden python
print("seen")
-->
'''text
seen
'''
"""
    assert run(folder, text).differences == []
    assert len(run(folder, text.replace("\nseen", "\nunseen")).differences) == 1


def test_another_output_is_a_difference_and_can_be_written_into_the_page(folder: Path) -> None:
    text = "'''python\nprint('a')\nprint('b')\n'''\n'''text\nc\n'''\nEnd.\n"
    differences = run(folder, text).differences
    assert [each.printed for each in differences] == ["a\nb\n"]
    assert rewritten(text, differences) == text.replace("\nc\n", "\na\nb\n")


def test_an_exception_is_an_output_if_one_is_shown_and_a_failure_if_not(folder: Path) -> None:
    text = "'''python\n1 / 0\n'''\n"
    with pytest.raises(SnippetFailed, match=r"page.md:2\n(.*\n)*ZeroDivisionError: division"):
        run(folder, text)
    shown = "'''text\nbuiltins.ZeroDivisionError: division\nby zero\n'''\n"
    assert run(folder, text + shown).differences == []


def test_files_are_written_changed_and_imported(folder: Path) -> None:
    text = """
'''python
# app/users.py
NAME = "Ada"
'''
'''diff
--- app/users.py
-NAME = "Ada"
+NAME = "Bob"
'''
'''python
from app.users import NAME
print(NAME)
'''
'''text
Bob
'''
"""
    assert run(folder, text).differences == []


def test_a_command_prints_what_is_shown_or_ends_with_0(folder: Path) -> None:
    text = """
'''python
# hello.py
import sys
print("hello")
sys.exit(len(sys.argv) - 1)
'''
'''console
$ python hello.py
$ python hello.py 1    # with a comment
hello
'''
"""
    assert run(folder, text).differences == []
    with pytest.raises(AssertionError, match="exit code 1"):
        run(folder, text.replace("$ python hello.py\n", "$ python hello.py 1\n"))


def test_sql_is_executed(folder: Path) -> None:
    text = """
'''sql
CREATE TABLE a (b integer); -- a comment
INSERT INTO a VALUES (1);
'''
<!-- hidden python
from sqlalchemy.ext.asyncio import create_async_engine
engine = create_async_engine(url)
async with engine.connect() as connection:
    print((await connection.exec_driver_sql("SELECT b FROM a")).scalar())
-->
'''text
1
'''
"""
    pytest.importorskip("aiosqlite")
    assert run(folder, text).differences == []


@pytest.mark.parametrize(
    "block",
    [
        "console\n$ pip install 'sqla-typedpool[asyncpgg]'",
        "console\n$ make everything",
        "toml\n[tool.sqla_typedpool]\nmodule = ['app']",
        "toml\n[tool.pytest.ini_options]\ntypedpool_metdata = 'app'",
        "ini\n[pytest]\ntypedpool_metdata = app",
        "yaml\n- run: sqla-typedpool check --ofline",
        "yaml\n- run: pip install 'sqla-typedpool[asyncpgg]'",
        "yaml\nrepos:\n- hooks:\n  - id: sqla-typedpool-chek",
        "text\nDATABASE_URL=sqlite+aiosqlite:///app.db?plugin=typedpool&pool_sise=1",
        "json\n{1}",
    ],
)
def test_a_name_that_does_not_exist_is_found(folder: Path, block: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        run(folder, f"'''{block}\n'''\n")


@pytest.mark.parametrize(
    "block",
    [
        "console\n$ docker run x",
        "text\nwords",
        "\na --> b",
        "kotlin\nval x = 1",
        "console\nno prompt",
    ],
)
def test_a_block_that_cannot_be_run_needs_a_reason(folder: Path, block: str) -> None:
    text = f"'''{block}\n'''\n"
    assert only_outcome(folder, text) is Outcome.UNKNOWN
    reason = "<!-- not run: other software: not here -->\n"
    assert only_outcome(folder, reason + text) is Outcome.NOT_RUN
    assert only_outcome(folder, f"{reason}Words between.\n{text}") is Outcome.UNKNOWN
    assert (
        only_outcome(folder, f"<!-- not run on this page: diagram -->\n{text}") is Outcome.NOT_RUN
    )


@pytest.mark.parametrize(
    ("comment", "is_complete"),
    [
        ("not run: diagram", True),
        ("not run: laziness: no time", False),
        ("run by tests/project/test_snippet_rules.py", True),
        ("run by tests/project/test_layers.py", False),
        ("run by tests/project/test_nowhere.py", False),
    ],
)
def test_a_reason_is_of_a_known_kind(folder: Path, comment: str, is_complete: bool) -> None:
    text = f"<!-- {comment} -->\n'''\na --> b\n'''\n"
    assert reason_is_complete(page_of(folder, text)) is is_complete
    on_the_page = text.replace("run", "run on this page")
    assert reason_is_complete(page_of(folder, on_the_page)) is is_complete


@pytest.mark.parametrize(
    ("printed", "shown", "is_agreed"),
    [
        ("a\n", "a", True),
        ("a b", "a\nb", False),
        ("pack.Error: a b\n", "pack.Error: a\nb", True),
        ("first\npack.Error: a b\n", "first\npack.Error: a\nb", True),
        ("1\n2\n3\n", "1\n...\n3", True),
        ("took 1.23 s", "took 4.5 s", True),
        ("1\n2\n3\n", "1\n...\n4", False),
    ],
)
def test_outputs_agree(printed: str, shown: str, is_agreed: bool) -> None:
    assert agree(printed, shown) is is_agreed


def test_a_page_leaves_no_module_and_no_path(folder: Path) -> None:
    import sys

    before = list(sys.path), set(sys.modules)
    run(folder, "'''python\n# mine.py\n'''\n'''python\nimport mine\n'''\n")
    assert (list(sys.path), set(sys.modules)) == before
    assert os.getcwd() == str(folder)


def test_the_comments_that_contributing_lists_have_an_effect(folder: Path) -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    comments = re.findall(r"^<!-- (?!hidden)(.*) -->", page, re.MULTILINE)
    assert len(comments) >= 6
    for comment in comments:
        read = page_of(folder, f"<!-- {comment} -->\n'''text\n'''\n")
        (block,) = read.blocks
        assert block.not_run or read.not_run or read.database != "sqlite", comment
