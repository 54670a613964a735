"""`sqla-typedpool init`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqla_typedpool.check.config import Settings, read_settings
from sqla_typedpool.check.importing import require_module
from sqla_typedpool.cli.completion_kinds import MODULES, completed
from sqla_typedpool.cli.exits import OK
from sqla_typedpool.cli.init_texts import (
    HOOK,
    HOOK_FILE,
    HOOK_TEXT,
    SETTINGS_FILE,
    TABLE,
    WORKFLOW_FILE,
    settings_text,
    workflow_text,
)
from sqla_typedpool.cli.options import Commands, add_command, add_schema
from sqla_typedpool.errors import CannotRun

_PACKAGE = b"sqla_typedpool"
_LEFT_OUT = {"tests", "test", "docs", "examples", "build", "dist", "node_modules", "setup.py"}


def add(commands: Commands) -> None:
    """Add the subcommand `init`."""
    summary = "show the settings, the pre-commit hook and the GitHub workflow of a project"
    parser = add_command(
        commands, "init", summary, _init, "[MODULE ...]", ("", "app --alembic alembic.ini --write")
    )
    modules = parser.add_argument(
        "modules",
        nargs="*",
        metavar="MODULE",
        help="the modules and packages with queries (default: those of the working directory)",
    )
    completed(modules, MODULES)
    parser.add_argument(
        "--write", action="store_true", help="write the files that do not exist yet"
    )
    add_schema(parser.add_argument_group("schema").add_argument)


@dataclass(frozen=True)
class _Proposal:
    """A file, or an addition to it."""

    file: Path
    text: str

    # What the file contains if the addition is not needed.
    mark: str

    @property
    def is_done(self) -> bool:
        try:
            return self.mark in self.file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return False


def _init(arguments: argparse.Namespace) -> int:
    """Show what a project needs: settings, a pre-commit hook and a GitHub workflow.

    Nothing is written without --write, which writes only files that do not exist.
    """
    settings = read_settings()
    for name in arguments.modules:
        require_module(name)
    schema = _schema(arguments) or _schema(settings) or _schema_file()
    for each in _proposals(arguments.modules or settings.modules, schema):
        print(_result(each, is_writing=arguments.write))
    prepare = "prepare --ephemeral" if schema else "prepare"
    print(f"# next: write the snapshots with `sqla-typedpool {prepare}`, and commit them")
    return OK


def _proposals(named: Sequence[str], schema: dict[str, str]) -> list[_Proposal]:
    """Return the files for these modules; for those of the working directory if none is named."""
    modules = named or modules_in(Path())
    if not modules:
        raise CannotRun(
            f"there is no Python package, and no module that uses sqla_typedpool, in {Path.cwd()};"
            " next: run this in the folder of the project, or name the modules with queries"
        )
    workflow = workflow_text(has_schema=bool(schema), project=_project_for_pip())
    return [
        _Proposal(Path(SETTINGS_FILE), settings_text(modules, schema), TABLE),
        _Proposal(Path(HOOK_FILE), HOOK_TEXT, HOOK),
        _Proposal(Path(WORKFLOW_FILE), workflow, "sqla-typedpool check"),
    ]


def _schema(source: argparse.Namespace | Settings) -> dict[str, str]:
    names = ("metadata", "alembic", "schema")
    found = {name: value for name in names if (value := getattr(source, name)) is not None}
    if len(found) > 1:
        raise CannotRun(f"a schema has one source, not {' and '.join(found)}; next: give one")
    return found


def _schema_file() -> dict[str, str]:
    """Return the setting for a file that defines the schema, if the project has one."""
    files = {"alembic": "alembic.ini", "schema": "schema.sql"}
    return next(({name: file} for name, file in files.items() if Path(file).is_file()), {})


def _project_for_pip() -> str:
    """Return the arguments with which pip installs what the modules of the project import."""
    try:
        text = Path(SETTINGS_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    is_package = "[project]" in text or "[build-system]" in text or Path("setup.py").is_file()
    has_requirements = Path("requirements.txt").is_file()
    return "-r requirements.txt" if has_requirements and not is_package else "-e ."


def _result(proposal: _Proposal, *, is_writing: bool) -> str:
    """Write a new file if that is wanted, and return what is to be shown about it."""
    name = proposal.file.as_posix()
    if proposal.is_done:
        return f"# {name} contains it already\n"
    if is_writing and _write_new(proposal.file, proposal.text):
        return f"# {name} was written\n"
    if proposal.file.exists():
        return f"# {name} exists and is not changed; add what it lacks of this:\n{proposal.text}"
    return f"# {name} does not exist; with --write it is written:\n{proposal.text}"


def _write_new(file: Path, text: str) -> bool:
    """Write a file; return False if it exists."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("x", encoding="utf-8", newline="\n") as new:
            new.write(text)
    except FileExistsError:
        return False
    return True


def modules_in(folder: Path) -> list[str]:
    """Return the packages and modules of a folder and of its ``src`` that use this package.

    If none of them does, all packages are returned. A package in ``src`` is named by its path,
    because the working directory is what the checker searches for modules.
    """
    candidates = [*_candidates(folder), *_candidates(folder / "src")]
    using = [each for each in candidates if _uses_package(each)]
    found = using or [each for each in candidates if each.is_dir()]
    return [_name_of(each.relative_to(folder)) for each in found]


def _candidates(folder: Path) -> Iterator[Path]:
    for each in sorted(folder.iterdir()) if folder.is_dir() else ():
        is_module = each.suffix == ".py" or (each / "__init__.py").is_file()
        is_test = each.name == "conftest.py" or each.name.startswith("test_")
        if is_module and each.stem.isidentifier() and not is_test and each.name not in _LEFT_OUT:
            yield each


def _uses_package(path: Path) -> bool:
    files = path.rglob("*.py") if path.is_dir() else (path,)
    return any(_PACKAGE in file.read_bytes() for file in files)


def _name_of(path: Path) -> str:
    return path.as_posix() if len(path.parts) > 1 else path.stem
