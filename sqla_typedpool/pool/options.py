"""The pool's options: read from any source, checked together, frozen.

Wrong values are reported all at once, each with the name the user wrote, the value
and the rule, so that a configuration can be corrected in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Final

from sqla_typedpool.errors import PoolOptionError
from sqla_typedpool.secrets import mask_secrets


class _Unset:
    """The default of every parameter: it was not given, so a lower source decides."""

    def __repr__(self) -> str:
        return "<default>"


UNSET: Final[Any] = _Unset()


_NONE_STRINGS: Final = frozenset({"", "none", "null"})
_BOOL_STRINGS: Final = {
    **dict.fromkeys(("true", "yes", "on", "y", "t", "1"), True),
    **dict.fromkeys(("false", "no", "off", "n", "f", "0"), False),
}


_LIMIT: Final = 1e12  # more than the timers of an event loop can represent


class _InvalidValue(Exception):
    """A value is wrong; the argument is the rule that it breaks."""


def _number(value: Any) -> float | int:
    if isinstance(value, str):
        try:
            value = float(value) if not value.strip().lstrip("+-").isdigit() else int(value)
        except ValueError:
            raise _InvalidValue("must be a number") from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _InvalidValue("must be a number")
    if not -_LIMIT < value < _LIMIT:
        raise _InvalidValue("must be finite (None means never)")
    return value


def _whole(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = _number(value)
        if number != int(number):
            raise _InvalidValue("must be a whole number")
        if number < least:
            raise _InvalidValue(f"must be {least} or more")
        return int(number)

    return read


def _seconds(*, above_zero: bool = True) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        number = _number(value)
        if number < 0 or (above_zero and number == 0):
            raise _InvalidValue(f"must be seconds, {'more than 0' if above_zero else '0 or more'}")
        return float(number)

    return read


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_or_none(value: Any) -> Any:
        if value is None or (isinstance(value, str) and value.strip().lower() in _NONE_STRINGS):
            return None
        return read(value)

    return read_or_none


def _flag(value: Any) -> bool:
    if isinstance(value, str):
        value = _BOOL_STRINGS.get(value.strip().lower())
    if value in (0, 1):  # as the stock pools take them
        value = bool(value)
    if not isinstance(value, bool):
        raise _InvalidValue("must be true or false")
    return value


def _seconds_or_less(value: Any) -> float:
    return float(_number(value))  # <= 0 has a meaning: do not queue


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        text = value.strip().lower() if isinstance(value, str) else value
        if text not in allowed:
            raise _InvalidValue(f"must be {' or '.join(map(repr, allowed))}")
        return str(text)

    return read


def _name(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _InvalidValue("must be text")
    if not value.strip():
        raise _InvalidValue("must not be empty")
    if not value.isprintable():
        raise _InvalidValue("must be one line of printable characters")
    return mask_secrets(value.strip())


def _recycle(value: Any) -> float | None:
    if value is None:
        return None
    number = _number(value)
    if number != -1 and number <= 0:
        raise _InvalidValue(
            "must be seconds, more than 0, or -1 for the default of pool_max_lifetime"
        )
    return None if number == -1 else float(number)


def _option(default: Any, read: Callable[[Any], Any]) -> Any:
    """An option's default, and how a given value is read and checked."""
    return field(default=default, metadata={"read": read})


@dataclass(frozen=True)
class ResolvedOptions:
    """Every option with its default. Times are seconds on a monotonic clock."""

    pool_size: int = _option(5, _whole(0))
    """Connections kept at most while idle; 0 = no limit."""
    max_overflow: int = _option(10, _whole(-1))
    """Connections allowed beyond ``pool_size``; -1 = no limit."""
    timeout: float | None = _option(30.0, _optional(_seconds_or_less))
    """One deadline for a checkout: queueing, connecting and validating. 0 or
    less = do not queue. None = no deadline."""
    use_lifo: bool = _option(True, _flag)
    """Reuse the connection returned last, so that the others reach their idle timeout."""
    pool_min_size: int = _option(0, _whole(0))
    """Connections kept open; refilled in the background."""
    pool_idle_timeout: float | None = _option(600.0, _optional(_seconds()))
    """An idle connection above the minimum size is closed when unused for longer."""
    pool_max_lifetime: float | None = _option(1800.0, _optional(_seconds()))
    """A connection's age limit, less 0-10 % jitter that is fixed when it is opened."""
    pool_validate_after: float | None = _option(0.5, _optional(_seconds(above_zero=False)))
    """Ping before use if unused for longer; None = only the local probe."""
    pool_connect_timeout: float = _option(10.0, _seconds())
    """The bound on one connection attempt."""
    pool_connect_retry: float = _option(5.0, _seconds(above_zero=False))
    """How long, from the start of an outage, waiters are kept through refused connects."""
    pool_reset_timeout: float = _option(5.0, _seconds())
    """The bound on the rollback of a return, a resetting commit, a graceful close."""
    pool_max_waiting: int | None = _option(None, _optional(_whole(0)))
    """More waiters than this: ``PoolSaturated`` at once."""
    pool_overload: str = _option("adaptive", _one_of("adaptive", "fifo"))
    """``adaptive`` = the newest waiter is served first while many callers give up.
    ``fifo`` = always the oldest."""
    pool_shed_after: float | None = _option(None, _optional(_seconds()))
    """Refuse the oldest, once the oldest has waited longer than this for two seconds."""
    pool_keepalive: float | None = _option(None, _optional(_seconds()))
    """Ping idle connections this often."""
    pool_slow_checkout: float | None = _option(2.0, _optional(_seconds(above_zero=False)))
    """A checkout slower than this is logged."""
    pool_keep_cancelled: bool = _option(True, _flag)
    """Keep a connection whose statement was cancelled, where that is safe (asyncpg)."""
    pool_leak_threshold: float | None = _option(None, _optional(_seconds()))
    """A connection out for longer is reported with its holder's call site."""
    pool_name: str | None = _option(None, _name)
    """The pool's name in logs, errors and statistics; None = ``host:port/database``."""


# create_engine() has other names for the stock parameters.
_PUBLIC_NAMES: Final[Mapping[str, str]] = {
    "timeout": "pool_timeout",
    "use_lifo": "pool_use_lifo",
    "recycle": "pool_recycle",
    "pre_ping": "pool_pre_ping",
    "reset_on_return": "pool_reset_on_return",
    "logging_name": "pool_logging_name",
    "echo": "echo_pool",
}

_OURS: Final = tuple(option.name for option in fields(ResolvedOptions))

URL_NAMES: Final[Mapping[str, str]] = {
    _PUBLIC_NAMES.get(name, name): name
    for name in (*_OURS, "recycle", "pre_ping", "reset_on_return", "logging_name", "echo")
}
"""Names allowed in a URL beside ``?plugin=typedpool``, and the parameters they set."""

GIVEN: Final = (*_OURS, "recycle", "pre_ping", "reset_on_return")
"""The parameters with the default ``UNSET``."""

_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **{option.name: option.metadata["read"] for option in fields(ResolvedOptions)},
    "recycle": _recycle,
    "pre_ping": _flag,
}

_SAME_MEANING: Final = frozenset({"recycle", "pool_max_lifetime"})


def override(lower: Mapping[str, Any], higher: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the options of two sources; the higher one wins.

    ``recycle`` of one source and ``pool_max_lifetime`` of the other do not conflict:
    they mean the same.
    """
    hidden = _SAME_MEANING if _SAME_MEANING & higher.keys() else frozenset()
    return {**{name: lower[name] for name in lower if name not in hidden}, **higher}


def read_options(
    given: Mapping[str, Any], *, reset_timeout: float = 5.0, logging_name: str | None = None
) -> ResolvedOptions:
    """Check all options together and fill in the defaults.

    :param given: parameter name -> value; strings are read as numbers and flags.
    :param reset_timeout: the default of ``pool_reset_timeout`` in seconds (the
        driver's family decides).
    :param logging_name: the stock option, which excludes ``pool_name``.
    :raises PoolOptionError: naming every wrong option with its value and rule.
    """
    if str(given.get("pool_size")).strip() == "0":  # no limit: max_overflow has no meaning
        given = {name: value for name, value in given.items() if name != "max_overflow"}
    values, faults = read_values(given)
    faults += _derive_overload(values)
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
    options = ResolvedOptions(**values)
    faults += _contradictions(options)
    if options.pool_name is not None and logging_name is not None:
        faults.append(
            f"pool_name={options.pool_name!r} and pool_logging_name={logging_name!r} exclude "
            f"each other: remove pool_logging_name"
        )
    if faults:
        raise option_error(faults, options.pool_name)
    return options


def option_error(faults: Sequence[str], name: str | None = None) -> PoolOptionError:
    """One error for all faults.

    :param name: the pool's name, if it was given.
    """
    pool = f"TypedPool {name}" if name else "TypedPool"
    error = PoolOptionError(f"{pool}: {mask_secrets('; '.join(faults))}")
    error.faults = tuple(map(mask_secrets, faults))
    return error


def read_values(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Read each value by its rule.

    :return: the valid values, and one message for each invalid one.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for name, value in given.items():
        try:
            values[name] = _READERS[name](value)
        except _InvalidValue as invalid:
            faults.append(f"{_PUBLIC_NAMES.get(name, name)}={value!r} {invalid}")
    return values, faults


def _derive_overload(values: dict[str, Any]) -> list[str]:
    """``pool_shed_after`` implies the order "fifo".

    :return: one message if another order was given.
    """
    seconds = values.get("pool_shed_after")
    if seconds is None or values.setdefault("pool_overload", "fifo") == "fifo":
        return []
    return [
        f"pool_shed_after={seconds:g} refuses the oldest waiters, and pool_overload="
        f"{values['pool_overload']!r} serves the newest first: give one of them"
    ]


def _contradictions(options: ResolvedOptions) -> list[str]:
    unlimited = options.pool_size == 0 or options.max_overflow == -1
    max_total = options.pool_size + options.max_overflow
    if not unlimited and options.pool_min_size > max_total:
        return [
            f"pool_min_size={options.pool_min_size} must not exceed "
            f"pool_size + max_overflow = {max_total}"
        ]
    if options.pool_size and options.pool_min_size > options.pool_size:
        return [
            f"pool_min_size={options.pool_min_size} must not exceed pool_size="
            f"{options.pool_size}: a connection beyond pool_size is closed when it is returned"
        ]
    return []


def parameter_names(options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Translate options from the names ``create_engine`` takes to parameter names.

    :return: the options by their parameters; and a message for every unknown option, with the
        nearest known one, and for every wrong value. Rules between options are checked by the
        pool.
    """
    unknown = [name for name in options if name not in URL_NAMES]
    faults = [unknown_option(name, URL_NAMES) for name in unknown]
    ours = {URL_NAMES[name]: value for name, value in options.items() if name in URL_NAMES}
    faults += read_values({name: ours[name] for name in ours if name in _READERS})[1]
    return ours, faults


def faults_of(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with options, by the names of parameters; [] = nothing."""
    try:
        read_options({name: value for name, value in given.items() if name in _READERS})
    except PoolOptionError as error:
        return list(error.faults)
    return []


def is_in_url(name: str) -> bool:
    """Whether a parameter of a URL is an option of the pool, or a misspelt one."""
    return name in URL_NAMES or name.startswith("pool_")


def unknown_option(name: str, known: Collection[str]) -> str:
    """The message for an unknown option, with the nearest known one."""
    near = get_close_matches(name, known, n=1)
    hint = f", did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"
    return f"unknown option {name}{hint}"
