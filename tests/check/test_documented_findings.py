"""Each example of the page of findings has the finding that the page says, and its correction not.

The examples are those of `sqla_typedpool/check/findings.md`, which `check --explain` prints too.
Each is a module of its own, and all of them are checked on one PostgreSQL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sqla_typedpool.check.rule_docs import sections
from tests.support.check_commands import command
from tests.support.scratch_database import scratch_database

pytest.importorskip("asyncpg")

EXAMPLE = re.compile(r"^(Wrong|Right)[^\n]*:\n\n```python\n(.*?)```", re.MULTILINE | re.DOTALL)
# These findings are about snapshots, or about what the database cannot report.
WITHOUT_EXAMPLE = {"TP304", "TP401", "TP402", "TP403", "TP404"}

SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE order_state AS ENUM ('new', 'done');
CREATE TABLE teams (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
CREATE TABLE users (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, email text,
    born date, team integer, team_id integer
);
CREATE TABLE profiles (user_id integer NOT NULL, nick text NOT NULL);
CREATE TABLE orders (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, price numeric, state order_state,
    status text NOT NULL CHECK (status IN ('new', 'done'))
);
CREATE TABLE authors (id integer PRIMARY KEY, name text NOT NULL);
CREATE TABLE books (title text NOT NULL, author_id integer NOT NULL);
CREATE TABLE diary (mood mood NOT NULL);
CREATE TABLE events (payload jsonb NOT NULL);
CREATE TABLE old (name text);
CREATE SCHEMA tp501;
CREATE TABLE tp501.users (name text NOT NULL, email text NOT NULL);
"""

NAMES = """
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from sqla_typedpool import Executor, Flatten, RowCount, fetch_all, query

TABLE = "users"


@dataclass
class Author:
    id: int
    name: str


@dataclass
class Book:
    title: str
    author: Annotated[Author | None, Flatten("author_")]


@dataclass
class User:
    {fields}


"""
# The fields of User: those that the correction selects.
FIELDS = {
    "id": {"TP001", "TP003", "TP109"},
    "id name": {"TP002", "TP004", "TP005", "TP102", "TP103", "TP112", "TP303"},
    "id team_id": {"TP104"},
    "name": {"TP301"},
}
TYPES = {"id": "id: int", "name": "name: str", "team_id": "team_id: int"}

SQL_FILES = {
    ("TP004", "Wrong"): ["get_user", "old_users"],
    ("TP004", "Right"): ["get_user"],
    ("TP005", "Wrong"): ["all_users :one"],
    ("TP005", "Right"): ["all_users :many"],
}
EXAMPLES = {
    (code, kind): example
    for code, section in sections().items()
    for kind, example in EXAMPLE.findall(section)
}


def module_of(code: str, example: str) -> str:
    """The source of a module with this example."""
    names = next((names for names, codes in FIELDS.items() if code in codes), "id")
    fields = "\n    ".join(TYPES[name] for name in names.split())
    if example.startswith("users = await"):
        example = f"async def main(db: Executor) -> None:\n    {example}"
    return NAMES.replace("{fields}", fields) + example


def sql_file(names: list[str]) -> str:
    where = {"get_user": " WHERE id = :user_id"}
    return "".join(
        f"-- name: {name}\nSELECT id, name FROM users{where.get(name, '')};\n" for name in names
    )


@pytest.fixture(scope="module")
def findings(postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The codes that are found in each example, by its package."""
    folder = tmp_path_factory.mktemp("examples")
    for (code, kind), example in EXAMPLES.items():
        package = folder / f"{kind}_{code}".lower()
        package.mkdir()
        (package / "__init__.py").write_text(module_of(code, example))
        if (code, kind) in SQL_FILES:
            (package / "users.sql").write_text(sql_file(SQL_FILES[code, kind]))
    names = {each.name for each in folder.iterdir()}
    alone = {"wrong_tp303"}  # TP004 is not reported beside a wrong declaration
    other_schema = {"wrong_tp501", "right_tp501"}
    with scratch_database(postgres, SCHEMA) as url:
        yield {
            **checked(folder, names - alone - other_schema, "--database-url", url),
            **checked(folder, alone, "--database-url", url),
            **checked(folder, other_schema, "--database-url", url, "--search-path", "tp501"),
        }


def checked(folder: Path, modules: set[str], *options: str) -> dict[str, set[str]]:
    """Check modules, and return the codes by their package."""
    answer = command(folder, "check", *sorted(modules), *options, "--format", "json")
    assert answer.returncode == 1, answer.stderr
    found: dict[str, set[str]] = {name: set() for name in modules}
    for finding in json.loads(answer.stdout)["findings"]:
        found[Path(finding["file"]).parts[0]].add(finding["code"])
    return found


@pytest.mark.parametrize("code", sorted(sections().keys() - WITHOUT_EXAMPLE))
def test_an_example_has_its_finding_and_the_correction_has_none(
    code: str, findings: dict[str, set[str]]
) -> None:
    assert code in findings[f"wrong_{code}".lower()]
    assert findings[f"right_{code}".lower()] == set()


def test_every_other_finding_has_no_example() -> None:
    assert sections().keys() - {code for code, _ in EXAMPLES} == WITHOUT_EXAMPLE
