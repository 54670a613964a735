"""`python -m benchmarks [--quick] [-k spike]`: pytest on this folder, one table at the end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    # pytest-benchmark's own table, which shows whole rounds of all pools together, is not printed.
    folder = str(Path(__file__).parent)
    sys.exit(pytest.main([folder, "--benchmark-quiet", *sys.argv[1:]]))
