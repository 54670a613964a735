"""``TypedPool``: what SQLAlchemy and applications see.

It answers SQLAlchemy's pool interface (``_do_get``, ``_return_conn``, ``dispose``,
``recreate``, the five numbers) and finds the part of the running event loop. The work
is done in :mod:`.loop_pool`.
"""

from __future__ import annotations

import weakref
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Literal, cast

from sqlalchemy import Engine, exc
from sqlalchemy.ext.asyncio import AsyncEngine
from typing_extensions import Unpack

from sqla_typedpool._asyncio.timers import call_in_loop, running_loop
from sqla_typedpool._sqlalchemy.driver_errors import raise_connect_error
from sqla_typedpool._sqlalchemy.greenlets import await_only, greenlet_spawn, in_greenlet
from sqla_typedpool._sqlalchemy.pool_base import (
    close_in_place,
    init_pool,
    invalidate_pool,
    stock_record,
)
from sqla_typedpool._sqlalchemy.queue_pool import QueuePoolApi
from sqla_typedpool.errors import Holder
from sqla_typedpool.pool import shutdown
from sqla_typedpool.pool.backend import Backend, CloseMode, default_reset_timeout
from sqla_typedpool.pool.checkout_errors import CLOSED
from sqla_typedpool.pool.connecting import FirstConnectLock
from sqla_typedpool.pool.drivers.sqlite_storage import IN_MEMORY
from sqla_typedpool.pool.durations import Durations, Record
from sqla_typedpool.pool.entry import PoolEntry
from sqla_typedpool.pool.forking import watch_forks
from sqla_typedpool.pool.log import PoolLog
from sqla_typedpool.pool.loop_pool import LoopPool
from sqla_typedpool.pool.loops import LoopPools
from sqla_typedpool.pool.names import PoolName
from sqla_typedpool.pool.option_types import PoolOptions
from sqla_typedpool.pool.options import (
    GIVEN,
    UNSET,
    ResolvedOptions,
    option_error,
    override,
    parameter_names,
    read_options,
)
from sqla_typedpool.pool.shared import Shared
from sqla_typedpool.pool.slots import Limits
from sqla_typedpool.pool.stats import PoolStats, snapshot


def _unknown_engine() -> None:
    """The engine of a pool that was not taken from an engine."""


def _first(value: Any, other: Any) -> Any:
    return other if value is None else value


class TypedPool(QueuePoolApi):
    """A drop-in for SQLAlchemy's ``AsyncAdaptedQueuePool``.

    One deadline covers a checkout. The queue is fair. Connections are validated,
    closed when idle or old, and refilled in the background. No checkout and no return
    hangs on a dead socket; statements are not limited.

    Pass it to ``create_async_engine``, which finds these parameters under the
    names given here (``timeout`` as ``pool_timeout``, ``use_lifo`` as
    ``pool_use_lifo``, ``recycle`` as ``pool_recycle`` and so on). All times are
    seconds. ``None`` means never.

    :param creator: opens a connection; ``create_async_engine`` passes its own.
    :param pool_size: connections kept at most while idle (5; 0 = no limit).
    :param max_overflow: connections allowed beyond that (10; -1 = no limit).
    :param timeout: one deadline for queueing, connecting and validating (30); 0
        or less = do not queue.
    :param use_lifo: reuse the connection returned last (True, so that the others
        reach ``pool_idle_timeout``).
    :param recycle: the stock name of ``pool_max_lifetime``; -1, its stock default,
        leaves that one's default.
    :param pre_ping: accepted, and changes nothing: connections are validated in any case,
        as ``pool_validate_after`` sets.
    :param pool_min_size: connections kept open, refilled in the background (0).
    :param pool_idle_timeout: an idle connection above ``pool_min_size`` is closed when
        unused for longer (600).
    :param pool_max_lifetime: each connection's own age limit, less 0-10 % jitter
        (1800).
    :param pool_validate_after: ping before use if unused for longer (0.5); 0 = at
        every checkout; None = only check the socket.
    :param pool_connect_timeout: the bound on one connection attempt (10); a
        longer ``timeout`` in ``connect_args`` takes precedence.
    :param pool_connect_retry: how long, from the start of an outage, waiters are
        kept through refused connects (5).
    :param pool_reset_timeout: the bound on the rollback of a return, a resetting
        commit, a graceful close (5; MySQL and MariaDB 60).
    :param pool_max_waiting: if so many wait already, a caller who would have to wait is
        refused at once (None).
    :param pool_overload: which waiter is served next while many callers give up before they
        are served: the newest ("adaptive", the default), or the oldest as always ("fifo").
    :param pool_shed_after: refuse the oldest waiters, once the oldest has been waiting for
        longer than this at each hand-over for two seconds (None = never). It implies
        ``pool_overload="fifo"``.
    :param pool_keepalive: ping idle connections this often (None).
    :param pool_slow_checkout: a checkout slower than this is logged (2).
    :param pool_keep_cancelled: roll back and keep a connection whose statement was cancelled,
        where that is safe (True; asyncpg only); False = close it, as the stock pool does.
    :param pool_leak_threshold: a connection out for longer is reported with its
        holder's call site (None).
    :param pool_name: the pool's name in logs, errors and statistics (None =
        ``host:port/database``). It is unique in the process: ``#2``, ``#3`` and so on is
        added to a name that another live pool has.
    :raises PoolOptionError: naming every wrong option, its value and the rule.

    Example::

        engine = create_async_engine(
            url, poolclass=TypedPool, pool_size=10, max_overflow=0, pool_timeout=5
        )
        print(TypedPool.of(engine).stats())
    """

    _configured: ClassVar[Mapping[str, Any]] = {}

    # The stock pools log there; so does this one.
    _sqla_logger_namespace = "sqlalchemy.pool.impl.TypedPool"

    # SQLAlchemy's tests compare the __dict__ of a pool and of its recreate(), without the
    # names that the class has as well.
    shared: Shared = cast(Any, None)
    loops: LoopPools = cast(Any, None)
    # The engine that ``of`` was called with.
    _engine: Callable[[], Engine | None] = staticmethod(_unknown_engine)

    # create_engine() sees only positional-or-keyword parameters.
    def __init__(
        self,
        creator: Any,
        pool_size: int = UNSET,
        max_overflow: int = UNSET,
        timeout: float | None = UNSET,
        use_lifo: bool = UNSET,
        recycle: float = UNSET,
        pre_ping: bool = UNSET,
        reset_on_return: Any = UNSET,
        echo: Any = None,
        logging_name: str | None = None,
        events: Any = None,
        dialect: Any = None,
        pool_min_size: int = UNSET,
        pool_idle_timeout: float | None = UNSET,
        pool_max_lifetime: float | None = UNSET,
        pool_validate_after: float | None = UNSET,
        pool_connect_timeout: float = UNSET,
        pool_connect_retry: float = UNSET,
        pool_reset_timeout: float = UNSET,
        pool_max_waiting: int | None = UNSET,
        pool_overload: Literal["adaptive", "fifo"] = UNSET,
        pool_shed_after: float | None = UNSET,
        pool_keepalive: float | None = UNSET,
        pool_slow_checkout: float | None = UNSET,
        pool_keep_cancelled: bool = UNSET,
        pool_leak_threshold: float | None = UNSET,
        pool_name: str | None = UNSET,
        _dispatch: Any = None,
        _name: PoolName | None = None,
    ) -> None:
        given = self._with_configured(dict(locals()))
        init_pool(
            self,
            creator,
            echo=_first(echo, given.pop("echo", None)),
            logging_name=_first(logging_name, given.pop("logging_name", None)),
            reset_on_return=given.pop("reset_on_return", True),
            events=events,
            dialect=dialect,
            _dispatch=_dispatch,
        )
        self._given = given
        self.given_recycle = given.get("recycle", -1)
        self.shared = self._new_shared(_name)
        self.start_empty()
        watch_forks(self)

    def _with_configured(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The options given to ``__init__``, over those of ``configured``."""
        given = {name: arguments[name] for name in GIVEN if arguments[name] is not UNSET}
        return override(self._configured, given)

    def _new_shared(self, name: PoolName | None) -> Shared:
        options, backend = self._read_options(), Backend(self)
        limits = Limits(options.pool_size, options.max_overflow)
        log = PoolLog(name or _new_name(options, backend), backend.secrets)
        if name is None:
            log.take_name()
        backend.bind(options.pool_reset_timeout)
        return Shared(options, limits, options.timeout, backend, log)

    def _read_options(self) -> ResolvedOptions:
        return read_options(
            self._given,
            reset_timeout=default_reset_timeout(self._dialect),
            logging_name=self._orig_logging_name,
        )

    def start_empty(self) -> None:
        """Without a connection: at first, and in a forked child."""
        self.shared.first_connect = FirstConnectLock()
        self.loops = LoopPools(self.shared)
        if self.shared.durations is not None:  # another thread of the parent may hold its lock
            self._keep_durations(self.shared.durations.emptied())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.shared.name}>"

    # ------------------------------------------------------------------- access

    @classmethod
    def of(cls, engine: AsyncEngine) -> TypedPool:
        """Return the pool of an engine.

        :param engine: an ``AsyncEngine`` (an ``Engine`` works too).
        :raises TypeError: the engine has another pool; the message contains the change that is
            needed.

        Example::

            pool = TypedPool.of(engine)
        """
        pool = getattr(engine, "pool", None)
        if isinstance(pool, TypedPool):
            sync_engine: Any = getattr(engine, "sync_engine", engine)
            pool._engine = weakref.ref(sync_engine)
            return pool
        raise TypeError(
            f"this engine's pool is {type(pool).__name__}, not TypedPool: pass "
            f"poolclass=TypedPool to create_async_engine, or add ?plugin=typedpool to its URL"
        )

    @classmethod
    def configured(cls, **options: Unpack[PoolOptions]) -> type[TypedPool]:
        """Return a subclass with other defaults, for settings that take only a ``poolclass``.

        :param options: those of `PoolOptions`, with the names that ``create_async_engine`` takes.
        :raises PoolOptionError: options are unknown, or their values are wrong.

        Example::

            config = SQLAlchemyAsyncConfig(
                engine_config=EngineConfig(poolclass=TypedPool.configured(pool_min_size=2))
            )
        """
        given, faults = parameter_names(options)
        if faults:
            raise option_error(faults)
        ours = override(cls._configured, given)
        return type(cls.__name__, (cls,), {"_configured": ours, "__doc__": cls.__doc__})

    @property
    def options(self) -> ResolvedOptions:
        """Every option with its value."""
        return self.shared.options

    def stats(self) -> PoolStats:
        """Return a snapshot of the pool's numbers, all event loops added up."""
        return snapshot(
            self.shared.name,
            [pool.state.gauges() for pool in self.loops],
            [self.loops.ended_counters, *(pool.counters for pool in self.loops)],
            max_total=self.shared.limits.max_total,
            min_size=self.options.pool_min_size,
            is_overloaded=any(pool.overload.is_overloaded for pool in self.loops),
            longest_use=max((pool.holders.longest_use() for pool in self.loops), default=0.0),
        )

    def record_durations(self, record: Record | None) -> None:
        """Pass each duration of a wait, a use and a connect to a function.

        It is called at each tick of the housekeeper and by ``flush_durations``. If there are more
        than a thousand durations of one kind until then, it gets a uniform sample of them.

        :param record: gets the kind and the seconds, in any thread; None = no function.
        """
        self._keep_durations(None if record is None else Durations(record))

    def _keep_durations(self, durations: Durations | None) -> None:
        self.shared.durations = durations
        self.shared.keep_durations = None if durations is None else durations.add
        for pool in self.loops:
            pool.counters.keep_durations(self.shared.keep_durations)

    def flush_durations(self) -> None:
        """Pass on all durations that are kept, see ``record_durations``."""
        for pool in self.loops:
            pool.counters.sort_uses()
        if self.shared.durations is not None:
            self.shared.durations.record()

    def holders(self) -> list[Holder]:
        """Return the tasks that hold a connection now, the longest first."""
        found = [holder for pool in self.loops for holder in pool.holders.all()]
        return sorted(found, key=lambda holder: -holder.seconds)

    async def warm(self) -> None:
        """Open ``pool_min_size`` connections (at least one) and wait for them.

        :raises Exception: what ``engine.connect()`` raises if the database cannot be
            reached: a ``DBAPIError``, or the driver's ``OSError``.

        Example::

            await TypedPool.of(engine).warm()  # at the start of an application
        """
        pool = self._current()
        pool.on_acquire()
        wanted = max(1, self.options.pool_min_size) - pool.slots.in_use
        if wanted <= len(pool.slots.idle):
            return
        try:
            await pool.fill(wanted)  # the idle ones among them
        except Exception as error:  # noqa: BLE001 - SQLAlchemy raises it again
            await greenlet_spawn(raise_connect_error, self._dialect, self._engine(), error)

    def retire_all(self) -> None:
        """Replace every connection: an idle one now, one that is in use when it is returned.

        Call it after a change of credentials, a failover or a migration.

        Example::

            TypedPool.of(engine).retire_all()
        """
        if self.shared.backend.storage not in IN_MEMORY:
            self.loops.broadcast(shutdown.retire_all)

    async def close(self, timeout: float = 10.0) -> None:
        """Hand out no more connections, wait for those in use, then close them by force.

        A checkout raises `PoolClosed` from then on. It may be called several times.
        ``engine.dispose()`` afterwards starts a new pool, as always.

        :param timeout: seconds to wait for the holders; those that still hold a
            connection then are logged, and their connections closed.

        Example::

            await TypedPool.of(engine).close(timeout=10)
        """
        self.shared.is_closed = True
        self.loops.broadcast(shutdown.stop_accepting)
        bound = timeout + self.options.pool_reset_timeout + 1.0  # for another loop to begin
        await self.loops.run_in_each(lambda pool: shutdown.drain(pool, timeout), bound)
        self._release_name()

    def _release_name(self) -> None:
        if not self.checkedout():
            self.shared.log.name.release()

    # ------------------------------------------------ for the typed layer: no proxy

    @property
    def has_connected(self) -> bool:
        """Whether a connection has been opened, and SQLAlchemy has read the server's settings."""
        return self.shared.first_connect.is_open

    def take(self) -> PoolEntry | None:
        """Check out an entry that needs no waiting, without a greenlet and without a proxy.

        Give it back with ``give_back``, in the same event loop.

        :return: None if the caller has to wait (``wait_and_take``), or if the
            application listens to checkouts.
        """
        dispatch = self.dispatch
        if dispatch.checkout or dispatch.checkin or dispatch.reset:
            return None
        pool = self.loops.last_used
        if pool is None or pool.loop is not get_running_loop():
            pool = self._current()
        return pool.try_checkout()

    async def wait_and_take(self) -> PoolEntry | None:
        """As ``take``, but it waits.

        :return: None only if the application listens to checkouts.
        :raises PoolTimeout: and every other error of a checkout.
        """
        dispatch = self.dispatch
        if dispatch.checkout or dispatch.checkin or dispatch.reset:
            return None
        return await self._current().acquire()

    def give_back(self, entry: PoolEntry) -> None:
        """Return what ``take`` gave, without a transaction on it. Never waits."""
        entry.owner.checkin(entry)

    # --------------------------------------------------------- what SQLAlchemy calls

    def _do_get(self) -> Any:
        try:
            loop = get_running_loop()
        except RuntimeError:
            return self._connect_unpooled()
        pool = self.loops.last_used
        if pool is None or pool.loop is not loop:
            pool = self._current()
        entry = pool.try_checkout()
        return entry if entry is not None else self._wait(pool)

    def _wait(self, pool: LoopPool) -> Any:
        if not self.shared.backend.is_async and not in_greenlet():
            return self._connect_unpooled()
        return await_only(pool.acquire())  # outside a greenlet: MissingGreenlet, with its advice

    def _connect_unpooled(self) -> Any:
        """Without an event loop (mocks, synchronous helpers) connections are not pooled."""
        if self.shared.is_closed:
            raise self.shared.closed_error(CLOSED)
        return stock_record(self)

    def _current(self) -> LoopPool:
        """The running loop's part."""
        if self.shared.backend.bound_to is not self._dialect:  # it was set since
            self.shared.options = self._read_options()
            self.shared.backend.bind(self.options.pool_reset_timeout)
            if not self.shared.log.name.is_given:
                self.shared.log.name = _new_name(self.options, self.shared.backend)
                self.shared.log.take_name()
        return self.loops.current()

    def _return_conn(self, record: Any) -> None:
        if type(record) is not PoolEntry:
            record.close()  # it is not pooled
        elif record.owner.loop is running_loop():
            record.owner.checkin(record)
        else:
            self._do_return_conn(record)

    def _do_return_conn(self, record: Any) -> None:
        # From detach() as well. The garbage collector detaches too, in the middle of anything
        # that the pool does, so this always waits for the loop's next turn.
        loop = record.owner.loop if type(record) is PoolEntry else None
        if loop is not None and loop is not running_loop():
            # In the collector's thread SQLAlchemy goes on, and returns the record again if it is
            # in use by then: it must not be that of the next borrower.
            record.is_reusable = False
        if loop is not None and not call_in_loop(loop, record.owner.checkin, record):
            self.loops.reap(loop)

    def _close_connection(self, connection: Any, *, terminate: bool = False) -> None:
        backend = self.shared.backend
        if isinstance(terminate, CloseMode):  # one of the pool's own jobs
            self._close_now(connection, terminate)
        elif not backend.is_async:
            close_in_place(self, connection, terminate=terminate)
        elif backend.is_opening(connection):  # its connect events have failed
            self._close_now(connection, CloseMode(terminate))
        else:
            self._close_in_background(connection, CloseMode(terminate))

    def _close_now(self, connection: Any, mode: CloseMode) -> None:
        end, pool = self.shared.backend.close_now(connection, mode), self.loops.current_or_none()
        if end is not None and pool is not None:
            in_thread = self.shared.backend.driver.works_in_thread
            # an ending loop waits for it
            pool.tasks.spawn(_await(end), "close", in_thread=in_thread)

    def _close_in_background(self, connection: Any, mode: CloseMode) -> None:
        """A detached connection, or one that the garbage collector has found.

        The collector may come in any thread, and in the middle of anything that the pool
        does, so nothing is awaited here.
        """
        backend, pool = self.shared.backend, self.loops.current_or_none()
        loop = backend.loop_of(connection)
        if pool is not None and in_greenlet() and loop in (None, pool.loop):
            pool.close_foreign(connection, mode)
        elif loop in (None, running_loop()):
            self._close_now(connection, CloseMode.ABORT)
        elif not call_in_loop(loop, self._close_now, connection, CloseMode.ABORT):
            backend.release(connection)

    def _invalidate(
        self, connection: Any, exception: BaseException | None = None, _checkin: bool = True
    ) -> None:
        # a statement met a disconnect: the other connections are suspect, not dead
        if isinstance(exception, exc.InvalidatePoolError):
            self.retire_all()
        else:
            self.loops.broadcast(lambda part: part.validator.revalidate_all())
        invalidate_pool(self, connection, exception, _checkin)

    def recreate(self) -> TypedPool:
        """A fresh pool with every option of this one."""
        self.logger.info("Pool recreating")
        given = dict(self._given)
        if self._timeout != self.options.timeout:
            given["timeout"] = self._timeout
        if self.shared.limits.max_overflow != self.options.max_overflow:
            given["max_overflow"] = self.shared.limits.max_overflow
        fresh = type(self)(
            self._creator,
            **given,
            reset_on_return=self._reset_on_return,
            echo=self.echo,
            logging_name=self._orig_logging_name,
            dialect=self._dialect,
            _dispatch=self.dispatch,
            _name=self.shared.log.name,
        )
        fresh._keep_durations(self.shared.durations)
        return fresh

    def dispose(self) -> None:
        """Close idle connections, all at once; those in use are closed on their return.

        Connects are given up, unless a caller waits for one. The pool stays usable. In a greenlet
        (``await engine.dispose()``) it returns when those of the running event loop are closed,
        ``pool_reset_timeout`` at the latest.
        """
        self.loops.broadcast(shutdown.dispose)
        here = self.loops.current_or_none() if in_greenlet() else None
        if here is not None:
            await_only(shutdown.wait_disposed(here, self.options.pool_reset_timeout))
        self._release_name()
        self.logger.info("Pool disposed. %s", self.status())

    def checkedin(self) -> int:
        """Idle connections, and empty entries up to ``pool_size``."""
        return sum(_checked_in(pool) for pool in self.loops)

    def checkedout(self) -> int:
        """Connections in use."""
        return sum(pool.slots.in_use for pool in self.loops)

    def max_lifetime_assigned(self, seconds: float) -> None:
        """``pool._recycle`` was assigned: a stock name of ``pool_max_lifetime``."""
        self._given = override(self._given, {"recycle": seconds})
        self.shared.options = self._read_options()
        for pool in self.loops:
            pool.lifetime_changed()


def _new_name(options: ResolvedOptions, backend: Backend) -> PoolName:
    given = options.pool_name
    return PoolName(given or backend.default_name(), is_given=given is not None)


async def _await(end: Awaitable[object]) -> None:
    await end


def _checked_in(pool: LoopPool) -> int:
    """Idle entries, and the empty ones that would be kept beside them."""
    idle, empty = len(pool.slots.idle), len(pool.empty_entries)
    return idle + int(min(empty, max(0, pool.slots.max_idle - idle)))
