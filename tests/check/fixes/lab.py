"""An application of seeded faults: each file of ``cases`` is a module of it."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from sqla_typedpool.check.describing import compile_query
from sqla_typedpool.check.discovery import discover
from sqla_typedpool.check.snapshots import Snapshots, snapshot_text
from sqla_typedpool.describe.model import ColumnDescription, Description
from sqla_typedpool.queries import QueryInfo
from sqla_typedpool.queries import declare as registry
from tests.support.check_commands import Answer, command
from tests.support.check_lab import described, maybe, never, takes

CASES = Path(__file__).parent / "cases"
NAMES = sorted(each.stem for each in CASES.glob("*.before"))

SCHEMA = """
CREATE TABLE users (
    id bigint PRIMARY KEY, name text NOT NULL, nick text, score integer, price numeric NOT NULL,
    day date NOT NULL, made timestamptz, token uuid NOT NULL, tags text[] NOT NULL,
    data jsonb NOT NULL
)
"""
_ITEM = re.compile(r"(?P<name>\w+)(?: AS (?P<alias>\"?[\w!?]+\"?))?")


def _types() -> dict[str, tuple[str, bool]]:
    """Return the type of each column of the schema, and whether it may be NULL."""
    body = SCHEMA.partition("(")[2].rpartition(")")[0]
    written = [each.split() for each in body.replace("\n", " ").split(",")]
    return {name: (kind, not constraints) for name, kind, *constraints in written}


COLUMNS = _types()


def describe(info: QueryInfo) -> Description:
    """Return what PostgreSQL reports about ``SELECT column, ... FROM users WHERE ...``."""
    items = info.sql.removeprefix("SELECT ").partition(" FROM ")[0].split(",")
    columns = [_column(match) for each in items if (match := _ITEM.fullmatch(each.strip()))]
    types = {"ids": "bigint[]"} | {name: kind for name, (kind, _) in COLUMNS.items()}
    parameters = [takes(name, types[name]) for name in re.findall(r":(\w+)", info.sql)]
    return described(*columns, *parameters, sql=compile_query(info, "postgresql").compiled.sql)


def _column(match: re.Match[str]) -> ColumnDescription:
    kind, is_nullable = COLUMNS[match["name"]]
    name = (match["alias"] or match["name"]).strip('"')
    return maybe(name, kind) if is_nullable else never(name, kind)


def forget(folder: Path) -> None:
    """Remove the modules of a folder, so that the next command imports them again."""
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
    registry._declared.clear()


def run(folder: Path, *arguments: str, **variables: str) -> Answer:
    """Run ``check app`` in a folder, as if it were a new process."""
    answer = command(folder, "check", "app", *arguments, **variables)
    forget(folder)
    return answer


def write_snapshots(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Write the snapshots of all queries of ``app``."""
    with patch.context() as inner:
        inner.chdir(folder)
        inner.setattr(sys, "path", list(sys.path))
        snapshots = Snapshots(folder / ".sqla_typedpool")
        queries = [compile_query(info, "postgresql") for info in discover(["app"]).queries]
        snapshots.write(
            {snapshots.path_of(each): snapshot_text(each, describe(each.info)) for each in queries}
        )
    forget(folder)


def copied(folder: Path, names: list[str]) -> Path:
    """Make a package ``app`` with modules of seeded faults, and return its folder."""
    package = folder / "app"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in names:
        shutil.copy(CASES / f"{name}.before", package / f"{name}_.py")
    return package
