"""Ask the SQLite that the application uses whether it accepts a statement.

Statements are described by the SQLite of apsw. The application runs them with that of Python's
``sqlite3``, which may be older: it may lack functions and syntax.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from typing import Any

# The errors of a statement whose parts are unknown to the copy for another reason than its version.
_UNRELATED = ("no such table", "no such module", "no such column")


class ApplicationLibrary:
    """An empty copy of the schema in ``sqlite3``."""

    def __init__(self) -> None:
        self.version = sqlite3.sqlite_version
        self._connection = sqlite3.connect(":memory:", isolation_level=None)

    def close(self) -> None:
        """Close the copy."""
        self._connection.close()

    def copy_functions(
        self, functions: Sequence[Sequence[Any]], collations: Sequence[Sequence[Any]]
    ) -> None:
        """Add the application's functions and collations.

        :param functions: names, kinds, and whether they are SQLite's own.
        """
        for name, kind, is_builtin in functions:
            if not is_builtin:
                # an aggregate or window function is accepted as one of any kind
                create: Any = (
                    self._connection.create_function
                    if kind == "s"
                    else self._connection.create_aggregate
                )
                create(name, -1, _Function)
        for (name,) in collations:
            self._connection.create_collation(name, lambda one, other: 0)

    def create(self, definition: str) -> None:
        """Create an object of the schema, if this SQLite can."""
        with contextlib.suppress(
            sqlite3.Error
        ):  # the refusals of statements that use it are ignored
            self._connection.execute(definition)

    def refusal(self, sql: str, parameters: int) -> str:
        """Return why this SQLite does not accept a statement; "" if it accepts it.

        :param sql: a single statement that the SQLite of apsw accepts.
        :param parameters: the number of its placeholders.
        """
        try:
            self._connection.execute(f"EXPLAIN {sql}", [None] * parameters).close()
        except sqlite3.Error as error:
            message = str(error)
            return "" if message.startswith(_UNRELATED) else message
        return ""


class _Function:
    """A function that is never called."""

    def step(self, *_: Any) -> None:
        """Read the arguments."""

    def finalize(self) -> None:
        """Return NULL."""
