"""``TypedPool``: the thin face over the houses, in SQLAlchemy's own words.

It answers SQLAlchemy's pool interface (``_do_get``, ``_do_return_conn``,
``dispose``, ``recreate``, the five numbers) and finds the house of the running
event loop. The work is done in :mod:`.station`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from asyncio import current_task, get_running_loop
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast
from weakref import ref

from sqlalchemy import exc

from sqla_typedpool._sqlalchemy import (
    AsyncAdaptedQueuePool,
    await_only,
    bound_resets,
    connect_arguments,
    in_greenlet,
    init_pool,
    pool_invalidate,
)
from sqla_typedpool.pool import loops
from sqla_typedpool.pool.drivers import Driver, cut, driver_of, force_close
from sqla_typedpool.pool.holders import Holder, call_site
from sqla_typedpool.pool.inline import Inline
from sqla_typedpool.pool.options import (
    UNCHECKED,
    UNSET,
    PoolOptions,
    parameter_names,
    read_flag,
    read_options,
)
from sqla_typedpool.pool.record import TypedRecord
from sqla_typedpool.pool.slots import Limits
from sqla_typedpool.pool.station import Station
from sqla_typedpool.pool.stats import PoolStats, Tally, picture

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from sqla_typedpool.pool.house import House

__all__ = ["TypedPool"]

_NEVER = float("inf")
_JITTER = 0.1  # of a lifetime, at most: connections born together do not die together
_RESET_TIMEOUT = {"mysql": 60.0, "mariadb": 60.0}  # InnoDB may take long to roll back
_SQLITE_MEMORY = (":memory:", "mode=memory")


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
    :param recycle: the stock name of ``pool_max_lifetime``.
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
    :param pool_reset_timeout: the bound on a rollback, a reset, a polite close (5;
        MySQL and MariaDB 60).
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
        given = {
            **self._configured,
            **{
                name: value
                for name, value in (
                    ("pool_size", pool_size),
                    ("max_overflow", max_overflow),
                    ("timeout", timeout),
                    ("use_lifo", use_lifo),
                    ("recycle", recycle),
                    ("pre_ping", pre_ping),
                    ("reset_on_return", reset_on_return),
                    ("pool_min_size", pool_min_size),
                    ("pool_idle_timeout", pool_idle_timeout),
                    ("pool_max_lifetime", pool_max_lifetime),
                    ("pool_validate_after", pool_validate_after),
                    ("pool_connect_timeout", pool_connect_timeout),
                    ("pool_connect_retry", pool_connect_retry),
                    ("pool_reset_timeout", pool_reset_timeout),
                    ("pool_max_waiting", pool_max_waiting),
                    ("pool_keepalive", pool_keepalive),
                    ("pool_slow_checkout", pool_slow_checkout),
                    ("pool_leak_threshold", pool_leak_threshold),
                )
                if value is not UNSET
            },
        }
        read_flag("pre_ping", given.pop("pre_ping", False))
        init_pool(
            self,
            creator,
            echo=echo,
            logging_name=logging_name,
            reset_on_return=given.pop("reset_on_return", True),
            events=events,
            dialect=dialect,
            _dispatch=_dispatch,
        )
        self._given = given
        self.options: PoolOptions = read_options(given, reset_timeout=self._reset_timeout())
        self._timeout = cast(float, self.options.timeout)
        self.limits = Limits(self.options.pool_size, self.options.max_overflow)
        self.first_turn = loops.FirstTurn()
        self.forced = set()
        self._stations = {}
        self._near = None
        self._closed = False
        self._past = Tally()
        self._inline = Inline(self)
        self._adopted = None

    # Attributes with a place here are not compared by code that compares a pool
    # with its recreate() by their __dict__ (SQLAlchemy's test-suite does).
    first_turn: loops.FirstTurn = cast(Any, None)
    forced: set[int] = cast(Any, None)  # connections to be closed without a farewell
    _stations: dict[asyncio.AbstractEventLoop, Station] = cast(Any, None)
    _near: Station | None = None  # the station used last
    _closed: bool = False
    _past: Tally = cast(Any, None)  # what the stations of ended loops have counted
    _inline: Inline = cast(Any, None)
    _adopted: Any = None  # the dialect whose resets are bounded

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
        ours = {**cls._configured, **parameter_names(options)}
        checked = {name: value for name, value in ours.items() if name not in UNCHECKED}
        read_options(checked)
        return type(cls.__name__, (cls,), {"_configured": ours, "__doc__": cls.__doc__})

    def stats(self) -> PoolStats:
        """A picture of the pool's numbers, all event loops added up."""
        houses = list(self._houses())
        return picture(
            (house.gauges() for house in houses),
            [self._past, *(house.tally for house in houses)],
            most=self.limits.most,
            least=self.options.pool_min_size,
        )

    def holders(self) -> list[Holder]:
        """Who holds a connection now, longest first."""
        found = [holder for house in self._houses() for holder in house.holders()]
        return sorted(found, key=lambda holder: -holder.seconds)

    async def warm(self) -> None:
        """Open ``pool_min_size`` connections (at least one) and wait for them.

        :raises Exception: the driver's own error if the database cannot be
            reached, within ``pool_timeout``.
        """
        station = self._station()
        station.keeper.start()
        missing = max(1, self.options.pool_min_size) - station.slots.total()
        if missing > 0:
            await station.fill(missing)

    def retire_all(self) -> None:
        """Replace every connection gently: idle ones now, the others on return.

        For rotated credentials, a failover, a migration.
        """
        if not self.in_memory:
            self._tell_stations(Station.retire_all)
            self._inline.retire_all()

    async def close(self, timeout: float = 10.0) -> None:
        """Hand out nothing more, wait for what is out, then close by force.

        Idempotent. ``engine.dispose()`` afterwards starts a fresh pool, as always.

        :param timeout: seconds to wait for the holders; those that still hold a
            connection then are logged, and their connections closed.
        """
        self._closed = self._inline.refusing = True
        here = self._stations.get(get_running_loop())
        self._tell_stations(Station.refuse)
        if here is not None:
            await here.drain(timeout)
        self._inline.dispose()

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
        return self._do_get(False)

    def give_back(self, record: TypedRecord) -> None:
        """Return what ``take`` gave, without a transaction on it. Never waits."""
        self._do_return_conn(record)

    # --------------------------------------------------- what SQLAlchemy calls
    #
    # The next two are the whole of an ordinary checkout and return, written out
    # because every call and every line in them is paid for at each request.

    def _do_get(self, wait: bool = True) -> TypedRecord:
        try:
            loop = get_running_loop()
        except RuntimeError:
            return self._inline.checkout()
        station = self._near
        if station is None or station.loop is not loop:
            station = self._station_of(loop)
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
                    task = current_task(loop)
                    record.task = None if task is None else ref(task)
                    station.tally.checkouts += 1
                    if station.notes_sites:
                        record.site = call_site()
                    return record
                station.reject(record, verdict)
        if not wait:
            return None  # type: ignore[return-value]
        return station.checkout() if in_greenlet() else self._inline_in_loop(station)

    def _do_return_conn(self, record: Any) -> None:
        house = record.house
        try:
            here = get_running_loop()
        except RuntimeError:
            here = None
        if house.loop is not here or here is None:
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

    _return_conn = _do_return_conn  # SQLAlchemy calls one through the other

    def _return_elsewhere(self, record: TypedRecord) -> None:
        """From no loop's thread, another thread, or the garbage collector."""
        house = record.house
        loop = house.loop
        if loop is None:
            self._inline.give_back(record)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(self._do_return_conn, record)
        else:
            cast(Station, house).abandon()

    def _inline_in_loop(self, station: Station) -> TypedRecord:
        """Asked for in a running loop but outside SQLAlchemy's greenlets."""
        if self._dialect.is_async and type(self._dialect).__name__ != "_AsyncConnDialect":
            await_only(_never())  # raises MissingGreenlet, with SQLAlchemy's own advice
        return self._inline.checkout()

    def _close_connection(self, connection: Any, *, terminate: bool = False) -> None:
        if not terminate or not self._dialect.is_async:
            super()._close_connection(connection, terminate=terminate)
        elif id(connection) in self.forced:
            self.forced.discard(id(connection))
            self._force(connection)
        elif in_greenlet():
            self._station().closer.terminate(connection)
        else:
            self._close_elsewhere(connection)

    def _close_elsewhere(self, connection: Any) -> None:
        """Outside any greenlet: the garbage collector has found a leaked connection."""
        loop = getattr(self._dialect.get_driver_connection(connection), "_loop", None)
        try:
            here = get_running_loop()
        except RuntimeError:
            here = None
        if loop is None or loop is here or loop.is_closed():
            self._force(connection)
        else:
            loop.call_soon_threadsafe(self._force, connection)

    def _force(self, connection: Any) -> None:
        self.logger.debug("Hard-closing connection %r", connection)
        try:
            force_close(self._dialect, connection)
        except Exception:
            self.logger.exception("Exception terminating connection %r", connection)

    def close_now(self, connection: Any) -> None:
        """Terminate in the present greenlet, as SQLAlchemy does: politely first."""
        super()._close_connection(connection, terminate=True)

    def _invalidate(
        self, connection: Any, exception: BaseException | None = None, _checkin: bool = True
    ) -> None:
        # A statement met a disconnect: older connections are suspect, not dead.
        if isinstance(exception, exc.InvalidatePoolError):
            self.retire_all()
        else:
            self._tell_stations(lambda station: station.liveness.suspect_all())
        pool_invalidate(self, connection, exception, _checkin)

    def recreate(self) -> TypedPool:
        """A fresh pool with every option of this one."""
        self.logger.info("Pool recreating")
        given = dict(self._given)
        if self._timeout != self.options.timeout:
            given["timeout"] = self._timeout
        if self._max_overflow != self.options.max_overflow:
            given["max_overflow"] = self._max_overflow
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
        self._tell_stations(Station.dispose)
        self._inline.dispose()
        if in_greenlet():
            station = self._stations.get(get_running_loop())
            if station is not None:
                await_only(station.settle(self.options.pool_reset_timeout))
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
        return sum(len(house.slots.idle) + len(house.shells) for house in self._houses())

    def checkedout(self) -> int:
        """Connections in use."""
        return sum(house.slots.in_use for house in self._houses())

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

    # ------------------------------------------------------------------- houses

    def _station(self) -> Station:
        """The running event loop's part; RuntimeError without a running loop."""
        loop = get_running_loop()
        near = self._near
        if near is not None and near.loop is loop:
            return near
        return self._station_of(loop)

    def _station_of(self, loop: asyncio.AbstractEventLoop) -> Station:
        station = self._stations.get(loop)
        if station is None:
            self._adopt_dialect()
            station = self._stations[loop] = Station(self, loop)
            station.refusing = self._closed
            self._report_loops()
        self._near = station
        return station

    def _report_loops(self) -> None:
        live = [loop for loop in list(self._stations) if not loop.is_closed()]
        if len(live) == 2:
            self.log.warning(
                "this engine is used from %d event loops at once: each has its own "
                "connections, so the limit counts per loop",
                len(live),
                extra={"loops": len(live)},
            )

    def part_with(self, station: Station) -> None:
        """A loop has ended: keep its numbers, forget the rest."""
        if self._stations.get(station.loop) is station:
            del self._stations[station.loop]
            self._past.add(station.tally)
        if self._near is station:
            self._near = None

    def _houses(self) -> Iterator[House]:
        yield self._inline
        yield from list(self._stations.values())

    def _tell_stations(self, order: Callable[[Station], object]) -> None:
        """Give an order to every loop's part, each in its own loop."""
        loops.sweep()
        try:
            here = get_running_loop()
        except RuntimeError:
            here = None
        for loop, station in list(self._stations.items()):
            if loop is here:
                order(station)
            elif loop.is_closed():
                station.abandon()
            else:
                loop.call_soon_threadsafe(order, station)

    # -------------------------------------------------------------- connections

    def new_record(self, house: House) -> TypedRecord:
        """An empty record."""
        return TypedRecord(self, house)

    def _create_connection(self) -> TypedRecord:
        record = self.new_record(self._inline)
        record.open()
        return record

    @property
    def driver(self) -> Driver:
        """The row of this engine's driver."""
        return driver_of(self._dialect)

    def _adopt_dialect(self) -> None:
        """Bound the resets of the dialect. It may be set late (``pool=`` does)."""
        dialect = self._dialect
        if self._adopted is dialect or not hasattr(dialect, "get_dialect_cls"):
            return
        self._adopted = dialect
        self.options = read_options(self._given, reset_timeout=self._reset_timeout())
        bound_resets(
            dialect,
            lambda: self.options.pool_reset_timeout,
            lambda connection: cut(dialect, connection),
        )

    def _reset_timeout(self) -> float:
        return _RESET_TIMEOUT.get(getattr(self._dialect, "name", ""), 5.0)

    def connect_timeout(self) -> float:
        """The bound on one attempt in seconds; a longer one in connect_args wins."""
        ours = self.options.pool_connect_timeout
        _, arguments = connect_arguments(self._creator)
        try:
            theirs = float(arguments.get(self.driver.connect_timeout) or 0)
        except (TypeError, ValueError):
            theirs = 0.0
        return max(ours, theirs)

    @property
    def in_memory(self) -> bool:
        """Whether closing a connection would lose the database (SQLite in memory)."""
        if getattr(self._dialect, "name", "") != "sqlite":
            return False
        arguments, _ = connect_arguments(self._creator)
        name = str(arguments[0]) if arguments else None
        return name is not None and (not name or any(word in name for word in _SQLITE_MEMORY))

    def forbids_another(self, existing: int) -> BaseException | None:
        """The error to give a caller who would need one more connection, if any."""
        if existing == 0 or not self.in_memory:
            return None
        arguments, _ = connect_arguments(self._creator)
        if "cache=shared" in str(arguments[0]):
            return None
        return exc.InvalidRequestError(
            "an in-memory SQLite database lives in one connection, and a second one would see "
            "an empty database; next: use poolclass=StaticPool to share the connection, or "
            "pool_size=1, max_overflow=0 to let callers wait for it"
        )

    def lifetime(self) -> float:
        """How long a connection born now may live, in seconds."""
        most = self.options.pool_max_lifetime
        if most is None or self.in_memory:
            return _NEVER
        return most * (1 - _JITTER * random.random())

    def shortest_lifetime(self) -> float | None:
        """The shortest lifetime that may be drawn."""
        most = self.options.pool_max_lifetime
        return None if most is None else most * (1 - _JITTER)

    def trusted_for(self) -> float:
        """For how long an unused connection is handed out without a ping."""
        after = self.options.pool_validate_after
        return _NEVER if after is None or not self.driver.needs_ping else after

    # --------------------------------------------------------------------- ping

    def asks_dialect(self, connection: Any) -> bool:
        """Whether a ping has to go through the dialect: an adapter nobody has
        studied, or listeners that want to see errors."""
        dialect: Any = self._dialect
        return type(connection).__name__ != self.driver.adapter or dialect._has_events

    def ping_through_dialect(self, connection: Any) -> bool:
        """SQLAlchemy's own ping, in the present greenlet; False = disconnected."""
        dialect: Any = self._dialect
        answered: bool = dialect._do_ping_w_event(connection)
        if answered and self.driver.ping_opens_transaction:
            dialect.do_rollback(connection)
        return answered


async def _never() -> None:
    """Something to await where nothing can be awaited."""
