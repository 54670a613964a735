"""Classifies connect errors: is another attempt worth it?

A transient error (the server restarts, the network is away) is retried in the
background while callers wait. A full server is waited for. A fatal error is given to
the caller at once. An error that no rule of :mod:`.connect_rules` knows is fatal too,
unless other connections work, for which callers can wait.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqla_typedpool.pool.connect_rules import (
    PASSED_ON,
    RULES,
    WITH_FILENAME,
    ErrorKind,
    ErrorRule,
)

_READ_ONLY_MYSQL = frozenset({1290, 1836})
_QUOTED = re.compile(r'"[^"\n]*"')


def classify(error: BaseException) -> ErrorKind:
    """The kind of a connect error; its causes are classified as well."""
    rule = rule_of(error)
    return ErrorKind.UNKNOWN if rule is None else rule.kind


def rule_of(error: BaseException) -> ErrorRule | None:
    """The rule that applies to a connect error or to one of its causes; None if none does."""
    deferred = None
    for each in _chain(error):
        rule = _rule_of_one(each)
        if rule is not None and not rule.asks_cause:
            return rule
        deferred = deferred or rule
    return deferred


def is_read_only(error: BaseException) -> bool:
    """Whether a statement failed because nothing may be written."""
    number = _mysql_number(error)
    if number is not None:
        return number in _READ_ONLY_MYSQL
    return _sqlstate_of(error) == "25006"


@dataclass
class _Traits:
    """What the rules look at."""

    number: int | None
    state: str | None
    errno: int | None
    types: set[str]
    text: str

    def fit(self, rule: ErrorRule) -> bool:
        # MySQL's numbers first: its errors carry SQLSTATEs too, and vaguer ones
        if self.number is not None:
            return self.number in rule.numbers and self._has_words(rule)
        if self.state == PASSED_ON and rule.states and self._contains(rule.words):
            return True
        if self.state is not None:
            return self.state in rule.states and self._has_words(rule)
        if not self.types.isdisjoint(rule.types) or self.errno in rule.errnos:
            return self._has_words(rule)
        is_by_words = not rule.numbers and not (rule.types and rule.needs_words)
        return is_by_words and self._contains(rule.words)

    def _has_words(self, rule: ErrorRule) -> bool:
        return not rule.needs_words or self._contains(rule.words)

    def _contains(self, words: tuple[str, ...]) -> bool:
        return any(each in self.text for each in words)


def _rule_of_one(error: BaseException) -> ErrorRule | None:
    traits = _traits_of(error)
    return next((rule for rule in RULES if traits.fit(rule)), None)


def _traits_of(error: BaseException) -> _Traits:
    state, number = _sqlstate_of(error), _mysql_number(error)
    text = str(error) if number is None else " ".join(map(str, error.args[1:]))
    types = {f"{each.__module__.split('.')[0]}.{each.__name__}" for each in type(error).__mro__}
    if isinstance(error, OSError) and error.filename is not None:
        types.add(WITH_FILENAME)
    return _Traits(
        number=number,
        state=state if isinstance(state, str) else None,
        errno=error.errno if isinstance(error, OSError) else None,
        types=types,
        text=_QUOTED.sub('"..."', text).lower(),
    )


def _sqlstate_of(error: BaseException) -> object:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _mysql_number(error: BaseException) -> int | None:
    module = type(error).__module__
    if "mysql" not in module.lower() and "asyncmy" not in module:
        return None
    first: Any = error.args[0] if error.args else None
    return first if isinstance(first, int) and not isinstance(first, bool) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )
