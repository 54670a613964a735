"""Every snippet of the documentation is executed or checked, or its page says why it is not.

`SQLA_TYPEDPOOL_WRITE_OUTPUTS=1 pytest tests/project/test_snippets.py -k PAGE` writes changed
outputs into a page. CONTRIBUTING.md describes how to write a snippet.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sqla_typedpool.embedded import Postgres
from tests.project.snippets.blocks import ROOT, Block, name_of, read_page
from tests.project.snippets.outcomes import (
    EXECUTED,
    Outcome,
    outcomes,
    reason_is_complete,
    reason_of,
)
from tests.project.snippets.running import PageRun, SnippetFailed, rewritten
from tests.support.scratch_database import scratch_database

WRITE = "SQLA_TYPEDPOOL_WRITE_OUTPUTS"
FILES = [
    *sorted(ROOT.glob("*.md")),
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "examples").glob("*/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PAGES = {page.name: page for page in map(read_page, FILES) if page.blocks}

# Their snippets are run by programs of their own, such as pytest.
CHECKED_BY_PROGRAMS = {"docs/guide/frameworks.md", "docs/guide/testing.md"}

# The numbers of blocks that are neither executed nor checked, by the kinds of their reasons.
NOT_RUN = {"diagram": 10, "takes long": 1}


def needs_postgres(name: str) -> bool:
    """Whether a page uses the PostgreSQL of the session, or starts one."""
    page = PAGES[name]
    return "postgresql" in page.database or any("--ephemeral" in each.code for each in page.blocks)


def runs_commands(name: str) -> bool:
    """Whether a page starts several programs, which takes longer than a few seconds."""
    consoles = sum(each.language == "console" for each in PAGES[name].blocks)
    return consoles > 2 or "examples/" in name or name in CHECKED_BY_PROGRAMS


def parameters() -> list[object]:
    return [pytest.param(name, marks=list(marks_of(name))) for name in sorted(PAGES)]


def marks_of(name: str) -> Iterator[pytest.MarkDecorator]:
    if needs_postgres(name):
        yield pytest.mark.postgres
    if runs_commands(name):
        yield pytest.mark.slow


def folder_of(name: str, tmp_path: Path) -> Path:
    """The working directory of a page; for the README of an example a copy of its folder."""
    folder = tmp_path / "project"
    if name.startswith("examples/"):
        ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache")
        shutil.copytree((ROOT / name).parent, folder, ignore=ignored)
    else:
        folder.mkdir()
    return folder


@pytest.mark.timeout(480)  # a page has up to 20 commands, and the machine may be busy
@pytest.mark.parametrize("name", parameters())
def test_the_snippets_of_a_page_run_and_print_what_it_shows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("aiosqlite")
    folder = folder_of(name, tmp_path)
    monkeypatch.chdir(folder)
    names = {"url": f"sqlite+aiosqlite:///{folder}/app.db"}
    with ExitStack() as stack:
        if needs_postgres(name):
            server: Postgres = request.getfixturevalue("postgres")
            names["postgresql_url"] = stack.enter_context(scratch_database(server))
        if PAGES[name].database == "postgresql":
            names["url"] = names["postgresql_url"]
        failure = failure_of(PageRun(PAGES[name], folder, **names))
    if failure:
        pytest.fail(failure, pytrace=False)


def failure_of(run: PageRun) -> str:
    """Run a page, and return why it failed, or ""."""
    try:
        run.run()
    except SnippetFailed as failed:
        return str(failed)
    if os.environ.get(WRITE):
        file = run.page.file
        file.write_text(rewritten(file.read_text(), run.differences))
    return "\n".join(map(str, run.differences))


# ------------------------------------------------------------------------------- nothing is left


def all_outcomes() -> list[tuple[Block, Outcome]]:
    return [found for name in sorted(PAGES) for found in outcomes(PAGES[name])]


def test_every_snippet_is_run_or_its_page_says_why_not() -> None:
    unknown = [block.place for block, outcome in all_outcomes() if outcome is Outcome.UNKNOWN]
    assert unknown == [], "write <!-- not run: KIND: explanation --> before them"


def test_every_reason_is_one_of_the_list_and_names_a_test_that_reads_the_page() -> None:
    assert [name for name in sorted(PAGES) if not reason_is_complete(PAGES[name])] == []


def test_all_snippets_are_executed_but_those_of_these_kinds() -> None:
    found = all_outcomes()
    counts = Counter(outcome for _, outcome in found)
    executed = sum(counts[outcome] for outcome in EXECUTED)
    lines = [f"{counts[each]:4} {each.value}" for each in Outcome]
    lines.append(f"{executed} of {len(found)} blocks are executed")
    sys.stdout.write("\n".join(lines))  # shown by `pytest -s`
    left = [block for block, outcome in found if outcome is Outcome.NOT_RUN]
    kinds = {block: reason_of(PAGES[name_of(block.page)], block) for block in left}
    lines += ["not run:", *(f"{block.place}: {kind}" for block, kind in kinds.items())]
    assert Counter(kinds.values()) == NOT_RUN, "\n".join(lines)


INDENTED = re.compile(r"^(?![ \t]*(?:[-*+]|\d+\.)\s).+\n\n {4,}\S", re.MULTILINE)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_no_snippet_is_an_indented_block_which_would_not_be_run(name: str) -> None:
    text = re.sub(r"^( *)```.*?^ *```$", "", PAGES[name].file.read_text(), flags=re.M | re.S)
    assert [found[0] for found in INDENTED.finditer(text) if not found[0].startswith(" ")] == []
