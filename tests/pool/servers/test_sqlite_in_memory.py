"""SQLite databases that are lost with their connections, in every spelling, and files that are not.

Such a database is in memory, or in a temporary file.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import InvalidRequestError

from sqla_typedpool import TypedPool
from sqla_typedpool._sqlalchemy.greenlets import greenlet_spawn
from tests.support.clocks import Stopwatch
from tests.support.engines import ask, engine_on, make_engine, open_all, return_all, run, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

aiosqlite = pytest.importorskip("aiosqlite")

pytestmark = [
    pytest.mark.filterwarnings("ignore:Selection of the"),  # of SQLAlchemy 2.1
    pytest.mark.skipif(
        sqlite3.sqlite_version_info < (3, 36), reason="the VFS memdb shares no names"
    ),
]

# Seconds after which everything that may be closed is closed.
SHORT = {"pool_idle_timeout": 0.05, "pool_max_lifetime": 0.05, "pool_validate_after": 0}

_numbers = itertools.count(1)


def new_name() -> str:
    """A name for a database in memory that no other test uses."""
    return f"memory{next(_numbers)}"


def by_url(database: str | None, **query: str) -> Callable[..., AsyncEngine]:
    url = URL.create("sqlite+aiosqlite", database=database, query=query)
    return lambda **options: make_engine(url, **options)


def by_uri(database: str, **query: str) -> Callable[..., AsyncEngine]:
    return by_url(database, uri="true", **query)


def by_creator(database: str, *, uri: bool = False) -> Callable[..., AsyncEngine]:
    async def connect() -> Any:
        return await aiosqlite.connect(database, uri=uri)

    return lambda **options: make_engine("sqlite+aiosqlite://", async_creator=connect, **options)


def by_listener(database: str) -> Callable[..., AsyncEngine]:
    """An engine whose do_connect listener opens another database than the URL names."""

    def make(**options: Any) -> AsyncEngine:
        engine = make_engine("sqlite+aiosqlite:///not_this_file.db", **options)

        @event.listens_for(engine.sync_engine, "do_connect")
        def connect(dialect: Any, record: Any, arguments: list[Any], _: dict[str, Any]) -> None:
            arguments[0] = database

        return engine

    return make


PRIVATE = {
    "no name": by_url(None),
    "empty name": by_url(""),
    ":memory:": by_url(":memory:"),
    "file::memory:": by_uri("file::memory:"),
    "escaped :memory:": by_uri("file:%3amemory%3A"),
    "mode=memory": by_uri("file:x", mode="memory"),
    "mode=memory, no name, shared cache": by_uri("file:", mode="memory", cache="shared"),
    "memdb without /": by_uri("file:x", vfs="memdb"),
    "memdb, only /": by_uri("file:/", vfs="memdb"),
    "temporary file": by_uri("file:"),
    "temporary file, shared cache": by_uri("file:", cache="shared"),
    "creator, :memory:": by_creator(":memory:"),
    "creator, temporary file": by_creator(""),
    "creator, memdb without /": by_creator("file:x?vfs=memdb", uri=True),
    "listener, :memory:": by_listener(":memory:"),
}

SHARED = {
    ":memory:": by_uri("file::memory:", cache="shared"),
    "escaped :memory:": by_uri("file:%3amemory%3A", cache="shared"),
    "mode=memory": by_uri(f"file:{new_name()}", mode="memory", cache="shared"),
    "memdb": by_uri(f"file:/{new_name()}", vfs="memdb"),
    "escaped memdb": by_uri(f"file:/%20{new_name()}", vfs="memdb"),
    "memdb with an authority": by_uri(f"file://localhost/{new_name()}", vfs="memdb"),
    "memdb, shared cache": by_uri(f"file:{new_name()}", vfs="memdb", cache="shared"),
    "creator, memdb": by_creator(f"file:/{new_name()}?vfs=memdb", uri=True),
    "creator, escaped memdb": by_creator(f"file:/{new_name()}?v%66s=memd%62", uri=True),
    "creator, shared cache": by_creator("file:x?mode=memory&cache=shared", uri=True),
}

FILES = {
    "a name like an option": by_url("mode=memory.db"),
    "a name like a URI": by_url("file:x?mode=memory"),
    "in a folder :memory:": by_url(":memory:/x.db"),
    "a relative URI": by_uri("file:relative.db"),
    "creator, a relative path": by_creator("relative.db"),
    "creator, a URI of a file": by_creator("file:file.db?mode=rwc", uri=True),
    "listener": by_listener("file.db"),
}

with closing(sqlite3.connect(":memory:")) as _connection:
    _compile_options = list(_connection.execute("PRAGMA compile_options"))
if ("USE_URI",) in _compile_options:  # every name may be a URI
    PRIVATE["creator, a URI without uri=True"] = by_creator("file:x?vfs=memdb")
else:
    FILES["creator, a name like a URI"] = by_creator("file:x?vfs=memdb")

IN_MEMORY = {
    **{f"private: {name}": make for name, make in PRIVATE.items()},
    **{f"shared: {name}": make for name, make in SHARED.items()},
}

made_by = pytest.mark.parametrize


@pytest.fixture(autouse=True)
def in_an_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ":memory:").mkdir()
    monkeypatch.chdir(tmp_path)


async def create_table(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE kept (a int)"))
        await connection.execute(text("INSERT INTO kept VALUES (1)"))


async def assert_table_is_kept(engine: AsyncEngine) -> None:
    """Wait until a file's connections would be closed, and read the table."""
    await asyncio.sleep(0.3)
    TypedPool.of(engine).retire_all()
    await asyncio.sleep(0.1)
    assert await ask(engine, "SELECT count(*) FROM kept") == 1


# ---------------------------------------------------------------------------- never closed


@made_by("make", IN_MEMORY.values(), ids=IN_MEMORY)
def test_a_database_in_memory_outlives_idle_timeout_lifetime_and_retire_all(
    make: Callable[..., AsyncEngine],
) -> None:
    async def main() -> None:
        engine = make(pool_size=5, **SHORT)
        await create_table(engine)
        await assert_table_is_kept(engine)
        stats = TypedPool.of(engine).stats()
        assert (stats.connects, stats.size) == (1, 1)
        assert stats.pings == 0
        await engine.dispose()

    run(main())


@made_by("mode", ["wal", "delete", "off"])
@made_by("name", ["private: memdb without /", "shared: memdb", "private: :memory:"])
def test_a_journal_mode_set_by_a_listener_does_not_make_memory_a_file(name: str, mode: str) -> None:
    async def main() -> None:
        engine = IN_MEMORY[name](pool_size=5, **SHORT)
        set_journal_mode(engine, mode)
        await create_table(engine)
        await assert_table_is_kept(engine)
        await engine.dispose()

    run(main())


def set_journal_mode(engine: AsyncEngine, mode: str) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA journal_mode = {mode}")
        cursor.close()


def test_a_database_in_memory_with_the_name_of_an_existing_file_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "existing.db"
    sqlite3.connect(file).execute("CREATE TABLE of_the_file (a int)").connection.close()
    uri = f"file:{file}?vfs=memdb"

    async def main() -> None:
        for make in (by_uri(f"file:{file}", vfs="memdb"), by_creator(uri, uri=True)):
            engine = make(pool_size=5, **SHORT)
            await create_table(engine)
            await assert_table_is_kept(engine)
            assert await ask(engine, "SELECT count(*) FROM sqlite_master") == 1
            await engine.dispose()

    run(main())


@made_by("make", SHARED.values(), ids=SHARED)
def test_connections_beyond_the_pool_size_share_the_database_and_close_without_loss(
    make: Callable[..., AsyncEngine],
) -> None:
    async def main() -> None:
        engine = make(pool_size=1, max_overflow=2, **SHORT)
        await create_table(engine)
        held = await open_all(engine, 3)
        for connection in held:
            assert await connection.scalar(text("SELECT count(*) FROM kept")) == 1
        await return_all(held)
        assert await until(lambda: TypedPool.of(engine).stats().size == 1)
        await assert_table_is_kept(engine)
        await engine.dispose()

    run(main())


def test_an_attached_database_does_not_count() -> None:
    """Only the main one does: a listener attaches the others to each connection."""

    async def main(make: Callable[..., AsyncEngine], attached: str, kept: int) -> None:
        engine = make(pool_size=5, **SHORT)

        @event.listens_for(engine.sync_engine, "connect")
        def connect(connection: Any, record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute(f"ATTACH '{attached}' AS other")
            cursor.close()

        await create_table(engine)
        pool = TypedPool.of(engine)
        await asyncio.sleep(0.3)
        assert pool.stats().size == kept
        await engine.dispose()

    run(main(by_url("main.db"), ":memory:", 0))
    run(main(by_url(":memory:"), "other.db", 1))


# --------------------------------------------------------------------------- one connection


@made_by("make", PRIVATE.values(), ids=PRIVATE)
def test_a_second_connection_to_a_private_database_is_refused(
    make: Callable[..., AsyncEngine],
) -> None:
    async def main() -> None:
        engine = make(pool_size=5)
        pool = TypedPool.of(engine)
        async with engine.connect():
            with pytest.raises(InvalidRequestError, match=r"StaticPool.*vfs=memdb"):
                await engine.connect()
        assert await ask(engine) == 1
        assert (pool.stats().connects, pool.checkedout()) == (1, 0)
        await engine.dispose()

    run(main())


@made_by("make", PRIVATE.values(), ids=PRIVATE)
def test_of_the_first_callers_of_a_private_database_only_one_gets_a_connection(
    make: Callable[..., AsyncEngine],
) -> None:
    """What the database is is not known when they arrive."""

    async def main() -> None:
        engine = make(pool_size=5)
        ends = await asyncio.gather(*(engine.connect() for _ in range(5)), return_exceptions=True)
        refused = [end for end in ends if isinstance(end, BaseException)]
        assert len(refused) == 4
        assert all(isinstance(end, InvalidRequestError) for end in refused), refused
        await return_all([end for end in ends if not isinstance(end, BaseException)])
        assert TypedPool.of(engine).stats().connects == 1
        await engine.dispose()

    run(main())


@made_by("make", PRIVATE.values(), ids=PRIVATE)
def test_callers_of_a_private_database_wait_for_a_pool_of_one(
    make: Callable[..., AsyncEngine],
) -> None:
    async def main() -> None:
        engine = make(pool_size=1, max_overflow=0)
        await create_table(engine)
        queries = (ask(engine, "SELECT count(*) FROM kept") for _ in range(5))
        assert await asyncio.gather(*queries) == [1] * 5
        await engine.dispose()

    run(main())


def test_a_first_connect_that_takes_seconds_is_not_started_again() -> None:
    """A listener may create the schema."""

    async def connect_slowly(engine: AsyncEngine) -> None:
        started = []

        @event.listens_for(engine.sync_engine, "connect")
        def connect(connection: Any, record: Any) -> None:
            started.append(connection)
            connection.run_async(lambda _: asyncio.sleep(4))

        watch = Stopwatch()
        assert await asyncio.gather(*(ask(engine) for _ in range(3))) == [1] * 3
        assert watch.awake < 5
        assert len(started) == 1
        await engine.dispose()

    async def main() -> None:
        in_memory = PRIVATE[":memory:"](pool_size=1, max_overflow=0)
        file = by_url("file.db")(pool_size=1, max_overflow=0)
        await asyncio.gather(connect_slowly(in_memory), connect_slowly(file))

    run(main())


def test_a_private_database_is_refused_to_a_second_event_loop() -> None:
    engine = PRIVATE[":memory:"](pool_size=5)
    caught: list[BaseException] = []

    def in_another_loop() -> None:
        with pytest.raises(InvalidRequestError, match="StaticPool") as error:
            asyncio.run(ask(engine))
        caught.append(error.value)

    async def main() -> None:
        await create_table(engine)
        await asyncio.to_thread(in_another_loop)
        assert await ask(engine, "SELECT count(*) FROM kept") == 1

    run(main())
    assert caught
    # the database ended with its loop; a new one begins in the next loop
    assert run(ask(engine, "SELECT count(*) FROM sqlite_master")) == 0
    run(engine.dispose())


def test_a_private_database_that_was_disposed_of_can_be_opened_again() -> None:
    async def main() -> None:
        async with engine_on("sqlite+aiosqlite://", pool_size=5) as engine:
            await create_table(engine)
            await engine.dispose()
            await create_table(engine)

    run(main())


# ------------------------------------------------------------------------------------ files


@made_by("journal", ["delete", "memory", "off"])
@made_by("make", FILES.values(), ids=FILES)
def test_the_connections_of_a_file_are_closed_as_usual(
    make: Callable[..., AsyncEngine], journal: str
) -> None:
    async def main() -> None:
        engine = make(pool_size=5, **SHORT)
        set_journal_mode(engine, journal)
        await create_table(engine)
        pool = TypedPool.of(engine)
        held = await open_all(engine, 3)
        await return_all(held)
        assert await until(lambda: pool.stats().size == 0)
        assert await ask(engine, "SELECT count(*) FROM kept") == 1
        await engine.dispose()

    run(main())


@pytest.fixture
def locked_file(tmp_path: Path) -> Iterator[Path]:
    """A file that another connection has locked exclusively."""
    with closing(sqlite3.connect(tmp_path / "locked.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield tmp_path / "locked.db"


def test_connecting_to_a_locked_file_does_not_wait_for_the_lock(locked_file: Path) -> None:
    async def main() -> None:
        async with engine_on(f"sqlite+aiosqlite:///{locked_file}") as engine:
            watch = Stopwatch()
            async with engine.connect():
                assert watch.awake < 2  # SQLite would wait for 5 s

    run(main())


def test_a_stand_in_for_a_connection_is_not_queried() -> None:
    async def main() -> None:
        engine = make_engine("sqlite+aiosqlite:///file:x?vfs=memdb&uri=true", _initialize=False)
        stand_in = mock.Mock()
        event.listen(engine.sync_engine, "do_connect", lambda *_: stand_in)
        fairy = await greenlet_spawn(engine.sync_engine.pool.connect)
        calls = [name for name, _, _ in stand_in.mock_calls]
        fairy.detach()
        assert calls == []

    asyncio.run(main())
