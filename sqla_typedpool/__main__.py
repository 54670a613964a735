"""Run the command `sqla-typedpool`, as ``python -m sqla_typedpool``."""

import sys

from sqla_typedpool.cli import main

if __name__ == "__main__":
    sys.exit(main())
