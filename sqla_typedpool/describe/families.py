"""The kinds of database whose statements can be described."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A kind of database."""

    # The name for people: ``PostgreSQL``.
    label: str

    # The asynchronous drivers that can be used, the preferred one first.
    drivers: tuple[str, ...]

    # The module that describes statements of this family, imported when it is needed.
    module: str


_PACKAGE = "sqla_typedpool.describe"
_POSTGRES = Family("PostgreSQL", ("asyncpg", "psycopg"), f"{_PACKAGE}.postgres.describer")
_SQLITE = Family("SQLite", ("aiosqlite",), f"{_PACKAGE}.sqlite.describer")
_MYSQL = Family("MySQL/MariaDB", ("aiomysql", "asyncmy"), f"{_PACKAGE}.mysql.describer")

# By the name of the dialect in SQLAlchemy. `Description.family` is such a name, too.
FAMILIES: Mapping[str, Family] = {
    "mariadb": _MYSQL,
    "mysql": _MYSQL,
    "postgresql": _POSTGRES,
    "sqlite": _SQLITE,
}
