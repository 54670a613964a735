"""Statements as the typed layer takes them: a ``str`` is ``sqlalchemy.text(str)``.

Text is parsed once per string; what is compiled for an engine is kept with it.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Engine, Executable, TextClause, text

from sqla_typedpool._sqlalchemy.execution import Compiled, compile_statement

__all__ = ["Statements", "as_executable", "stands_alone"]

_MOST = 500  # statements kept, as SQLAlchemy keeps compiled ones

# Statements that mean outside a transaction block what they mean inside one. Not CALL,
# whose procedure may commit; not BEGIN, SET, LISTEN, which outlive their transaction.
_STANDS_ALONE = re.compile(
    r"(?:\s|\(|--[^\n]*\n|/\*(?:[^*/]|\*(?!/)|/(?!\*))*\*/)*"  # blanks, comments
    r"(?:SELECT|WITH|VALUES|TABLE|INSERT|UPDATE|DELETE|MERGE)\b",
    re.IGNORECASE,
)


@lru_cache(_MOST)
def _parsed(statement: str) -> TextClause:
    return text(statement)


def as_executable(statement: str | Executable) -> Executable:
    """What SQLAlchemy executes."""
    return _parsed(statement) if isinstance(statement, str) else statement


@lru_cache(_MOST)
def stands_alone(sql: str) -> bool:
    """Whether this SQL may run without a transaction block around it."""
    return _STANDS_ALONE.match(sql) is not None


class Statements:
    """The compiled statements of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = weakref.ref(engine)
        self._texts: dict[str, Compiled | None] = {}
        self._objects: dict[int, tuple[weakref.ref[Any], tuple[str, ...], Compiled | None]] = {}

    def get(
        self, statement: str | Executable, parameters: Mapping[str, Any] | None
    ) -> Compiled | None:
        """Compiled for this engine; None = it has to go through SQLAlchemy."""
        if isinstance(statement, str):
            try:
                return self._texts[statement]
            except KeyError:
                return self._of_text(statement)
        keys = tuple(parameters) if parameters else ()  # they decide what an INSERT or UPDATE sets
        known = self._objects.get(id(statement))
        if known is not None and known[0]() is statement and known[1] == keys:
            return known[2]
        return self._of_object(statement, keys)

    def _of_text(self, statement: str) -> Compiled | None:
        compiled = self._compile(_parsed(statement), ())
        _make_room(self._texts)
        self._texts[statement] = compiled
        return compiled

    def _of_object(self, statement: Any, keys: tuple[str, ...]) -> Compiled | None:
        compiled = self._compile(statement, keys)
        if compiled is not None and not compiled.is_cached:
            return compiled  # it holds the statement, and would keep it alive
        _make_room(self._objects)
        objects, number = self._objects, id(statement)
        # gone with the statement: what is compiled holds the statement's own values
        gone = weakref.ref(statement, lambda _: objects.pop(number, None))
        objects[number] = gone, keys, compiled
        return compiled

    def _compile(self, statement: Any, keys: tuple[str, ...]) -> Compiled | None:
        engine = self._engine()
        return None if engine is None else compile_statement(engine, statement, keys)


def _make_room(known: dict[Any, Any]) -> None:
    if len(known) >= _MOST:
        known.clear()
