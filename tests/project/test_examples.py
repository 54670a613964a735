"""The examples' own tests pass, and their queries match the committed snapshots.

Each example is copied, and runs like a project of a user: in its folder, with its settings.
tests/project/test_example.py tests the bookshop further.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sqla_typedpool.embedded import Postgres
from tests.support.commands import ROOT, run_module

EXAMPLES = ROOT / "examples"
TESTED = ["fastapi_shop", "jobs", "litestar_shop", "sqlmodel_notes"]
CHECKED = ["fastapi_shop"]

pytestmark = pytest.mark.timeout(120)


def copy_of(example: str, folder: Path) -> Path:
    """Copy an example, so that nothing is written into the repository."""
    ignored = shutil.ignore_patterns("__pycache__", ".pytest_cache")
    return Path(shutil.copytree(EXAMPLES / example, folder / example, ignore=ignored))


@pytest.mark.parametrize("example", TESTED)
def test_the_tests_of_an_example_pass(example: str, postgres: Postgres, tmp_path: Path) -> None:
    pytest.importorskip("asyncpg")
    server = {"SQLA_TYPEDPOOL_TEST_DATABASE_URL": postgres.url("asyncpg")}
    options = ["--typedpool-check"] if example in CHECKED else []
    ended = run_module(copy_of(example, tmp_path), "pytest", "-q", *options, **server)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "skipped" not in ended.stdout


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


def test_every_example_is_tested() -> None:
    folders = {each.name for each in EXAMPLES.iterdir() if (each / "README.md").is_file()}
    assert folders - {"bookshop"} == set(TESTED)
