"""Guarantee 11: the methods of the stock pool keep their meaning, and entries are reused."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from sqlalchemy import event, exc
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool, Pool

from sqla_typedpool import PoolTimeout, TypedPool
from sqla_typedpool._sqlalchemy.greenlets import greenlet_spawn
from tests.support.fake_driver import (
    Connect,
    Server,
    WrongPassword,
    assert_only_idle,
    borrow,
    borrowed,
    dispose,
    driver_of,
    give_back,
    new_engine,
    new_pool,
    open_idle,
    use,
)
from tests.support.virtual_clock import VirtualLoop, collect_garbage, now, run

LOGGER = "sqla_typedpool"


def counts(pool: Any) -> tuple[int, int, int, int]:
    return pool.size(), pool.checkedin(), pool.checkedout(), pool.overflow()


@pytest.mark.parametrize("poolclass", [AsyncAdaptedQueuePool, TypedPool])
def test_size_checkedin_checkedout_and_overflow_are_those_of_the_stock_pool(
    poolclass: type[Any],
) -> None:
    async def main() -> None:
        pool = new_pool(Server(), poolclass=poolclass, pool_size=2, max_overflow=1)
        seen = [counts(pool)]
        fairies = []
        for _ in range(3):
            fairies.append(await borrow(pool))
            seen.append(counts(pool))
        for fairy in fairies:
            await give_back(fairy)
            seen.append(counts(pool))
        await dispose(pool)
        seen.append((pool.size(), pool.checkedin(), pool.checkedout(), 0))
        assert seen == [
            (2, 0, 0, -2),
            (2, 0, 1, -1),
            (2, 0, 2, 0),
            (2, 0, 3, 1),
            (2, 1, 2, 1),
            (2, 2, 1, 1),
            (2, 2, 0, 0),
            (2, 0, 0, 0),
        ]

    run(main())


def test_the_status_line_is_that_of_the_stock_pool() -> None:
    async def main() -> None:
        lines = []
        for poolclass in (AsyncAdaptedQueuePool, TypedPool):
            pool = new_pool(Server(), poolclass=poolclass, pool_size=5, max_overflow=10)
            await open_idle(pool, 2)
            async with borrowed(pool):
                lines.append(pool.status())
        assert lines[0] == lines[1]
        assert "Connections in pool: 1" in lines[1]

    run(main())


@pytest.mark.parametrize("poolclass", [AsyncAdaptedQueuePool, TypedPool])
def test_the_status_counts_an_invalidated_connection_once(poolclass: type[Any]) -> None:
    """The entry of an invalidated connection is kept, and is connected again."""

    async def main() -> None:
        pool = new_pool(Server(), poolclass=poolclass, pool_size=3)
        fairies = [await borrow(pool) for _ in range(2)]
        for fairy in fairies:
            await greenlet_spawn(fairy.invalidate)
            await give_back(fairy)
        fairies = [await borrow(pool) for _ in range(4)]
        for fairy in fairies[:2]:
            await greenlet_spawn(fairy.invalidate)
        assert counts(pool) == (3, 2, 2, 1), "an invalidated connection has been returned"
        for fairy in fairies:
            await give_back(fairy)
        assert counts(pool) == (3, 3, 0, 0)
        assert pool.status() == (
            "Pool size: 3  Connections in pool: 3 "
            "Current Overflow: 0 Current Checked out connections: 0"
        )

    run(main())


@pytest.mark.parametrize("poolclass", [AsyncAdaptedQueuePool, TypedPool])
def test_empty_entries_beyond_pool_size_are_not_counted(poolclass: type[Any]) -> None:
    """Entries of connections in use may become idle beside the empty ones."""

    async def main() -> None:
        pool = new_pool(Server(), poolclass=poolclass, pool_size=3)
        fairies = [await borrow(pool) for _ in range(6)]
        for fairy in fairies[:3]:
            await greenlet_spawn(fairy.invalidate)
            await give_back(fairy)
        assert counts(pool) == (3, 3, 3, 3)
        for number, fairy in enumerate(fairies[3:], 1):
            await give_back(fairy)
            assert counts(pool) == (3, 3, 3 - number, 3 - number)
        assert "Connections in pool: 3 Current Overflow: 0" in pool.status()

    run(main())


def test_timeout_and_size_return_the_given_options() -> None:
    pool = new_pool(Server(), pool_size=7, timeout=3)
    assert pool.timeout() == 3
    assert pool.size() == 7
    assert isinstance(pool, Pool)
    assert isinstance(pool, AsyncAdaptedQueuePool)


def test_a_timeout_assigned_after_construction_is_honoured() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, timeout=30)
        pool._timeout = 2
        assert pool.timeout() == 2
        async with borrowed(pool):
            with pytest.raises(PoolTimeout):
                await borrow(pool)
            assert now() == pytest.approx(2, abs=0.01)
            pool._timeout = 0
            with pytest.raises(PoolTimeout):
                await borrow(pool)
            assert now() == pytest.approx(2, abs=0.01)

    run(main())


def test_a_max_overflow_assigned_after_construction_is_honoured() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, timeout=1)
        async with borrowed(pool):
            pool._max_overflow = 1
            assert pool._max_overflow == 1
            async with borrowed(pool):
                with pytest.raises(PoolTimeout):
                    await borrow(pool)
        pool._max_overflow = 0
        async with borrowed(pool):
            with pytest.raises(PoolTimeout):
                await borrow(pool)

    run(main())


@pytest.mark.parametrize(
    "options", [{"pool_size": 0}, {"pool_size": 2, "max_overflow": -1}], ids=str
)
def test_an_unlimited_pool_opens_as_many_connections_as_are_borrowed(
    options: dict[str, int],
) -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, **options)
        fairies = await asyncio.gather(*(borrow(pool) for _ in range(100)))
        assert server.peak_sockets == 100
        assert pool.stats().max is None
        for fairy in fairies:
            await give_back(fairy)
        await asyncio.sleep(1)
        assert pool.stats().idle == (100 if options["pool_size"] == 0 else 2)
        assert_only_idle(pool, server)

    run(main())


# -------------------------------------------------------------------- recreate


def test_recreate_keeps_every_option_and_every_later_assignment() -> None:
    pool = new_pool(
        Server(),
        pool_size=3,
        max_overflow=4,
        timeout=5,
        use_lifo=False,
        reset_on_return="commit",
        logging_name="mine",
        pool_min_size=1,
        pool_idle_timeout=11,
        pool_max_lifetime=12,
        pool_validate_after=13,
        pool_connect_timeout=14,
        pool_connect_retry=15,
        pool_reset_timeout=16,
        pool_max_waiting=17,
        pool_overload="fifo",
        pool_shed_after=21,
        pool_keepalive=18,
        pool_slow_checkout=19,
        pool_leak_threshold=20,
    )
    copy = pool.recreate()
    assert type(copy) is type(pool)
    assert copy is not pool
    assert copy.options == pool.options
    assert copy._reset_on_return is pool._reset_on_return
    assert copy.logging_name == "mine"
    pool._timeout = 1
    pool._max_overflow = 9
    copy = pool.recreate().recreate()
    assert (copy.timeout(), copy._max_overflow, copy.stats().max) == (1, 9, 12)


def test_recreate_keeps_configured_options_and_recycle() -> None:
    pool_class = TypedPool.configured(pool_min_size=2, pool_recycle=60)
    pool = new_pool(Server(), poolclass=pool_class)
    copy = pool.recreate()
    assert type(copy) is pool_class
    assert copy.options == pool.options
    assert copy.options.pool_max_lifetime == 60


def test_recreate_of_a_closed_pool_returns_an_open_pool() -> None:
    async def main() -> None:
        pool = new_pool(Server())
        await pool.close()
        await use(pool.recreate())

    run(main())


def test_a_recreated_pool_that_is_dropped_leaves_the_returns_of_the_old_one_bounded() -> None:
    """Both limit the resets of one dialect (guarantee 7); the limit was the latest pool's, and
    went with it."""

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, pool_reset_timeout=1)
        fairy = await borrow(pool)
        driver_of(fairy).hang.add("rollback")
        pool.recreate()
        collect_garbage()
        returning = asyncio.ensure_future(give_back(fairy))
        await asyncio.wait({returning}, timeout=100)
        assert now() == pytest.approx(1, abs=0.1)
        assert pool.checkedout() == 0

    run(main())


def test_the_old_pool_still_works_after_recreate_and_dispose() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)
        await use(pool)
        pool.recreate()
        await dispose(pool)
        await use(pool)
        await use(pool)
        assert_only_idle(pool, server)

    run(main())


def test_dispose_outside_any_loop_raises_no_error() -> None:
    server = Server()
    pool = new_pool(server)

    async def main() -> None:
        await use(pool)

    run(main())
    pool.dispose()
    assert server.sockets == 0
    assert pool.stats().size == 0


def test_dispose_from_another_thread_closes_idle_connections() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server)
        await open_idle(pool, 3)
        thread = threading.Thread(target=pool.dispose)
        thread.start()
        thread.join()
        await asyncio.sleep(0.1)
        assert server.sockets == 0

    run(main())


# --------------------------------------------------------------------- entries


def test_record_info_survives_an_invalidation_and_info_does_not() -> None:
    """SQLAlchemy keeps `record_info` on the entry and `info` for the life of the connection."""

    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0)
        fairy = await borrow(pool)
        entry = fairy._connection_record
        fairy.record_info["kept"] = 1
        fairy.info["lost"] = 1
        await greenlet_spawn(fairy.invalidate)
        await give_back(fairy)
        assert pool.checkedin() == 1, "an empty entry counts as checked in, as in the stock pool"
        fairy = await borrow(pool)
        assert fairy._connection_record is entry
        assert fairy.record_info == {"kept": 1}
        assert fairy.info == {}
        await give_back(fairy)

    run(main())


def test_an_empty_entry_is_never_handed_out() -> None:
    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=2, max_overflow=0)
        for _ in range(5):
            fairies = [await borrow(pool) for _ in range(2)]
            for fairy in fairies:
                assert fairy.dbapi_connection is not None
                await greenlet_spawn(fairy.invalidate)
                await give_back(fairy)
            await asyncio.sleep(0.1)
            assert counts(pool)[1:3] == (2, 0)
        assert_only_idle(pool, server)

    run(main())


def test_a_checkin_listener_may_close_its_record() -> None:
    """`close()` is in SQLAlchemy's interface of a record; the pool itself does not call it."""

    async def main() -> None:
        server = Server()
        pool = new_pool(server, pool_size=1, max_overflow=0)

        @event.listens_for(pool, "checkin")
        def close(connection: Any, record: Any) -> None:
            record.close()

        closed: list[Any] = []
        event.listen(pool, "close", lambda connection, record: closed.append(connection))
        fairy = await borrow(pool)
        adapter, old = fairy.dbapi_connection, driver_of(fairy)
        await give_back(fairy)
        await asyncio.sleep(1)
        assert closed == [adapter]
        assert old.is_closed
        assert_only_idle(pool, server)
        assert (await use(pool)) is not old

    run(main())


def test_an_expired_entry_keeps_its_record_info() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=1, max_overflow=0, pool_max_lifetime=10)
        fairy = await borrow(pool)
        fairy.record_info["kept"] = 1
        await asyncio.sleep(20)
        await give_back(fairy)
        await asyncio.sleep(1)
        async with borrowed(pool) as fairy:
            assert fairy.record_info == {"kept": 1}

    run(main())


def test_empty_entries_do_not_accumulate() -> None:
    async def main() -> None:
        pool = new_pool(Server(), pool_size=2, max_overflow=10)
        for _ in range(20):
            fairies = await asyncio.gather(*(borrow(pool) for _ in range(12)))
            for fairy in fairies:
                await greenlet_spawn(fairy.invalidate)
            for fairy in fairies:
                await give_back(fairy)
        await asyncio.sleep(1)
        assert pool.checkedin() <= 2
        assert pool.overflow() <= 0

    run(main())


def test_an_entry_that_never_connected_is_not_kept() -> None:
    async def main() -> None:
        pool = new_pool(Server(usual=Connect(error=WrongPassword)), pool_size=3)
        for _ in range(5):
            with pytest.raises(WrongPassword):
                await borrow(pool)
        assert pool.checkedin() == 0

    run(main())


def test_sqlalchemys_own_recycle_and_pre_ping_stay_off() -> None:
    pool = new_pool(Server(), recycle=60, pre_ping=True)
    assert pool._recycle == 60, "the stock pool's attribute has the given value"
    assert pool._pre_ping is False
    assert pool.options.pool_max_lifetime == 60
    assert new_pool(Server())._recycle == -1


# ------------------------------------------------------------------ engine, loops


def test_of_returns_the_typed_pool_or_raises_an_error_that_says_what_to_change() -> None:
    engine = new_engine(Server())
    assert TypedPool.of(engine) is engine.pool
    assert TypedPool.of(engine.sync_engine) is engine.pool  # type: ignore[arg-type]
    stock = create_async_engine("sqlite+aiosqlite://", poolclass=NullPool)
    with pytest.raises(TypeError, match=r"NullPool.*poolclass=TypedPool"):
        TypedPool.of(stock)
    with pytest.raises(TypeError):
        TypedPool.of(object())  # type: ignore[arg-type]


def test_a_second_live_loop_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    pool = new_pool(Server())
    first = VirtualLoop()
    with caplog.at_level(logging.WARNING, LOGGER):
        asyncio.set_event_loop(first)
        first.run_until_complete(use(pool))
        assert caplog.records == []

        async def main() -> None:
            await use(pool)
            assert pool.stats().size == 2, "stats() adds up all loops"
            assert pool.checkedin() == 2

        for _ in range(3):
            run(main())
        asyncio.set_event_loop(first)
        first.run_until_complete(first.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        first.close()
    logged = [each for each in caplog.records if "loops" in each.getMessage()]
    assert len(logged) == 1
    assert logged[0].event_loops == 2  # type: ignore[attr-defined]


def test_successive_loops_are_not_logged_as_several_loops(caplog: pytest.LogCaptureFixture) -> None:
    pool = new_pool(Server())

    async def main() -> None:
        await use(pool)

    with caplog.at_level(logging.WARNING, LOGGER):
        for _ in range(3):
            run(main())
    assert caplog.records == []


@pytest.mark.parametrize("loops", [2, 6])
def test_concurrent_first_connects_from_several_threads_all_succeed(loops: int) -> None:
    server = Server(usual=Connect(seconds=0.01))
    engine = new_engine(server)
    barrier = threading.Barrier(loops)
    errors: list[BaseException] = []

    async def main() -> None:
        barrier.wait(10)
        async with engine.connect():
            await asyncio.sleep(0.01)

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            errors.append(error)

    for _ in range(5):
        threads = [threading.Thread(target=work) for _ in range(loops)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert errors == []
        assert not any(thread.is_alive() for thread in threads)
        engine.sync_engine.pool = engine.sync_engine.pool.recreate()
    assert server.sockets == 0


def test_a_first_connect_that_ends_with_its_loop_does_not_block_other_loops() -> None:
    """Guarantee 10: the first connect of a pool runs alone, across all loops."""

    server = Server().script(Connect(silent=True))
    pool = new_pool(server)
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    waiting = loop.create_task(borrow(pool))
    loop.run_until_complete(asyncio.sleep(0.1))
    asyncio.set_event_loop(None)
    waiting.cancel()
    loop.run_until_complete(asyncio.wait({waiting}))
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()  # by hand, with the connect in progress

    async def main() -> None:
        await use(pool)
        assert now() < 1

    run(main())


def test_connecting_outside_a_greenlet_raises_missing_greenlet() -> None:
    async def main() -> None:
        pool = new_pool(Server())
        with pytest.raises(exc.MissingGreenlet):
            pool.connect()
        await use(pool)

    run(main())
