"""The table of conversions: type delivered by the driver x declared type -> action.

A value that has exactly the declared type is accepted. Every other pair of types is refused
unless a row of ``RULES`` converts it. Rows that refuse exist only for their advice. JSON is
treated as one more family of databases, which stores dates, times, UUIDs and Decimals as text.
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
from sqla_typedpool.mapping.typespec import class_name

# The family of values inside a JSON document.
JSON = "json"


class Action(Enum):
    """What is done with a value."""

    ACCEPT = "accept"
    CONVERT = "convert"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Coercion:
    """One row of the table."""

    # The type that the driver delivers.
    source: type

    # The declared type.
    target: type

    # The values that are converted; for a refusal the advice.
    detail: str

    # The families of databases to which the row applies; () = all.
    families: tuple[str, ...] = ()

    # Returns the converted value, or None if the value cannot be converted. Without this
    # function, the row refuses.
    convert: Callable[[Any], Any] | None = None

    def applies_to(self, family: str) -> bool:
        return not self.families or family in self.families


_DATABASES = ("postgresql", "sqlite", "mysql")
_IPS = (
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
)


RULES: tuple[Coercion, ...] = (
    Coercion(int, bool, "0 or 1", ("sqlite", "mysql"), parsers.bool_of_int),
    Coercion(bytes, bool, "a BIT(1)", ("mysql",), parsers.bool_of_bit),
    Coercion(int, Decimal, "any", ("sqlite",), parsers.decimal_of_number),
    Coercion(float, Decimal, "any, by its shortest form", ("sqlite",), parsers.decimal_of_number),
    Coercion(str, Decimal, "a decimal number", ("json",), parsers.decimal_of_text),
    Coercion(int, Decimal, "any", ("json",), Decimal),
    Coercion(str, datetime, "an ISO date and time", ("sqlite", "json"), parsers.datetime_of_text),
    Coercion(str, date, "an ISO date", ("sqlite", "json"), parsers.date_of_text),
    Coercion(str, time, "an ISO time", ("sqlite", "json"), parsers.time_of_text),
    Coercion(timedelta, time, "a time of day", ("mysql",), parsers.time_of_interval),
    Coercion(str, UUID, "a UUID", ("sqlite", "mysql", "json"), parsers.uuid_of_text),
    *(
        Coercion(str, ip, f"an {ip.__name__}", ("sqlite", "mysql"), parsers.ip_of_text(ip))
        for ip in _IPS
    ),
    Coercion(int, float, "a number that a float can hold", ("json",), parsers.float_of_int),
    Coercion(Decimal, float, "any, to the nearest float", ("json",), float),
    Coercion(bool, int, "declare it bool"),
    Coercion(int, bool, "declare it int, or compare in SQL: x <> 0"),
    Coercion(int, float, "declare it int, or CAST(... AS double precision)"),
    Coercion(float, int, "declare it float, or CAST(... AS bigint)"),
    Coercion(Decimal, float, "declare it Decimal, or CAST(... AS double precision)"),
    Coercion(Decimal, int, "declare it Decimal, or CAST(... AS bigint)"),
    Coercion(int, Decimal, "declare it int, or CAST(... AS numeric)"),
    Coercion(
        float,
        Decimal,
        "give create_async_engine json_deserializer=partial(json.loads, parse_float=Decimal), "
        "write it as a string in JSON, or declare it float",
        ("json",),
    ),
    Coercion(float, Decimal, "declare it float, or CAST(... AS numeric)"),
    Coercion(datetime, date, "declare it datetime, or CAST(... AS date)"),
    Coercion(date, datetime, "declare it date, or CAST(... AS timestamp)"),
    Coercion(timedelta, time, "declare it timedelta"),
    Coercion(bytes, str, "declare it bytes"),
    Coercion(str, bytes, "declare it str"),
    Coercion(UUID, str, "declare it UUID, or CAST(... AS text)"),
    Coercion(int, str, "declare it int, or CAST(... AS text)"),
    Coercion(str, int, "declare it str, or CAST(... AS integer)"),
    Coercion(
        dict, str, "declare the type of the document with Json(), or CAST(... AS text)", _DATABASES
    ),
)

_RULES_BY_TARGET = {
    target: [rule for rule in RULES if rule.target is target]
    for target in {rule.target for rule in RULES}
}


def conversions_to(target: type, family: str) -> dict[type, Coercion]:
    """Return the conversions into a type, by the type that is converted."""
    return {
        rule.source: rule
        for rule in _RULES_BY_TARGET.get(target, ())
        if rule.convert is not None and rule.applies_to(family)
    }


def advice(source: type, target: type, family: str) -> str:
    """Return the next step for a value whose type is not the declared one.

    :param source: the type of the value.
    :param target: the declared type.
    """
    for rule in _RULES_BY_TARGET.get(target, ()):
        if rule.convert is None and rule.source is source and rule.applies_to(family):
            return rule.detail
    if source in (dict, list) and family != JSON:
        return "annotate it with Json() if it is JSON"
    return f"declare it {class_name(source)}, or convert it: Annotated[..., Decode(function)]"


def accepts_subclasses(cls: type) -> bool:
    """Return whether instances of subclasses are accepted: asyncpg has its own UUID class."""
    return cls is UUID


def is_storable(cls: type, family: str) -> bool:
    """Return whether databases of a family can hold values of a type."""
    return family != JSON or cls in (str, int, float, bool) or bool(conversions_to(cls, family))
