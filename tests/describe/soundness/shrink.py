"""Shorten a failing statement: leave out parts as long as it fails in the same way."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable

_WORDS = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|::|:?\w+(?:\.\w+)?|\s+|.")
_SIMPLE = ["null", "1", "true"]


async def shrink(sql: str, fails_alike: Callable[[str], Awaitable[bool]], seconds: float) -> str:
    """Return the shortest statement that was found within `seconds`.

    :param fails_alike: returns whether a candidate, which may be invalid SQL, fails alike.
    """
    words, end = _WORDS.findall(sql), time.monotonic() + seconds
    shorter = True
    while shorter:
        shorter = False
        for candidate in _candidates(words):
            if time.monotonic() > end:
                return _joined(words)
            if len(candidate) < len(words) and await fails_alike(_joined(candidate)):
                words, shorter = candidate, True
                break
    return _joined(words)


def _candidates(words: list[str]) -> list[list[str]]:
    """Return the words without one part or with a part simplified, long parts first."""
    found: list[list[str]] = []
    for start, end in sorted(_brackets(words), key=lambda span: span[0] - span[1]):
        found += [[*words[: start + 1], word, *words[end:]] for word in _SIMPLE]
        found.append(words[:start] + words[start + 1 : end] + words[end + 1 :])
        found += [[*words[:start], word, *words[end + 1 :]] for word in _SIMPLE]
    length = len(words) // 2
    while length >= 1:
        found += [words[:at] + words[at + length :] for at in range(0, len(words), length)]
        length //= 2
    return found


def _brackets(words: list[str]) -> list[tuple[int, int]]:
    stack, found = [], []
    for at, word in enumerate(words):
        if word == "(":
            stack.append(at)
        elif word == ")" and stack:
            found.append((stack.pop(), at))
    return found


def _joined(words: list[str]) -> str:
    return re.sub(r"\s+", " ", "".join(words)).strip()
