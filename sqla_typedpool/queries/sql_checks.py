"""Check SQL text and its parameters without a database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from difflib import get_close_matches
from functools import partial
from itertools import pairwise

from sqla_typedpool.tokens import Token, binds, hidden_binds, second_statement, tokens

# Returns the line of an offset, for a message.
Line = Callable[[int], str]


def sql_errors(
    sql: str,
    parameters: Collection[str],
    optional: Collection[str] = (),
    first_line: int | None = None,
) -> list[str]:
    """Return everything that is wrong with a SQL text and its parameters.

    :param parameters: the names of the function's binds.
    :param optional: binds of the SQL that have a value already and need no parameter.
    :param first_line: the line of the SQL in a file with several queries.
    """
    found = tokens(sql)
    if not found:
        return ["the SQL is empty; next: write a statement"]
    line = line_of(sql, first_line)
    return [
        *_hidden_binds(sql, line),
        *_binds_before_casts(found, parameters),
        *_undeclared_binds(sql, parameters, optional, line),
        *_unused_parameters(sql, found, parameters),
        *_several_statements(sql, line),
    ]


def _hidden_binds(sql: str, line: Line) -> Iterator[str]:
    for bind in hidden_binds(sql):
        yield (
            f"{bind.text}{line(bind.start)} is in a string, a quoted name or a comment, "
            f"but SQLAlchemy takes it for a parameter; next: write \\{bind.text} (in a raw "
            "string, or with two backslashes)"
        )


def _binds_before_casts(found: list[Token], parameters: Collection[str]) -> Iterator[str]:
    for name in names_before_casts(found):
        if name in parameters:
            yield (
                f"SQLAlchemy does not take :{name}:: for a parameter; next: write "
                f"CAST(:{name} AS ...), or add a space: :{name} ::"
            )


def names_before_casts(found: list[Token]) -> Iterator[str]:
    """Yield the names in ``:name::type``, in which SQLAlchemy finds no parameter."""
    for (colon, name), (_, cast) in pairwise(pairwise(found)):
        is_adjacent = colon.end == name.start and name.end == cast.start
        if colon.is_symbol(":") and is_adjacent and cast.text.startswith(":"):
            yield name.text


def _undeclared_binds(
    sql: str, parameters: Collection[str], optional: Collection[str], line: Line
) -> Iterator[str]:
    hidden = {bind.start for bind in hidden_binds(sql)}
    known = {*parameters, *optional}
    for bind in binds(sql):
        name = bind.text[1:]
        if name not in known and bind.start not in hidden:
            known.add(name)  # report each name once
            yield undeclared_bind(name, parameters, line(bind.start))


def undeclared_bind(name: str, parameters: Collection[str], line: str = "") -> str:
    """Return the error of a bind of the statement for which there is no parameter."""
    if name.isdigit():
        hint = f"next: for a slice write \\:{name}"
    else:
        close = get_close_matches(name, parameters, 1)
        hint = f"did you mean :{close[0]}?" if close else f"next: add {name} to the function"
    return f"the SQL has :{name}{line}, but the function has no parameter {name}; {hint}"


def _unused_parameters(sql: str, found: list[Token], parameters: Collection[str]) -> Iterator[str]:
    used = {bind.text[1:] for bind in binds(sql)}
    used.update(names_before_casts(found))
    return (unused_parameter(name) for name in parameters if name not in used)


def unused_parameter(name: str) -> str:
    """Return the error of a parameter that the statement does not use."""
    return f"the SQL does not use the parameter {name}; next: add :{name} to it, or remove {name}"


def _several_statements(sql: str, line: Line) -> Iterator[str]:
    token = second_statement(sql)
    if token is not None:
        yield (
            f"the SQL has several statements: {token.text}{line(token.start)} begins the "
            "second one; next: declare a query for each"
        )


def line_of(sql: str, first_line: int | None) -> Line:
    """Return a function that returns the line of an offset; "" if the SQL has one line.

    :param first_line: the line of the SQL in a file with several queries.
    """
    place = "the SQL" if first_line is None else "the file"
    return partial(_line, sql, first_line or 1, place)


def _line(sql: str, first: int, place: str, offset: int) -> str:
    number = first + sql.count("\n", 0, offset)
    return f" (line {number} of {place})" if "\n" in sql.strip() else ""
