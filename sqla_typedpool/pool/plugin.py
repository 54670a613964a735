"""``?plugin=typedpool`` in a database URL: the pool for applications that read
nothing but a URL.

The plugin takes its options out of the URL, so that the driver does not see
them, and steps aside where another pool was chosen on purpose.
"""

from __future__ import annotations

import warnings
from collections.abc import MutableMapping
from typing import Any

from sqlalchemy.engine import URL, CreateEnginePlugin
from sqlalchemy.pool import AsyncAdaptedQueuePool

from sqla_typedpool._sqlalchemy import bool_or_str
from sqla_typedpool.errors import PoolOptionError
from sqla_typedpool.pool.options import URL_NAMES, override, parameter_names
from sqla_typedpool.pool.pool import TypedPool

__all__ = ["TypedPoolPlugin"]


class TypedPoolPlugin(CreateEnginePlugin):
    """Makes ``TypedPool`` the default pool of an async engine.

    Example::

        DATABASE_URL=postgresql+asyncpg://app@db/app?plugin=typedpool&pool_min_size=2
    """

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        self._options = parameter_names(_options_in(url))
        if _may_choose(url, kwargs):
            kwargs["poolclass"] = TypedPool

    def update_url(self, url: URL) -> URL:
        return url.difference_update_query([name for name in url.query if _is_ours(name)])

    def handle_pool_kwargs(self, pool_cls: type[Any], pool_args: MutableMapping[str, Any]) -> None:
        # create_engine() > configured() > URL
        if issubclass(pool_cls, TypedPool):
            higher = override(pool_cls._configured, pool_args)
            for name, value in override(self._options, higher).items():
                if name not in higher:
                    pool_args[name] = value


def _is_ours(name: str) -> bool:
    return name in URL_NAMES or name.startswith("pool_")


def _options_in(url: URL) -> dict[str, Any]:
    found: dict[str, Any] = {name: value for name, value in url.query.items() if _is_ours(name)}
    twice = [name for name, value in found.items() if not isinstance(value, str)]
    if twice:
        raise PoolOptionError(
            f"TypedPool: {', '.join(sorted(twice))} given more than once in the URL; give it once"
        )
    if "echo_pool" in found:
        found["echo_pool"] = _echo(str(found["echo_pool"]))
    return found


def _echo(value: str) -> Any:
    """True, False or ``"debug"``, as ``engine_from_config`` reads it."""
    read = bool_or_str("debug")
    return read(value)


def _may_choose(url: URL, kwargs: dict[str, Any]) -> bool:
    """Not for a synchronous engine, not over a pool chosen on purpose, and not
    where one shared connection is the only right pool (SQLite in memory)."""
    if not kwargs.get("_is_async") or any(
        kwargs.get(name) is not None for name in ("poolclass", "pool")
    ):
        return False
    dialect: Any = url.get_dialect(_is_async=True)
    with warnings.catch_warnings():  # create_engine() will say it itself
        warnings.simplefilter("ignore")
        return issubclass(dialect.get_pool_class(url), AsyncAdaptedQueuePool)
