"""The process that runs Alembic's migrations: `python -m sqla_typedpool.ephemeral.migrate INI`.

``env.py`` gets the URL in each of the usual ways: as ``sqlalchemy.url`` of the configuration, as
DATABASE_URL and as libpq's PG variables. The URL names the driver that the configured URL named,
because ``env.py`` expects that driver. If ``env.py`` connects to another database, the process
stops before it has connected: a check must not migrate the development database.
"""

from __future__ import annotations

import os
import sys
import traceback
from configparser import Error as ConfigError
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Dialect, event, make_url
from sqlalchemy.exc import MissingGreenlet

from sqla_typedpool.ephemeral.connecting import libpq_variables
from sqla_typedpool.ephemeral.migrations import URL_VARIABLE

if TYPE_CHECKING:
    from alembic.config import Config

_ASYNC_NAMES = ("async_engine_from_config", "create_async_engine", "AsyncEngine")


def main(ini: str) -> str | None:
    """Run all migrations, and return what is wrong; None if nothing is.

    :param ini: the path of an ``alembic.ini``.
    """
    from alembic import command
    from alembic.config import Config

    target = make_url(os.environ.pop(URL_VARIABLE))
    config = Config(ini)
    try:
        refuse_other_databases(target)
        configure_url(target, config)
        command.upgrade(config, "heads")
    except MissingGreenlet:
        return (
            f"env.py creates a sync engine, but its URL names {target.drivername}; next: pip"
            " install 'psycopg[binary]', which works with sync and async engines"
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a migration may raise anything
        traceback.print_exc()
        return traceback.format_exception_only(type(error), error)[-1].strip()
    return None


def configure_url(target: URL, config: Config) -> None:
    """Set the URL of the database everywhere that an ``env.py`` may read it."""
    configured = _option(config, "sqlalchemy.url")
    variable = os.environ.get("DATABASE_URL", "")
    preferred = _preferred_driver(config)
    for_config = _with_scheme_of(configured or variable, target, preferred)
    config.set_main_option("sqlalchemy.url", for_config.replace("%", "%%"))
    os.environ["DATABASE_URL"] = _with_scheme_of(variable or configured, target, preferred)
    os.environ.update(libpq_variables(target))


def refuse_other_databases(target: URL) -> None:
    """Make SQLAlchemy refuse to connect to any database but `target`, for the whole process."""
    expected = (target.host, target.port or 5432, target.database)

    def check(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> None:
        database = options.get("database", options.get("dbname"))
        port = options.get("port") or 5432
        if (options.get("host"), int(port), database) != expected:
            other = f"{options.get('host', dialect.name)}:{port}/{database or ''}"
            raise ConnectionRefusedError(
                f"env.py connects to {other}, not to the temporary database; next: let env.py read"
                " its URL from sqlalchemy.url of the configuration, or from DATABASE_URL"
            )

    event.listen(Dialect, "do_connect", check)


def _with_scheme_of(configured: str, target: URL, preferred: str) -> str:
    """Return the URL of `target` with the scheme of `configured`, if that is PostgreSQL's."""
    scheme = configured.partition("://")[0]
    rendered = target.set(drivername=preferred).render_as_string(hide_password=False)
    if scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        return rendered
    return f"{scheme}://{rendered.partition('://')[2]}"


def _preferred_driver(config: Config) -> str:
    """Return the driver to use if no URL names one.

    It is psycopg if that is installed, because it is sync and async. Otherwise an async driver
    is needed if ``env.py`` contains one of SQLAlchemy's async names.
    """
    script = Path(_option(config, "script_location") or ".", "env.py")
    source = script.read_text(errors="replace") if script.is_file() else ""
    is_async = any(name in source for name in _ASYNC_NAMES)
    for driver in ("psycopg", *(() if is_async else ("psycopg2", "pg8000"))):
        if find_spec(driver) is not None:
            return f"postgresql+{driver}"
    return "postgresql+asyncpg"


def _option(config: Config, name: str) -> str:
    """Return an option of the configuration; "" if it is missing or cannot be interpolated."""
    try:
        return config.get_main_option(name) or ""
    except ConfigError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))  # prints the message to stderr; the exit code is then 1
