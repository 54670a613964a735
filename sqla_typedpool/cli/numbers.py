"""Argument types: numbers within limits."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def number(least: float, most: float) -> Callable[[str], float]:
    """Return an argument type that accepts a number within limits, and names them in its error."""

    def read(given: str) -> float:
        value = float(given)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{given} is not within {least:g} and {most:g}")
        return value

    read.__name__ = "number"  # for argparse's message: "invalid number value: 'x'"
    return read
