"""Statements of which it is known whether they fail because of NULL.

The cases are TOML files: `cases/postgres/` has one per subject for PostgreSQL, `sqlite.toml` and
`mariadb_*.toml` apply to one database each. At the top of a file stand the databases to which its
cases apply; each `[[case]]` is a `WriteCase`:

    [[case]]
    name = "an Optional parameter for a required column"
    sql = "insert into author (id, name) values (:id, :name)"
    values = { id = 10, name = "x" }
    optional = ["name"]
    findings = ["TP502 name -> author.name"]
    fails = "with_none"
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from sys import version_info
from typing import Any

FOLDER = Path(__file__).parent / "cases"

NOT_NULL_VIOLATION = {
    "postgresql": ("23502",),
    "sqlite": ("NOT NULL constraint failed",),
    "mysql": ("1048", "1364", "1423"),
}
"""The errors for NULL in a column that must not be NULL, and for a column without a default."""


@dataclass(frozen=True)
class WriteCase:
    """One statement, what must be found in it, and when it fails.

    `findings` and `fails` are judged by hand. The tests confirm `fails` by execution, on rows for
    which each part of the statement writes a row.
    """

    name: str
    sql: str
    """With parameters as `:name`."""

    fails: str
    """"always", "never", or "with_none": if all Optional parameters are None, and only then."""

    findings: tuple[str, ...] = ()
    """What must be found: "TP501 author.name", "TP502 name -> author.name", "TP503 author.name".

    "A|B" means at least one of them. Nothing else may be found.
    """

    also: tuple[str, ...] = ()
    """What may be found besides."""

    silent: str = ""
    """Why nothing is found although it fails."""

    values: dict[str, Any] = field(default_factory=dict)
    """The values of all parameters that are not None."""

    optional: tuple[str, ...] = ()
    """The parameters that may be None."""

    set_up: str = ""
    """Statements executed before it, in the same transaction."""

    error: str = ""
    """The error with which it fails; "" = one of `NOT_NULL_VIOLATION`."""

    writes_nothing: bool = False
    """Whether it writes no row: a DELETE, or a conflict with DO NOTHING."""

    writes_nothing_with_none: bool = False
    """The same, if the Optional parameters are None."""

    writes_elsewhere: bool = False
    """Whether it writes to a foreign table, where rows are not counted."""

    since: int = 0
    """The first major version of the server that accepts it."""

    needs: str = ""
    """An optional feature of the server: "postgres_fdw"."""

    @property
    def never_null(self) -> frozenset[str]:
        """The parameters that are never None."""
        return frozenset(self.values) - set(self.optional)

    def bound(self, *, to_none: bool) -> dict[str, Any]:
        """Return the values of the parameters; with `to_none`, Optional ones are None."""
        return self.values | (dict.fromkeys(self.optional) if to_none else {})

    def fails_when(self, *, none: bool) -> bool:
        """Return whether it fails; with `none`, all Optional parameters are None."""
        return self.fails == "always" or (none and self.fails == "with_none")

    def missing(self, found: frozenset[str]) -> list[str]:
        """Return what had to be found and was not."""
        return [each for each in self.findings if not found & set(each.split("|"))]

    def wrong(self, found: frozenset[str]) -> list[str]:
        """Return what was found and should not have been."""
        accepted = {each for line in self.findings for each in line.split("|")}
        return sorted(found - accepted - set(self.also))


def load(family: str) -> dict[str, list[WriteCase]]:
    """Read all files and return the cases for one family of databases, by the file's subject."""
    files = {path.stem: _load(path, family) for path in sorted(FOLDER.rglob("*.toml"))}
    return {subject: cases for subject, cases in files.items() if cases}


def _load(path: Path, family: str) -> list[WriteCase]:
    toml = import_module("tomllib" if version_info >= (3, 11) else "tomli")
    document: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    return list(_cases(document)) if family in document["databases"] else []


def _cases(document: dict[str, Any]) -> Iterator[WriteCase]:
    for record in document["case"]:
        for name in ("findings", "also", "optional"):
            record[name] = tuple(record.get(name, ()))
        yield WriteCase(**record)
