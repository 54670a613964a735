"""A throw-away PostgreSQL that has the application's schema, for a check or a run of tests.

The schema comes from SQLAlchemy's metadata, from Alembic's migrations or from a file of SQL. Needs
asyncpg, and a server: the machine's own or `pip install "sqla-typedpool[embedded]"`.

Example:
    >>> from sqla_typedpool import ephemeral
    >>> with ephemeral.database(metadata="app.models:Base.metadata") as url:
    ...     engine = create_async_engine(url, poolclass=TypedPool)
"""

from sqla_typedpool.ephemeral.building import build
from sqla_typedpool.ephemeral.server import database

__all__ = ["build", "database"]
