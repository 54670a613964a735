"""The pool's options: read from anywhere, checked whole, frozen.

Wrong values are reported all together, each with the name the user wrote, the
value and the rule, so that a configuration is mended in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from sqla_typedpool.errors import PoolOptionError

__all__ = [
    "GIVEN",
    "UNSET",
    "URL_NAMES",
    "PoolOptions",
    "override",
    "parameter_names",
    "read_options",
]


class _Unset:
    """The default of every parameter: "not given", so that precedence is plain."""

    def __repr__(self) -> str:
        return "<default>"


UNSET: Final[Any] = _Unset()


@dataclass(frozen=True)
class PoolOptions:
    """Every option with its default. Times are seconds on a monotonic clock."""

    pool_size: int = 5
    """Connections kept at most while idle; 0 = no limit."""
    max_overflow: int = 10
    """Connections allowed beyond ``pool_size``; -1 = no limit."""
    timeout: float | None = 30.0
    """One deadline for a checkout: queueing, connecting and validating. 0 or
    less = do not queue. None = no deadline."""
    use_lifo: bool = True
    """Reuse the connection returned last, so that the others can become idle."""
    pool_min_size: int = 0
    """Connections kept open; refilled in the background."""
    pool_idle_timeout: float | None = 600.0
    """An idle connection above the floor older than this is closed."""
    pool_max_lifetime: float | None = 1800.0
    """A connection's age limit, less a jitter of 0-10 % fixed at its birth."""
    pool_validate_after: float | None = 0.5
    """Ping before hand-out if unused for longer; None = only the local probe."""
    pool_connect_timeout: float = 10.0
    """The bound on one connection attempt."""
    pool_connect_retry: float = 5.0
    """How long, from the start of an outage, waiters are kept through refused connects."""
    pool_reset_timeout: float = 5.0
    """The bound on the rollback of a return, a resetting commit, a polite close."""
    pool_max_waiting: int | None = None
    """More waiters than this: ``PoolSaturated`` at once."""
    pool_keepalive: float | None = None
    """Ping idle connections this often."""
    pool_slow_checkout: float | None = 2.0
    """A checkout slower than this is logged."""
    pool_leak_threshold: float | None = None
    """A connection out for longer is reported with its holder's call site."""


# The names of create_engine() differ from the parameter's for the stock ones.
_PUBLIC_NAMES: Final[Mapping[str, str]] = {
    "timeout": "pool_timeout",
    "use_lifo": "pool_use_lifo",
    "recycle": "pool_recycle",
    "pre_ping": "pool_pre_ping",
    "reset_on_return": "pool_reset_on_return",
    "logging_name": "pool_logging_name",
    "echo": "echo_pool",
}

_OURS: Final = tuple(PoolOptions.__dataclass_fields__)

URL_NAMES: Final[Mapping[str, str]] = {
    _PUBLIC_NAMES.get(name, name): name
    for name in (*_OURS, "recycle", "pre_ping", "reset_on_return", "logging_name", "echo")
}
"""What may stand in a URL beside ``?plugin=typedpool`` -> the parameter it sets."""

GIVEN: Final = (*_OURS, "recycle", "pre_ping", "reset_on_return")
"""The parameters that count as given only when the user has given them."""

_WORDS_FOR_NONE: Final = frozenset({"", "none", "null"})
_WORDS_FOR_BOOL: Final = {
    **dict.fromkeys(("true", "yes", "on", "y", "t", "1"), True),
    **dict.fromkeys(("false", "no", "off", "n", "f", "0"), False),
}


_HUGE: Final = 1e12  # also beyond what timers of an event loop can count


class _Wrong(Exception):
    """A value breaks its rule; the argument is the rule in words."""


def _number(value: Any) -> float | int:
    if isinstance(value, str):
        try:
            value = float(value) if not value.strip().lstrip("+-").isdigit() else int(value)
        except ValueError:
            raise _Wrong("must be a number") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _Wrong("must be a number")
    if not -_HUGE < value < _HUGE:
        raise _Wrong("must be finite (None means never)")
    return value


def _whole(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = _number(value)
        if number != int(number):
            raise _Wrong("must be a whole number")
        if number < least:
            raise _Wrong(f"must be {least} or more")
        return int(number)

    return read


def _seconds(*, above_zero: bool = True) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        number = _number(value)
        if number < 0 or (above_zero and number == 0):
            raise _Wrong(f"must be seconds, {'more than 0' if above_zero else '0 or more'}")
        return float(number)

    return read


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_or_none(value: Any) -> Any:
        if value is None or (isinstance(value, str) and value.strip().lower() in _WORDS_FOR_NONE):
            return None
        return read(value)

    return read_or_none


def _flag(value: Any) -> bool:
    if isinstance(value, str):
        value = _WORDS_FOR_BOOL.get(value.strip().lower())
    if value in (0, 1):  # as the stock pools take them
        value = bool(value)
    if not isinstance(value, bool):
        raise _Wrong("must be true or false")
    return value


def _deadline(value: Any) -> float:
    return float(_number(value))  # <= 0 has a meaning: do not queue


def _recycle(value: Any) -> float | None:
    if value is None:
        return None
    number = _number(value)
    if number != -1 and number <= 0:
        raise _Wrong("must be seconds, more than 0, or -1 for the default of pool_max_lifetime")
    return None if number == -1 else float(number)


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "pool_size": _whole(0),
    "max_overflow": _whole(-1),
    "timeout": _optional(_deadline),
    "use_lifo": _flag,
    "pool_min_size": _whole(0),
    "pool_idle_timeout": _optional(_seconds()),
    "pool_max_lifetime": _optional(_seconds()),
    "pool_validate_after": _optional(_seconds(above_zero=False)),
    "pool_connect_timeout": _seconds(),
    "pool_connect_retry": _seconds(above_zero=False),
    "pool_reset_timeout": _seconds(),
    "pool_max_waiting": _optional(_whole(0)),
    "pool_keepalive": _optional(_seconds()),
    "pool_slow_checkout": _optional(_seconds(above_zero=False)),
    "pool_leak_threshold": _optional(_seconds()),
    "recycle": _recycle,
    "pre_ping": _flag,
}

_SAME_THING: Final = frozenset({"recycle", "pool_max_lifetime"})


def override(lower: Mapping[str, Any], higher: Mapping[str, Any]) -> dict[str, Any]:
    """Options of two sources, where the higher one wins.

    Two names of one thing do not contradict each other across sources.
    """
    silent = _SAME_THING if _SAME_THING & higher.keys() else frozenset()
    return {**{name: lower[name] for name in lower if name not in silent}, **higher}


def read_options(given: Mapping[str, Any], *, reset_timeout: float = 5.0) -> PoolOptions:
    """Check everything that was given and fill in the defaults.

    :param given: parameter name -> value; strings are read as numbers and flags.
    :param reset_timeout: the default of ``pool_reset_timeout`` in seconds (the
        driver's family decides).
    :raises PoolOptionError: naming every wrong option with its value and rule.
    """
    if str(given.get("pool_size")).strip() == "0":  # then nothing else limits it either
        given = {name: value for name, value in given.items() if name != "max_overflow"}
    values, faults = read_values(given)
    values.setdefault("pool_reset_timeout", reset_timeout)
    values.pop("pre_ping", None)  # accepted: connections are validated in any case
    recycle = values.pop("recycle", None)
    if recycle is not None and "pool_max_lifetime" in given:
        faults.append(
            f"pool_recycle={given['recycle']!r} and pool_max_lifetime="
            f"{given['pool_max_lifetime']!r} mean the same: give one of them"
        )
    elif recycle is not None:
        values["pool_max_lifetime"] = recycle
    options = PoolOptions(**values)
    faults += _contradictions(options)
    if faults:
        raise PoolOptionError("TypedPool: " + "; ".join(faults))
    return options


def read_values(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Each value read by its own rule, and what is wrong with those left out."""
    values: dict[str, Any] = {}
    faults: list[str] = []
    for name, value in given.items():
        try:
            values[name] = _READERS[name](value)
        except _Wrong as wrong:
            faults.append(f"{_PUBLIC_NAMES.get(name, name)}={value!r} {wrong}")
    return values, faults


def _contradictions(options: PoolOptions) -> list[str]:
    unlimited = options.pool_size == 0 or options.max_overflow == -1
    most = options.pool_size + options.max_overflow
    if not unlimited and options.pool_min_size > most:
        return [
            f"pool_min_size={options.pool_min_size} must not exceed "
            f"pool_size + max_overflow = {most}"
        ]
    if options.pool_size and options.pool_min_size > options.pool_size:
        return [
            f"pool_min_size={options.pool_min_size} must not exceed pool_size="
            f"{options.pool_size}: a connection beyond pool_size is closed when it is returned"
        ]
    return []


def parameter_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by the names ``create_engine`` takes -> by parameter name.

    :raises PoolOptionError: naming every unknown option, with the nearest known
        one, and every wrong value. What depends on other options is left to the pool.
    """
    unknown = [name for name in options if name not in URL_NAMES]
    faults = [_unknown(name) for name in unknown]
    ours = {URL_NAMES[name]: value for name, value in options.items() if name in URL_NAMES}
    faults += read_values({name: ours[name] for name in ours if name in _READERS})[1]
    if faults:
        raise PoolOptionError("TypedPool: " + "; ".join(faults))
    return ours


def _unknown(name: str) -> str:
    near = get_close_matches(name, URL_NAMES, n=1)
    hint = f", did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(URL_NAMES))}"
    return f"unknown option {name}{hint}"
