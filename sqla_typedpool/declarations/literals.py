"""Strings as Python code: names, docstrings, SQL."""

from __future__ import annotations

import re
import textwrap

from sqla_typedpool.tokens import Token, tokens

LINE_LENGTH = 88
INDENT = "    "
# A long statement is divided before these words, or after a comma, where possible.
_CLAUSES = (
    *("SELECT", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "UNION", "VALUES", "SET"),
    *("LEFT", "RIGHT", "FULL", "JOIN", "USING", "ON", "WHEN", "RETURNING", "AND", "OR"),
)
_WRAPPER = textwrap.TextWrapper(
    LINE_LENGTH - len(INDENT) - len('""""""'), break_long_words=False, break_on_hyphens=False
)


def string(value: str) -> str:
    """Return the literal of a string: in double quotes, unless others need fewer backslashes."""
    quote = "'" if value.count('"') > value.count("'") else '"'
    return quote + "".join(_escaped(each, quote) for each in value) + quote


def _escaped(character: str, quote: str) -> str:
    if character in "'\"":
        return f"\\{quote}" if character == quote else character
    return repr(character)[1:-1]


def docstring(text: str) -> list[str]:
    """Return the lines of a docstring without their indentation."""
    lines = [
        part
        for line in text.strip().splitlines()
        for part in _WRAPPER.wrap(_in_docstring(line)) or [""]
    ]
    lines[0] = f" {lines[0]}" if lines[0].startswith('"') else lines[0]
    if len(lines) == 1:
        space = " " if lines[0].endswith('"') else ""
        return [f'"""{lines[0]}{space}"""']
    return [f'"""{lines[0]}', *lines[1:], '"""']


def _in_docstring(line: str) -> str:
    escaped = "".join(each if each == "\t" else repr(each)[1:-1] for each in line)
    return escaped.replace('"""', '\\"\\"\\"')


# ------------------------------------------------------------------------------------ SQL


def call_with_sql(head: str, sql: str) -> list[str]:
    """Return the lines of a call with SQL text: ``@query("SELECT 1")``.

    The text keeps its lines. A longer line is divided between two tokens.

    :param head: what stands before the bracket.
    """
    text = sql.replace("\r\n", "\n")
    indent = "" if _has_long_token(text) else INDENT
    text = (textwrap.dedent(text.strip("\n")) if indent else text).strip()
    short = _one_line(text)
    if short is not None and len(line := f"{head}({short})") <= LINE_LENGTH:
        return [line]
    if (quote := _quote_for(text, ('"""', "'''"))) is None:
        return [f"{head}(", f"{INDENT}{string(text)}", ")"]
    opening = f"{INDENT}{'r' if chr(92) in text else ''}{quote}"
    return [f"{head}(", opening, *_lines(text, indent), f"{indent}{quote}", ")"]


def _one_line(text: str) -> str | None:
    quote = _quote_for(text, ('"', "'"))
    if quote is None or "\n" in text or text.endswith("\\"):
        return None
    return f"{'r' if chr(92) in text else ''}{quote}{text}{quote}"


def _quote_for(text: str, quotes: tuple[str, ...]) -> str | None:
    """Return the quote in which a text needs no escapes; None if there is none."""
    is_printable = all(each.isprintable() or each in "\n\t" for each in text)
    return next((each for each in quotes if each not in text and is_printable), None)


def _has_long_token(text: str) -> bool:
    """Return whether a string, a quoted name or a comment of the SQL has several lines."""
    found = tokens(text)
    is_long = any("\n" in token.text for token in found)
    return is_long or "/*" in text


def _lines(text: str, indent: str) -> list[str]:
    if not indent:
        return text.split("\n")
    return [
        f"{indent}{part}".rstrip()
        for line in text.split("\n")
        for part in _divided(line, LINE_LENGTH - len(indent))
    ]


def _divided(line: str, width: int) -> list[str]:
    """Divide a line between tokens, so that no part is longer than this where possible."""
    if "--" in line or "#" in line:
        return [line]  # the rest of a comment would become SQL
    gaps = [token for token in tokens(line) if line[: token.start].endswith(" ")]
    good = {each.start for each in gaps if _begins_a_part(each, line)}
    others = {each.start for each in gaps}
    parts, start = [], 0
    while len(line) - start > width:
        fitting = next(filter(None, (_within(each, start, width) for each in (good, others))), None)
        if fitting is None:
            break
        parts.append(line[start:fitting])
        start = fitting
    return [*parts, line[start:]]


def _begins_a_part(token: Token, line: str) -> bool:
    """Return whether it begins a clause of the statement, or follows a comma."""
    return token.is_word(*_CLAUSES) or line[: token.start].rstrip().endswith(",")


def _within(gaps: set[int], start: int, width: int) -> int | None:
    """Return the last of these positions in a line that begins at ``start``."""
    return max((each for each in gaps if start < each <= start + width), default=None)


def comment_lines(text: str) -> list[str]:
    """Return the lines of a comment without their indentation."""
    one_line = re.sub(r"\s+", " ", text)
    return [f"# {each}" for each in textwrap.wrap(one_line, LINE_LENGTH - len(INDENT) - 2)]
