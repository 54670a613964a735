"""Masks passwords in texts from outside: errors of drivers, URLs, connection strings.

A password is recognised by its place: between a user and a host in a URL, or after a name
such as ``password=``. Where a place is ambiguous, more is masked rather than less.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

__all__ = ["known_secrets", "mask_secrets", "masked_repr"]

_MASK = "***"
_SURELY_SECRET = 8  # characters from which a known secret is masked inside of words too

_NAME = r"(?:password|passwd|passphrase|pwd|client_secret)"
# password=, then 'password': or "password": before a text or a number (a message about a column
# of that name continues with a word), then SQL: PASSWORD '
_ASSIGNMENT = re.compile(
    rf"(?P<query>[?&][\w.-]{{0,40}})?{_NAME}"
    r"(?:[ \t]*=[ \t]*|\\*[\"'][ \t]*[:=]\s*(?=[bru]{0,2}\\*[\"']|[-\d])|\s+(?='))"
    r"|identified\s+by\s+(?=')",
    re.IGNORECASE,
)
# A value in quotes is left to the rule above.
_IN_QUERY = re.compile(
    rf"([?&][\w.-]{{0,40}}{_NAME}=)(?![bru]{{0,2}}\\*[\"'])([^&\s]+)", re.IGNORECASE
)
_OPENING_QUOTE = re.compile(r"[bru]{0,2}(\\*)([\"'])", re.IGNORECASE)
_UNQUOTED = re.compile(r"(?:\\.|\S)*", re.DOTALL)
_UNTIL_NEXT = re.compile(r"[^&\s]*")
# The lookbehind lets a search try a run of backslashes once, not at each of them.
_QUOTE = {quote: re.compile(rf"(?<!\\)(\\*){quote}") for quote in "\"'"}
_AFTER_A_VALUE = "\"')]}>,;"

_WORD = re.compile(r"\S+")
_AT_OR_SPACE = re.compile(r"[@\s]")
# a port, or nothing, after the colon: no password
_PORT = re.compile(r"\d{0,5}(?![^\s/?#,:;.)\]}>\"'])")
# user:password without a scheme; a colon may also follow the scheme of an address
_USER = re.compile(
    r"(?:^|[\"'`(\[<{=,])(?!(?:mailto|mail|email|e-mail|sips?|xmpp|acct):)[\w.%+~-]+:(?=[^:/\"'])",
    re.IGNORECASE,
)


def mask_secrets(text: str, known: Iterable[str] = ()) -> str:
    """Replace the passwords in a text by ``***``.

    They are found in URLs, also with an unencoded ``@``, ``:``, ``/`` or ``#``; in connection
    strings, query strings and SQL; in the text of a dict or of JSON. The time is linear
    in the length of the text, and a masked text stays as it is.

    :param known: secrets that are known to the caller, masked wherever they are.

    Example::

        >>> mask_secrets("cannot connect to postgresql://app:sec@ret@db/app")
        'cannot connect to postgresql://app:***@db/app'
    """
    text = _IN_QUERY.sub(lambda found: found[1] + _mask_unquoted(found[2]), text)
    text = _mask_assignments(_mask_urls(text))
    for secret in sorted(filter(None, known), key=len, reverse=True):
        escaped = re.escape(secret)
        is_long = len(secret) >= _SURELY_SECRET
        text = re.sub(escaped if is_long else rf"(?<!\w){escaped}(?!\w)", _MASK, text)
    return text


def masked_repr(error: BaseException, known: Iterable[str] = ()) -> str:
    """An error with its type in one line, masked; it never raises.

    :param known: as for ``mask_secrets``.
    """
    try:
        return mask_secrets(" ".join(repr(error).split()), known)
    except Exception:  # noqa: BLE001 - the __repr__ of an application's error may do anything
        return type(error).__name__


def known_secrets(password: str | None, host: str | None, database: str | None) -> list[str]:
    """The secrets in the parts of a URL, for ``mask_secrets``.

    SQLAlchemy ends a password at the first ``@``. If it contains another one, which is not
    encoded, its rest is in the host and perhaps in the database.
    """
    host, database = host or "", database or ""
    rests = [host.rpartition("@")[0], database.rpartition("@")[0]]
    if rests[1]:
        rests.append(host)
    visible = {host, database} if not any(rests) else set()
    found = [password or "", quote(password or ""), *rests]
    return [each for each in found if each and each not in visible]


# ------------------------------------------------------------------------- URLs


def _mask_urls(text: str) -> str:
    first, *rest = text.split("://")
    urls: list[list[str]] = []
    is_open = False  # the URL has a password with "://" in it
    for part in rest:
        if is_open:
            urls[-1].append(part)
            is_open = not _AT_OR_SPACE.search(part)
        else:
            urls.append([part])
            is_open = _ends_in_password(part)
    masked = (_mask_after_scheme("://".join(parts)) for parts in urls)
    return "://".join([_mask_without_scheme(first), *masked])


def _ends_in_password(part: str) -> bool:
    """Whether a password has begun after the user, and neither a host nor a space follows."""
    _, colon, password = part.partition(":")
    return bool(colon) and not _AT_OR_SPACE.search(part) and not _PORT.match(password)


def _mask_after_scheme(part: str) -> str:
    """Mask what follows ``://``, up to the next one."""
    word = _WORD.match(part)
    end = _end_of_userinfo(part, word.end() if word else 0)
    user, colon, _ = part[:end].partition(":")
    begin = f"{user}:{_MASK}" if colon else user
    rest_at = word.end() if word and end < word.end() else end
    return begin + part[end:rest_at] + _mask_without_scheme(part[rest_at:])


def _end_of_userinfo(part: str, word_end: int) -> int:
    """The index of the last ``@`` before a host; 0 = there is none."""
    at = part.rfind("@", 0, word_end)
    if at >= 0:
        return at
    _, colon, password = part[:word_end].partition(":")
    if not colon or _PORT.match(password) or password.endswith(tuple(_AFTER_A_VALUE)):
        return 0
    at = part.find("@", word_end)  # a password with spaces
    if at < 0 or "\n" in part[word_end:at]:
        return 0
    last_word = _WORD.match(part, at)
    return part.rfind("@", at, last_word.end()) if last_word else at


def _mask_without_scheme(text: str) -> str:
    return _WORD.sub(_mask_word, text) if "@" in text else text


def _mask_word(word: re.Match[str]) -> str:
    text = word[0]
    at = text.rfind("@")
    user = _USER.search(text, 0, at) if at > 0 else None
    return text if user is None else text[: user.end()] + _MASK + text[at:]


# ------------------------------------------------------------- names with values


def _mask_assignments(text: str) -> str:
    parts: list[str] = []
    done = 0
    while (found := _ASSIGNMENT.search(text, done)) is not None:
        parts.append(text[done : found.end()])
        unquoted = _UNTIL_NEXT if found["query"] else _UNQUOTED
        value, done = _mask_value(text, found.end(), unquoted)
        parts.append(value)
    return "".join(parts) + text[done:]


def _mask_value(text: str, start: int, unquoted: re.Pattern[str]) -> tuple[str, int]:
    """The masked value that starts here, and where the original one ends."""
    opening = _OPENING_QUOTE.match(text, start)
    if opening is None:
        bare = unquoted.match(text, start)
        end = bare.end() if bare else start
        return _mask_unquoted(text[start:end]), end
    end = _end_of_quoted(text, opening.end(), opening[2], len(opening[1]))
    closing = text[end : end + len(opening[1]) + 1]
    return opening[0] + _MASK + closing, end + len(closing)


def _mask_unquoted(value: str) -> str:
    """Mask a value; keep the quotes and brackets that follow it."""
    secret = value.rstrip(_AFTER_A_VALUE)
    return (_MASK if secret else "") + value[len(secret) :]


def _end_of_quoted(text: str, start: int, quote: str, escapes: int) -> int:
    """Where the closing quote begins; the end of the text if there is none.

    :param escapes: backslashes before the opening quote; a text quoted in another one has one.
    """
    at = start
    while (found := _QUOTE[quote].search(text, at)) is not None:
        at = found.end()
        is_closing = len(found[1]) % (2 * (escapes + 1)) == escapes
        if is_closing and not escapes and text[at : at + 1] == quote:
            at += 1  # doubled, as in SQL
        elif is_closing:
            return at - 1 - escapes
    return len(text)
