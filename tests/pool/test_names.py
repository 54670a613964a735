"""The names of pools: the default, and how names stay unique in the process."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from typing import Any

import pytest
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import create_async_engine

from sqla_typedpool import PoolClosed, TypedPool
from sqla_typedpool.errors import PoolOptionError
from sqla_typedpool.pool.names import PoolName
from tests.support.fake_driver import (
    Server,
    borrow,
    borrowed,
    dispose,
    give_back,
    new_engine,
    new_pool,
    use,
)
from tests.support.virtual_clock import run


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


# ------------------------------------------------------------------- the default

PG, MYSQL = "postgresql+asyncpg", "mysql+aiomysql"
DEFAULTS = [
    (f"{PG}://app:secret@db.example:6432/app", {}, "db.example:6432/app"),
    (f"{PG}://app:secret@db/app", {}, "db:5432/app"),
    (f"{PG}://app:secret@db", {}, "db:5432"),
    (f"{PG}:///app", {}, "localhost:5432/app"),
    (f"{PG}://app@[::1]/app", {}, "[::1]:5432/app"),
    (f"{PG}://app:sec@ret@db/app", {}, "db:5432/app"),
    (f"{PG}://app:sec@r/et@db/app", {}, "db/app"),
    (f"{PG}:///app?host=/var/run/postgresql", {}, "/var/run/postgresql:5432/app"),
    (f"{PG}:///app?host=h1:5433&host=h2:5434", {}, "h1:5433,h2:5434/app"),
    (f"{PG}://", {"dsn": "postgres://u:p@h1:1,h2:2/app?x=1"}, "h1:1,h2:2/app"),
    (f"{PG}://", {"dsn": "postgres://u:se/c@re@[::1]/app"}, "[::1]:5432/app"),
    (f"{PG}://", {"dsn": "postgres:///app?host=/tmp&password=x"}, "/tmp:5432/app"),
    (f"{PG}://", {"host": "h", "database": "d"}, "h:5432/d"),
    (f"{PG}://", {}, "asyncpg"),
    ("postgresql+psycopg://app:secret@db/app", {}, "db:5432/app"),
    ("postgresql+psycopg:///app?host=h1,h2&port=1,2", {}, "h1:1,h2:2/app"),
    ("postgresql+psycopg:///app?host=h1,h2", {}, "h1:5432,h2:5432/app"),
    ("postgresql+psycopg://", {"conninfo": "host='h 1' dbname=d password=x"}, "h 1:5432/d"),
    ("postgresql+psycopg://", {}, "psycopg"),
    (f"{MYSQL}://app:secret@db/app", {}, "db:3306/app"),
    ("mariadb+asyncmy://app:secret@db:3307/app", {}, "db:3307/app"),
    (f"{MYSQL}:///app", {"unix_socket": "/run/mysqld.sock"}, "/run/mysqld.sock/app"),
    ("sqlite+aiosqlite:////var/lib/app.db", {}, "/var/lib/app.db"),
    ("sqlite+aiosqlite://", {}, ":memory:"),
    ("sqlite+aiosqlite:///file:x?vfs=memdb&uri=true", {}, "file:x?vfs=memdb"),
]


@pytest.mark.parametrize(("url", "arguments", "name"), DEFAULTS, ids=str)
def test_the_default_is_the_address_and_the_database(
    monkeypatch: pytest.MonkeyPatch, url: str, arguments: dict[str, Any], name: str
) -> None:
    monkeypatch.delenv("PGHOST", raising=False)
    monkeypatch.delenv("PGPORT", raising=False)
    gc.collect()
    engine = create_async_engine(url, connect_args=arguments, poolclass=TypedPool)
    assert TypedPool.of(engine).stats().name == name


def test_the_default_of_a_pool_with_its_own_creator_is_the_driver() -> None:
    async def connect() -> Any:
        raise AssertionError

    gc.collect()
    engine = create_async_engine(f"{PG}://u:p@h/d", async_creator=connect, poolclass=TypedPool)
    assert TypedPool.of(engine).stats().name == "asyncpg"


def test_a_pool_that_gets_its_dialect_from_the_engine_is_named_at_its_first_use() -> None:
    async def main() -> None:
        gc.collect()
        server = Server()
        dialect = new_pool(server)._dialect
        pool = TypedPool(lambda: dialect.connect(server=server))
        assert pool.stats().name.startswith("unnamed")
        engine = create_async_engine("fakedb+fake://", pool=pool)
        async with engine.connect():
            assert pool.stats().name.startswith("fake")

    run(main())


def test_the_environment_of_the_postgresql_drivers_names_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGHOST", "from-the-environment")
    monkeypatch.setenv("PGPORT", "6000")
    engine = create_async_engine(f"{PG}:///app", poolclass=TypedPool)
    assert TypedPool.of(engine).stats().name == "from-the-environment:6000/app"


# --------------------------------------------------------- how long a name is taken


def test_the_name_of_a_disposed_pool_is_free_until_the_pool_is_used_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        first = new_pool(Server(), pool_name="reused")
        await use(first)
        await dispose(first)
        successor = first.recreate()  # as engine.dispose() does
        second = new_pool(Server(), pool_name="reused")
        assert second.stats().name == "reused"
        assert caplog.records == []
        await use(successor)
        assert (successor.stats().name, second.stats().name) == ("reused#2", "reused")
        assert [each.event for each in caplog.records] == ["pool_name_taken"]  # type: ignore[attr-defined]
        await dispose(second)
        await use(second)
        assert second.stats().name == "reused"
        assert len(caplog.records) == 1

    run(main())


def test_a_disposed_pool_keeps_its_name_while_a_connection_is_out() -> None:
    async def main() -> None:
        first = new_pool(Server(), pool_name="busy")
        async with borrowed(first):
            await dispose(first)
            assert new_pool(Server(), pool_name="busy").stats().name == "busy#2"

    run(main())


def test_pools_that_are_created_at_once_in_threads_have_different_names() -> None:
    names: list[PoolName] = []
    barrier = threading.Barrier(8)

    def create() -> None:
        barrier.wait()
        for _ in range(50):
            names.append(PoolName("threads"))
            names[-1].take()

    threads = [threading.Thread(target=create) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len({str(name) for name in names}) == 400


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork in a process with threads
def test_a_forked_child_names_its_pools_although_the_parent_held_the_lock() -> None:
    held = PoolName("forked")
    held.take()
    in_lock, done = threading.Event(), threading.Event()

    def hold_the_lock() -> None:
        from sqla_typedpool.pool.names import _registry

        with _registry.lock:
            in_lock.set()
            done.wait(10)

    thread = threading.Thread(target=hold_the_lock)
    thread.start()
    in_lock.wait(10)
    child = os.fork()
    if child == 0:
        name = PoolName("forked")
        name.take()
        os._exit(0 if str(name) == "forked#2" else 1)
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


# ------------------------------------------------------------------- where it is


def test_the_errors_of_a_closed_pool_name_it() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, pool_name="orders")
        fairy = await borrow(pool)
        waiting = asyncio.ensure_future(borrow(pool))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(pool.close(1))
        with pytest.raises(PoolClosed, match=r"^pool orders: this pool was closed while"):
            await waiting
        await give_back(fairy)
        await closing
        with pytest.raises(PoolClosed, match=r"^pool orders: this pool was closed"):
            await borrow(pool)

    run(main())


def test_the_error_of_a_second_connection_to_sqlite_in_memory_names_the_pool() -> None:
    pytest.importorskip("aiosqlite")

    async def main() -> None:
        engine = create_async_engine(
            "sqlite+aiosqlite://", poolclass=TypedPool, pool_size=2, pool_name="memory"
        )
        async with engine.connect():
            with pytest.raises(InvalidRequestError, match=r"^pool memory: this SQLite database"):
                await engine.connect()
        await engine.dispose()

    asyncio.run(main())


def test_an_option_error_names_the_pool_and_masks_secrets() -> None:
    with pytest.raises(
        PoolOptionError, match=r"^TypedPool orders: pool_timeout='postgres"
    ) as raised:
        new_pool(Server(), pool_name="orders", timeout="postgresql://u:secret@h")
    assert "secret" not in str(raised.value)
