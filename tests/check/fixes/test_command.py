"""The options ``--fix`` and ``--write``: what they print and refuse, and the exit codes."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from sqla_typedpool.check import fixes as fixing
from sqla_typedpool.check.file_changes import FileChange
from tests.check.fixes.lab import run, write_snapshots
from tests.support.check_commands import command

MODELS = '''"""The rows."""

from dataclasses import dataclass


@dataclass
class User:
    nick: str
'''
QUERIES = """from app.models import User
from sqla_typedpool import Executor, query


@query("SELECT nick FROM users")
async def users(db: Executor) -> list[User]:
    raise NotImplementedError


@query("SELECT nick FROM users")
async def nicks(db: Executor) -> list[str]:
    raise NotImplementedError


@query("SELECT name FROM users")
async def names(db: Executor) -> list[str | None]:
    raise NotImplementedError
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An application of two files, which both contain errors."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    (tmp_path / "app" / "models.py").write_text(MODELS)
    (tmp_path / "app" / "queries.py").write_text(QUERIES)
    write_snapshots(tmp_path, monkeypatch)
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    return {each.name: each.read_text() for each in (folder / "app").glob("*.py")}


def test_the_class_can_be_in_another_file_than_the_query(app: Path) -> None:
    answer = run(app, "--fix", "--write", "--offline")
    assert answer.returncode == 0
    assert "corrected 3 findings in 2 files" in answer.stdout
    assert "nick: str | None" in contents(app)["models.py"]
    assert "list[str | None]" in contents(app)["queries.py"]


def test_without_write_nothing_is_written_and_the_exit_code_is_that_of_check(app: Path) -> None:
    before = contents(app)
    answer = run(app, "--fix", "--offline")
    assert answer.returncode == 1
    assert contents(app) == before
    assert "to write the changes, add --write" in answer.stdout
    assert run(app, "--fix", "--offline", "--select", "TP107").returncode == 0
    assert run(app, "--fix", "--offline", "--select", "TP107", "--strict").returncode == 1


def test_git_applies_the_diff(app: Path) -> None:
    diff = run(app, "--fix", "--offline", "--quiet").stdout
    subprocess.run(
        ["git", "apply", "-p0", "-"], input=diff, text=True, cwd=app, check=True, timeout=20
    )
    assert run(app, "--offline", "--strict").returncode == 0


def test_only_selected_findings_are_corrected(app: Path) -> None:
    run(app, "--fix", "--write", "--offline", "--ignore", "TP107")
    assert contents(app)["queries.py"].count("list[str | None]") == 2
    run(app, "--fix", "--write", "--offline")
    assert contents(app)["queries.py"].count("list[str | None]") == 1


def test_colours_are_used_on_request(app: Path) -> None:
    answer = run(app, "--fix", "--offline", "--color")
    assert "\033[32m+    nick: str | None\033[0m" in answer.stdout
    assert "\033[31m-    nick: str\033[0m" in answer.stdout


def test_what_is_left_sets_the_exit_code(app: Path) -> None:
    queries = app / "app" / "queries.py"
    queries.write_text(
        QUERIES + '\n\n@query("SELECT :x")\nasync def bad(db: Executor) -> int: ...\n'
    )
    answer = run(app, "--fix", "--write", "--offline")
    assert answer.returncode == 1
    assert "corrected 3 findings in 2 files" in answer.stdout
    assert "error[TP303] the SQL has :x" in answer.stdout


def test_a_class_of_a_query_without_a_description_loses_no_none(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, queries = app / "app" / "models.py", app / "app" / "queries.py"
    models.write_text(MODELS.replace("str", "str | None"))
    queries.write_text(QUERIES.replace("SELECT nick", "SELECT name AS nick", 1))
    write_snapshots(app, monkeypatch)
    again = (
        '@query("SELECT nick FROM users WHERE true")\nasync def new(db: Executor) -> User: ...\n'
    )
    queries.write_text(queries.read_text() + again)
    answer = run(app, "--fix", "--write", "--offline")
    assert "not fixed: app.queries.new was not compared" in answer.stdout
    assert "nick: str | None" in models.read_text()


def test_a_class_of_a_query_in_another_module_loses_no_none(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checked module imports the other module, which may need the None."""
    models, queries = app / "app" / "models.py", app / "app" / "queries.py"
    models.write_text(MODELS.replace("str", "str | None"))
    queries.write_text("import other\n" + QUERIES.replace("SELECT nick", "SELECT name AS nick", 1))
    (app / "other.py").write_text(QUERIES)
    write_snapshots(app, monkeypatch)
    answer = run(app, "--fix", "--write", "--offline")
    assert "not fixed: other.users was not compared" in answer.stdout
    assert "nick: str | None" in models.read_text()


# ------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--write"], "--write writes what --fix corrects; next: add --fix"),
        (["--fix", "--watch"], "--fix checks once, --watch again and again; next: drop one"),
        (["--fix", "--format", "json"], "--fix shows a diff, which --format json does not contain"),
    ],
)
def test_options_that_do_not_fit_are_an_error(
    arguments: list[str], expected: str, tmp_path: Path
) -> None:
    answer = command(tmp_path, "check", "app", *arguments)
    assert answer.returncode == 2
    assert expected in answer.stderr
    assert answer.stdout == ""


def test_nothing_is_written_if_a_file_has_changed_since_it_was_read(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = app / "app" / "queries.py"
    made = fixing.fixes_for

    def while_editing(*arguments: object) -> object:
        fixes = made(*arguments)  # type: ignore[arg-type]
        changed.write_text(QUERIES + "# edited\n")
        return fixes

    monkeypatch.setattr("sqla_typedpool.cli.fix.fixes_for", while_editing)
    answer = run(app, "--fix", "--write", "--offline")
    assert answer.returncode == 2
    expected = "nothing was written: app/queries.py has changed since it was read; next: "
    assert expected in answer.stderr
    assert contents(app)["models.py"] == MODELS
    assert contents(app)["queries.py"] == QUERIES + "# edited\n"


def test_nothing_is_written_if_a_file_is_read_only(app: Path) -> None:
    (app / "app" / "models.py").chmod(0o444)
    answer = run(app, "--fix", "--write", "--offline")
    assert answer.returncode == 2
    assert "nothing was written: app/models.py is read-only" in answer.stderr
    assert contents(app)["queries.py"] == QUERIES
    assert run(app, "--fix", "--offline").returncode == 1  # the diff needs no permission


def test_nothing_is_written_if_the_disk_is_full(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(change: FileChange) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileChange, "raw", property(full))
    answer = run(app, "--fix", "--write", "--offline")
    assert answer.returncode == 2
    assert "app/models.py cannot be written (No space left on device)" in answer.stderr
    assert (contents(app)["models.py"], contents(app)["queries.py"]) == (MODELS, QUERIES)
    assert [each.name for each in (app / "app").iterdir() if each.name.startswith(".")] == []


def test_permissions_are_kept_and_links_stay_links(app: Path) -> None:
    models = app / "app" / "models.py"
    target = models.rename(app / "real.py")
    models.symlink_to(target)
    target.chmod(0o750)
    assert run(app, "--fix", "--write", "--offline").returncode == 0
    assert models.is_symlink()
    assert "nick: str | None" in target.read_text()
    assert stat.S_IMODE(os.stat(target).st_mode) == 0o750


def test_installed_packages_are_not_changed(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = app / ".venv" / "lib" / "site-packages" / "app_models"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text(MODELS)
    monkeypatch.syspath_prepend(str(installed.parent))
    (app / "app" / "queries.py").write_text(QUERIES.replace("app.models", "app_models"))
    answer = run(app, "--fix", "--write", "--offline")
    assert answer.returncode == 1
    assert "not fixed: User is in .venv/lib/site-packages/app_models/__init__.py" in answer.stdout
    assert (installed / "__init__.py").read_text() == MODELS
