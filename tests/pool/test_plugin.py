"""`?plugin=typedpool`: options in a URL, and engines whose pool the plugin does not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.dialects import plugins, registry
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool, StaticPool

from sqla_typedpool import TypedPool
from sqla_typedpool.errors import PoolOptionError
from tests.support.fake_driver import URL, new_dialect

assert registry
plugins.register("typedpool", "sqla_typedpool.pool.plugin", "TypedPoolPlugin")

URL_WITH_PLUGIN = f"{URL}app@server/db?plugin=typedpool"


def engine_with(query: str = "", **options: Any) -> AsyncEngine:
    return create_async_engine(URL_WITH_PLUGIN + query, **options)


def test_the_plugin_makes_typed_pool_the_pool_class() -> None:
    assert isinstance(engine_with().pool, TypedPool)


def test_options_are_read_from_the_url_and_converted() -> None:
    engine = engine_with(
        "&pool_size=3&max_overflow=0&pool_timeout=2.5&pool_use_lifo=false&pool_min_size=2"
        "&pool_idle_timeout=none&pool_keepalive=30&pool_recycle=60&pool_pre_ping=true"
        "&pool_reset_on_return=commit&pool_logging_name=mine&pool_max_waiting=7"
        "&pool_overload=fifo&pool_shed_after=0.5"
    )
    pool = TypedPool.of(engine)
    options = pool.options
    assert (options.pool_size, options.max_overflow, options.timeout) == (3, 0, 2.5)
    assert (options.use_lifo, options.pool_min_size, options.pool_idle_timeout) == (False, 2, None)
    assert (options.pool_keepalive, options.pool_max_lifetime) == (30, 60)
    assert options.pool_max_waiting == 7
    assert (options.pool_overload, options.pool_shed_after) == ("fifo", 0.5)
    assert pool._reset_on_return.name == "reset_commit"
    assert pool.logging_name == "mine"


@pytest.mark.parametrize(
    ("value", "echo"), [("true", True), ("1", True), ("false", False), ("debug", "debug")]
)
def test_echo_in_the_url_is_converted(value: str, echo: Any) -> None:
    import logging

    logger = logging.getLogger("sqlalchemy.pool")
    handlers = list(logger.handlers)
    try:
        assert engine_with(f"&echo_pool={value}").pool.echo == echo
    finally:
        logging.getLogger("sqlalchemy").handlers[:] = []
        logger.handlers[:] = handlers


def test_pool_options_are_removed_from_the_url() -> None:
    engine = engine_with("&pool_size=3&max_overflow=1&application=mine&echo_pool=false")
    assert dict(engine.url.query) == {"application": "mine"}


def test_other_parameters_of_the_url_are_left_unchanged() -> None:
    engine = engine_with("&timeout=7&recycle=1&echo=x")
    assert dict(engine.url.query) == {"timeout": "7", "recycle": "1", "echo": "x"}
    assert TypedPool.of(engine).options.timeout == 30


def test_a_misspelt_option_is_an_error_that_suggests_the_right_one() -> None:
    with pytest.raises(PoolOptionError, match=r"pool_idle_timout.*pool_idle_timeout"):
        engine_with("&pool_idle_timout=3")


def test_one_error_names_every_misspelt_option() -> None:
    with pytest.raises(PoolOptionError) as caught:
        engine_with("&pool_idle_timout=3&pool_siez=1")
    assert "pool_idle_timout" in str(caught.value)
    assert "pool_siez" in str(caught.value)


def test_an_option_given_twice_is_an_error() -> None:
    with pytest.raises(PoolOptionError, match="pool_size"):
        engine_with("&pool_size=3&pool_size=4")


def test_a_wrong_value_in_the_url_is_an_error_that_names_it() -> None:
    with pytest.raises(PoolOptionError, match="pool_size='many'"):
        engine_with("&pool_size=many")


def test_one_error_names_the_faults_of_the_url_and_of_create_engine() -> None:
    with pytest.raises(PoolOptionError) as caught:
        engine_with(
            "&pool_siez=1&pool_timeout=x&pool_size=3&pool_size=4&echo_pool=maybe", pool_min_size=-1
        )
    assert len(caught.value.faults) == 5
    for name in ("pool_siez", "pool_timeout='x'", "pool_size given more", "echo_pool='maybe'"):
        assert name in str(caught.value)
    assert "pool_min_size=-1" in str(caught.value)


@pytest.mark.parametrize("options", [{"poolclass": NullPool}, {"pool": object()}])
def test_a_misspelt_option_in_the_url_is_an_error_with_any_pool(options: Any) -> None:
    with pytest.raises(PoolOptionError, match="pool_siez"):
        engine_with("&pool_siez=1", **options)


# ------------------------------------------------------------------- precedence


def test_create_engine_overrides_the_url() -> None:
    engine = engine_with("&pool_size=3&pool_timeout=7", pool_size=4)
    options = TypedPool.of(engine).options
    assert (options.pool_size, options.timeout) == (4, 7)


def test_configured_overrides_the_url() -> None:
    pool_class = TypedPool.configured(pool_size=4)
    options = TypedPool.of(engine_with("&pool_size=3&pool_timeout=7", poolclass=pool_class)).options
    assert (options.pool_size, options.timeout) == (4, 7)


def test_create_engine_overrides_configured_which_overrides_the_url() -> None:
    pool_class = TypedPool.configured(pool_size=4, pool_timeout=4)
    engine = engine_with(
        "&pool_size=3&pool_timeout=3&pool_min_size=3", poolclass=pool_class, pool_size=5
    )
    options = TypedPool.of(engine).options
    assert (options.pool_size, options.timeout, options.pool_min_size) == (5, 4, 3)


def test_a_lifetime_in_create_engine_overrides_a_recycle_in_the_url() -> None:
    engine = engine_with("&pool_recycle=60", pool_max_lifetime=30)
    assert TypedPool.of(engine).options.pool_max_lifetime == 30


# ---------------------------------------------------------- engines left unchanged


def test_an_explicit_poolclass_is_left_unchanged() -> None:
    engine = engine_with("&pool_size=3&pool_min_size=1", poolclass=NullPool)
    assert isinstance(engine.pool, NullPool)
    assert dict(engine.url.query) == {}


def test_an_explicit_pool_is_left_unchanged() -> None:
    pool = AsyncAdaptedQueuePool(lambda: None, dialect=new_dialect())
    assert engine_with("&pool_size=3", pool=pool).pool is pool


def test_the_pool_of_a_synchronous_engine_is_left_unchanged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'file.db'}?plugin=typedpool&pool_timeout=3&pool_min_size=1"
    engine = create_engine(url)
    assert not isinstance(engine.pool, TypedPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("select 1")
    engine.dispose()


@pytest.mark.filterwarnings("ignore:Selection of the StaticPool")  # a warning of SQLAlchemy 2.1
@pytest.mark.parametrize("database", ["", ":memory:", "file:x?mode=memory&uri=true"])
def test_the_pool_of_sqlite_in_memory_is_left_unchanged(database: str) -> None:
    separator = "&" if "?" in database else "?"
    url = f"sqlite+aiosqlite:///{database}{separator}plugin=typedpool&pool_timeout=3"
    engine = create_async_engine(url)
    assert isinstance(engine.pool, StaticPool)


def test_a_sqlite_file_gets_the_typed_pool(tmp_path: Path) -> None:
    path = tmp_path / "file.db"
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}?plugin=typedpool&pool_size=2")
    assert TypedPool.of(engine).options.pool_size == 2


def test_the_entry_point_is_declared() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert 'typedpool = "sqla_typedpool.pool.plugin:TypedPoolPlugin"' in text


def test_a_url_object_is_not_changed() -> None:
    url = make_url(URL_WITH_PLUGIN + "&pool_size=3")
    create_async_engine(url)
    assert url.query["pool_size"] == "3"
