"""The table: Python type delivered x type wanted -> accept, convert or refuse.

What is delivered exactly as declared is accepted; every other pair is refused unless
a row of ``RULES`` converts it. Rows that refuse are there for their advice. JSON
is treated as a database of its own, the family ``"json"``, which stores moments,
UUIDs and Decimals as text.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from sqla_typedpool.mapping import parsers


class Action(Enum):
    """What becomes of a value."""

    ACCEPT = "accept"
    CONVERT = "convert"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Coercion:
    """One row of the table."""

    delivered: type
    wanted: type
    action: Action
    words: str
    """Which values are converted; of a refusal the next step."""

    families: tuple[str, ...] = ()
    """Where it holds; () = everywhere."""

    convert: Callable[[Any], Any] | None = None
    """The value in its new type, or None when it is none of those."""

    def holds_in(self, family: str) -> bool:
        return not self.families or family in self.families


_TEXT = ("sqlite", "json")
_IPS = (
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
)


def _converted(
    delivered: type,
    wanted: type,
    words: str,
    convert: Callable[[Any], Any],
    *families: str,
) -> Coercion:
    return Coercion(delivered, wanted, Action.CONVERT, words, families, convert)


def _refused(delivered: type, wanted: type, words: str, *families: str) -> Coercion:
    return Coercion(delivered, wanted, Action.REFUSE, words, families)


RULES: tuple[Coercion, ...] = (
    _converted(int, bool, "0 or 1", parsers.bool_of_int, "sqlite", "mysql"),
    _converted(bytes, bool, "a BIT(1)", parsers.bool_of_bit, "mysql"),
    _converted(int, Decimal, "any", parsers.decimal_of_number, "sqlite"),
    _converted(float, Decimal, "any, by its shortest form", parsers.decimal_of_number, "sqlite"),
    _converted(str, Decimal, "a decimal number", parsers.decimal_of_text, "json"),
    _converted(str, datetime, "an ISO date and time", parsers.datetime_of_text, *_TEXT),
    _converted(str, date, "an ISO date", parsers.date_of_text, *_TEXT),
    _converted(str, time, "an ISO time", parsers.time_of_text, *_TEXT),
    _converted(timedelta, time, "a time of day", parsers.time_of_interval, "mysql"),
    _converted(str, UUID, "a UUID", parsers.uuid_of_text, "sqlite", "mysql", "json"),
    *(
        _converted(str, ip, f"an {ip.__name__}", parsers.ip_of_text(ip), "sqlite", "mysql")
        for ip in _IPS
    ),
    _converted(int, float, "a whole number that a float holds", parsers.float_of_int, "json"),
    _refused(bool, int, "declare it bool"),
    _refused(int, bool, "declare it int, or compare in SQL: x <> 0"),
    _refused(int, float, "declare it int, or CAST(... AS double precision)"),
    _refused(float, int, "declare it float, or CAST(... AS bigint)"),
    _refused(Decimal, float, "declare it Decimal, or CAST(... AS double precision)"),
    _refused(Decimal, int, "declare it Decimal, or CAST(... AS bigint)"),
    _refused(int, Decimal, "declare it int, or CAST(... AS numeric)"),
    _refused(float, Decimal, "write it as a string in JSON, or declare it float", "json"),
    _refused(float, Decimal, "declare it float, or CAST(... AS numeric)"),
    _refused(datetime, date, "declare it datetime, or CAST(... AS date)"),
    _refused(date, datetime, "declare it date, or CAST(... AS timestamp)"),
    _refused(timedelta, time, "declare it timedelta"),
    _refused(bytes, str, "declare it bytes"),
    _refused(str, bytes, "declare it str"),
    _refused(UUID, str, "declare it UUID, or CAST(... AS text)"),
    _refused(int, str, "declare it int, or CAST(... AS text)"),
    _refused(str, int, "declare it str, or CAST(... AS integer)"),
    _refused(dict, str, "annotate what the JSON holds with Json(), or CAST(... AS text)"),
)

# What JSON holds as such, beside lists and objects.
_OF_JSON = (str, int, float, bool)


def _by_wanted() -> dict[type, list[Coercion]]:
    found: dict[type, list[Coercion]] = {}
    for rule in RULES:
        found.setdefault(rule.wanted, []).append(rule)
    return found


_RULES_BY_WANTED = _by_wanted()


def conversions_to(wanted: type, family: str) -> dict[type, Coercion]:
    """What is converted into a type, by what it is delivered as."""
    return {
        rule.delivered: rule
        for rule in _RULES_BY_WANTED.get(wanted, ())
        if rule.action is Action.CONVERT and rule.holds_in(family)
    }


def advice(delivered: type, wanted: type, family: str) -> str:
    """The next step when a value of one type stands where another is declared."""
    for rule in _RULES_BY_WANTED.get(wanted, ()):
        if rule.action is Action.REFUSE and rule.delivered is delivered and rule.holds_in(family):
            return rule.words
    if delivered in (dict, list):
        return "annotate it with Json() if it is JSON"
    return f"declare it {delivered.__name__}, or convert it: Annotated[..., Decode(function)]"


def takes_subclasses(wanted: type) -> bool:
    """Whether an instance of a subclass will do: asyncpg has a UUID of its own."""
    return wanted is UUID


def is_exactly(value: object, wanted: type) -> bool:
    """Whether a value is of a type, and not of one that merely resembles it."""
    return type(value) is wanted or (takes_subclasses(wanted) and isinstance(value, wanted))


def is_storable(wanted: type, family: str) -> bool:
    """Whether a database of this family can hold values of a type at all."""
    return family != "json" or wanted in _OF_JSON or bool(conversions_to(wanted, family))


def rule_table() -> str:
    """The table as Markdown, for the documentation."""
    return "\n".join(["| delivered | declared | | where |", "|---|---|---|---|", *map(_row, RULES)])


def _row(rule: Coercion) -> str:
    does = "converted" if rule.action is Action.CONVERT else "refused"
    rest = "everywhere" if rule.action is Action.CONVERT else "where nothing above converts it"
    where = ", ".join(rule.families) or rest
    delivered, wanted = rule.delivered.__name__, rule.wanted.__name__
    return f"| {delivered} | {wanted} | {does}: {rule.words} | {where} |"
