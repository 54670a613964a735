"""A temporary PostgreSQL database with the application's schema, for a check or a test run.

The schema comes from SQLAlchemy's metadata, from Alembic's migrations or from a SQL file. This
needs asyncpg and a PostgreSQL server: an installed one, or the one of
`pip install "sqla-typedpool[embedded]"`.

Example:
    >>> from sqla_typedpool import ephemeral
    >>> with ephemeral.database(metadata="app.models:Base.metadata") as url:
    ...     engine = create_async_engine(url, poolclass=TypedPool)
"""

from sqla_typedpool.ephemeral.building import build
from sqla_typedpool.ephemeral.server import database

__all__ = ["build", "database"]
