"""Every option: its default, its wrong values, and all the ways to set it."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import async_engine_from_config, create_async_engine

from sqla_typedpool import TypedPool, TypedPoolError
from sqla_typedpool.errors import PoolOptionError
from sqla_typedpool.pool.options import ResolvedOptions, read_options
from tests.support.fake_driver import Server, new_pool

NAN, INFINITY = float("nan"), float("inf")


def pool_with(**options: Any) -> Any:
    return new_pool(Server(), **options)


def test_the_defaults_are_the_documented_ones() -> None:
    assert pool_with().options == ResolvedOptions(
        pool_size=5,
        max_overflow=10,
        timeout=30.0,
        use_lifo=True,
        pool_min_size=0,
        pool_idle_timeout=600.0,
        pool_max_lifetime=1800.0,
        pool_validate_after=0.5,
        pool_connect_timeout=10.0,
        pool_connect_retry=5.0,
        pool_reset_timeout=5.0,
        pool_max_waiting=None,
        pool_overload="adaptive",
        pool_shed_after=None,
        pool_keepalive=None,
        pool_slow_checkout=2.0,
        pool_keep_cancelled=True,
        pool_leak_threshold=None,
    )


def test_options_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        pool_with().options.pool_size = 7


def test_create_engine_can_see_every_parameter() -> None:
    code = TypedPool.__init__.__code__
    assert code.co_kwonlyargcount == 0
    assert not code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    seen = set(code.co_varnames[: code.co_argcount])
    assert set(ResolvedOptions.__dataclass_fields__) <= seen
    assert {"recycle", "pre_ping", "reset_on_return", "echo", "logging_name", "events"} <= seen


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"pool_size": -1}, "pool_size=-1"),
    ({"pool_size": True}, "pool_size=True"),
    ({"pool_size": 1.5}, "pool_size=1.5"),
    ({"pool_size": "many"}, "pool_size='many'"),
    ({"pool_size": None}, "pool_size=None"),
    ({"max_overflow": -2}, "max_overflow=-2"),
    ({"timeout": NAN}, "pool_timeout=nan"),
    ({"timeout": True}, "pool_timeout=True"),
    ({"timeout": "soon"}, "pool_timeout='soon'"),
    ({"use_lifo": "perhaps"}, "pool_use_lifo='perhaps'"),
    ({"use_lifo": 3}, "pool_use_lifo=3"),
    ({"pre_ping": "perhaps"}, "pool_pre_ping='perhaps'"),
    ({"pool_min_size": -1}, "pool_min_size=-1"),
    ({"pool_min_size": 6}, "pool_min_size=6"),
    ({"pool_size": 2, "max_overflow": 1, "pool_min_size": 4}, "pool_min_size=4"),
    ({"pool_idle_timeout": 0}, "pool_idle_timeout=0"),
    ({"pool_idle_timeout": -5}, "pool_idle_timeout=-5"),
    ({"pool_idle_timeout": INFINITY}, "pool_idle_timeout=inf"),
    ({"pool_max_lifetime": 0}, "pool_max_lifetime=0"),
    ({"pool_validate_after": -0.1}, "pool_validate_after=-0.1"),
    ({"pool_connect_timeout": 0}, "pool_connect_timeout=0"),
    ({"pool_connect_timeout": None}, "pool_connect_timeout=None"),
    ({"pool_connect_retry": -1}, "pool_connect_retry=-1"),
    ({"pool_reset_timeout": 0}, "pool_reset_timeout=0"),
    ({"pool_reset_timeout": None}, "pool_reset_timeout=None"),
    ({"pool_max_waiting": -1}, "pool_max_waiting=-1"),
    ({"pool_max_waiting": 2.5}, "pool_max_waiting=2.5"),
    ({"pool_overload": "lifo"}, "pool_overload='lifo' must be 'adaptive' or 'fifo'"),
    ({"pool_overload": None}, "pool_overload=None"),
    ({"pool_shed_after": 0}, "pool_shed_after=0"),
    ({"pool_shed_after": True}, "pool_shed_after=True"),
    ({"pool_shed_after": 1, "pool_overload": "adaptive"}, "pool_shed_after=1 refuses the oldest"),
    ({"pool_keepalive": 0}, "pool_keepalive=0"),
    ({"pool_slow_checkout": -1}, "pool_slow_checkout=-1"),
    ({"pool_keep_cancelled": 2}, "pool_keep_cancelled=2 must be true or false"),
    ({"pool_leak_threshold": 0}, "pool_leak_threshold=0"),
    ({"recycle": 0.0}, "pool_recycle=0.0"),
    ({"recycle": -2}, "pool_recycle=-2"),
    ({"recycle": True}, "pool_recycle=True"),
    ({"recycle": 60, "pool_max_lifetime": 60}, "pool_recycle=60"),
    ({"pool_size": [5]}, "pool_size=[5]"),
]


@pytest.mark.parametrize(("options", "named"), WRONG, ids=lambda value: str(value)[:50])
def test_a_wrong_value_is_an_error_that_names_it(options: dict[str, Any], named: str) -> None:
    with pytest.raises(PoolOptionError) as caught:
        pool_with(**options)
    assert named in str(caught.value)
    assert isinstance(caught.value, exc.ArgumentError)
    assert isinstance(caught.value, TypedPoolError)


def test_shedding_implies_service_in_order() -> None:
    assert pool_with(pool_shed_after=1).options.pool_overload == "fifo"
    assert pool_with(pool_shed_after=None).options.pool_overload == "adaptive"
    options = pool_with(pool_shed_after=1, pool_overload="fifo").recreate().options
    assert (options.pool_shed_after, options.pool_overload) == (1, "fifo")


def test_one_error_names_all_wrong_values() -> None:
    with pytest.raises(PoolOptionError) as caught:
        pool_with(
            pool_size=-1,
            timeout=NAN,
            use_lifo="perhaps",
            pre_ping="perhaps",
            recycle=60,
            pool_max_lifetime=60,
            pool_keepalive=False,
            pool_min_size=-3,
        )
    for name in (
        "pool_size",
        "pool_timeout",
        "pool_use_lifo",
        "pool_pre_ping",
        "pool_recycle",
        "pool_keepalive",
        "pool_min_size",
    ):
        assert name in str(caught.value), name


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"pool_size": 0, "pool_min_size": 50}, ("pool_min_size", 50)),
        ({"timeout": None}, ("timeout", None)),
        ({"timeout": 0}, ("timeout", 0)),
        ({"timeout": -1}, ("timeout", -1)),
        ({"timeout": "2.5"}, ("timeout", 2.5)),
        ({"timeout": "none"}, ("timeout", None)),
        ({"pool_size": "7"}, ("pool_size", 7)),
        ({"pool_size": 7.0}, ("pool_size", 7)),
        ({"use_lifo": "false"}, ("use_lifo", False)),
        ({"use_lifo": "TRUE"}, ("use_lifo", True)),
        ({"pool_idle_timeout": None}, ("pool_idle_timeout", None)),
        ({"pool_idle_timeout": "None"}, ("pool_idle_timeout", None)),
        ({"pool_idle_timeout": " 90 "}, ("pool_idle_timeout", 90)),
        ({"pool_validate_after": 0}, ("pool_validate_after", 0)),
        ({"pool_slow_checkout": None}, ("pool_slow_checkout", None)),
        ({"recycle": 3600}, ("pool_max_lifetime", 3600)),
        ({"recycle": "3600"}, ("pool_max_lifetime", 3600)),
        ({"recycle": -1}, ("pool_max_lifetime", 1800)),
        ({"recycle": -1, "pool_max_lifetime": 60}, ("pool_max_lifetime", 60)),
        ({"max_overflow": -1, "pool_min_size": 5}, ("max_overflow", -1)),
    ],
    ids=str,
)
def test_valid_values_are_accepted_and_converted(
    options: dict[str, Any], expected: tuple[str, Any]
) -> None:
    name, value = expected
    read = getattr(pool_with(**options).options, name)
    assert read == value
    assert not isinstance(read, str)


def test_sizes_are_converted_to_int() -> None:
    assert type(pool_with(pool_size="7").options.pool_size) is int
    assert type(pool_with(pool_size=7.0).size()) is int


def test_a_given_reset_timeout_overrides_the_default_of_the_database() -> None:
    """MySQL and MariaDB have a default of 60 s."""
    assert read_options({}, reset_timeout=60.0).pool_reset_timeout == 60
    assert read_options({"pool_reset_timeout": 3}, reset_timeout=60.0).pool_reset_timeout == 3


# ------------------------------------------------------------------- configured


def test_configured_returns_a_subclass_with_other_defaults() -> None:
    pool_class = TypedPool.configured(pool_min_size=2, pool_timeout=7, pool_use_lifo=False)
    assert issubclass(pool_class, TypedPool)
    options = new_pool(Server(), poolclass=pool_class).options
    assert (options.pool_min_size, options.timeout, options.use_lifo) == (2, 7, False)
    assert pool_with().options.pool_min_size == 0


def test_an_explicit_option_overrides_a_configured_one() -> None:
    pool_class = TypedPool.configured(pool_min_size=2, pool_timeout=7)
    options = new_pool(Server(), poolclass=pool_class, timeout=9).options
    assert (options.pool_min_size, options.timeout) == (2, 9)


def test_an_explicit_default_value_overrides_a_configured_one() -> None:
    pool_class = TypedPool.configured(pool_timeout=7, pool_keepalive=30)
    options = new_pool(Server(), poolclass=pool_class, timeout=30.0, pool_keepalive=None).options
    assert (options.timeout, options.pool_keepalive) == (30, None)


def test_an_explicit_lifetime_overrides_a_configured_recycle_and_vice_versa() -> None:
    # two names of one option: the explicit one overrides the configured one
    pool_class = TypedPool.configured(pool_recycle=60)
    pool = new_pool(Server(), poolclass=pool_class, pool_max_lifetime=30)
    assert pool.options.pool_max_lifetime == 30
    pool_class = TypedPool.configured(pool_max_lifetime=60)
    pool = new_pool(Server(), poolclass=pool_class, recycle=30)
    assert pool.options.pool_max_lifetime == 30


def test_calling_configured_twice_combines_the_options() -> None:
    pool_class = TypedPool.configured(pool_min_size=2).configured(pool_timeout=7)
    options = new_pool(Server(), poolclass=pool_class).options
    assert (options.pool_min_size, options.timeout) == (2, 7)


def test_configured_rejects_a_misspelt_name_and_suggests_the_right_one() -> None:
    with pytest.raises(PoolOptionError, match=r"pool_minsize.*pool_min_size"):
        TypedPool.configured(pool_minsize=2)
    with pytest.raises(PoolOptionError, match="timeout"):
        TypedPool.configured(timeout=2)  # create_engine's name is pool_timeout


def test_configured_rejects_a_wrong_value_at_once() -> None:
    with pytest.raises(PoolOptionError, match="pool_timeout='soon'"):
        TypedPool.configured(pool_timeout="soon")


def test_configured_does_not_check_rules_between_options() -> None:
    pool_class = TypedPool.configured(pool_min_size=8)  # pool_size comes from create_engine
    assert new_pool(Server(), poolclass=pool_class, pool_size=10).options.pool_min_size == 8


def test_a_configured_pool_keeps_its_class_and_name() -> None:
    pool_class = TypedPool.configured(pool_min_size=2)
    pool = new_pool(Server(), poolclass=pool_class)
    assert type(pool.recreate()) is pool_class
    assert pool_class.__name__ == "TypedPool"


# ------------------------------------------------------------------ create_engine


def test_create_async_engine_passes_every_option(tmp_path: Path) -> None:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{tmp_path / 'file.db'}",
        poolclass=TypedPool,
        pool_size=3,
        max_overflow=0,
        pool_timeout=5,
        pool_recycle=60,
        pool_pre_ping=True,
        pool_use_lifo=False,
        pool_reset_on_return="commit",
        pool_logging_name="mine",
        echo_pool=False,
        pool_min_size=2,
        pool_idle_timeout=300,
        pool_validate_after=None,
        pool_connect_timeout=4,
        pool_connect_retry=1,
        pool_reset_timeout=2,
        pool_max_waiting=100,
        pool_overload="FIFO",
        pool_shed_after=0.5,
        pool_keepalive=30,
        pool_slow_checkout=None,
        pool_keep_cancelled=False,
        pool_leak_threshold=60,
    )
    assert TypedPool.of(engine).options == ResolvedOptions(
        pool_size=3,
        max_overflow=0,
        timeout=5,
        use_lifo=False,
        pool_min_size=2,
        pool_idle_timeout=300,
        pool_max_lifetime=60,
        pool_validate_after=None,
        pool_connect_timeout=4,
        pool_connect_retry=1,
        pool_reset_timeout=2,
        pool_max_waiting=100,
        pool_overload="fifo",
        pool_shed_after=0.5,
        pool_keepalive=30,
        pool_slow_checkout=None,
        pool_keep_cancelled=False,
        pool_leak_threshold=60,
    )
    assert engine.pool.logging_name == "mine"


@pytest.mark.parametrize("name", ["pool_minsize", "pool_idletimeout", "min_size", "poolsize"])
def test_a_misspelt_option_of_create_async_engine_is_a_type_error(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=name):
        create_async_engine(
            f"sqlite+aiosqlite:///{tmp_path / 'file.db'}", poolclass=TypedPool, **{name: 2}
        )


def test_options_may_be_strings_from_a_configuration(tmp_path: Path) -> None:
    engine = async_engine_from_config(
        {
            "db.url": f"sqlite+aiosqlite:///{tmp_path / 'file.db'}",
            "db.pool_size": "3",
            "db.max_overflow": "0",
            "db.pool_timeout": "2",
            "db.pool_recycle": "3600",
            "db.pool_pre_ping": "true",
            "db.pool_use_lifo": "false",
            "db.pool_min_size": "1",
            "db.pool_idle_timeout": "none",
            "db.pool_validate_after": "0",
        },
        prefix="db.",
        poolclass=TypedPool,
    )
    options = TypedPool.of(engine).options
    assert (options.pool_size, options.max_overflow, options.timeout) == (3, 0, 2)
    assert (options.pool_max_lifetime, options.use_lifo) == (3600, False)
    assert (options.pool_min_size, options.pool_idle_timeout) == (1, None)
    assert options.pool_validate_after == 0
