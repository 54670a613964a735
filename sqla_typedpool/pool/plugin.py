"""``?plugin=typedpool`` in a database URL: the pool for an application that is
configured by its URL alone.

The plugin removes its options from the URL, so that the driver does not see them, and
does nothing where the application has chosen another pool.
"""

from __future__ import annotations

import warnings
from collections.abc import MutableMapping
from typing import Any

from sqlalchemy.engine import URL, CreateEnginePlugin
from sqlalchemy.pool import AsyncAdaptedQueuePool

from sqla_typedpool._sqlalchemy.pool_base import bool_or_str
from sqla_typedpool.pool.options import (
    faults_of,
    is_in_url,
    option_error,
    override,
    parameter_names,
)
from sqla_typedpool.pool.pool import TypedPool


class TypedPoolPlugin(CreateEnginePlugin):
    """Makes ``TypedPool`` the default pool of an async engine.

    Example::

        DATABASE_URL=postgresql+asyncpg://app@db/app?plugin=typedpool&pool_min_size=2
    """

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        self._options, self._faults = _read(url)
        if self._faults and kwargs.get("pool") is not None:  # then no arguments are read below
            raise option_error(self._faults)
        if _may_choose(url, kwargs):
            kwargs["poolclass"] = TypedPool

    def update_url(self, url: URL) -> URL:
        return url.difference_update_query([name for name in url.query if is_in_url(name)])

    def handle_pool_kwargs(self, pool_cls: type[Any], pool_args: MutableMapping[str, Any]) -> None:
        is_ours = issubclass(pool_cls, TypedPool)
        if self._faults:
            raise option_error(self._faults + (faults_of(pool_args) if is_ours else []))
        # create_engine() > configured() > URL
        if is_ours:
            higher = override(pool_cls._configured, pool_args)
            for name, value in override(self._options, higher).items():
                if name not in higher:
                    pool_args[name] = value


def _read(url: URL) -> tuple[dict[str, Any], list[str]]:
    """The options in a URL by their parameters, and what is wrong with them."""
    found: dict[str, Any] = {name: value for name, value in url.query.items() if is_in_url(name)}
    twice = sorted(name for name, value in found.items() if not isinstance(value, str))
    faults = [f"{', '.join(twice)} given more than once in the URL; give it once"] if twice else []
    once = {name: value for name, value in found.items() if name not in twice}
    if "echo_pool" in once:
        value = str(once["echo_pool"])
        try:  # as engine_from_config() reads it
            once["echo_pool"] = bool_or_str("debug")(value)
        except ValueError:
            faults.append(f"echo_pool={value!r} must be true, false or 'debug'")
    options, others = parameter_names(once)
    return options, faults + others


def _may_choose(url: URL, kwargs: dict[str, Any]) -> bool:
    """Whether the plugin may set the pool class.

    Not for a synchronous engine, not if the application has chosen a pool, and not
    where one shared connection is the only right pool (SQLite in memory).
    """
    if not kwargs.get("_is_async") or any(
        kwargs.get(name) is not None for name in ("poolclass", "pool")
    ):
        return False
    dialect: Any = url.get_dialect(_is_async=True)
    with warnings.catch_warnings():  # create_engine() repeats these warnings
        warnings.simplefilter("ignore")
        return issubclass(dialect.get_pool_class(url), AsyncAdaptedQueuePool)
