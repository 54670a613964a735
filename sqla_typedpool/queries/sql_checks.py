"""What is wrong with SQL text beside its parameters, told without a database."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from itertools import pairwise

from sqla_typedpool.tokens import Token, binds, hidden_binds, second_statement, tokens


def text_faults(sql: str, parameters: Collection[str], given: Collection[str] = ()) -> list[str]:
    """Everything that is wrong with a text and its parameters.

    :param parameters: the names of the function's binds.
    :param given: binds that need none, as they bring a value.
    """
    found = tokens(sql)
    if not found:
        return ["the SQL is empty"]
    return [
        *_hidden(sql),
        *_unseen(found, parameters),
        *_unknown(sql, parameters, given),
        *_unused(sql, found, parameters),
        *_second(sql),
    ]


def _hidden(sql: str) -> Iterator[str]:
    for bind in hidden_binds(sql):
        yield (
            f"{bind.text}{_line(sql, bind.start)} stands in a string, a quoted name or a "
            f"comment, where SQLAlchemy takes it for a parameter too; write \\{bind.text} "
            "(in a raw string, or with two backslashes)"
        )


def _unseen(found: list[Token], parameters: Collection[str]) -> Iterator[str]:
    """``:id::int``, of which SQLAlchemy makes no parameter."""
    for name in _cast_at_once(found):
        if name in parameters:
            yield (
                f":{name}:: is no parameter to SQLAlchemy; write CAST(:{name} AS ...), "
                f"or a blank between: :{name} ::"
            )


def _cast_at_once(found: list[Token]) -> Iterator[str]:
    for (colon, name), (_, cast) in pairwise(pairwise(found)):
        is_together = colon.end == name.start and name.end == cast.start
        if colon.is_symbol(":") and is_together and cast.text.startswith(":"):
            yield name.text


def _unknown(sql: str, parameters: Collection[str], given: Collection[str]) -> Iterator[str]:
    hidden = {bind.start for bind in hidden_binds(sql)}
    seen = {*parameters, *given}
    for bind in binds(sql):
        name = bind.text[1:]
        if name not in seen and bind.start not in hidden:
            seen.add(name)  # once
            yield unknown_bind(name, parameters, _line(sql, bind.start))


def unknown_bind(name: str, parameters: Collection[str], where: str = "") -> str:
    """A bind of the statement that no parameter fills."""
    if name.isdigit():
        hint = f"if a slice is meant, write \\:{name}"
    else:
        close = get_close_matches(name, parameters, 1)
        hint = f"did you mean :{close[0]}?" if close else f"add {name} to the function"
    return f"the SQL has a parameter :{name}{where}, the function has none of that name; {hint}"


def _unused(sql: str, found: list[Token], parameters: Collection[str]) -> Iterator[str]:
    used = {bind.text[1:] for bind in binds(sql)}
    used.update(_cast_at_once(found))
    for name in parameters:
        if name not in used:
            yield unused_parameter(name)


def unused_parameter(name: str) -> str:
    """A parameter of the function that the statement has no use for."""
    return f"the parameter {name} is not used: the SQL has no :{name}"


def _second(sql: str) -> Iterator[str]:
    token = second_statement(sql)
    if token is not None:
        yield (
            f"it holds several statements: {token.text}{_line(sql, token.start)} begins "
            "another one; declare a query for each"
        )


def _line(sql: str, offset: int) -> str:
    """Where in a text of several lines."""
    return f" (line {sql.count(chr(10), 0, offset) + 1} of the SQL)" if "\n" in sql.strip() else ""
