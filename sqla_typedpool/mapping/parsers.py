"""Parsers for values that a database or JSON stores in another form.

Each function returns None for a value that does not have exactly the documented form. The
forms are written out because each version of Python lets ``fromisoformat`` accept more.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import TypeVar
from uuid import UUID

Parsed = TypeVar("Parsed")

_DATE = r"\d{4}-\d\d-\d\d"
_TIME = r"\d\d:\d\d(?::\d\d(?:\.(?P<fraction>\d{1,6}))?)?"
_ZONE = r"(?P<zone>Z|[+-]\d\d:\d\d)?"
_DATE_FORM = re.compile(_DATE, re.ASCII)
_TIME_FORM = re.compile(_TIME + _ZONE, re.ASCII)
_DATETIME_FORM = re.compile(f"{_DATE}[T ]{_TIME}{_ZONE}", re.ASCII)
_DECIMAL_FORM = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_UUID_FORM = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def datetime_of_text(text: str) -> datetime | None:
    """Parse ``2026-01-31 12:00:00.5+01:00``, with a space or a T. Seconds and time zone are
    optional."""
    form = _DATETIME_FORM.fullmatch(text)
    return None if form is None else _or_none(datetime.fromisoformat, _for_python_310(form))


def time_of_text(text: str) -> time | None:
    """Parse ``12:00:00.5+01:00``. Seconds and time zone are optional."""
    form = _TIME_FORM.fullmatch(text)
    return None if form is None else _or_none(time.fromisoformat, _for_python_310(form))


def date_of_text(text: str) -> date | None:
    """Parse ``2026-01-31``."""
    return _or_none(date.fromisoformat, text) if _DATE_FORM.fullmatch(text) else None


def _for_python_310(form: re.Match[str]) -> str:
    """Rewrite a time for Python 3.10, which requires six digits of a fraction, and no Z."""
    text, fraction = form.string, form["fraction"]
    if form["zone"] == "Z":
        text = f"{text[:-1]}+00:00"
    if fraction is None:
        return text
    start, end = form.span("fraction")
    return f"{text[:start]}{fraction:0<6}{text[end:]}"


def _or_none(parse: Callable[[str], Parsed], text: str) -> Parsed | None:
    try:
        return parse(text)
    except ValueError:  # the right form, but the 31st of February
        return None


def uuid_of_text(text: str) -> UUID | None:
    """Parse 32 hexadecimal digits, or 36 characters with hyphens."""
    return UUID(text) if _UUID_FORM.fullmatch(text) else None


def decimal_of_text(text: str) -> Decimal | None:
    """Parse ``-12.50`` or ``1e3``; neither NaN nor infinity."""
    try:
        return Decimal(text) if _DECIMAL_FORM.fullmatch(text) else None
    except InvalidOperation:  # the exponent is too large
        return None


def decimal_of_number(number: int | float) -> Decimal:
    """Return the Decimal that SQLite stored as a number: the one with the fewest digits."""
    return Decimal(repr(number))


def float_of_int(number: int) -> float | None:
    """Convert a number that a float can hold, exactly or with the fewest digits.

    ``jsonb`` writes the float 2.251799813685243e+16 as 22517998136852430.
    """
    try:
        real = float(number)
    except OverflowError:
        return None
    return real if int(real) == number or decimal_of_number(real) == number else None


def bool_of_int(number: int) -> bool | None:
    """Convert 0 or 1."""
    return bool(number) if number in (0, 1) else None


def bool_of_bit(bit: bytes) -> bool | None:
    """Convert the bytes of MySQL's ``BIT(1)``."""
    return {b"\x00": False, b"\x01": True}.get(bit)


def time_of_interval(interval: timedelta) -> time | None:
    """Convert MySQL's ``TIME`` if it is a time of day; it can also be longer, or negative."""
    if not timedelta(0) <= interval < timedelta(days=1):
        return None
    return (datetime.min + interval).time()


def ip_of_text(cls: Callable[[str], Parsed]) -> Callable[[str], Parsed | None]:
    """Return a parser for one of the classes of ``ipaddress``."""
    return lambda text: _or_none(cls, text)
