"""``check --fix`` on modules with seeded faults, compared with reviewed files.

With ``SQLA_TYPEDPOOL_WRITE_GOLDEN=1`` the files are written again.
"""

from __future__ import annotations

import asyncio
import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from sqla_typedpool.embedded import Postgres
from tests.check.fixes.lab import CASES, NAMES, SCHEMA, copied, run, write_snapshots
from tests.support.check_commands import Answer

REWRITE = bool(os.environ.get("SQLA_TYPEDPOOL_WRITE_GOLDEN"))
FAULTS = 53  # that are corrected in all cases


def corrected(answer: Answer) -> int:
    """Return the number of findings that a command has corrected."""
    assert answer.returncode in (0, 1), answer.stderr
    found = re.search(r"^corrected (\d+) finding", answer.stdout, re.MULTILINE)
    return int(found[1]) if found else 0


def texts(package: Path) -> dict[str, str]:
    return {name: (package / f"{name}_.py").read_text(encoding="utf-8") for name in NAMES}


def golden() -> dict[str, str]:
    return {name: (CASES / f"{name}.after").read_text(encoding="utf-8") for name in NAMES}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package with all cases, and snapshots of their queries."""
    package = copied(tmp_path, NAMES)
    write_snapshots(tmp_path, monkeypatch)
    return package


def test_only_what_is_mechanical_is_corrected(app: Path) -> None:
    answer = run(app.parent, "--fix", "--write", "--offline")
    if REWRITE:
        for name, text in texts(app).items():
            (CASES / f"{name}.after").write_text(text, encoding="utf-8")
        (CASES / "report.txt").write_text(_without_time(answer.stdout), encoding="utf-8")
    assert texts(app) == golden()
    assert corrected(answer) == FAULTS
    report = (CASES / "report.txt").read_text(encoding="utf-8")
    assert _without_time(answer.stdout) == report


def _without_time(report: str) -> str:
    return re.sub(r", \d+\.\d\d s\)", ")", report.partition("\ncorrected ")[2])


def test_a_second_run_changes_nothing(app: Path) -> None:
    run(app.parent, "--fix", "--write", "--offline")
    before = {file: file.stat().st_mtime_ns for file in app.iterdir()}
    answer = run(app.parent, "--fix", "--write", "--offline")
    assert answer.stdout.startswith("nothing to correct\n")
    assert {file: file.stat().st_mtime_ns for file in app.iterdir()} == before


def test_without_write_the_same_changes_are_a_diff(app: Path, tmp_path: Path) -> None:
    before = texts(app)
    answer = run(tmp_path, "--fix", "--offline")
    assert answer.returncode == 1
    assert f"{FAULTS} findings in 6 files can be corrected; to write the changes" in answer.stdout
    assert texts(app) == before
    shown = answer.stdout.partition(f"\n\n{FAULTS} findings")[0]
    run(tmp_path, "--fix", "--write", "--offline")
    assert shown + "\n" == _diff(before, texts(app))


def _diff(before: dict[str, str], after: dict[str, str]) -> str:
    return "".join(
        line
        for name in NAMES
        for line in difflib.unified_diff(
            before[name].splitlines(keepends=True),
            after[name].splitlines(keepends=True),
            f"app/{name}_.py",
            f"app/{name}_.py",
        )
    )


def test_the_next_check_reports_what_is_left(app: Path) -> None:
    """And TP107, where an annotation has None for another query or column, or as its default."""
    answers = (run(app.parent, *more, "--offline") for more in (["--fix", "--write"], []))
    left, found = (
        [each for each in answer.stdout.splitlines() if re.match(r"app/\S+: ", each)]
        for answer in answers
    )
    assert set(left) - set(found) == set()
    assert [each.partition(": ")[2] for each in found if each not in left] == [
        'note[TP107] "name" is never NULL, but each part of tuple[str | None, ...] is str | None',
        'note[TP107] "value" is never NULL, but Both.value is str | None',
        'note[TP107] "name" is never NULL, but Order.name is str | None',
    ]


# ------------------------------------------------------------------- PostgreSQL


@pytest.fixture
def shop(postgres: Postgres) -> Iterator[str]:
    """The URL of a database with the table of the cases."""

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(postgres.url("asyncpg").replace("+asyncpg", ""))
        await connection.execute(statement)
        await connection.close()

    asyncio.run(execute("CREATE SCHEMA fixes; SET search_path = fixes;" + SCHEMA))
    yield postgres.url("asyncpg")
    asyncio.run(execute("DROP SCHEMA fixes CASCADE"))


def test_a_database_leads_to_the_same_files(shop: str, tmp_path: Path) -> None:
    package = copied(tmp_path, NAMES)
    arguments = ("--fix", "--write", "--database-url", shop, "--search-path", "fixes")
    assert corrected(run(tmp_path, *arguments)) == FAULTS
    assert texts(package) == golden()
    assert run(tmp_path, *arguments).stdout.startswith("nothing to correct\n")
