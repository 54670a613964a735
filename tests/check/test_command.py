"""The command line without a database: options, settings, snapshots, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sqla_typedpool.check.discovery import discover
from sqla_typedpool.check.snapshots import Snapshots, document_of
from sqla_typedpool.cli import database, project
from sqla_typedpool.queries import declare as registry
from tests.support.check_commands import Answer, command
from tests.support.check_lab import described, maybe, never
from tests.support.commands import ROOT

APP = """from sqla_typedpool import Executor, fetch_all, query


@query("SELECT nick FROM users")
async def nicks(db: Executor) -> list[str]:
    raise NotImplementedError


@query("SELECT id FROM users")
async def ids(db: Executor) -> list[int | None]:
    raise NotImplementedError
"""
COLUMNS = {"nicks": maybe("nick", "text"), "ids": never("id", "int8")}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An application whose snapshots say: TP101 of nicks, TP107 of ids."""
    (tmp_path / "app.py").write_text(APP)
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setattr(sys, "path", list(sys.path))
        documents = {}
        snapshots = Snapshots(tmp_path / ".sqla_typedpool")
        for info in discover(["app"]).queries:
            description = described(COLUMNS[info.name.partition(".")[2]], sql=info.sql)
            documents[snapshots.path_of(info, "postgresql")] = document_of(info, description)
        snapshots.write("postgresql", documents)
    sys.modules.pop("app")
    registry._declared.clear()
    return tmp_path


def codes(answer: Answer) -> list[str]:
    return sorted(each["code"] for each in json.loads(answer.stdout)["findings"])


def check(folder: Path, *words: str) -> Answer:
    return command(folder, "check", "app", "--format", "json", *words)


def settings(folder: Path, *lines: str) -> None:
    (folder / "pyproject.toml").write_text("\n".join(["[tool.sqla_typedpool]", *lines]))


def test_snapshots_are_read_where_there_is_no_database(app: Path) -> None:
    answer = check(app)
    assert answer.returncode == 1
    assert codes(answer) == ["TP101", "TP107"]
    assert json.loads(answer.stdout)["source"] == "snapshots in .sqla_typedpool"


def test_offline_leaves_the_database_of_the_environment_alone(app: Path) -> None:
    url = "postgresql://me:s3cret@127.0.0.1:1/d"
    assert command(app, "check", "app", DATABASE_URL=url).returncode == 2
    assert command(app, "check", "app", "--offline", DATABASE_URL=url).returncode == 1


def test_notes_count_only_when_strict(app: Path) -> None:
    assert check(app, "--ignore", "TP101").returncode == 0
    assert check(app, "--ignore", "TP101", "--strict").returncode == 1
    settings(app, "strict = true")
    assert check(app, "--ignore", "TP101").returncode == 1


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--select", "TP101"], ["TP101"]),
        (["--select", "TP2xx", "--select", "TP107,TP3"], ["TP107"]),
        (["--ignore", "TP1"], []),
        (["--ignore", "TP1", "--select", "TP101"], ["TP101"]),
    ],
)
def test_findings_are_chosen(app: Path, words: list[str], found: list[str]) -> None:
    assert codes(check(app, *words)) == found


def test_the_command_line_wins_over_the_settings(app: Path) -> None:
    settings(app, 'modules = ["app"]', 'ignore = ["TP101"]', 'select = ["TP1"]')
    assert codes(command(app, "check", "--format", "json")) == ["TP107"]
    assert codes(check(app, "--ignore", "TP107")) == ["TP101"]
    assert codes(check(app, "--select", "TP101")) == []
    settings(app, 'modules = ["app"]', 'snapshots = "elsewhere"')
    assert "no snapshots in elsewhere" in command(app, "check", "--offline").stderr
    assert check(app, "--snapshots", ".sqla_typedpool").returncode == 1


def test_what_is_excluded_is_left_out_by_settings_and_by_option(app: Path) -> None:
    (app / "shop" / "broken").mkdir(parents=True)
    (app / "shop" / "__init__.py").touch()
    (app / "shop" / "broken" / "__init__.py").write_text("raise RuntimeError('do not import me')")
    words = ("check", "shop", "--offline")
    assert "do not import me" in command(app, *words).stderr
    assert "nothing to check" in command(app, *words, "--exclude", "shop.broken").stderr
    settings(app, 'exclude = ["shop.broken"]')
    assert "nothing to check" in command(app, *words).stderr


def test_settings_that_are_wrong_are_one_sentence(app: Path) -> None:
    for line, words in [
        ('module = ["app"]', "no option module; did you mean modules?"),
        ("modules = [", "pyproject.toml is not TOML"),
    ]:
        settings(app, line)
        answer = check(app)
        assert answer.returncode == 2
        assert words in answer.stderr
        assert len(answer.stderr.splitlines()) == 1


def test_python_3_10_without_tomli_is_told_what_to_install(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        assert name in ("tomllib", "tomli")
        raise ImportError(name)

    monkeypatch.setattr(project, "import_module", missing)
    assert check(app).returncode == 1  # nothing there to be read
    settings(app, "strict = true")
    answer = check(app)
    assert answer.returncode == 2
    assert 'pip install "sqla-typedpool[check]"' in answer.stderr


def test_a_comment_silences_and_sql_in_a_call_is_told(app: Path) -> None:
    source = APP.replace('nick FROM users")', 'nick FROM users")  # typedpool: ignore[TP101]')
    (app / "app.py").write_text(source + '\nfetch_all(None, int, "SELECT 1").close()\n')
    answer = check(app)
    assert codes(answer) == ["TP002", "TP107"]
    assert answer.returncode == 0


def test_without_database_and_snapshots_the_three_ways_are_told(tmp_path: Path) -> None:
    answer = command(tmp_path, "check", "app")
    assert answer.returncode == 2
    for way in ("--database-url", "--ephemeral", "sqla-typedpool prepare"):
        assert way in answer.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check"], "no modules; next: name them"),
        (["check", "app", "--ephemeral", "--database-url", "x://"], "drop --database-url"),
        (["check", "app", "--metadata", "a:b", "--database-url", "x://"], "need --ephemeral"),
        (["prepare", "app"], "no database; next: give --database-url or $DATABASE_URL"),
        (["describe"], "describe takes one statement"),
        (["check", "app", "--env-file", "none.env"], "--env-file none.env cannot be read"),
        (["check", "app", "--select", "TP999"], 'no finding has the code "TP999"'),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(app: Path, words: list[str], said: str) -> None:
    answer = command(app, *words)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert said in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_no_server_is_started_where_there_is_nothing_to_check(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*arguments: Any) -> Any:
        raise AssertionError("a server was started")

    monkeypatch.setattr(database, "_ephemeral", started)
    (app / "app.py").write_text("")
    answer = command(app, "check", "app", "--ephemeral")
    assert answer.returncode == 2
    assert "nothing to check: no @query in app" in answer.stderr


def test_a_code_is_explained_without_modules(tmp_path: Path) -> None:
    answer = command(tmp_path, "check", "--explain", "tp101")
    assert answer.returncode == 0
    assert answer.stdout.startswith("TP101: ")


def test_the_report_for_github_is_annotations_alone(app: Path) -> None:
    answer = command(app, "check", "app", "--format", "github")
    assert answer.returncode == 1
    kinds = [line.partition(" ")[0] for line in answer.stdout.splitlines()]
    assert kinds == ["::error", "::notice"]


def test_quiet_says_nothing_of_success(app: Path) -> None:
    assert command(app, "check", "app", "--ignore", "TP1", "--quiet").stdout == ""
    assert "nothing found" in command(app, "check", "app", "--ignore", "TP1").stdout


def test_colours_are_for_terminals_or_when_asked(app: Path) -> None:
    assert "\033[" not in command(app, "check", "app").stdout
    assert "\033[" in command(app, "check", "app", "--colour").stdout


def test_a_report_that_standard_output_cannot_encode_is_escaped(app: Path) -> None:
    (app / "app.py").rename(app / "wörter.py")
    answer = subprocess.run(
        [sys.executable, "-m", "sqla_typedpool", "check", "wörter", "--offline"],
        cwd=app,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1, answer.stderr
    assert "w\\xf6rter.py:4" in answer.stdout
    assert "TP401" in answer.stdout
