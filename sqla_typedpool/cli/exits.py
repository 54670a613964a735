"""Exit codes, and error messages on standard error."""

from __future__ import annotations

import re
import sys

OK = 0
FOUND = 1
COULD_NOT_RUN = 2
INTERRUPTED = 130

DISTRIBUTION = "sqla-typedpool"

# The password in a URL. A message of the user's own code can contain one.
_PASSWORD = re.compile(r"(://[^\s:/@]*:)[^\s@/]+@")


def complain(message: str, code: int) -> int:
    """Print an error message without passwords, and return the exit code."""
    hidden = _PASSWORD.sub(r"\1***@", message)
    print(f"{DISTRIBUTION}: {hidden}", file=sys.stderr)
    return code
