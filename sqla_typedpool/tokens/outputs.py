"""Which tokens make up each output column. Only used to point at things."""

from __future__ import annotations

from sqla_typedpool.tokens.reading import Token, tokens

_OPENING, _CLOSING = ("(", "[", "{"), (")", "]", "}")
_STATEMENTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "VALUES", "TABLE")
_AFTER_SELECT_LIST = (
    *("FROM", "INTO", "WHERE", "GROUP", "HAVING", "WINDOW", "UNION", "INTERSECT", "EXCEPT"),
    *("ORDER", "LIMIT", "OFFSET", "FETCH", "FOR"),
)


def output_items(sql: str) -> list[tuple[int, int]]:
    """The spans of a statement's output columns, as far as they can be told.

    :return: from ``(start, end)`` of the first one on: of the select list of the outermost
        first ``SELECT``, or of the ``RETURNING`` list; [] when it cannot be told.
    """
    return [(item[0].start, item[-1].end) for item in _items(sql)]


def stars(sql: str) -> list[tuple[int, int]]:
    """The spans of the output columns that are ``*`` or ``t.*``."""
    return [
        (item[0].start, item[-1].end)
        for item in _items(sql)
        if item[-1].is_symbol("*") and (len(item) == 1 or item[-2].is_symbol("."))
    ]


def _items(sql: str) -> list[list[Token]]:
    """The tokens of each output column."""
    found = tokens(sql)
    depths = _depths(found)
    main = _main_word(found, depths)
    if main is None:
        return []
    if found[main].is_word("SELECT"):
        start = _select_list(found, depths, main)
        items = _split(found, depths, start, depths[main], _AFTER_SELECT_LIST)
    else:
        start = _returning_list(found, depths, main)
        items = _split(found, depths, start, depths[main], ())
    return items if all(items) else []


def _depths(found: list[Token]) -> list[int]:
    """How many brackets are open around each token; a bracket itself is outside."""
    depths, depth = [], 0
    for token in found:
        if token.is_symbol(*_CLOSING):
            depth -= 1
        depths.append(depth)
        if token.is_symbol(*_OPENING):
            depth += 1
    return depths


def _main_word(found: list[Token], depths: list[int]) -> int | None:
    """Which token says what the statement does, after ``WITH ...`` and inside brackets."""
    for index, token in enumerate(found):
        if token.is_symbol("("):
            continue
        if token.is_word("WITH"):
            return _after_with(found, depths, index)
        return index if token.is_word(*_STATEMENTS) else None
    return None


def _after_with(found: list[Token], depths: list[int], start: int) -> int | None:
    """The main word after a ``WITH``: the first one that stands behind a closed bracket."""
    depth = depths[start]
    for index in range(start + 1, len(found)):
        token = found[index]
        if depths[index] == depth and token.is_symbol("(") and found[index - 1].is_symbol(")"):
            rest = _main_word(found[index:], depths[index:])
            return None if rest is None else index + rest
        if depths[index] == depth and token.is_word(*_STATEMENTS) and not _is_label(found, index):
            return index
    return None


def _is_label(found: list[Token], index: int) -> bool:
    """Whether this keyword is the name of a common table expression or of its columns."""
    before = found[index - 1]
    return before.is_word("WITH", "RECURSIVE", "SET", "USING", "BY") or before.is_symbol(",")


def _select_list(found: list[Token], depths: list[int], main: int) -> int:
    """Where the list begins: behind ``DISTINCT ON (...)``."""
    start = main + 1
    if start < len(found) and found[start].is_word("ALL", "DISTINCT"):
        start += 1
        if start < len(found) and found[start].is_word("ON"):
            return _behind_brackets(depths, start + 1)
    return start


def _returning_list(found: list[Token], depths: list[int], main: int) -> int:
    """Where the list begins: behind ``RETURNING WITH (OLD AS o)``; the end if there is none."""
    for index in range(main, len(found)):
        if depths[index] == depths[main] and found[index].is_word("RETURNING"):
            has_aliases = index + 1 < len(found) and found[index + 1].is_word("WITH")
            return _behind_brackets(depths, index + 2) if has_aliases else index + 1
    return len(found)


def _behind_brackets(depths: list[int], opening: int) -> int:
    for index in range(opening + 1, len(depths)):
        if depths[index] == depths[opening]:
            return index + 1
    return len(depths)


def _split(
    found: list[Token], depths: list[int], start: int, depth: int, ends: tuple[str, ...]
) -> list[list[Token]]:
    """The items of a list, split at its commas."""
    items: list[list[Token]] = [[]]
    for index in range(start, len(found)):
        token = found[index]
        if depths[index] == depth:
            if token.is_symbol(";") or (token.is_word(*ends) and _ends_list(found, index)):
                break
            if token.is_symbol(","):
                items.append([])
                continue
        elif depths[index] < depth:
            break
        items[-1].append(token)
    return [] if items == [[]] else items


def _ends_list(found: list[Token], index: int) -> bool:
    """Not ``IS DISTINCT FROM``, not ``WITHIN GROUP``, and no label: ``AS from``, ``t.from``."""
    before = found[index - 1]
    if before.is_symbol(".") or before.is_word("AS", "WITHIN"):
        return False
    return not (before.is_word("DISTINCT") and found[index - 2].is_word("IS", "NOT"))
