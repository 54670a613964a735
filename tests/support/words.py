"""The words of messages: no names from the trees of parsers, and no "it" as their subject.

`checked_words` is a fixture that all tests of the checker and of descriptions use: whatever message
their cases produce is checked.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlglot import exp

from sqla_typedpool.check.model import Finding
from sqla_typedpool.describe.model import ColumnDescription, Description
from sqla_typedpool.describe.postgres.inference import RULES
from sqla_typedpool.describe.postgres.scope import _WITHOUT_RULE
from sqla_typedpool.errors import Refused

_OTHER_NODES = "a_expr a_const columnref funccall typecast rangevar fromexpr joinexpr targetentry"
# Kinds of PostgreSQL's nodes, which are words of SQL or English too.
_WORDS = {"CONST", "PARAM", "VAR"}
_POSTGRES = {*RULES, *_WITHOUT_RULE, *_OTHER_NODES.upper().split()} - _WORDS
# Classes of drivers, which have the names of classes of sqlglot.
_DRIVERS = frozenset({"BitString"})
_CAMEL_CASE = re.compile(r"(?=.*[a-z])[A-Z]\w*[A-Z]\w*")


def _sqlglot(parent: type = exp.Expression) -> Iterator[str]:
    """Yield the names of sqlglot's classes that are no words."""
    for each in parent.__subclasses__():
        if _CAMEL_CASE.fullmatch(each.__name__) and each.__name__ not in _DRIVERS:
            yield each.__name__
        yield from _sqlglot(each)


_NAMES = re.compile(
    rf"\b(?:(?i:{'|'.join(sorted(_POSTGRES))}|anonymous)|{'|'.join(sorted(set(_sqlglot())))})\b"
)
_IT = re.compile(r"\bno rule\b|^it\b|\bit (?:is|may|can|has|was|returns|finds|contains)\b")


def unsuitable_words(text: str, *, is_reason: bool = False) -> list[str]:
    """Return the words of a message that are not those of SQL.

    :param is_reason: whether the text stands alone, so that "it" stands for nothing.
    """
    found = _NAMES.findall(text)
    return [*found, *_IT.findall(text)] if is_reason else found


def _of_finding(found: Finding) -> list[str]:
    texts = (found.message, found.reason, found.hint)
    starts = ["it"] if found.message.startswith("it ") else []
    return [*starts, *(word for text in texts for word in unsuitable_words(text))]


def _of_column(found: ColumnDescription) -> list[str]:
    return unsuitable_words(found.why, is_reason=True)


def _of_description(found: Description) -> list[str]:
    return [word for note in found.notes for word in unsuitable_words(note)]


def _of_refusal(found: Refused) -> list[str]:
    return unsuitable_words(found.hint)


_CHECKS: dict[type, Callable[[Any], list[str]]] = {
    Finding: _of_finding,
    ColumnDescription: _of_column,
    Description: _of_description,
    Refused: _of_refusal,
}


@pytest.fixture(autouse=True)
def checked_words(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[list[str]]:
    """Check the words of every finding, description and refusal of a test when it has ended."""
    unsuitable: list[str] = []
    if getattr(request.function, "is_hypothesis_test", False):
        yield unsuitable  # its texts are random
        return
    for kind, check in _CHECKS.items():
        monkeypatch.setattr(kind, "__init__", _checking(kind.__init__, check, unsuitable))
    yield unsuitable
    assert unsuitable == [], "\n".join(unsuitable)


def _checking(
    initialise: Callable[..., None], check: Callable[[Any], list[str]], unsuitable: list[str]
) -> Callable[..., None]:
    @functools.wraps(initialise)
    def checking(self: Any, *args: Any, **named: Any) -> None:
        initialise(self, *args, **named)
        unsuitable.extend(f"{word} in {self!r}" for word in check(self))

    return checking
