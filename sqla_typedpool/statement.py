"""Statements of the typed layer. A ``str`` means ``sqlalchemy.text(str)``.

Each text is parsed once. Each engine caches the statements that were compiled for it.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Executable, TextClause, text

if TYPE_CHECKING:
    from sqla_typedpool._sqlalchemy.driver_statement import DriverStatement

_CACHE_SIZE = 500  # statements; SQLAlchemy's compiled cache has the same size

# Statements that have the same effect with and without a transaction block. CALL is not one
# of them: a procedure may commit. BEGIN, SET and LISTEN have effects beyond the statement.
_START = r"(?:\s|\(|--[^\n\r]*[\n\r]|/\*(?:[^*/]|\*(?!/)|/(?!\*))*\*/)*"  # blanks, "(", comments
_SAFE_WITHOUT_TRANSACTION = re.compile(
    _START + r"(?:SELECT|WITH|VALUES|TABLE|INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE
)
_READ = re.compile(_START + r"(?:SELECT|VALUES|TABLE)\b", re.IGNORECASE)


@lru_cache(_CACHE_SIZE)
def _parsed(statement: str) -> TextClause:
    return text(statement)


def as_executable(statement: str | Executable) -> Executable:
    """Convert a ``str`` to the statement that SQLAlchemy executes."""
    return _parsed(statement) if isinstance(statement, str) else statement


@lru_cache(_CACHE_SIZE)
def is_safe_without_transaction(sql: str) -> bool:
    """Return whether this SQL does the same with and without a transaction block."""
    return _SAFE_WITHOUT_TRANSACTION.match(sql) is not None


@lru_cache(_CACHE_SIZE)
def is_read(sql: str) -> bool:
    """Return whether this SQL writes nothing, unless it calls a function that does.

    A common table expression may write.
    """
    return _READ.match(sql) is not None


@lru_cache(_CACHE_SIZE)
def is_one_statement(sql: str) -> bool:
    """Return False if this SQL may be several statements."""
    return ";" not in sql.rstrip("; \t\r\n")


def may_set_session(sql: str) -> bool:
    """Return whether this SQL may leave a setting in its session, if it runs on its own.

    Temporary tables and locks need no such check: they can be read or released afterwards.
    """
    return "set_config" in sql.lower()


class StatementCache:
    """The statements that were compiled for one engine."""

    def __init__(
        self, compile_: Callable[[Executable, tuple[str, ...]], DriverStatement | None]
    ) -> None:
        """
        :param compile_: compiles a statement with parameters of these names.
        """
        self._compile = compile_
        self._texts: dict[str, DriverStatement | None] = {}
        self._objects: dict[
            int, tuple[weakref.ref[Any], tuple[str, ...], DriverStatement | None]
        ] = {}

    def get(
        self, statement: str | Executable, parameters: Mapping[str, Any] | None
    ) -> DriverStatement | None:
        """Return the compiled statement, or None if only SQLAlchemy can execute it."""
        if isinstance(statement, str):
            try:
                return self._texts[statement]
            except KeyError:
                return self._add_text(statement)
        keys = tuple(parameters) if parameters else ()  # an INSERT or UPDATE sets these columns
        cached = self._objects.get(id(statement))
        if cached is not None and cached[0]() is statement and cached[1] == keys:
            return cached[2]
        return self._add_object(statement, keys)

    def _add_text(self, statement: str) -> DriverStatement | None:
        compiled = self._compile(_parsed(statement), ())
        _clear_if_full(self._texts)
        self._texts[statement] = compiled
        return compiled

    def _add_object(self, statement: Any, keys: tuple[str, ...]) -> DriverStatement | None:
        compiled = self._compile(statement, keys)
        if compiled is not None and not compiled.is_cached:
            return compiled  # it refers to the statement, so a cache would keep both alive
        _clear_if_full(self._objects)
        objects, key = self._objects, id(statement)
        # The compiled statement contains the statement's values: remove both together.
        reference = weakref.ref(statement, lambda _: objects.pop(key, None))
        objects[key] = reference, keys, compiled
        return compiled


def _clear_if_full(cache: dict[Any, Any]) -> None:
    if len(cache) >= _CACHE_SIZE:
        cache.clear()
