"""Exit codes, and what is said on the way out."""

from __future__ import annotations

import sys

__all__ = ["COULD_NOT_RUN", "DISTRIBUTION", "FOUND", "INTERRUPTED", "OK", "complain"]

OK = 0
FOUND = 1
COULD_NOT_RUN = 2
INTERRUPTED = 130

DISTRIBUTION = "sqla-typedpool"


def complain(sentence: str, code: int) -> int:
    """Say it on standard error and return the exit code."""
    print(f"{DISTRIBUTION}: {sentence}", file=sys.stderr)
    return code
