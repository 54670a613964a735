"""The statement of a call with lists: SQL text with a placeholder for each element.

SQLAlchemy expands a list for each call, on the slow path only. For short lists the text is
written here, which gives the same SQL, and the fast path can run it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import TextClause

from sqla_typedpool.queries.parameter_lists import as_list
from sqla_typedpool.tokens import list_binds

# Each text is a statement in the caches of this package, of SQLAlchemy and of the driver.
_MAX_LENGTH = 8  # of a list that is expanded here
_MAX_TEXTS = 16  # of one query with several lists


class ListStatement:
    """The statement of one declared query, for lists of any lengths."""

    def __init__(
        self, sql: str, expanding: TextClause, lists: Collection[str], parameters: Collection[str]
    ) -> None:
        """
        :param expanding: the statement that SQLAlchemy expands.
        :param lists: the names of the lists.
        :param parameters: the names of all parameters.
        """
        self._sql = sql
        self._expanding = expanding
        self._keys = {name: _element_names(name, parameters) for name in lists}
        self._texts: dict[tuple[int, ...], str] = {}

    def __call__(self, values: dict[str, Any]) -> tuple[str | TextClause, dict[str, Any]]:
        """Return the statement and its parameters.

        :param values: the parameters of the query. The lists in it are replaced.
        :raises TypeError: a list is a str or bytes, or cannot be read.
        """
        for name in self._keys:
            values[name] = as_list(values[name])
        lengths = tuple([len(values[name] or ()) for name in self._keys])
        text = self._texts.get(lengths) or self._add(lengths)
        if text is None:
            return self._expanding, values
        for name, keys in self._keys.items():
            values.update(zip(keys, values.pop(name), strict=False))
        return text, values

    def _add(self, lengths: tuple[int, ...]) -> str | None:
        """Return and keep the text for lists of these lengths; None if SQLAlchemy expands them."""
        is_short = min(lengths) > 0 and max(lengths) <= _MAX_LENGTH
        if not is_short or len(self._texts) >= _MAX_TEXTS:
            return None
        counts = dict(zip(self._keys, lengths, strict=True))
        parts, end = [], 0
        for each in list_binds(self._sql):
            names = self._keys[each.name][: counts[each.name]]
            parts += [self._sql[end : each.start], f"({', '.join(f':{name}' for name in names)})"]
            end = each.start + len(each.name) + 1
        text = self._texts[lengths] = "".join([*parts, self._sql[end:]])
        return text


def _element_names(name: str, parameters: Collection[str]) -> list[str]:
    """Return the names of the elements, none of which begins like another parameter."""
    prefix = f"{name}_"
    while any(each.startswith(prefix) for each in parameters):
        prefix += "_"
    return [f"{prefix}{number}" for number in range(1, _MAX_LENGTH + 1)]
