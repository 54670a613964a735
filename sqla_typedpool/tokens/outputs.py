"""Find the positions of a statement's output columns. They are used in reports only."""

from __future__ import annotations

from sqla_typedpool.tokens.reading import Token, TokenKind, tokens

_OPENING, _CLOSING = ("(", "[", "{"), (")", "]", "}")
_STATEMENTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "VALUES", "TABLE")
AFTER_SELECT_LIST = (
    *("FROM", "INTO", "WHERE", "GROUP", "HAVING", "WINDOW", "UNION", "INTERSECT", "EXCEPT"),
    *("ORDER", "LIMIT", "OFFSET", "FETCH", "FOR"),
)


def output_items(sql: str) -> list[tuple[int, int]]:
    """Return the spans of a statement's output columns, in order.

    They are those of the select list of the first outermost ``SELECT``, or of the ``RETURNING``
    list.

    :return: ``(start, end)`` of each column; [] if they cannot be determined.
    """
    return [(item[0].start, item[-1].end) for item in _items(sql)]


def stars(sql: str) -> list[tuple[int, int]]:
    """Return the spans of the output columns that are ``*`` or ``t.*``."""
    return [
        (item[0].start, item[-1].end)
        for item in _items(sql)
        if item[-1].is_symbol("*") and (len(item) == 1 or item[-2].is_symbol("."))
    ]


def statement_keyword(sql: str) -> str:
    """Return the keyword of a statement in upper case, after ``WITH ...``: ``"INSERT"``.

    :return: the first word if it is another statement (``"CALL"``); "" if there is none.
    """
    found = tokens(sql)
    main = _main_keyword(found, depths_of(found))
    if main is not None:
        return found[main].text.upper()
    return next((token.text.upper() for token in found if token.kind is TokenKind.WORD), "")


def has_returning(sql: str) -> bool:
    """Return whether a statement, apart from those inside it, has a ``RETURNING`` list."""
    found = tokens(sql)
    depths = depths_of(found)
    main = _main_keyword(found, depths)
    if main is None or found[main].is_word("SELECT"):
        return False
    return _returning_list(found, depths, main) < len(found)


def _items(sql: str) -> list[list[Token]]:
    """Return the tokens of each output column."""
    found = tokens(sql)
    depths = depths_of(found)
    main = _main_keyword(found, depths)
    if main is None:
        return []
    if found[main].is_word("SELECT"):
        start = select_list(found, depths, main)
        items = split_list(found, depths, start, depths[main], AFTER_SELECT_LIST)
    else:
        start = _returning_list(found, depths, main)
        items = split_list(found, depths, start, depths[main], ())
    return items if all(items) else []


def depths_of(found: list[Token]) -> list[int]:
    """Return how many brackets enclose each token. A bracket does not enclose itself."""
    depths, depth = [], 0
    for token in found:
        if token.is_symbol(*_CLOSING):
            depth -= 1
        depths.append(depth)
        if token.is_symbol(*_OPENING):
            depth += 1
    return depths


def _main_keyword(found: list[Token], depths: list[int]) -> int | None:
    """Return the index of the statement's keyword, after ``WITH ...`` and inside brackets."""
    for index, token in enumerate(found):
        if token.is_symbol("("):
            continue
        if token.is_word("WITH"):
            return _after_with(found, depths, index)
        return index if token.is_word(*_STATEMENTS) else None
    return None


def _after_with(found: list[Token], depths: list[int], start: int) -> int | None:
    """Return the index of the statement's keyword after the common table expressions."""
    depth = depths[start]
    for index in range(start + 1, len(found)):
        token = found[index]
        if depths[index] == depth and token.is_symbol("(") and found[index - 1].is_symbol(")"):
            rest = _main_keyword(found[index:], depths[index:])
            return None if rest is None else index + rest
        if depths[index] == depth and token.is_word(*_STATEMENTS) and not _is_label(found, index):
            return index
    return None


def _is_label(found: list[Token], index: int) -> bool:
    """Return whether this keyword is the name of a common table expression or of its column."""
    before = found[index - 1]
    return before.is_word("WITH", "RECURSIVE", "SET", "USING", "BY") or before.is_symbol(",")


def select_list(found: list[Token], depths: list[int], main: int) -> int:
    """Return the index of the first token of the select list, after ``DISTINCT ON (...)``."""
    start = main + 1
    if start < len(found) and found[start].is_word("ALL", "DISTINCT"):
        start += 1
        if start < len(found) and found[start].is_word("ON"):
            return after_brackets(depths, start + 1)
    return start


def _returning_list(found: list[Token], depths: list[int], main: int) -> int:
    """Return the index of the first token after ``RETURNING`` or ``RETURNING WITH (...)``.

    If there is no ``RETURNING``, it is the number of tokens.
    """
    for index in range(main, len(found)):
        if depths[index] == depths[main] and found[index].is_word("RETURNING"):
            has_aliases = index + 1 < len(found) and found[index + 1].is_word("WITH")
            return after_brackets(depths, index + 2) if has_aliases else index + 1
    return len(found)


def after_brackets(depths: list[int], opening: int) -> int:
    """Return the index after the bracket that closes the one at ``opening``."""
    for index in range(opening + 1, len(depths)):
        if depths[index] == depths[opening]:
            return index + 1
    return len(depths)


def split_list(
    found: list[Token], depths: list[int], start: int, depth: int, ends: tuple[str, ...]
) -> list[list[Token]]:
    """Split a list at its commas.

    :param start: the index of its first token.
    :param depth: the number of brackets around the list.
    :param ends: the keywords that can follow the list.
    """
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
    """Return whether this keyword ends the list.

    It does not in ``IS DISTINCT FROM`` and ``WITHIN GROUP``, and as a name: ``AS from``,
    ``t.from``.
    """
    before = found[index - 1]
    if before.is_symbol(".") or before.is_word("AS", "WITHIN"):
        return False
    return not (before.is_word("DISTINCT") and found[index - 2].is_word("IS", "NOT"))
