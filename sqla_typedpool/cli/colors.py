"""Whether output has colours, and whether it may overwrite lines of the terminal."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from typing import TextIO

_DUMB = {"dumb", "unknown"}


def add_color(add: Callable[..., object]) -> None:
    """Add the option for colours.

    :param add: ``add_argument`` of a parser or a group.
    """
    add(
        "--color",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="use colours, or none (default: on a terminal; NO_COLOR and FORCE_COLOR are heeded)",
    )


def has_colors(
    stream: TextIO, asked: bool | None = None, environment: Mapping[str, str] = os.environ
) -> bool:
    """Return whether to print colours. The first of these decides:

    the option, NO_COLOR, FORCE_COLOR (a variable that is empty counts as not set), TERM=dumb, and
    whether the stream is a terminal.

    :param asked: the value of ``--color``; None = the option was not given.
    """
    if asked is not None:
        return asked
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return can_overwrite(stream, environment)


def can_overwrite(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether a stream is a terminal on which the cursor can be moved."""
    return stream.isatty() and environment.get("TERM", "").lower() not in _DUMB
