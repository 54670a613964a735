"""Options of libpq in the URL and the environment of a database that is asked through asyncpg.

SQLAlchemy passes the options of a URL to ``asyncpg.connect`` as keyword arguments, which has no
``options``, ``sslmode`` or ``sslrootcert``. It understands them in a DSN, which can be empty
otherwise. asyncpg does not read PGOPTIONS, nor PGSERVICE without a DSN.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlencode

from sqlalchemy import URL

from sqla_typedpool.errors import CannotRun

# Options that asyncpg understands in a DSN only.
_FOR_DSN = frozenset(
    ("options", "service", "sslcert", "sslcrl", "sslkey", "sslmode", "sslnegotiation")
) | {"sslpassword", "sslrootcert", "ssl_max_protocol_version", "ssl_min_protocol_version"}
# Options that do not change which database answers, nor what it answers.
_NOT_NEEDED = frozenset(
    ("application_name", "channel_binding", "connect_timeout", "fallback_application_name")
) | {
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "tcp_user_timeout",
}
# The variable of libpq for an option.
_VARIABLES = {"options": "PGOPTIONS", "service": "PGSERVICE"}


def with_environment(url: URL, environment: Mapping[str, str] = os.environ) -> URL:
    """Add the options that libpq would read from the environment.

    Call it for a URL that names no driver, or one that uses libpq.
    """
    found = {name: environment[each] for name, each in _VARIABLES.items() if environment.get(each)}
    return url.update_query_dict({k: v for k, v in found.items() if k not in url.query})


def refuse_ignored(url: URL) -> None:
    """Refuse an option that asyncpg ignores in the URL of an application's engine.

    :raises CannotRun: the URL has ``service``.
    """
    if "service" in url.query:
        raise CannotRun(
            "asyncpg ignores the option service in a URL with +asyncpg, and connects to another "
            "server; next: write the host and the database into the URL, or remove +asyncpg"
        )


def dsn_of(url: URL) -> str | None:
    """Return a DSN with the options of a URL that asyncpg understands only there."""
    found = {name: value for name, value in url.query.items() if name in _FOR_DSN}
    return f"postgresql://?{urlencode(found, doseq=True)}" if found else None


def without_libpq_options(url: URL) -> URL:
    """Return the URL without the options that ``asyncpg.connect`` does not take."""
    return url.difference_update_query(_FOR_DSN | _NOT_NEEDED)


def with_search_path(options: str, search_path: str) -> str:
    """Add a ``search_path`` to the value of libpq's ``options``."""
    escaped = search_path.replace("\\", "\\\\").replace(" ", "\\ ")
    return f"{options} -csearch_path={escaped}".strip()
