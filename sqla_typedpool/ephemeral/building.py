"""Build a schema in an empty database, from metadata, Alembic migrations or a SQL file."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData

from sqla_typedpool.ephemeral.connecting import run_statements
from sqla_typedpool.ephemeral.migrations import upgrade
from sqla_typedpool.ephemeral.models import create
from sqla_typedpool.ephemeral.script import run_script
from sqla_typedpool.errors import CannotRun

_RELATIONS = """
    SELECT c.oid FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' LIMIT 1
"""


def build(
    url: str,
    *,
    metadata: str | MetaData | None = None,
    alembic: str | os.PathLike[str] | None = None,
    schema: str | os.PathLike[str] | None = None,
) -> None:
    """Build a schema in the empty PostgreSQL database at `url`. Exactly one source is given.

    :param url: a URL for asyncpg.
    :param metadata: a MetaData, or its name such as ``"app.models:Base.metadata"``, which is
        imported with the working directory on the path. The schemas that its tables and types
        name are created first, and the extensions of SQLAlchemy's CITEXT and HSTORE. Create
        any other extension in an event of the metadata.
    :param alembic: the path of an ``alembic.ini``. `alembic upgrade heads` runs in a separate
        process, in the working directory. That process can connect to no other database
        through SQLAlchemy.
    :param schema: the path of a SQL file. It is run by psql, or by asyncpg if there is no psql.
    :raises CannotRun: the schema could not be built. The database may contain a part of it.
    """
    kind, source = exactly_one_source(metadata=metadata, alembic=alembic, schema=schema)
    require_asyncpg()
    if kind == "metadata":
        create(url, source)
    elif kind == "alembic":
        upgrade(url, Path(source))
    else:
        run_script(url, Path(source))
    _require_relations(url, f"{kind} {source}" if isinstance(source, str | Path) else kind)


def require_asyncpg() -> None:
    """Raise CannotRun if asyncpg is not installed."""
    if find_spec("asyncpg") is None:
        raise CannotRun("asyncpg is not installed; next: pip install 'sqla-typedpool[asyncpg]'")


def exactly_one_source(**sources: Any) -> tuple[str, Any]:
    """Return the name and the value of the only source that is not None.

    :raises CannotRun: no source is given, or several.
    """
    given = [(kind, source) for kind, source in sources.items() if source is not None]
    if len(given) == 1:
        return given[0]
    names = " and ".join(kind for kind, _ in given)
    raise CannotRun(
        f"a schema has one source, but {f'{names} are' if given else 'none is'} given; next: give"
        " metadata (app.models:Base.metadata), alembic (alembic.ini) or schema (schema.sql)"
    )


def _require_relations(url: str, source: str) -> None:
    """Raise CannotRun if the database is still empty: the build may have used another one."""
    if not run_statements(url, _RELATIONS):
        raise CannotRun(
            f"building the schema from {source} raised no error, but the database is still empty;"
            " next: check that the source defines tables and creates them in this database"
        )
