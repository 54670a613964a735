"""``TypedPool``: the thin face over the houses, in SQLAlchemy's own words.

It answers SQLAlchemy's pool interface (``_do_get``, ``_do_return_conn``,
``dispose``, ``recreate``, the five numbers) and finds the house of the running
event loop. The work is done in :mod:`.station`.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import current_task, get_running_loop
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from sqlalchemy import exc

from sqla_typedpool._sqlalchemy import (
    AsyncAdaptedQueuePool,
    await_only,
    in_greenlet,
    init_pool,
    is_collecting,
    pool_invalidate,
    stub_dialect,
)
from sqla_typedpool.pool import ending, forking, loops
from sqla_typedpool.pool.database import Database, default_reset_timeout
from sqla_typedpool.pool.holders import Holder
from sqla_typedpool.pool.houses import Houses
from sqla_typedpool.pool.options import (
    GIVEN,
    UNSET,
    PoolOptions,
    override,
    parameter_names,
    read_options,
)
from sqla_typedpool.pool.parting import Parting
from sqla_typedpool.pool.record import TypedRecord
from sqla_typedpool.pool.slots import Limits
from sqla_typedpool.pool.station import Station
from sqla_typedpool.pool.stats import PoolStats, picture

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from sqla_typedpool.pool.house import House
    from sqla_typedpool.pool.inline import Inline

__all__ = ["TypedPool"]

_NEVER = float("inf")


def _first(value: Any, other: Any) -> Any:
    return other if value is None else value


class TypedPool(AsyncAdaptedQueuePool):
    """A drop-in for SQLAlchemy's ``AsyncAdaptedQueuePool`` that keeps its word.

    One deadline covers a checkout; the queue is fair; connections are validated,
    reaped, retired and refilled in the background; a return never waits; nothing
    hangs on a dead socket.

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
        become idle and can be reaped).
    :param recycle: the stock name of ``pool_max_lifetime``; -1, its stock default,
        leaves that one's default.
    :param pre_ping: accepted; connections are validated in any case.
    :param pool_min_size: connections kept open, refilled in the background (0).
    :param pool_idle_timeout: an idle connection above the floor older than this
        is closed (600).
    :param pool_max_lifetime: each connection's own age limit, less 0-10 % jitter
        (1800).
    :param pool_validate_after: ping before hand-out if unused for longer (0.5);
        0 = at every checkout; None = only look at the socket.
    :param pool_connect_timeout: the bound on one connection attempt (10); a
        longer ``timeout`` in ``connect_args`` wins.
    :param pool_connect_retry: how long, from the start of an outage, waiters are
        kept through refused connects (5).
    :param pool_reset_timeout: the bound on the rollback of a return, a resetting
        commit, a polite close (5; MySQL and MariaDB 60).
    :param pool_max_waiting: more waiters than this are refused at once (None).
    :param pool_keepalive: ping idle connections this often (None).
    :param pool_slow_checkout: a checkout slower than this is logged (2).
    :param pool_leak_threshold: a connection out for longer is reported with its
        holder's call site (None).
    :raises PoolOptionError: naming every wrong option, its value and the rule.

    Example::

        engine = create_async_engine(
            url, poolclass=TypedPool, pool_size=10, max_overflow=0, pool_timeout=5
        )
        print(TypedPool.of(engine).stats())
    """

    # Per instance state of which recreate()'s twin must not compare as different
    # lives in the houses; what is here is shared by all instances.
    log: ClassVar[logging.Logger] = logging.getLogger("sqla_typedpool.pool")
    _configured: ClassVar[Mapping[str, Any]] = {}

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
        pool_keepalive: float | None = UNSET,
        pool_slow_checkout: float | None = UNSET,
        pool_leak_threshold: float | None = UNSET,
        _dispatch: Any = None,
    ) -> None:
        arguments = dict(locals())
        given = override(
            self._configured, {n: arguments[n] for n in GIVEN if arguments[n] is not UNSET}
        )
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
        self.options: PoolOptions = self._read_options()
        self._timeout = cast(float, self.options.timeout)
        self.limits = Limits(self.options.pool_size, self.options.max_overflow)
        self.database = Database(self)
        self.start_anew()
        forking.watch(self)

    # Attributes with a place here are not compared by code that compares a pool
    # with its recreate() by their __dict__ (SQLAlchemy's test-suite does).
    database: Database = cast(Any, None)
    houses: Houses = cast(Any, None)
    first_turn: loops.FirstTurn = cast(Any, None)
    parting: Parting = cast(Any, None)
    near: Station | None = None  # the station used last; most often the only one
    _closed: bool = False

    # The stock pools log there; so do we.
    _sqla_logger_namespace = "sqlalchemy.pool.impl.TypedPool"

    def _read_options(self) -> PoolOptions:
        return read_options(self._given, reset_timeout=default_reset_timeout(self._dialect))

    # ------------------------------------------------------------------- access

    @classmethod
    def of(cls, engine: AsyncEngine) -> TypedPool:
        """The pool of an engine, typed.

        :param engine: an ``AsyncEngine`` (an ``Engine`` works too).
        :raises TypeError: when the engine has another pool; the message says how
            to change that.
        """
        pool = getattr(engine, "pool", None)
        if isinstance(pool, TypedPool):
            return pool
        raise TypeError(
            f"this engine's pool is {type(pool).__name__}, not TypedPool: pass "
            f"poolclass=TypedPool to create_async_engine, or add ?plugin=typedpool to its URL"
        )

    @classmethod
    def configured(cls, **options: Any) -> type[TypedPool]:
        """A subclass with other defaults, for settings that take only a ``poolclass``.

        :param options: the names ``create_async_engine`` takes, pool_size,
            pool_timeout, pool_min_size and so on.
        :raises PoolOptionError: for unknown names and wrong values.

        Example::

            config = SQLAlchemyAsyncConfig(
                engine_config=EngineConfig(poolclass=TypedPool.configured(pool_min_size=2))
            )
        """
        ours = override(cls._configured, parameter_names(options))
        return type(cls.__name__, (cls,), {"_configured": ours, "__doc__": cls.__doc__})

    def stats(self) -> PoolStats:
        """A picture of the pool's numbers, all event loops added up."""
        houses = list(self.houses)
        return picture(
            (house.gauges() for house in houses),
            [self.houses.past, *(house.tally for house in houses)],
            most=self.limits.most,
            least=self.options.pool_min_size,
        )

    def holders(self) -> list[Holder]:
        """Who holds a connection now, longest first."""
        found = [holder for house in self.houses for holder in house.holders()]
        return sorted(found, key=lambda holder: -holder.seconds)

    async def warm(self) -> None:
        """Open ``pool_min_size`` connections (at least one) and wait for them.

        :raises Exception: the driver's own error if the database cannot be
            reached, within ``pool_timeout``.
        """
        station = self.houses.here()
        station.keeper.start()
        wanted = max(1, self.options.pool_min_size) - station.slots.in_use
        if wanted > len(station.slots.idle):
            await station.fill(wanted)  # the idle ones among them

    def retire_all(self) -> None:
        """Replace every connection gently: idle ones now, the others on return.

        For rotated credentials, a failover, a migration.
        """
        if not self.database.in_memory:
            self.houses.tell(ending.retire_all)
            self.houses.inline.retire_all()

    async def close(self, timeout: float = 10.0) -> None:
        """Hand out nothing more, wait for what is out, then close by force.

        Idempotent. ``engine.dispose()`` afterwards starts a fresh pool, as always.

        :param timeout: seconds to wait for the holders; those that still hold a
            connection then are logged, and their connections closed.
        """
        self._closed = True
        self.houses.tell(ending.refuse)
        self.houses.inline.refuse()
        await asyncio.gather(*self.houses.everywhere(lambda each: ending.drain(each, timeout)))

    # ------------------------------------------- for callers that need no fairy

    def take(self) -> TypedRecord | None:
        """A validated connection that is to be had without waiting, else None.

        For the typed layer: no greenlet, no proxy. None also while somebody
        waits, and while listeners want to see checkouts. Give it back with
        ``give_back``, in the same event loop.
        """
        dispatch = self.dispatch
        if dispatch.checkout or dispatch.checkin or dispatch.reset:
            return None
        record: TypedRecord | None = self._do_get(False)
        if record is not None and record.is_softly_invalid():
            record.condemn("invalidated")
            self.give_back(record)
            return None
        return record

    async def wait_and_take(self) -> TypedRecord | None:
        """As ``take``, but it waits; None only while listeners want to see checkouts.

        :raises PoolTimeout: and whatever else a checkout raises.
        """
        dispatch = self.dispatch
        if dispatch.checkout or dispatch.checkin or dispatch.reset:
            return None
        record = await self.houses.here().acquire()
        while record.is_softly_invalid():
            record.condemn("invalidated")
            self.give_back(record)
            record = await self.houses.here().acquire()
        return record

    def give_back(self, record: TypedRecord) -> None:
        """Return what ``take`` gave, without a transaction on it. Never waits."""
        self._return_conn(record)

    # --------------------------------------------------- what SQLAlchemy calls
    #
    # The next two are the whole of an ordinary checkout and return, written out
    # because every call and every line in them is paid for at each request.

    def _do_get(self, wait: bool = True) -> TypedRecord:
        try:
            loop = get_running_loop()
        except RuntimeError:
            return self.houses.inline.checkout() if wait else None  # type: ignore[return-value]
        station = self.near
        if station is None or station.loop is not loop:
            station = self.houses.of(loop)
        slots = station.slots
        if not slots.waiters:
            idle = slots.idle
            while idle:
                record = idle[slots.end]
                now = station.clock()
                if now - record.verified_at >= station.trusted_for:
                    break  # to be pinged first
                verdict = record.probe()
                if not verdict:
                    slots.pop_idle()
                    slots.in_use += 1
                    record.since = now
                    record.task = current_task(loop)
                    station.tally.checkouts += 1
                    if station.notes_sites:
                        station.note_site(record)
                    return record
                station.reject(record, verdict)
        if not wait:
            return None  # type: ignore[return-value]
        return station.checkout() if in_greenlet() else self._inline_in_loop(station)

    def _return_conn(self, record: Any) -> None:
        house = record.house
        try:
            here = house.loop is get_running_loop()
        except RuntimeError:
            here = False
        if not here:
            self._return_elsewhere(record)
            return
        since = record.since
        if since is None:
            raise AssertionError(f"{record!r} was returned but is not checked out")
        now = house.clock()
        slots = house.slots
        slots.in_use -= 1
        house.tally.note_use(now - since)
        if record.reported:
            house.report_returned(record, now - since)
        record.since = record.task = record.site = None
        record.idle_since = record.verified_at = now
        if since < house.suspect_since:  # something died meanwhile: ping it first
            record.verified_at = -_NEVER
        if (
            now < record.expires_at
            and record.dbapi_connection is not None
            and not slots.waiters
            and len(slots.idle) < slots.kept
        ):
            slots.idle.append(record)
        else:
            house.take_back(record, now)

    def _do_return_conn(self, record: Any) -> None:
        # From detach(): by the application, or by the garbage collector, which may
        # come in the middle of anything we do.
        loop = record.house.loop
        if loop is None or not is_collecting() or not loops.post(loop, self._return_conn, record):
            self._return_conn(record)

    def _return_elsewhere(self, record: TypedRecord) -> None:
        """From no loop's thread, another thread, or the garbage collector."""
        house = record.house
        loop = house.loop
        if loop is None:
            cast("Inline", house).give_back(record)
        elif not loops.post(loop, self._return_conn, record):
            ending.abandon(cast(Station, house))

    def _inline_in_loop(self, station: Station) -> TypedRecord:
        """Asked for in a running loop, but outside SQLAlchemy's greenlets."""
        if self._dialect.is_async and not isinstance(self._dialect, stub_dialect):
            await_only(station.tasks.settle(0))  # raises MissingGreenlet, with SQLAlchemy's advice
        return self.houses.inline.checkout()

    def _close_connection(self, connection: Any, *, terminate: bool = False) -> None:
        self.parting.close(connection, terminate=terminate)

    def _invalidate(
        self, connection: Any, exception: BaseException | None = None, _checkin: bool = True
    ) -> None:
        # A statement met a disconnect: older connections are suspect, not dead.
        if isinstance(exception, exc.InvalidatePoolError):
            self.retire_all()
        else:
            self.houses.tell(lambda station: station.liveness.suspect_all())
            self.houses.inline.retire_all()  # where nothing is pinged
        pool_invalidate(self, connection, exception, _checkin)

    def recreate(self) -> TypedPool:
        """A fresh pool with every option of this one."""
        self.logger.info("Pool recreating")
        given = dict(self._given)
        if self._timeout != self.options.timeout:
            given["timeout"] = self._timeout
        if self.limits.max_overflow != self.options.max_overflow:
            given["max_overflow"] = self.limits.max_overflow
        return type(self)(
            self._creator,
            **given,
            reset_on_return=self._reset_on_return,
            echo=self.echo,
            logging_name=self._orig_logging_name,
            dialect=self._dialect,
            _dispatch=self.dispatch,
        )

    def dispose(self) -> None:
        """Close idle connections, all at once; those out are closed on their return.

        The pool stays usable. In a greenlet (``await engine.dispose()``) it
        returns when they are closed, ``pool_reset_timeout`` at the latest.
        """
        self.houses.tell(ending.dispose)
        self.houses.inline.dispose()
        here = self.houses.at_hand() if in_greenlet() else None
        if here is not None:
            await_only(here.tasks.settle(self.options.pool_reset_timeout))
        self.logger.info("Pool disposed. %s", self.status())

    # -------------------------------------------------------------- stock words

    def size(self) -> int:
        """``pool_size``."""
        return self.limits.size

    def timeout(self) -> float:
        """``pool_timeout`` in seconds."""
        return self._timeout

    def checkedin(self) -> int:
        """Connections at rest, empty records included."""
        return sum(len(house.slots.idle) + len(house.shells) for house in self.houses)

    def checkedout(self) -> int:
        """Connections in use."""
        return sum(house.slots.in_use for house in self.houses)

    def overflow(self) -> int:
        """Connections beyond ``pool_size``; negative below it."""
        return self.checkedin() + self.checkedout() - self.limits.size if self.limits.size else 0

    @property
    def _overflow(self) -> int:  # type: ignore[override]
        return self.checkedin() + self.checkedout() - self.limits.size

    @property
    def _max_overflow(self) -> int:
        return self.limits.max_overflow if self.limits.size else -1

    @_max_overflow.setter
    def _max_overflow(self, value: int) -> None:
        self.limits.max_overflow = value

    @property
    def _recycle(self) -> int:
        return -1  # SQLAlchemy's own recycling, in the borrower's path, stays off

    @_recycle.setter
    def _recycle(self, seconds: int) -> None:
        if "options" not in self.__dict__:
            return  # the stock pools' __init__ sets it
        self._given = override(self._given, {"recycle": seconds})
        self.options = self._read_options()
        for house in self.houses:
            house.limit_lifetime()

    # ------------------------------------------------------------ for the houses

    def start_anew(self) -> None:
        """Without a connection; what there was is nobody's business here any more."""
        self.near = None
        self.houses = Houses(self)
        self.first_turn = loops.FirstTurn()
        self.parting = Parting(self)

    def prepare(self) -> None:
        """Before the first connection of a loop: the dialect is known now."""
        self.options = self._read_options()
        self.database.meet()

    @property
    def is_closed(self) -> bool:
        """Whether ``close()`` has been called."""
        return self._closed

    def new_record(self, house: House) -> TypedRecord:
        """An empty record."""
        return TypedRecord(self, house)

    def _create_connection(self) -> TypedRecord:
        record = self.new_record(self.houses.inline)
        record.open()
        return record
