"""``create_typed_engine``: an engine with ``TypedPool``, its options known to type checkers."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sqla_typedpool.pool.option_types import EngineOptions
from sqla_typedpool.pool.options import option_error, unknown_option
from sqla_typedpool.pool.pool import TypedPool

if TYPE_CHECKING:
    from sqlalchemy import URL
    from typing_extensions import Unpack

_KNOWN: Final = EngineOptions.__optional_keys__
_QUOTED: Final = re.compile(r"'(\w+)'")


def create_typed_engine(url: str | URL, **options: Unpack[EngineOptions]) -> AsyncEngine:
    """Create an engine with ``TypedPool``: ``create_async_engine(url, poolclass=TypedPool, ...)``.

    Type checkers and editors know the options, with their types. A misspelt option is an error
    that suggests the right name.

    :param url: the database URL, with an async driver.
    :param options: those of the pool (see ``PoolOptions``), and every other one of
        ``create_async_engine`` but ``poolclass`` and ``pool``. Times are seconds.
    :raises PoolOptionError: an option is unknown, or the value of an option of the pool is wrong.

    Example::

        engine = create_typed_engine(url, pool_size=10, max_overflow=0, pool_timeout=5, echo=True)
    """
    given: dict[str, Any] = {**options}
    chosen = [name for name in ("poolclass", "pool") if name in given]
    if chosen:
        raise option_error([_no_choice(name) for name in chosen])
    try:
        return create_async_engine(url, poolclass=TypedPool, **given)
    except TypeError as error:
        unknown = _unknown(given, error)
        if not unknown:
            raise
        raise option_error([unknown_option(name, _KNOWN) for name in unknown]) from error


def _no_choice(name: str) -> str:
    return (
        f"{name} cannot be given to create_typed_engine, whose pool is always TypedPool; next: "
        f"leave {name} out, or call create_async_engine"
    )


def _unknown(given: Collection[str], error: TypeError) -> list[str]:
    """Return the misspelt options: a dialect or plugin may take others than ``EngineOptions``.

    :param error: of SQLAlchemy, which names the options that nothing has taken.
    """
    rejected = _QUOTED.findall(str(error)) if "Invalid argument" in str(error) else []
    return [name for name in given if name in rejected and name not in _KNOWN]
