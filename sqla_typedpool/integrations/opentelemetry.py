"""Metrics and spans for OpenTelemetry (``pip install "sqla-typedpool[opentelemetry]"``).

The names, units and attributes of ``db.client.connection.*`` are those of the semantic
conventions for database client metrics, version 1.44.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, TypeAlias
from weakref import ReferenceType, WeakKeyDictionary, ref

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
)

from sqla_typedpool.integrations.extras import PackagesOf

with PackagesOf("opentelemetry"):
    from opentelemetry import context, metrics, trace
    from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider

from sqla_typedpool import __version__
from sqla_typedpool._sqlalchemy.engines import root_engine
from sqla_typedpool.errors import StatementTimeout
from sqla_typedpool.fetch import observing
from sqla_typedpool.fetch.fast.call import Call
from sqla_typedpool.pool import observers
from sqla_typedpool.pool.call_limits import call_limit
from sqla_typedpool.pool.names import after_userinfo
from sqla_typedpool.pool.pool import TypedPool
from sqla_typedpool.pool.stats import BOUNDS, DurationKind, PoolStats
from sqla_typedpool.tokens import statement_keyword

_log = logging.getLogger("sqla_typedpool.integrations.opentelemetry")

_SCOPE: Final = "sqla_typedpool"
POOL_NAME: Final = "db.client.connection.pool.name"
STATE: Final = "db.client.connection.state"
_CLOSE_REASON: Final = "typedpool.close.reason"
_REFUSAL_REASON: Final = "typedpool.refusal.reason"

_Attributes: TypeAlias = "Mapping[str, str | int]"
_Values: TypeAlias = "Iterable[tuple[_Attributes, float]]"


def instrument(
    *engines: AsyncEngine,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
    with_metrics: bool = True,
    with_traces: bool = True,
) -> None:
    """Report the metrics of the engines' pools, and a span for each call of a typed function.

    :param engines: engines with a `TypedPool`. Each reports to one meter provider and one tracer
        provider: calling it again with others replaces them, with the same changes nothing.
    :param meter_provider: None is the global one.
    :param tracer_provider: None is the global one.
    :param with_metrics: whether to report metrics.
    :param with_traces: whether to make spans: one for each ``fetch_*``, ``execute``, ``stream``
        and ``@query``, and one for each checkout that waited. They contain no values.
    :raises TypeError: an engine has another pool.

    Example::

        engine = create_async_engine(url, poolclass=TypedPool)
        instrument(engine)
    """
    pools = [TypedPool.of(each) for each in engines]
    if with_metrics:
        reported = _metrics_of(meter_provider or metrics.get_meter_provider())
        for engine, pool in zip(engines, pools, strict=True):
            reported.add(root_engine(engine.sync_engine), pool)
    if with_traces:
        tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)
        _tracing.add({root_engine(engine.sync_engine): _Traced(tracer, {}) for engine in engines})


def uninstrument(*engines: AsyncEngine) -> None:
    """Stop what `instrument` has started for these engines."""
    for engine in engines:
        root = root_engine(engine.sync_engine)
        for reported in list(_reported.values()):
            reported.discard(root)
        _tracing.discard(root)


# ------------------------------------------------------------------------ metrics


class _Observed(NamedTuple):
    """A metric that is read from the pool's numbers at each collection."""

    name: str
    # A method of a `Meter`.
    kind: str
    unit: str
    description: str
    read: Callable[[TypedPool, PoolStats], _Values]


_UP_DOWN, _COUNTER, _GAUGE = (
    "create_observable_up_down_counter",
    "create_observable_counter",
    "create_observable_gauge",
)
_CONNECTION: Final = "db.client.connection"
_OWN: Final = "typedpool"


def _one(value: float) -> _Values:
    return (({}, value),)


def _states(pool: TypedPool, stats: PoolStats) -> _Values:
    return ({STATE: "idle"}, stats.idle), ({STATE: "used"}, stats.in_use)


def _most_idle(pool: TypedPool, stats: PoolStats) -> _Values:
    loops = max(1, len(list(pool.loops)))  # added up over the event loops, as all numbers are
    return _one(loops * pool.options.pool_size) if pool.options.pool_size else ()


def _limit(pool: TypedPool, stats: PoolStats) -> _Values:
    return () if stats.max is None else _one(stats.max)


def _closed(pool: TypedPool, stats: PoolStats) -> _Values:
    return (({_CLOSE_REASON: reason}, count) for reason, count in stats.closed.items())


def _refused(pool: TypedPool, stats: PoolStats) -> _Values:
    return (
        ({_REFUSAL_REASON: "saturated"}, stats.saturated),
        ({_REFUSAL_REASON: "shed"}, stats.shed),
    )


OBSERVED: Final = (
    _Observed(
        f"{_CONNECTION}.count",
        _UP_DOWN,
        "{connection}",
        "Connections that are idle or in use",
        _states,
    ),
    _Observed(
        f"{_CONNECTION}.idle.max",
        _UP_DOWN,
        "{connection}",
        "The most idle connections that are kept (pool_size); absent if there is no limit",
        _most_idle,
    ),
    _Observed(
        f"{_CONNECTION}.idle.min",
        _UP_DOWN,
        "{connection}",
        "The connections that are kept open (pool_min_size)",
        lambda pool, stats: _one(stats.min),
    ),
    _Observed(
        f"{_CONNECTION}.max",
        _UP_DOWN,
        "{connection}",
        "The most connections (pool_size and max_overflow); absent if there is no limit",
        _limit,
    ),
    _Observed(
        f"{_CONNECTION}.pending_requests",
        _UP_DOWN,
        "{request}",
        "Callers that wait for a connection",
        lambda pool, stats: _one(stats.waiting),
    ),
    _Observed(
        f"{_CONNECTION}.timeouts",
        _COUNTER,
        "{timeout}",
        "Checkouts that ended by a timeout",
        lambda pool, stats: _one(stats.timeouts),
    ),
    _Observed(
        f"{_OWN}.outage",
        _GAUGE,
        "s",
        "How long no connection could be opened",
        lambda pool, stats: _one(stats.outage_seconds),
    ),
    _Observed(
        f"{_OWN}.overloaded",
        _GAUGE,
        "1",
        "1 while the newest caller is served first",
        lambda pool, stats: _one(int(stats.is_overloaded)),
    ),
    _Observed(
        f"{_OWN}.longest_use",
        _GAUGE,
        "s",
        "How long the connection that was checked out first has been in use",
        lambda pool, stats: _one(stats.longest_use),
    ),
    _Observed(
        f"{_OWN}.leaks",
        _COUNTER,
        "{connection}",
        "Connections in use for longer than pool_leak_threshold",
        lambda pool, stats: _one(stats.leaks),
    ),
    _Observed(f"{_OWN}.closed", _COUNTER, "{connection}", "Connections closed", _closed),
    _Observed(f"{_OWN}.refused", _COUNTER, "{request}", "Checkouts refused", _refused),
    _Observed(
        f"{_OWN}.cancelled",
        _COUNTER,
        "{request}",
        "Checkouts whose caller was cancelled",
        lambda pool, stats: _one(stats.cancelled),
    ),
    _Observed(
        f"{_OWN}.connect_failures",
        _COUNTER,
        "{attempt}",
        "Attempts to open a connection that failed",
        lambda pool, stats: _one(stats.connect_failures),
    ),
)
# The histograms, by what the pool measures: name and description.
MEASURED: Final = {
    DurationKind.WAIT: (f"{_CONNECTION}.wait_time", "The time until a checkout has a connection"),
    DurationKind.USE: (f"{_CONNECTION}.use_time", "The time from a checkout to its return"),
    DurationKind.CONNECT: (f"{_CONNECTION}.create_time", "The time to open a connection"),
}


class _Reported:
    """The numbers of one engine. `dispose()` replaces its pool by one that begins at 0.

    The pool's durations refer to it, and it to the pool, which refers to the engine. Nothing else
    does, so that all of them are garbage together.
    """

    def __init__(self, pool: TypedPool, histograms: Mapping[DurationKind, Histogram]) -> None:
        self._pool = pool
        self._histograms = histograms
        self._before: Counter[tuple[str, tuple[tuple[str, str | int], ...]]] = Counter()
        self._lock = threading.Lock()  # each reader collects in a thread of its own
        pool.record_durations(self._record)

    def _record(self, kind: DurationKind, seconds: float) -> None:
        with _NOTHING_RAISED:
            name = self._pool.shared.name
            self._histograms[kind].record(seconds, {POOL_NAME: name})

    def observe(self, observed: _Observed, pool: TypedPool) -> Iterator[Observation]:
        """Read one metric from the engine's present pool."""
        self._follow(pool)
        if observed is OBSERVED[0]:  # once in a collection, which includes them
            pool.flush_durations()
        stats = pool.stats()
        for attributes, value in observed.read(pool, stats):
            if observed.kind == _COUNTER:
                value += self._before[observed.name, tuple(attributes.items())]
            yield Observation(value, {POOL_NAME: stats.name, **attributes})

    def _follow(self, pool: TypedPool) -> None:
        """Count on, if the pool is another one than before."""
        with self._lock:
            if pool is not self._pool:
                stats = self._pool.stats()
                for each in OBSERVED:
                    for attributes, value in each.read(self._pool, stats):
                        self._before[each.name, tuple(attributes.items())] += int(value)
                self._pool = pool


class _PoolMetrics:
    """The instruments of one meter provider, and the engines whose pools they report."""

    def __init__(self, meter: Meter, is_global: bool) -> None:
        self.is_global = is_global
        self._engines: WeakKeyDictionary[Engine, ReferenceType[_Reported]] = WeakKeyDictionary()
        for each in OBSERVED:
            create = getattr(meter, each.kind)
            create(each.name, [partial(self._observe, each)], each.unit, each.description)
        self._histograms: dict[DurationKind, Histogram] = {
            kind: meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=BOUNDS
            )
            for kind, (name, description) in MEASURED.items()
        }

    def add(self, engine: Engine, pool: TypedPool) -> None:
        for each in list(_reported.values()):
            if each is not self:
                each.discard(engine)
        if engine not in self._engines:
            self._engines[engine] = ref(_Reported(pool, self._histograms))

    def discard(self, engine: Engine) -> None:
        if self._engines.pop(engine, None) is not None and isinstance(engine.pool, TypedPool):
            engine.pool.record_durations(None)

    def _observe(self, observed: _Observed, options: CallbackOptions) -> Iterator[Observation]:
        for engine, reference in list(self._engines.items()):
            reported, pool = reference(), engine.pool
            if reported is not None and isinstance(pool, TypedPool):
                yield from reported.observe(observed, pool)


_lock = threading.Lock()
_reported: WeakKeyDictionary[Any, _PoolMetrics] = WeakKeyDictionary()


def _metrics_of(provider: MeterProvider) -> _PoolMetrics:
    """Return the metrics of a provider: the SDK would drop a second instrument of one name."""
    with _lock:
        found = _reported.get(provider)
        is_global = provider is metrics.get_meter_provider()
        if found is None and is_global:
            # Until the global provider is set, a proxy stands for it.
            found = next((each for each in _reported.values() if each.is_global), None)
        if found is None:
            found = _PoolMetrics(provider.get_meter(_SCOPE, __version__), is_global)
        _reported[provider] = found
        return found


# -------------------------------------------------------------------------- spans


class _Traced(NamedTuple):
    """What the spans of one engine have in common."""

    tracer: Tracer
    # Filled by the first span.
    attributes: dict[str, str | int]


class _Tracing:
    """Makes the spans of the engines that are instrumented."""

    def __init__(self) -> None:
        self._engines: WeakKeyDictionary[Engine, _Traced] = WeakKeyDictionary()

    def add(self, engines: Mapping[Engine, _Traced]) -> None:
        """Make spans for these engines."""
        self._engines.update(engines)
        observing.observer = self
        observers.checkout_waited = self.checkout_waited

    def discard(self, engine: Engine) -> None:
        """Make no more spans for this engine."""
        self._engines.pop(engine, None)
        if not self._engines:
            observing.observer = observers.checkout_waited = None

    async def observe(
        self, db: Any, call: Call, query: str | None, run: Callable[[], Awaitable[Any]]
    ) -> Any:
        """See `CallObserver`."""
        span = self._start(db, call.given, query)
        if span is None:
            return await run()
        token = context.attach(trace.set_span_in_context(span))
        try:
            result = await run()
        except GeneratorExit as error:  # closed from outside, perhaps in another context
            _end(span, error)
            raise
        except BaseException as error:
            context.detach(token)
            _end(span, error)
            raise
        context.detach(token)
        _end(span, rows=len(result) if call.wants_rows else None)
        return result

    async def observe_stream(
        self, db: Any, statement: Any, query: str | None, rows: AsyncGenerator[Any, None]
    ) -> AsyncGenerator[Any, None]:
        """See `CallObserver`. The span is not the current one in the loop over the rows."""
        span, count, failed = self._start(db, statement, query), 0, None
        try:
            async with aclosing(rows):
                async for row in rows:
                    count += 1
                    yield row
        except GeneratorExit:  # the caller has left the loop
            raise
        except BaseException as error:
            failed = error
            raise
        finally:
            if span is not None:
                _end(span, failed, count)
            del failed  # the traceback of the error contains this frame: a reference cycle

    def checkout_waited(self, pool: str, seconds: float, error: BaseException | None) -> None:
        """Make the span of a checkout that has waited; see `WaitObserver`."""
        with _NOTHING_RAISED:
            for engine, traced in list(self._engines.items()):
                if isinstance(engine.pool, TypedPool) and engine.pool.shared.name == pool:
                    now = time.time_ns()
                    span = traced.tracer.start_span(
                        "checkout",
                        attributes={POOL_NAME: pool},
                        start_time=now - int(seconds * 1e9),
                    )
                    if error is not None:
                        _note_error(span, error)
                    span.end(now)
                    return

    def _start(self, db: Any, statement: Any, query: str | None) -> Span | None:
        with _NOTHING_RAISED:
            engine = _engine_of(db, statement)
            traced = None if engine is None else self._engines.get(engine)
            if engine is not None and traced is not None:
                return _started(engine, traced, statement, query)
        return None


_tracing: Final = _Tracing()


class _NothingRaised:
    """Logs an error of OpenTelemetry, such as of a span processor: the call is not to fail."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        if not isinstance(error, Exception):
            return False
        _log.error("OpenTelemetry failed with %s", type(error).__qualname__, exc_info=error)
        return True


_NOTHING_RAISED: Final = _NothingRaised()


def _started(engine: Engine, traced: _Traced, statement: Any, query: str | None) -> Span:
    attributes = dict(traced.attributes or _note_address(engine, traced))
    if getattr(engine.dialect, "is_mariadb", False):  # not known before the first connect
        attributes["db.system.name"] = "mariadb"
    if query is not None:
        attributes["db.query.summary"] = query
    operation = _operation_of(statement)
    if operation:
        attributes["db.operation.name"] = operation
    name = query or operation or str(attributes["db.system.name"])
    return traced.tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)


def _end(span: Span, error: BaseException | None = None, rows: int | None = None) -> None:
    with _NOTHING_RAISED:
        if error is not None:
            _note_error(span, error)
        if rows is not None:
            span.set_attribute("db.response.returned_rows", rows)
        span.end()


def _engine_of(db: Any, statement: Any) -> Engine | None:
    """Return the engine on which a statement will run; None if it is not known."""
    if isinstance(db, AsyncEngine):
        return root_engine(db.sync_engine)
    if isinstance(db, AsyncConnection):
        return root_engine(db.engine.sync_engine)
    if isinstance(db, async_scoped_session):
        db = db()
    if isinstance(db, AsyncSession):
        clause = None if isinstance(statement, str) else statement
        try:
            return root_engine(db.sync_session.get_bind(clause=clause).engine)
        except Exception:  # noqa: BLE001 - it has several engines; or it is the application's
            return None
    return None


_SYSTEMS: Final = {"postgresql": "postgresql", "mysql": "mysql", "sqlite": "sqlite"}


def _note_address(engine: Engine, traced: _Traced) -> _Attributes:
    """Note what is the same for all spans of an engine. Its URL is slow to hash and to read."""
    url, attributes = engine.url, traced.attributes
    attributes["db.system.name"] = _SYSTEMS.get(engine.dialect.name, "other_sql")
    # A password in the URL that is not encoded ends at its first "@": the rest is in the host.
    found = {
        "db.namespace": after_userinfo(url.database or "") if url.host else url.database,
        "server.address": after_userinfo(url.host or ""),
        "server.port": url.port,
    }
    attributes.update({name: value for name, value in found.items() if value})
    return attributes


def _operation_of(statement: Any) -> str:
    """Return the first keyword of a statement: ``SELECT``."""
    if isinstance(statement, str):
        return _keyword(statement)
    text = getattr(statement, "text", None)
    if isinstance(text, str):
        return _keyword(text)
    kind = getattr(statement, "__visit_name__", "")
    return kind.upper() if kind in ("select", "insert", "update", "delete") else ""


_keyword = lru_cache(1000)(statement_keyword)


def _note_error(span: Span, error: BaseException) -> None:
    """Note the class of an error, and its SQLSTATE. Its message may contain values."""
    cause = _cause_of(error)
    limit = call_limit.get()
    if isinstance(error, asyncio.CancelledError) and limit is not None and limit.is_expired:
        cause = StatementTimeout("")  # which the caller gets
    span.set_status(Status(StatusCode.ERROR))
    span.set_attribute("error.type", f"{type(cause).__module__}.{type(cause).__qualname__}")
    code = getattr(cause, "sqlstate", None)
    if isinstance(code, str):
        span.set_attribute("db.response.status_code", code)


def _cause_of(error: BaseException) -> BaseException:
    """Return the driver's error, if SQLAlchemy has wrapped it."""
    found = error.orig if isinstance(error, DBAPIError) else error
    if found is None:
        return error
    is_adapted = type(found).__module__.startswith("sqlalchemy.dialects.")
    return found.__cause__ or found if is_adapted else found
