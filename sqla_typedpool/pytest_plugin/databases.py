"""Create databases: one template for the session, and a copy of it for each test."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from typing import Any

from sqlalchemy import make_url

from sqla_typedpool.ephemeral.connecting import run_statements
from sqla_typedpool.pytest_plugin.database import Database
from sqla_typedpool.pytest_plugin.leaks import LeakDetector
from sqla_typedpool.pytest_plugin.schemas import build_schema
from sqla_typedpool.pytest_plugin.servers import create_database, drop_database


class Databases:
    """The databases of one test process. Their names are unique on a shared server."""

    def __init__(self, server: str) -> None:
        """
        :param server: the URL of a database on the server.
        """
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        self._server = server
        self._prefix = f"typedpool_{secrets.token_hex(4)}_{worker}"
        self._numbers = count(1)
        self._template = f"{self._prefix}_template"

    @classmethod
    @contextmanager
    def on(cls, server: str, schema: Any) -> Iterator[Databases]:
        """Create the template database on a server, and drop it at the end.

        :param schema: the value of the fixture `typedpool_schema`.
        """
        databases = cls(server)
        template = databases._template
        create_database(server, template)
        try:
            build_schema(databases._url_of(template), schema)
            databases._lock_template()
            yield databases
        finally:
            drop_database(server, template)

    @contextmanager
    def copy(self) -> Iterator[Database]:
        """Yield a copy of the template, and drop it at the end."""
        name = f"{self._prefix}_{next(self._numbers)}"
        create_database(self._server, name, self._template)
        try:
            yield Database(self._url_of(name))
        finally:
            drop_database(self._server, name)

    @contextmanager
    def fresh(self) -> Iterator[tuple[Database, Callable[[], str]]]:
        """Yield a copy of the template, and a function that reports its open connections."""
        with self.copy() as database, closing(LeakDetector(self._server, database)) as detector:
            yield database, detector.report

    def _url_of(self, name: str) -> str:
        return make_url(self._server).set(database=name).render_as_string(hide_password=False)

    def _lock_template(self) -> None:
        """End and forbid connections to the template: a database in use cannot be copied."""
        run_statements(
            self._server,
            f'ALTER DATABASE "{self._template}" ALLOW_CONNECTIONS false',
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            f" WHERE datname = '{self._template}'",
        )
