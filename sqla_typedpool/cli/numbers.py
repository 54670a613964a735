"""Numbers within bounds, as types of arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def number(least: float, most: float) -> Callable[[str], float]:
    """An argument type: a number within bounds, else a usage error that names them."""

    def read(given: str) -> float:
        value = float(given)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{given} is not within {least:g} and {most:g}")
        return value

    read.__name__ = "number"  # argparse: "invalid number value: 'x'"
    return read
