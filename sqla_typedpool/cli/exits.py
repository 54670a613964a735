"""Exit codes, and what is said on the way out."""

from __future__ import annotations

import re
import sys

OK = 0
FOUND = 1
COULD_NOT_RUN = 2
INTERRUPTED = 130

DISTRIBUTION = "sqla-typedpool"

# Of a URL, in words that are not ours: those of a module that cannot be imported.
_PASSWORD = re.compile(r"(://[^\s:/@]*:)[^\s@/]+@")


def complain(sentence: str, code: int) -> int:
    """Say it on standard error and return the exit code."""
    hidden = _PASSWORD.sub(r"\1***@", sentence)
    print(f"{DISTRIBUTION}: {hidden}", file=sys.stderr)
    return code
