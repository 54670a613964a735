"""The queries of the examples match the committed snapshots.

Each example is copied, and runs like a project of a user: in its folder, with its settings.
test_snippets.py runs the commands of its README.md, and so its tests. test_example.py tests the
bookshop further.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sqla_typedpool.embedded import Postgres
from tests.support.commands import ROOT, run_module

EXAMPLES = ROOT / "examples"
CHECKED = ["fastapi_shop"]

pytestmark = pytest.mark.timeout(120)


def copy_of(example: str, folder: Path) -> Path:
    """Copy an example, so that nothing is written into the repository."""
    ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache")
    return Path(shutil.copytree(EXAMPLES / example, folder / example, ignore=ignored))


@pytest.mark.parametrize("example", CHECKED)
def test_the_queries_of_an_example_match_the_snapshots(example: str, tmp_path: Path) -> None:
    ended = run_module(copy_of(example, tmp_path), "sqla_typedpool", "check", "--strict")
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("example", CHECKED)
def test_the_snapshots_match_the_migrations(
    example: str, postgres: Postgres, tmp_path: Path
) -> None:
    pytest.importorskip("asyncpg")
    command = ("sqla_typedpool", "prepare", "--check", "--ephemeral")
    ended = run_module(copy_of(example, tmp_path), *command)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_page_of_every_example_runs_its_tests() -> None:
    pages = [each / "README.md" for each in EXAMPLES.iterdir() if (each / "README.md").is_file()]
    assert len(pages) == 5
    assert [page.parent.name for page in pages if "\n$ pytest" not in page.read_text()] == []
