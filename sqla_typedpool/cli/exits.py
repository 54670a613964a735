"""Exit codes, and error messages on standard error."""

from __future__ import annotations

import sys

from sqla_typedpool.secrets import mask_secrets

OK = 0
FOUND = 1
COULD_NOT_RUN = 2
INTERRUPTED = 130

DISTRIBUTION = "sqla-typedpool"


def complain(message: str, code: int) -> int:
    """Print an error message without passwords, and return the exit code."""
    print(f"{DISTRIBUTION}: {mask_secrets(message)}", file=sys.stderr)
    return code
