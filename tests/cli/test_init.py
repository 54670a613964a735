"""`sqla-typedpool init`: what it proposes, what it writes, and that the documentation agrees."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from sqla_typedpool import cli
from sqla_typedpool.check.config import read_settings
from sqla_typedpool.cli.init import modules_in
from sqla_typedpool.cli.init_texts import (
    HOOK_FILE,
    HOOK_TEXT,
    SETTINGS_FILE,
    WORKFLOW_FILE,
    settings_text,
    workflow_text,
)
from tests.support.check_commands import Answer, command
from tests.support.commands import ROOT

FILES = (SETTINGS_FILE, HOOK_FILE, WORKFLOW_FILE)
WORKFLOWS = [workflow_text(has_schema=False), workflow_text(has_schema=True)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one package that declares queries."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    (tmp_path / "app" / "users.py").write_text("from sqla_typedpool import query\n")
    return tmp_path


def init(folder: Path, *arguments: str) -> Answer:
    return command(folder, "init", *arguments)


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        each.relative_to(folder).as_posix(): each.read_bytes()
        for each in folder.rglob("*")
        if each.is_file()
    }


# ------------------------------------------------------------------------- printed and written


def test_without_write_everything_is_printed_and_nothing_written(project: Path) -> None:
    before = files_in(project)
    answer = init(project)
    assert answer.returncode == 0
    assert files_in(project) == before
    assert settings_text(["app"], {}) in answer.stdout
    assert HOOK_TEXT in answer.stdout
    assert workflow_text(has_schema=False) in answer.stdout
    for file in FILES:
        assert f"# {file} does not exist; with --write it is written:\n" in answer.stdout


def test_with_write_the_printed_files_are_written(project: Path) -> None:
    before = files_in(project)
    answer = init(project, "--write", "--metadata", "app.models:Base.metadata")
    assert answer.returncode == 0
    assert all(f"# {file} was written\n" in answer.stdout for file in FILES)
    schema = {"metadata": "app.models:Base.metadata"}
    assert files_in(project) == {
        **before,
        SETTINGS_FILE: settings_text(["app"], schema).encode(),
        HOOK_FILE: HOOK_TEXT.encode(),
        WORKFLOW_FILE: workflow_text(has_schema=True).encode(),
    }


@pytest.mark.parametrize(
    ("arguments", "prepare"), [((), "prepare"), (("--schema", "a.sql"), "prepare --ephemeral")]
)
def test_the_next_step_needs_no_database_if_there_is_a_schema(
    project: Path, arguments: tuple[str, ...], prepare: str
) -> None:
    last = init(project, *arguments).stdout.splitlines()[-1]
    assert last == f"# next: write the snapshots with `sqla-typedpool {prepare}`, and commit them"


def test_writing_twice_changes_nothing(project: Path) -> None:
    init(project, "--write")
    before = files_in(project)
    answer = init(project, "--write")
    assert files_in(project) == before
    assert all(f"# {file} contains it already\n" in answer.stdout for file in FILES)


@pytest.mark.parametrize("arguments", [(), ("--write",)])
def test_a_file_that_exists_is_not_changed_and_the_addition_is_printed(
    project: Path, arguments: tuple[str, ...]
) -> None:
    for file in FILES:
        (project / file).parent.mkdir(parents=True, exist_ok=True)
        (project / file).write_text("# of the project\n")
    before = files_in(project)
    answer = init(project, *arguments)
    assert answer.returncode == 0
    assert files_in(project) == before
    for file, text in zip(
        FILES, (settings_text(["app"], {}), HOOK_TEXT, WORKFLOWS[0]), strict=True
    ):
        shown = f"# {file} exists and is not changed; add what it lacks of this:\n{text}"
        assert shown in answer.stdout


def test_settings_that_exist_decide_about_the_workflow(project: Path) -> None:
    (project / SETTINGS_FILE).write_text('[tool.sqla_typedpool]\nschema = "schema.sql"\n')
    answer = init(project)
    assert "# pyproject.toml contains it already\n" in answer.stdout
    assert WORKFLOWS[1] in answer.stdout


def test_a_link_to_a_file_elsewhere_is_not_followed(project: Path, tmp_path: Path) -> None:
    (project / HOOK_FILE).symlink_to(tmp_path / "nowhere.yaml")
    init(project, "--write")
    assert not (tmp_path / "nowhere.yaml").exists()


def test_wrong_settings_are_an_error_before_anything_is_written(project: Path) -> None:
    (project / SETTINGS_FILE).write_text("[tool.sqla_typedpool]\nmodule = 1\n")
    answer = init(project, "--write")
    assert answer.returncode == 2
    assert "no setting module" in answer.stderr
    assert not (project / HOOK_FILE).exists()


def test_two_sources_of_the_schema_are_an_error(project: Path) -> None:
    answer = init(project, "--metadata", "app:metadata", "--schema", "schema.sql")
    assert answer.returncode == 2
    assert "one source, not metadata and schema; next: give one" in answer.stderr


def test_a_folder_without_a_package_is_an_error(tmp_path: Path) -> None:
    answer = init(tmp_path)
    assert answer.returncode == 2
    assert f"no module that uses sqla_typedpool, in {tmp_path}; next:" in answer.stderr


@pytest.mark.parametrize("name", ["app", "app.users", "src/app", "script.py", "app.py", "folder"])
def test_a_module_that_exists_is_taken_as_it_was_named(tmp_path: Path, name: str) -> None:
    for file in ("app/__init__.py", "app/users.py", "src/app/__init__.py", "folder/a.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("raise SystemError('init does not import it')\n")
    for file in ("script.py", "app.py"):
        (tmp_path / file).touch()
    answer = init(tmp_path, name)
    assert answer.returncode == 0
    assert settings_text([name], {}) in answer.stdout


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("nothing", "there is no module nothing (searched from "),
        ("app.nothing", "`python -c 'import app.nothing'` works, or correct the name"),
        ("nothing.users", "`python -c 'import nothing'` works, or correct the name"),
        ("app.users.find", "there is no module app.users.find (searched from "),
        ("src/nothing", "there is no file src/nothing; next: name a module"),
        ("nothing.py", "there is no file nothing.py; next: name a module"),
        ("odd-name", "there is no module odd-name (searched from "),
        ("", "the name of a module is empty; next: name one, such as app.users"),
    ],
)
def test_a_module_that_does_not_exist_is_an_error_that_names_it(
    project: Path, name: str, error: str
) -> None:
    before = files_in(project)
    answer = init(project, "app", name, "--write")
    assert answer.returncode == 2
    assert error in answer.stderr
    assert files_in(project) == before


# ------------------------------------------------------------------------------------ modules


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"app/__init__.py": "sqla_typedpool"}, ["app"]),
        ({"app/__init__.py": "", "app/db/users.py": "import sqla_typedpool"}, ["app"]),
        ({"app/__init__.py": "", "other/__init__.py": "sqla_typedpool"}, ["other"]),
        ({"app/__init__.py": "", "other/__init__.py": "", "script.py": ""}, ["app", "other"]),
        ({"src/app/__init__.py": "sqla_typedpool"}, ["src/app"]),
        ({"queries.py": "sqla_typedpool", "script.py": ""}, ["queries"]),
        ({"tests/__init__.py": "sqla_typedpool", "app/__init__.py": ""}, ["app"]),
        ({"conftest.py": "sqla_typedpool", "test_a.py": "sqla_typedpool"}, []),
        ({"setup.py": "sqla_typedpool", "odd-name.py": "sqla_typedpool"}, []),
        ({".hidden/__init__.py": "sqla_typedpool", "folder/a.py": "sqla_typedpool"}, []),
    ],
)
def test_modules_are_the_packages_that_use_this_one(
    tmp_path: Path, files: dict[str, str], found: list[str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert modules_in(tmp_path) == found


def test_an_alembic_ini_is_the_schema(project: Path) -> None:
    (project / "alembic.ini").touch()
    answer = init(project)
    assert 'alembic = "alembic.ini"\n' in answer.stdout
    assert WORKFLOWS[1] in answer.stdout


def test_a_schema_sql_is_the_schema_if_there_is_no_alembic_ini(project: Path) -> None:
    (project / "schema.sql").touch()
    answer = init(project)
    assert 'schema = "schema.sql"\n' in answer.stdout
    assert WORKFLOWS[1] in answer.stdout
    (project / "alembic.ini").touch()
    assert 'schema = "schema.sql"\n' not in init(project).stdout


@pytest.mark.parametrize(
    ("files", "installed"),
    [
        ({"requirements.txt": "fastapi\n"}, "-r requirements.txt"),
        ({"requirements.txt": "", SETTINGS_FILE: "[tool.pytest]\n"}, "-r requirements.txt"),
        ({"requirements.txt": "", SETTINGS_FILE: "[project]\n"}, "-e ."),
        ({"requirements.txt": "", "setup.py": ""}, "-e ."),
        ({}, "-e ."),
    ],
)
def test_the_workflow_installs_a_package_or_the_requirements(
    project: Path, files: dict[str, str], installed: str
) -> None:
    for name, text in files.items():
        (project / name).write_text(text)
    printed = init(project, "--schema", "schema.sql").stdout
    assert printed.count(f'pip install {installed} "sqla-typedpool[') == 2
    assert printed.count("pip install ") == 2


# ------------------------------------------------------------------- the texts can be used


@pytest.mark.parametrize("schema", [{}, {"alembic": "a\\b.ini"}, {"metadata": 'app:"x"'}])
def test_the_settings_are_read_as_they_were_given(tmp_path: Path, schema: dict[str, str]) -> None:
    if sys.version_info < (3, 11):
        pytest.importorskip("tomli")
    (tmp_path / SETTINGS_FILE).write_text(settings_text(["app", "src/ünî"], schema))
    settings = read_settings(tmp_path)
    assert settings.modules == ("app", "src/ünî")
    names = ("metadata", "alembic", "schema")
    assert {name: getattr(settings, name) for name in names if getattr(settings, name)} == schema


@pytest.mark.parametrize("text", [HOOK_TEXT, *WORKFLOWS])
def test_a_yaml_text_has_the_structure_of_yaml(text: str) -> None:
    assert text.endswith("\n")
    assert "\t" not in text
    depth = 0
    for line in text.splitlines():
        if not line:
            continue
        indent = len(line) - len(line.lstrip())
        assert indent % 2 == 0
        assert indent <= depth + 2, line  # one level deeper, at most
        assert re.match(r"(- )?[\w-]+:( +\S.*)?$", line.strip()), line
        depth = indent + (2 if line.strip().startswith("- ") else 0)


@pytest.mark.parametrize("text", WORKFLOWS)
def test_a_workflow_is_valid_for_github(text: str) -> None:
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load(text)
    assert list(found) == ["name", True, "jobs"]  # YAML 1.1 reads `on` as true
    for job in found["jobs"].values():
        assert job["runs-on"] == "ubuntu-latest"
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])


def commands_in(text: str) -> list[list[str]]:
    lines = re.findall(r"(?:run|entry): sqla-typedpool (.*)", text)
    return [line.split() for line in lines]


@pytest.mark.parametrize("text", [HOOK_TEXT, *WORKFLOWS])
def test_the_commands_of_the_texts_are_accepted(text: str) -> None:
    found = commands_in(text)
    assert found
    for arguments in found:
        cli.build_parser().parse_args(arguments)


def test_the_hook_is_the_one_of_this_repository() -> None:
    published = (ROOT / ".pre-commit-hooks.yaml").read_text()
    for key in ("id", "name", "entry", "pass_filenames", "files"):
        (line,) = re.findall(rf"^[ -]+{key}: .*$", HOOK_TEXT, re.MULTILINE)
        assert line.strip(" -") in published


def test_the_extras_of_the_workflow_exist() -> None:
    declared = (ROOT / "pyproject.toml").read_text()
    for extras in re.findall(r"sqla-typedpool\[(.*?)\]", WORKFLOWS[1]):
        for extra in extras.split(","):
            assert re.search(rf"^{extra} = \[", declared, re.MULTILINE)


# --------------------------------------------------------------------------- documentation


def blocks(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text()
    return re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["guide/testing.md", "tutorial.md"])
def test_the_documented_hook_is_the_printed_one(page: str) -> None:
    found = [each for each in blocks(page) if "repo: local" in each]
    assert found == [f"# {HOOK_FILE}\n{HOOK_TEXT}"]


def test_the_documented_workflow_is_the_printed_one() -> None:
    found = [each for each in blocks("guide/testing.md") if each.startswith("# .github")]
    assert found == [f"# {WORKFLOW_FILE}\n{WORKFLOWS[1]}"]


@pytest.mark.parametrize("page", ["guide/testing.md", "guide/checking.md", "tutorial.md"])
def test_the_documented_commands_for_ci_are_accepted(page: str) -> None:
    for block in blocks(page):
        for arguments in commands_in(re.sub(r"  +#.*", "", block)):
            cli.build_parser().parse_args(arguments)
