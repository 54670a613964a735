"""The process that runs Alembic's migrations: `python -m sqla_typedpool.ephemeral.migrate INI`.

The URL is given to ``env.py`` in every customary way: as ``sqlalchemy.url`` of its configuration,
as DATABASE_URL and as libpq's PG variables. It is written with the driver that stood there before,
since that is what ``env.py`` expects. An ``env.py`` that connects elsewhere all the same is
stopped before it has: the development database must not be migrated by a check.
"""

from __future__ import annotations

import os
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, event, make_url
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import MissingGreenlet

from sqla_typedpool.ephemeral.migrations import URL_VARIABLE

if TYPE_CHECKING:
    from alembic.config import Config

_ASYNC_WORDS = ("async_engine_from_config", "create_async_engine", "AsyncEngine")


def main(ini: str) -> int:
    """Run all migrations; the last line of what is printed says why it failed."""
    from alembic import command
    from alembic.config import Config

    target = make_url(os.environ.pop(URL_VARIABLE))
    config = Config(ini)
    try:
        guard(target)
        give(target, config)
        command.upgrade(config, "heads")
    except MissingGreenlet:
        return _failed(
            f"env.py makes a sync engine, and its URL says {target.drivername}. Next: pip install"
            " 'psycopg[binary]', which serves both sync and async engines."
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a migration may raise
        traceback.print_exc()
        return _failed(traceback.format_exception_only(type(error), error)[-1].strip())
    return 0


def _failed(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return 1


def give(target: URL, config: Config) -> None:
    """Tell ``env.py`` its database, in all the ways that it may ask."""
    written = _option(config, "sqlalchemy.url")
    variable = os.environ.get("DATABASE_URL", "")
    preferred = _preferred_driver(config)
    for_config = _in_words_of(written or variable, target, preferred)
    config.set_main_option("sqlalchemy.url", for_config.replace("%", "%%"))
    os.environ["DATABASE_URL"] = _in_words_of(variable or written, target, preferred)
    values = {
        "PGHOST": target.host,
        "PGPORT": target.port,
        "PGUSER": target.username,
        "PGPASSWORD": target.password,
        "PGDATABASE": target.database,
    }
    os.environ.update({name: str(value) for name, value in values.items() if value is not None})


def guard(target: URL) -> None:
    """From now on this process connects to `target`, or not at all (through SQLAlchemy)."""
    expected = (target.host, target.port or 5432, target.database)

    def look(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> None:
        database = options.get("database", options.get("dbname"))
        port = options.get("port") or 5432
        if (options.get("host"), int(port), database) != expected:
            where = f"{options.get('host', dialect.name)}:{port}/{database or ''}"
            raise ConnectionRefusedError(
                f"env.py connects to {where}, not to the throw-away database; it was stopped"
                " before. Next: let env.py take its URL from sqlalchemy.url of the"
                " configuration, or from DATABASE_URL."
            )

    event.listen(Dialect, "do_connect", look)


def _in_words_of(before: str, target: URL, preferred: str) -> str:
    """The URL of `target`, with the scheme of the PostgreSQL URL that stood there before."""
    scheme = before.partition("://")[0]
    rendered = target.set(drivername=preferred).render_as_string(hide_password=False)
    if scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        return rendered
    return f"{scheme}://{rendered.partition('://')[2]}"


def _preferred_driver(config: Config) -> str:
    """Where nothing tells: psycopg, which is sync and async, else what ``env.py`` looks like."""
    if find_spec("psycopg") is not None:
        return "postgresql+psycopg"
    folder = _option(config, "script_location")
    script = Path(folder or ".", "env.py")
    is_async = script.is_file() and any(
        word in script.read_text(errors="replace") for word in _ASYNC_WORDS
    )
    if not is_async:
        for driver in ("psycopg2", "pg8000"):
            if find_spec(driver) is not None:
                return f"postgresql+{driver}"
    return "postgresql+asyncpg"


def _option(config: Config, name: str) -> str:
    """A value of the configuration; "" where it refers to what is only known elsewhere."""
    from configparser import Error

    try:
        return config.get_main_option(name) or ""
    except Error:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
