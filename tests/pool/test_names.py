"""The names of pools: the default, and how names stay unique in the process."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from sqla_typedpool import TypedPool
from sqla_typedpool.errors import PoolOptionError
from tests.support.fake_driver import Server, new_engine, new_pool


def test_a_given_name_is_in_the_repr_and_the_stats() -> None:
    pool = new_pool(Server(), pool_name="orders 50%s")
    assert pool.stats().name == "orders 50%s"
    assert repr(pool) == "<TypedPool orders 50%s>"


def test_a_name_that_is_given_twice_gets_a_number_and_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pools = [new_pool(Server(), pool_name="twice") for _ in range(3)]
    assert [pool.stats().name for pool in pools] == ["twice", "twice#2", "twice#3"]
    first, second = caplog.records
    assert first.event == "pool_name_taken"  # type: ignore[attr-defined]
    assert (first.pool, second.pool) == ("twice#2", "twice#3")  # type: ignore[attr-defined]
    assert "pool twice#2: another pool of this process is named twice; next:" in caplog.text


def test_the_name_of_a_pool_that_is_gone_is_free_again() -> None:
    new_pool(Server(), pool_name="gone")
    gc.collect()
    assert new_pool(Server(), pool_name="gone").stats().name == "gone"


def test_recreate_keeps_the_name_while_the_old_pool_is_alive(
    caplog: pytest.LogCaptureFixture,
) -> None:
    old = new_pool(Server(), pool_name="kept")
    new = old.recreate()
    assert (old.stats().name, new.stats().name) == ("kept", "kept")
    assert new.recreate().stats().name == "kept"
    assert caplog.records == []


def test_pool_name_works_through_create_engine_and_configured() -> None:
    engine = new_engine(Server(), pool_name="by engine")
    assert TypedPool.of(engine).stats().name == "by engine"
    other = new_engine(Server(), poolclass=TypedPool.configured(pool_name="by class"))
    assert TypedPool.of(other).stats().name == "by class"


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "\x1b[31m", 7, b"x", True])
def test_a_name_that_is_not_one_line_of_text_is_an_option_error(name: Any) -> None:
    with pytest.raises(PoolOptionError, match="pool_name="):
        new_pool(Server(), pool_name=name)


def test_pool_name_excludes_pool_logging_name() -> None:
    with pytest.raises(PoolOptionError, match="pool_name='a' and pool_logging_name='b'"):
        new_pool(Server(), pool_name="a", logging_name="b")
