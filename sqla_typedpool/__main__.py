"""`python -m sqla_typedpool` is the command `sqla-typedpool`."""

import sys

from sqla_typedpool.cli import main

if __name__ == "__main__":
    sys.exit(main())
