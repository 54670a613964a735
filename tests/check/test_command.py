"""The command line without a database: options, settings, snapshots, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sqla_typedpool.check import config
from sqla_typedpool.check.describing import compile_query
from sqla_typedpool.check.discovery import discover
from sqla_typedpool.check.snapshots import Snapshots, snapshot_text
from sqla_typedpool.cli import database
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
    """An application with snapshots that give TP101 for nicks and TP107 for ids."""
    (tmp_path / "app.py").write_text(APP)
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setattr(sys, "path", list(sys.path))
        documents = {}
        snapshots = Snapshots(tmp_path / ".sqla_typedpool")
        for info in discover(["app"]).queries:
            description = described(COLUMNS[info.name.partition(".")[2]], sql=info.sql)
            query = compile_query(info, "postgresql")
            documents[snapshots.path_of(query)] = snapshot_text(query, description)
        snapshots.write(documents)
    sys.modules.pop("app")
    registry._declared.clear()
    return tmp_path


def codes(answer: Answer) -> list[str]:
    return sorted(each["code"] for each in json.loads(answer.stdout)["findings"])


def check(folder: Path, *arguments: str) -> Answer:
    return command(folder, "check", "app", "--format", "json", *arguments)


def settings(folder: Path, *lines: str) -> None:
    (folder / "pyproject.toml").write_text("\n".join(["[tool.sqla_typedpool]", *lines]))


def test_without_a_database_snapshots_are_read(app: Path) -> None:
    answer = check(app)
    assert answer.returncode == 1
    assert codes(answer) == ["TP101", "TP107"]
    assert json.loads(answer.stdout)["source"] == "snapshots in .sqla_typedpool"


def test_offline_ignores_the_database_of_the_environment(app: Path) -> None:
    url = "postgresql://me:s3cret@127.0.0.1:1/d"
    assert command(app, "check", "app", DATABASE_URL=url).returncode == 2
    assert command(app, "check", "app", "--offline", DATABASE_URL=url).returncode == 1


def test_notes_set_the_exit_code_only_with_strict(app: Path) -> None:
    assert check(app, "--ignore", "TP101").returncode == 0
    assert check(app, "--ignore", "TP101", "--strict").returncode == 1
    settings(app, "strict = true")
    assert check(app, "--ignore", "TP101").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--select", "TP101"], ["TP101"]),
        (["--select", "TP2xx", "--select", "TP107,TP3"], ["TP107"]),
        (["--ignore", "TP1"], []),
        (["--ignore", "TP1", "--select", "TP101"], ["TP101"]),
    ],
)
def test_findings_are_selected_and_ignored(
    app: Path, arguments: list[str], found: list[str]
) -> None:
    assert codes(check(app, *arguments)) == found


def test_the_command_line_overrides_the_settings(app: Path) -> None:
    settings(app, 'modules = ["app"]', 'ignore = ["TP101"]', 'select = ["TP1"]')
    assert codes(command(app, "check", "--format", "json")) == ["TP107"]
    assert codes(check(app, "--ignore", "TP107")) == ["TP101"]
    assert codes(check(app, "--select", "TP101")) == []
    settings(app, 'modules = ["app"]', 'snapshots = "elsewhere"')
    assert "no snapshots in elsewhere" in command(app, "check", "--offline").stderr
    assert check(app, "--snapshots", ".sqla_typedpool").returncode == 1


def test_modules_are_excluded_by_settings_and_by_option(app: Path) -> None:
    (app / "shop" / "broken").mkdir(parents=True)
    (app / "shop" / "__init__.py").touch()
    (app / "shop" / "broken" / "__init__.py").write_text("raise RuntimeError('do not import me')")
    arguments = ("check", "shop", "--offline")
    assert "do not import me" in command(app, *arguments).stderr
    assert "nothing to check" in command(app, *arguments, "--exclude", "shop.broken").stderr
    settings(app, 'exclude = ["shop.broken"]')
    assert "nothing to check" in command(app, *arguments).stderr


def test_wrong_settings_are_one_error_message(app: Path) -> None:
    for line, expected in [
        ('module = ["app"]', "no setting module; did you mean modules?"),
        ("modules = [", "pyproject.toml is not valid TOML"),
    ]:
        settings(app, line)
        answer = check(app)
        assert answer.returncode == 2
        assert expected in answer.stderr
        assert len(answer.stderr.splitlines()) == 1


def test_python_3_10_without_tomli_names_what_to_install(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        assert name in ("tomllib", "tomli")
        raise ImportError(name)

    monkeypatch.setattr(config, "import_module", missing)
    assert check(app).returncode == 1  # nothing there to be read
    settings(app, "strict = true")
    answer = check(app)
    assert answer.returncode == 2
    assert 'pip install "sqla-typedpool[check]"' in answer.stderr


FAULTY = """

@query("SELECT :x")
async def {name}(db: Executor) -> int:
    raise NotImplementedError
"""


def test_every_faulty_declaration_is_a_finding(app: Path) -> None:
    with (app / "app.py").open("a") as file:
        file.write(FAULTY.format(name="first") + FAULTY.format(name="second"))
    answer = check(app)
    assert answer.returncode == 1
    assert codes(answer) == ["TP101", "TP107", "TP303", "TP303"]
    faulty = [each for each in json.loads(answer.stdout)["findings"] if each["code"] == "TP303"]
    assert [(each["query"], each["line"]) for each in faulty] == [
        ("app.first", 14),
        ("app.second", 19),
    ]
    message, hint = "the SQL has :x, but the function has no parameter x", "add x to the function"
    assert {(each["message"], each["hint"]) for each in faulty} == {(message, hint)}
    assert json.loads(answer.stdout)["queries"] == 4


def test_faulty_declarations_are_reported_if_there_is_no_correct_one(app: Path) -> None:
    head = APP.partition("@query")[0]
    (app / "app.py").write_text(head + FAULTY.format(name="first"))
    answer = check(app)
    assert answer.returncode == 1
    assert codes(answer) == ["TP303"]


def test_a_comment_at_a_faulty_declaration_is_not_reported_as_unused(app: Path) -> None:
    faulty = FAULTY.format(name="first").replace(':x")', ':x")  # typedpool: ignore[TP101]')
    (app / "app.py").write_text(APP + faulty)
    assert codes(check(app)) == ["TP101", "TP107", "TP303"]
    (app / "app.py").write_text(APP + faulty.replace("TP101", "TP303"))
    assert codes(check(app)) == ["TP101", "TP107"]


def test_a_comment_suppresses_a_finding_and_sql_in_a_call_is_one(app: Path) -> None:
    source = APP.replace('nick FROM users")', 'nick FROM users")  # typedpool: ignore[TP101]')
    (app / "app.py").write_text(source + '\nfetch_all(None, int, "SELECT 1").close()\n')
    answer = check(app)
    assert codes(answer) == ["TP002", "TP107"]
    assert answer.returncode == 0


def test_without_database_and_snapshots_the_error_names_three_ways(tmp_path: Path) -> None:
    answer = command(tmp_path, "check", "app")
    assert answer.returncode == 2
    for way in ("--database-url", "--ephemeral", "sqla-typedpool prepare"):
        assert way in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["check"], "there are no modules to check; next: name them"),
        (["check", "app", "--ephemeral", "--database-url", "x://"], "drop one of them"),
        (["check", "app", "--metadata", "a:b", "--database-url", "x://"], "need --ephemeral"),
        (["check", "app", "--postgres", "16", "--database-url", "x://"], "need --ephemeral"),
        (["check", "app", "--search-path", "app"], "there is no database; next: give"),
        (["check", "app", "--offline", "--search-path", "app"], "drop the options of the database"),
        (
            ["describe", "SELECT 1", "--search-path", "app", "--database-url", "sqlite://"],
            "has no search_path; next: remove --search-path and the setting",
        ),
        (["prepare", "app"], "no database; next: give --database-url, set $DATABASE_URL"),
        (["describe"], "describe takes one statement"),
        (["describe", "SELECT 1", "--ephemeral"], "--ephemeral needs a schema; next: give"),
        (["check", "app", "--env-file", "none.env"], "--env-file none.env cannot be read"),
        (["check", "app", "--select", "TP999"], 'no rule has the code "TP999"'),
    ],
)
def test_wrong_options_are_one_error_message(
    app: Path, arguments: list[str], expected: str
) -> None:
    answer = command(app, *arguments)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert expected in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_no_server_is_started_if_there_is_nothing_to_check(
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


def test_the_report_for_github_contains_only_annotations(app: Path) -> None:
    answer = command(app, "check", "app", "--format", "github")
    assert answer.returncode == 1
    kinds = [line.partition(" ")[0] for line in answer.stdout.splitlines()]
    assert kinds == ["::error", "::notice"]


def test_quiet_prints_nothing_without_findings(app: Path) -> None:
    assert command(app, "check", "app", "--ignore", "TP1", "--quiet").stdout == ""
    assert "no findings" in command(app, "check", "app", "--ignore", "TP1").stdout


def test_colours_are_used_on_terminals_or_on_request(app: Path) -> None:
    assert "\033[" not in command(app, "check", "app").stdout
    assert "\033[" in command(app, "check", "app", "--color").stdout


def test_characters_that_standard_output_cannot_encode_are_escaped(app: Path) -> None:
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
