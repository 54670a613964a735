"""``create_typed_engine``: an engine with ``TypedPool``, its options known to type checkers."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from typing_extensions import Unpack

from sqla_typedpool.errors import PoolOptionError
from sqla_typedpool.pool.option_types import EngineOptions
from sqla_typedpool.pool.options import URL_NAMES, is_in_url, option_error, unknown_option
from sqla_typedpool.pool.pool import TypedPool

_FIXED: Final = ("poolclass", "pool")
_KNOWN: Final = EngineOptions.__optional_keys__
_QUOTED: Final = re.compile(r"'(\w+)'")


def create_typed_engine(url: str | URL, **options: Unpack[EngineOptions]) -> AsyncEngine:
    """Create an engine with ``TypedPool``: ``create_async_engine(url, poolclass=TypedPool, ...)``.

    Type checkers and editors know the options, with their types. A misspelt option is an error
    that suggests the right name.

    :param url: the database URL, with an async driver.
    :param options: those of the pool (see ``PoolOptions``), and every other one of
        ``create_async_engine`` but ``poolclass`` and ``pool``. Times are seconds.
    :raises PoolOptionError: options are unknown, or values of the pool's options are wrong; the
        message names all of them.

    Example::

        engine = create_typed_engine(url, pool_size=10, max_overflow=0, pool_timeout=5, echo=True)
    """
    given: dict[str, Any] = {**options}
    faults = [_no_choice(name) for name in _FIXED if name in given]
    given = {name: value for name, value in given.items() if name not in _FIXED}
    try:
        engine = create_async_engine(url, poolclass=TypedPool, **given)
    except PoolOptionError as error:
        faults += _misspelt(url, given)
        if not faults:
            raise
        raise option_error([*faults, *error.faults]) from error
    except TypeError as error:
        faults += _unknown(given, error)
        if not faults:
            raise
        raise option_error(faults) from error
    if faults:
        raise option_error(faults)
    return engine


def _no_choice(name: str) -> str:
    return (
        f"{name} cannot be given to create_typed_engine, whose pool is always TypedPool; next: "
        f"leave {name} out, or call create_async_engine"
    )


def _misspelt(url: str | URL, given: Mapping[str, Any]) -> list[str]:
    """A message for each misspelt option, if the options of the pool are wrong.

    SQLAlchemy creates the pool before it rejects names. So it is asked again without the options
    of the pool, for an engine that is not used.
    """
    others = {name: value for name, value in given.items() if name not in URL_NAMES}
    if others.keys() <= _KNOWN:
        return []
    plain = make_url(url)
    plain = plain.difference_update_query([name for name in plain.query if is_in_url(name)])
    try:
        create_async_engine(plain, poolclass=NullPool, **others)
    except TypeError as error:
        return _unknown(given, error)
    return []


def _unknown(given: Collection[str], error: TypeError) -> list[str]:
    """A message for each misspelt option: a dialect or plugin may take others than
    ``EngineOptions``.

    :param error: of SQLAlchemy, which names the options that nothing has taken.
    """
    rejected = _QUOTED.findall(str(error)) if "Invalid argument" in str(error) else []
    misspelt = [name for name in given if name in rejected and name not in _KNOWN]
    return [unknown_option(name, _KNOWN) for name in misspelt]
