"""Values that a database or JSON stores as something else: the forms and no others.

Each function returns None for what is not exactly of its form. Forms are spelled out
because ``fromisoformat`` takes more of them with every Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import TypeVar
from uuid import UUID

Read = TypeVar("Read")

_DATE = r"\d{4}-\d\d-\d\d"
_TIME = r"\d\d:\d\d(?::\d\d(?:\.(?P<fraction>\d{1,6}))?)?"
_ZONE = r"(?P<zone>Z|[+-]\d\d:\d\d)?"
_DATE_FORM = re.compile(_DATE, re.ASCII)
_TIME_FORM = re.compile(_TIME + _ZONE, re.ASCII)
_DATETIME_FORM = re.compile(f"{_DATE}[T ]{_TIME}{_ZONE}", re.ASCII)
_DECIMAL_FORM = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_UUID_FORM = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def datetime_of_text(text: str) -> datetime | None:
    """``2026-01-31 12:00:00.5+01:00``, with a blank or a T; seconds and zone may miss."""
    form = _DATETIME_FORM.fullmatch(text)
    return None if form is None else _or_none(datetime.fromisoformat, _spelled_out(form))


def time_of_text(text: str) -> time | None:
    """``12:00:00.5+01:00``; seconds and zone may miss."""
    form = _TIME_FORM.fullmatch(text)
    return None if form is None else _or_none(time.fromisoformat, _spelled_out(form))


def date_of_text(text: str) -> date | None:
    """``2026-01-31``"""
    return _or_none(date.fromisoformat, text) if _DATE_FORM.fullmatch(text) else None


def _spelled_out(form: re.Match[str]) -> str:
    """As Python 3.10 reads it: six digits of a second, and no Z."""
    text, fraction = form.string, form["fraction"]
    if form["zone"] == "Z":
        text = f"{text[:-1]}+00:00"
    if fraction is None:
        return text
    start, end = form.span("fraction")
    return f"{text[:start]}{fraction:0<6}{text[end:]}"


def _or_none(read: Callable[[str], Read], text: str) -> Read | None:
    try:
        return read(text)
    except ValueError:  # the form is right, the 31st of February is not
        return None


def uuid_of_text(text: str) -> UUID | None:
    """32 hexadecimal digits, or 36 characters with hyphens."""
    return UUID(text) if _UUID_FORM.fullmatch(text) else None


def decimal_of_text(text: str) -> Decimal | None:
    """``-12.50``, ``1e3``; not NaN, not infinity."""
    try:
        return Decimal(text) if _DECIMAL_FORM.fullmatch(text) else None
    except InvalidOperation:  # an exponent beyond all bounds
        return None


def decimal_of_number(number: int | float) -> Decimal:
    """What SQLite kept of a Decimal: the shortest number that reads back the same."""
    return Decimal(repr(number))


def float_of_int(number: int) -> float | None:
    """A whole number that a float holds, exactly or by its shortest form: ``jsonb`` writes
    2.251799813685243e+16 as 22517998136852430."""
    try:
        real = float(number)
    except OverflowError:
        return None
    return real if int(real) == number or decimal_of_number(real) == number else None


def bool_of_int(number: int) -> bool | None:
    """0 or 1"""
    return bool(number) if number in (0, 1) else None


def bool_of_bit(bit: bytes) -> bool | None:
    """What MySQL's ``BIT(1)`` arrives as."""
    return {b"\x00": False, b"\x01": True}.get(bit)


def time_of_interval(interval: timedelta) -> time | None:
    """MySQL's ``TIME``, if it is a time of day and not a longer or negative span."""
    if not timedelta(0) <= interval < timedelta(days=1):
        return None
    return (datetime.min + interval).time()


def ip_of_text(cls: Callable[[str], Read]) -> Callable[[str], Read | None]:
    """Text -> one of the classes of ``ipaddress``."""
    return lambda text: _or_none(cls, text)
