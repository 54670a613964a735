"""Runs a case on the fast and on the slow path of a driver, and compares what happened.

A `Pair` has two engines on one database: the statements of one take the fast path, those of the
other go through SQLAlchemy. `Pair.outcomes` runs a case on both. An outcome
is a flat dict: the value or each attribute of the error, the state of the transaction, and what a
connection outside the pool sees in the database.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from sqla_typedpool import TypedPool, execute, fetch_all, fetch_one, fetch_optional
from sqla_typedpool.fetch.fast import path as fast_path
from tests.support.both_paths_database import (
    MARK,
    Observer,
    driver_state,
    observer_of,
    prepare_connections,
    variant_options,
)
from tests.support.engines import make_engine
from tests.support.fetch_lab import DRIVERS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

FUNCTIONS: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
    "fetch_all": fetch_all,
    "fetch_one": fetch_one,
    "fetch_optional": fetch_optional,
    "execute": execute,
}
PLACES = ("engine", "connection", "begun", "savepoint", "session")
Outcome = dict[str, str]

_LIMIT = 20.0  # seconds for one call with its preparation
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
# Attributes of driver errors that are objects of the driver, or that repeat another attribute.
# The place in the server's source depends on whether the statement had been prepared before.
_SKIPPED = {"orig", "_pgconn", "cursor", "server_source_line", "server_source_function"}


@dataclasses.dataclass(frozen=True)
class Case:
    """One statement, how it is called, and which calls of it take the slow path.

    A statement, its parameters and its row type may be given for each family: a dict by family.
    Families that are missing in it do not run the case.
    """

    name: str
    statement: Any
    parameters: Any = None
    row_type: Any = object
    slow: tuple[str, ...] = ()
    """Each is some words out of: a driver, a family, a place, a function, "fetch". A call that all
    words of one fit takes the slow path; "" fits every call."""
    places: tuple[str, ...] = PLACES
    functions: tuple[str, ...] = ("fetch_all", "execute")
    drivers: tuple[str, ...] = tuple(DRIVERS)
    variant: str = ""
    """Options of the engine: one of the names in `variant_options`."""
    before: tuple[str, ...] = ()
    """Statements that run in the transaction before the call."""
    hook: Callable[[Pair, Any], Awaitable[None]] | None = None
    """Called with the pair and `db` just before the call."""
    timeout: float | None = None
    has_mark: bool = True
    """Whether the transaction writes a row before the call."""

    def fits(self, driver: str) -> bool:
        """Return whether this driver runs the case."""
        family = DRIVERS[driver]
        is_for_family = not isinstance(self.statement, dict) or family in self.statement
        return is_for_family and driver in self.drivers

    def of(self, field: Any, family: str) -> Any:
        """Return a field that may be given for each family."""
        is_by_family = isinstance(field, dict) and set(field) & set(DRIVERS.values())
        return field[family] if is_by_family else field

    def is_slow(self, driver: str, place: str, function: str) -> bool:
        """Return whether this call takes the slow path though the driver has a fast one."""
        words = {driver, DRIVERS[driver], place, function, function.split("_", maxsplit=1)[0]}
        return any(set(rule.split()) <= words for rule in self.slow)


@dataclasses.dataclass(frozen=True)
class Difference:
    """What one call of a case had on one path but not on the other."""

    driver: str
    case: str
    call: str
    attribute: str
    fast: str
    slow: str

    def __str__(self) -> str:
        return (
            f"{self.driver} | {self.case} | {self.call} | {self.attribute}\n"
            f"    fast: {self.fast[:400]}\n    slow: {self.slow[:400]}"
        )


# ----------------------------------------------------------------------------- outcomes


def shown(value: Any) -> str:
    """Return a value with the types of all its parts, as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [shown(getattr(value, field.name)) for field in dataclasses.fields(value)]
        return f"{type(value).__qualname__}({', '.join(parts)})"
    if isinstance(value, Mapping):
        parts = [f"{shown(key)}: {shown(each)}" for key, each in value.items()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts = [shown(each) for each in value]
    else:
        return f"{type(value).__qualname__} {_ADDRESS.sub('0x', repr(value))}"
    return f"{type(value).__qualname__}({', '.join(parts)})"


def traits(error: BaseException, depth: int = 0) -> Outcome:
    """Return every attribute of an error that an application can read."""
    found = {
        "type": f"{type(error).__module__}.{type(error).__qualname__}",
        "str": _ADDRESS.sub("0x", str(error)),
        "args": shown(error.args),
        "notes": shown(getattr(error, "__notes__", [])),
        "cause": type(error.__cause__).__qualname__,
        "context": type(error.__context__).__qualname__,
        "suppress_context": str(error.__suppress_context__),
    }
    for name in (*vars(error), "statement", "params", "sqlstate", "pgcode", "sqlite_errorcode"):
        value = getattr(error, name, None)
        if name not in _SKIPPED and not name.startswith("__"):
            found[f"attribute {name}"] = shown(value)
    original = getattr(error, "orig", None)
    if isinstance(original, BaseException) and depth < 3:
        found.update({f"orig {name}": value for name, value in traits(original, depth + 1).items()})
    if isinstance(error.__cause__, BaseException) and depth < 3:
        cause = traits(error.__cause__, depth + 1)
        found.update({f"cause {name}": cause[name] for name in ("str", "args", "cause")})
    return found


async def observed(name: str, work: Awaitable[Any], outcome: Outcome) -> None:
    """Await `work`; add its value, or the traits of its error, to the outcome."""
    try:
        value = await asyncio.wait_for(work, _LIMIT)
    except Exception as error:
        outcome.update({f"{name} error {key}": each for key, each in traits(error).items()})
    else:
        outcome[f"{name} value"] = shown(value)


def differences(
    driver: str, case: Case, call: str, fast: Outcome, slow: Outcome
) -> Iterator[Difference]:
    """Yield what two outcomes of one call do not have in common.

    Where one path raises another error than the other, or none, that is one difference.
    """
    unlike = {step for step in ("call", "next", "end") if _kind(fast, step) != _kind(slow, step)}
    for step in sorted(unlike):
        yield Difference(driver, case.name, call, step, _kind(fast, step), _kind(slow, step))
    for name in sorted({*fast, *slow}):
        if fast.get(name) != slow.get(name) and name.split()[0] not in unlike:
            yield Difference(
                driver, case.name, call, name, fast.get(name, "-"), slow.get(name, "-")
            )


def _kind(outcome: Outcome, step: str) -> str:
    """Return the type of the error in a step with its original error; "value" if it has none."""
    kinds = [outcome.get(f"{step} error {name}type", "") for name in ("", "orig ", "orig orig ")]
    return " ".join(kinds).strip() or "value"


# ---------------------------------------------------------------------------- the paths


class PathLog(logging.Handler):
    """Notes the path that each statement takes, from the log of the typed layer."""

    _logger = logging.getLogger("sqla_typedpool.fetch")

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.paths: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        path, separator, _ = record.getMessage().partition(": ")  # "slow path (reason): ..."
        if separator:
            self.paths.append(path)

    def __enter__(self) -> PathLog:
        self._level = self._logger.level
        self._logger.setLevel(logging.DEBUG)
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)


class Run:
    """One call of a case at one place, with one engine."""

    def __init__(self, pair: Pair, case: Case, engine: AsyncEngine, function: str) -> None:
        self._pair = pair
        self._case = case
        self._engine = engine
        self._function = function
        self.outcome: Outcome = {}
        self.paths: list[str] = []

    async def at(self, place: str) -> None:
        """Make the call, end its transaction by COMMIT, and note what is committed then."""
        await observed("end", getattr(self, f"_{place}")(), self.outcome)
        pool = TypedPool.of(self._engine)
        assert pool.stats().in_use == 0, f"{self._case.name}, {place}: a connection was lost"
        async with self._engine.connect() as connection:
            state = await driver_state(connection, self._pair.driver, self._pair.observer)
            self.outcome["returned connection"] = shown(state)
        self.outcome["committed"] = shown(await self._pair.observer.snapshot())

    async def _engine_(self) -> None:
        await self._call(self._engine)

    async def _connection(self) -> None:
        async with self._engine.connect() as connection:
            await self._call_on(connection, connection)
            await connection.commit()

    async def _begun(self) -> None:
        async with self._engine.begin() as connection:
            await self._mark(connection)
            await self._call_on(connection, connection)

    async def _savepoint(self) -> None:
        async with self._engine.begin() as connection:
            await self._mark(connection)
            async with connection.begin_nested():
                await self._call_on(connection, connection)

    async def _session(self) -> None:
        async with AsyncSession(self._engine) as session:
            await session.execute(text("SELECT 1"))  # the next statement may take the fast path
            await self._mark(session)
            await self._call_on(session, await session.connection())
            await session.commit()

    async def _mark(self, db: Any) -> None:
        if self._case.has_mark:
            await db.execute(text(MARK))

    async def _call_on(self, db: Any, connection: AsyncConnection) -> None:
        for statement in self._case.before:
            await db.execute(text(statement))
        await self._call(db)
        outcome = self.outcome
        outcome["in_transaction"] = str(db.in_transaction())
        outcome["is_active"] = str(getattr(db, "is_active", None))
        outcome["closed"] = str(getattr(db, "closed", None))
        outcome["invalidated"] = str(connection.invalidated)
        transaction = connection.sync_connection._transaction if not connection.closed else None  # type: ignore[union-attr]
        outcome["transaction"] = str(None if transaction is None else transaction.is_active)
        if not connection.closed and not connection.invalidated:
            state = await driver_state(connection, self._pair.driver, self._pair.observer)
            outcome["connection"] = shown(state)
        outcome["committed before the end"] = shown(await self._pair.observer.snapshot())
        await observed("next", scalar_of(db), outcome)

    async def _call(self, db: Any) -> None:
        case, family = self._case, self._pair.family
        if case.hook is not None:
            await case.hook(self._pair, db)
        statement = case.of(case.statement, family)
        if callable(statement):
            statement = statement()
        arguments = [statement, case.of(case.parameters, family)]
        if self._function != "execute":
            arguments.insert(0, case.of(case.row_type, family))
        options = {} if case.timeout is None else {"timeout": case.timeout}
        with PathLog() as log:
            work = FUNCTIONS[self._function](db, *arguments, **options)
            await observed("call", work, self.outcome)
        self.paths = log.paths


async def scalar_of(db: Any) -> Any:
    """Return the scalar of a statement that any database runs."""
    return (await db.execute(text("SELECT 40 + 2"))).scalar()


# ----------------------------------------------------------------------------- the pair


class Pair:
    """The two paths of one driver on one database, with a loop of their own."""

    def __init__(self, driver: str, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.driver = driver
        self.family = DRIVERS[driver]
        self.url = url
        self._loop = loop
        self._engines: dict[tuple[str, str], AsyncEngine] = {}
        self._loop_errors: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, what: self._loop_errors.append(what))
        self.observer: Observer = self.run(observer_of(self.family, url))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the loop of the pair."""
        result = self._loop.run_until_complete(asyncio.wait_for(work, 40))
        assert not self._loop_errors, self._loop_errors
        return result

    def close(self) -> None:
        """Close all connections and the loop."""

        async def dispose() -> None:
            for engine in self._engines.values():
                await engine.dispose()
            await self.observer.close()

        self.run(dispose())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def engine(self, path: str, variant: str = "") -> AsyncEngine:
        """Return the engine of a path: it has one connection."""
        if (path, variant) not in self._engines:
            engine = self._engines[path, variant] = self.new_engine(path, variant)
            async with engine.connect():
                pass  # the first statement of an engine takes the slow path
        return self._engines[path, variant]

    def new_engine(self, path: str, variant: str = "", **options: Any) -> AsyncEngine:
        """Make an engine of a path, which the caller disposes of."""
        sizes = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 10}
        options = {**sizes, **variant_options(variant, self.driver), **options}
        engine = make_engine(self.url, **options)
        prepare_connections(engine, self.driver, variant)
        if path == "slow":
            # A listener would do too, but SQLAlchemy then shows other parameters in its errors.
            engine.sync_engine.__dict__[fast_path._ATTRIBUTE] = None
        return engine

    def differences(self, case: Case) -> list[Difference]:
        """Run a case on both paths at all its places; return where the outcomes differ.

        A call that does not take the path that the case expects is a difference as well.
        """
        return self.run(self._differences(case))

    async def _differences(self, case: Case) -> list[Difference]:
        found: list[Difference] = []
        for place, function, call in calls_of(case):
            fast = await self._outcome(case, "fast", place, function)
            slow = await self._outcome(case, "slow", place, function)
            found += self._unexpected_path(case, place, function, fast.pop("path"))
            assert slow.pop("path").startswith("slow"), call
            found += differences(self.driver, case, call, fast, slow)
        return found

    def _unexpected_path(
        self, case: Case, place: str, function: str, taken: str
    ) -> Iterator[Difference]:
        """Yield a difference if the call on the fast path's engine took another path."""
        expected = "slow" if case.is_slow(self.driver, place, function) else "fast"
        if not taken.startswith(expected):
            call = f"{place} {function}"
            yield Difference(self.driver, case.name, call, "path", taken, f"{expected} expected")

    async def _outcome(self, case: Case, path: str, place: str, function: str) -> Outcome:
        run = Run(self, case, await self.engine(path, case.variant), function)
        await self.observer.reset()
        await run.at("engine_" if place == "engine" else place)
        is_refused = not run.paths and "call error type" in run.outcome  # before it took a path
        run.outcome["path"] = "slow path" if is_refused else run.paths[-1]
        return run.outcome


def calls_of(case: Case) -> Iterator[tuple[str, str, str]]:
    """Yield place, function and description of the calls of a case.

    The first call on the engine is made twice: a driver may do less when it knows the columns.
    """
    for place in case.places:
        for function in case.functions:
            yield place, function, f"{place} {function}"
            if place == "engine" and function == case.functions[0]:
                yield place, function, f"{place} {function} again"


def pair_of(driver: str, request: pytest.FixtureRequest, folder: Any, loop: Any) -> Pair:
    """Return the pair of a driver; its server is started if needed."""
    pytest.importorskip(driver)
    server = {"postgresql": "postgres", "mysql": "mariadb"}.get(DRIVERS[driver])
    if server is None:
        return Pair(driver, f"sqlite+aiosqlite:///{folder / 'file.db'}", loop)
    return Pair(driver, request.getfixturevalue(server).url(driver), loop)
