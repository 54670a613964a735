"""Statements of which it is known whether each of their columns may be NULL.

The cases are TOML files, one per subject. At the top of a file stand the name of its schema and
the databases to which its cases apply; each `[[case]]` is a `Case`. `shared.toml` applies to every
database, `sqlite.toml` and `mariadb.toml` to one each, `postgres/` to PostgreSQL.

A case may give other values for one database, in a table named after it:

    [[case]]
    name = "a primary key"
    sql = "select ps.id from ps"
    nullable = "0"
    sqlite = { nullable = "1" }
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from sys import version_info
from typing import Any

FOLDER = Path(__file__).parent
FAMILIES = ("postgresql", "sqlite", "mysql")


@dataclass(frozen=True)
class Case:
    """One statement, and for each of its columns whether it may be NULL.

    `nullable` is the truth. `test_cases.py` confirms it by execution: a column marked "1" is NULL
    over at least one data set of the schema, and a column marked "0" over none.
    """

    name: str
    sql: str
    """With parameters as `:name`."""

    nullable: str
    """One character per column: "1" = may be NULL, "0" = is never NULL."""

    described: str = ""
    """What is described where that is more cautious than the truth; "" = `nullable`."""

    set_up: str = ""
    """Statements executed before it, in the same transaction, so that a "1" shows a NULL."""

    search_path: str = ""
    """The search_path of PostgreSQL under which it is described and executed."""

    values: dict[str, Any] = field(default_factory=dict)
    """Values of the parameters, as JSON in the file; parameters without a value are NULL."""

    never_null: tuple[str, ...] = ()
    """Parameters that are described as never None."""

    since: int = 0
    """The first major version of the server that accepts it."""

    needs: str = ""
    """An optional feature of the server: "xml" or "file_fdw"."""

    @property
    def expected(self) -> str:
        """The nullability that must be described."""
        return self.described or self.nullable


@dataclass(frozen=True)
class CaseFile:
    """The cases of one file that apply to one database."""

    name: str
    """Its path in this folder without the ending: `postgres/joins`."""

    schema: str
    """`shop` or `company`."""

    cases: tuple[Case, ...]


def load(family: str) -> list[CaseFile]:
    """Read all files and return the cases that apply to a family of databases."""
    files = (_load(path, family) for path in sorted(FOLDER.rglob("*.toml")))
    return [each for each in files if each.cases]


def _load(path: Path, family: str) -> CaseFile:
    toml = import_module("tomllib" if version_info >= (3, 11) else "tomli")
    document: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    name = path.relative_to(FOLDER).with_suffix("").as_posix()
    return CaseFile(name, document["schema"], tuple(_cases(document, family)))


def _cases(document: dict[str, Any], family: str) -> Iterator[Case]:
    for record in document["case"]:
        if family not in record.pop("databases", document["databases"]):
            continue
        special = {other: record.pop(other, {}) for other in FAMILIES}
        record.update(special[family])
        record["values"] = json.loads(record.get("values", "{}"))
        record["never_null"] = tuple(record.get("never_null", ()))
        yield Case(**record)
