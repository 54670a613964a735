"""A value of every supported type comes back from every database unchanged."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, make_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import mysql, postgresql

from sqla_typedpool import ByName, Json, execute, fetch_one
from tests.support.fetch_lab import LABS, Lab, lab_of

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from sqlalchemy.ext.asyncio import AsyncConnection

EXAMPLES = 6  # for each type, database and driver


class Color(Enum):
    RED = "red"
    BLUE = "BLUE"
    GREEN = "RED"  # the name of another member


class Level(IntEnum):
    LOW = -1
    HIGH = 2**40


@dataclass
class Item:
    name: str
    price: float
    tags: list[str | None]


@dataclass
class Order:
    id: int
    paid: bool | None
    items: list[Item]
    notes: dict[str, str]


# ------------------------------------------------------------------------- values

INT8 = st.integers(-(2**63), 2**63 - 1)
# PostgreSQL does not allow NUL in text
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
FLOATS = FINITE | st.sampled_from([float("inf"), float("-inf")])
DECIMALS = st.decimals(-(10**18), 10**18, places=8)
FEW_DIGITS = st.decimals(-(10**9), 10**9, places=4)  # SQLite stores a float, which has 15
DAYS = st.dates(date(1000, 1, 1))  # the earliest date that MySQL supports
NAIVE = st.datetimes(datetime(1000, 1, 1))
# two days inside the calendar, so that a time zone does not lead out of it
ZONES = st.integers(-839, 839).map(lambda each: timezone(timedelta(minutes=each)))
AWARE = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=ZONES)
SPANS = st.timedeltas(timedelta(days=-1_000_000), timedelta(days=1_000_000))
SHORT_SPANS = st.timedeltas(timedelta(hours=-838), timedelta(hours=838))  # MySQL's TIME
MATRICES = st.integers(1, 3).flatmap(  # PostgreSQL's arrays are rectangular
    lambda width: st.lists(st.lists(INT8, min_size=width, max_size=width), max_size=3)
)
ITEMS = st.builds(Item, TEXT, FINITE, st.lists(st.none() | TEXT, max_size=3))
ORDERS = st.builds(
    Order,
    st.integers(),
    st.none() | st.booleans(),
    st.lists(ITEMS, max_size=3),
    st.dictionaries(TEXT, TEXT, max_size=3),
)
NETWORKS_4 = st.builds(
    lambda number, length: ipaddress.IPv4Network((number, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
NETWORKS_6 = st.builds(
    lambda number, length: ipaddress.IPv6Network((number, length), strict=False),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)
# with a prefix of 32 bits they come back as addresses
INTERFACES = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 31)).map(ipaddress.IPv4Interface)


# ------------------------------------------------------------------------- the table

Encode = Callable[[Any], Any]


def as_is(value: Any) -> Any:
    return value


def of_blank(value: datetime) -> str:
    return value.isoformat(" ")


def as_json(value: Any) -> str:
    return json.dumps(value)


def order_as_json(order: Order) -> str:
    return json.dumps(asdict(order))


def by_value(member: Enum) -> Any:
    return member.value


def by_name(member: Enum) -> str:
    return member.name


def as_interval(span: timedelta) -> str:
    """The text of a MySQL TIME. MySQL's drivers send negative timedeltas wrongly."""
    sign, span = ("-", -span) if span < timedelta(0) else ("", span)
    hours, seconds = divmod(span // timedelta(seconds=1), 3600)
    return f"{sign}{hours}:{seconds // 60:02}:{seconds % 60:02}.{span.microseconds:06}"


@dataclass(frozen=True)
class Storage:
    """How a value is sent to a database: its SQL type, and the form that the driver accepts."""

    sql: str
    encode: Encode = as_is
    values: st.SearchStrategy[Any] | None = None
    """The values to use if the database does not support all of `Trip.values`."""

    takes: str = "{}"
    """SQL that converts the parameter."""

    def select(self, name: str) -> str:
        return f"CAST({self.takes.format(f':{name}')} AS {self.sql}) AS {name}"


@dataclass(frozen=True)
class Trip:
    name: str
    annotation: Any
    values: st.SearchStrategy[Any]
    storage: dict[str, Storage]
    """By family. A database that is missing here has no such type."""


def trip(name: str, annotation: Any, values: st.SearchStrategy[Any], **storage: Storage) -> Trip:
    return Trip(name, annotation, values, storage)


def everywhere(encode: Encode = as_is) -> dict[str, Storage]:
    """Storage as text in every database."""
    return {
        "postgresql": Storage("text", encode),
        "sqlite": Storage("TEXT", encode),
        "mysql": Storage("CHAR", encode),
    }


def as_document(encode: Encode = as_json) -> dict[str, Storage]:
    return {**everywhere(encode), "postgresql": Storage("jsonb", encode)}


def in_text(sql: str, mysql: str = "CHAR", *, encode: Encode = str) -> dict[str, Storage]:
    """Storage of a PostgreSQL type that the other databases store as text."""
    return {
        "postgresql": Storage(sql),
        "sqlite": Storage("TEXT", encode),
        "mysql": Storage(mysql, encode),
    }


TRIPS = [
    trip(
        "int",
        int,
        INT8 | st.sampled_from([-(2**63), 2**63 - 1, 0]),
        postgresql=Storage("int8"),
        sqlite=Storage("INTEGER"),
        mysql=Storage("SIGNED"),
    ),
    trip("int2", int, st.integers(-(2**15), 2**15 - 1), postgresql=Storage("int2")),
    trip("int4", int, st.integers(-(2**31), 2**31 - 1), postgresql=Storage("int4")),
    trip(
        "bool",
        bool,
        st.booleans(),
        postgresql=Storage("bool"),
        sqlite=Storage("INTEGER"),
        mysql=Storage("SIGNED"),
    ),
    trip(
        "float",
        float,
        FLOATS,
        postgresql=Storage("float8"),
        sqlite=Storage("REAL"),
        mysql=Storage("DOUBLE", values=FINITE),
    ),
    # seven digits: psycopg reads what the server prints
    trip(
        "float4", float, st.integers(-9999, 9999).map(lambda n: n / 8), postgresql=Storage("float4")
    ),
    trip(
        "Decimal",
        Decimal,
        DECIMALS,
        postgresql=Storage("numeric"),
        sqlite=Storage("NUMERIC", float, FEW_DIGITS),  # SQLite has only int and float
        mysql=Storage("DECIMAL(40, 10)"),
    ),
    trip(
        "Decimal not finite",
        Decimal,
        st.sampled_from([Decimal("inf"), Decimal("-inf")]),
        postgresql=Storage("numeric"),
    ),
    trip("str", str, TEXT, **everywhere()),
    trip("str with NUL", str, st.text(max_size=20), sqlite=Storage("TEXT"), mysql=Storage("CHAR")),
    trip(
        "bytes",
        bytes,
        st.binary(max_size=50),
        postgresql=Storage("bytea"),
        sqlite=Storage("BLOB"),
        # aiomysql 0.3 cannot send bytes with PyMySQL 2
        mysql=Storage("BINARY", bytes.hex, takes="UNHEX({})"),
    ),
    trip("date", date, DAYS, **in_text("date", "DATE", encode=date.isoformat)),
    trip("early date", date, st.dates(), postgresql=Storage("date")),
    trip("time", time, st.times(), **in_text("time", "TIME(6)", encode=time.isoformat)),
    trip("aware time", time, st.times(timezones=ZONES), postgresql=Storage("timetz")),
    trip(
        "naive datetime",
        datetime,
        NAIVE,
        **in_text("timestamp", "DATETIME(6)", encode=of_blank),
    ),
    trip(
        "aware datetime",
        datetime,
        AWARE,
        postgresql=Storage("timestamptz"),
        sqlite=Storage("TEXT", of_blank),
    ),
    trip(
        "timedelta",
        timedelta,
        SPANS,
        postgresql=Storage("interval"),
        mysql=Storage("TIME(6)", as_interval, SHORT_SPANS),
    ),
    trip(
        "UUID", UUID, st.uuids(version=4), **in_text("uuid", "UUID")
    ),  # MariaDB checks the version
    trip("UUID as text", UUID, st.uuids(), sqlite=Storage("TEXT", str), mysql=Storage("CHAR", str)),
    trip("Enum by value", Color, st.sampled_from(Color), **everywhere(by_value)),
    trip(
        "IntEnum",
        Level,
        st.sampled_from(Level),
        postgresql=Storage("int8", by_value),
        sqlite=Storage("INTEGER", by_value),
        mysql=Storage("SIGNED", by_value),
    ),
    trip(
        "Enum by name",
        Annotated[Color, ByName()],
        st.sampled_from(Color),
        **everywhere(by_name),
    ),
    trip("Literal", Literal["a", "b"], st.sampled_from(["a", "b"]), **everywhere()),
    trip("list of int", list[int], st.lists(INT8, max_size=5), postgresql=Storage("int8[]")),
    trip(
        "list of str | None",
        list[str | None],
        st.lists(st.none() | TEXT, max_size=5),
        postgresql=Storage("text[]"),
    ),
    trip("nested lists", list[list[int]], MATRICES, postgresql=Storage("int8[]")),
    trip(
        "list of Enum",
        list[Color],
        st.lists(st.sampled_from(Color), max_size=5),
        postgresql=Storage("text[]", lambda values: [each.value for each in values]),
    ),
    trip(
        "list of UUID", list[UUID], st.lists(st.uuids(), max_size=3), postgresql=Storage("uuid[]")
    ),
    trip(
        "list of Decimal",
        list[Decimal],
        st.lists(DECIMALS, max_size=3),
        postgresql=Storage("numeric[]"),
    ),
    trip("JSON list", Annotated[list[int], Json()], st.lists(INT8, max_size=5), **as_document()),
    trip("JSON into dataclasses", Annotated[Order, Json()], ORDERS, **as_document(order_as_json)),
    trip(
        "json into dataclasses",
        Annotated[Order, Json()],
        ORDERS,
        postgresql=Storage("json", order_as_json),
    ),
    trip("IPv4Address", ipaddress.IPv4Address, st.ip_addresses(v=4), **in_text("inet")),
    trip("IPv6Address", ipaddress.IPv6Address, st.ip_addresses(v=6), **in_text("inet")),
    trip("IPv4Interface", ipaddress.IPv4Interface, INTERFACES, **in_text("inet")),
    trip("IPv4Network", ipaddress.IPv4Network, NETWORKS_4, **in_text("cidr")),
    trip("IPv6Network", ipaddress.IPv6Network, NETWORKS_6, **in_text("cidr")),
]


def ranges(cls: Any, bounds: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Ranges as PostgreSQL returns them, with and without bounds, in a driver's class."""

    def made(pair: list[Any], low: bool, high: bool) -> Any:
        lower, upper = pair[0] if low else None, pair[1] if high else None
        if cls.__module__.startswith("asyncpg"):
            return cls(lower, upper, lower_inc=low, upper_inc=False)
        return cls(lower, upper, bounds="[)" if low else "()")

    pairs = st.lists(bounds, min_size=2, max_size=2, unique=True).map(sorted)
    return st.builds(made, pairs, st.booleans(), st.booleans())


RANGES = {
    "int8range": (int, st.integers(-(2**62), 2**62), postgresql.INT8RANGE),
    "numrange": (Decimal, DECIMALS, postgresql.NUMRANGE),
    "daterange": (date, DAYS.filter(lambda each: each.year < 9999), postgresql.DATERANGE),
    "tsrange": (datetime, NAIVE, postgresql.TSRANGE),
    "tstzrange": (datetime, AWARE, postgresql.TSTZRANGE),
}

# ------------------------------------------------------------------ SQLAlchemy's types


@dataclass(frozen=True)
class Stored:
    """A SQLAlchemy type, which stores a value in the form that each database needs."""

    annotation: Any
    kind: Any
    values: st.SearchStrategy[Any]
    encode: Encode = as_is


STORED = {
    "BigInteger": Stored(int, sa.BigInteger(), INT8),
    "Boolean": Stored(bool, sa.Boolean(), st.booleans()),
    "Numeric": Stored(Decimal, sa.Numeric(14, 4), FEW_DIGITS),
    "Double": Stored(float, sa.Double(), FINITE),
    "Text": Stored(str, sa.Text(), TEXT),
    "Date": Stored(date, sa.Date(), DAYS),
    "Time": Stored(time, sa.Time().with_variant(mysql.TIME(fsp=6), "mysql"), st.times()),
    "DateTime": Stored(datetime, sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql"), NAIVE),
    "Interval": Stored(  # stored as a datetime after 1970, in seconds
        timedelta, sa.Interval(), st.integers(-(10**8), 10**8).map(lambda n: timedelta(seconds=n))
    ),
    "Uuid": Stored(UUID, sa.Uuid(), st.uuids(version=4)),
    "Enum": Stored(Color, sa.Enum(Color, name="stored_color"), st.sampled_from(Color)),
    "Enum marked": Stored(
        Annotated[Color, ByName()], sa.Enum(Color, name="stored_color"), st.sampled_from(Color)
    ),
    "Literal of members": Stored(
        Literal[Color.RED, Color.BLUE],
        sa.Enum(Color, name="stored_color"),
        st.sampled_from([Color.RED, Color.BLUE]),
    ),
    "JSON": Stored(Annotated[Order, Json()], sa.JSON(), ORDERS, asdict),
    "JSON text": Stored(Annotated[str, Json()], sa.JSON(), TEXT),
}
TABLES = sa.MetaData()
STORES = {
    name: sa.Table(
        f"stored_{name.lower().replace(' ', '_')}",
        TABLES,
        sa.Column("always", stored.kind),
        sa.Column("perhaps", stored.kind),
    )
    for name, stored in STORED.items()
}


# ---------------------------------------------------------------------------- the trip


class Running:
    """An event loop and a connection that stay open for all examples of Hypothesis."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._loop = asyncio.new_event_loop()
        self._engine = lab.engine()
        self.connection: AsyncConnection = self.run(self._connect())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    async def _connect(self) -> AsyncConnection:
        connection = await self._engine.connect()
        await connection.run_sync(TABLES.drop_all)
        await connection.run_sync(TABLES.create_all)
        await connection.commit()
        return connection

    def close(self) -> None:
        self.run(self.connection.close())
        self.run(self._engine.dispose())
        self._loop.close()


@pytest.fixture(params=LABS, scope="module")
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    running = Running(lab_of(request, tmp_path_factory.mktemp("lab")))
    yield running
    running.close()


without_deadline = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,  # the same examples in every run
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@lru_cache
def row_of(annotation: Any) -> type:
    return make_dataclass("Row", [("always", annotation), ("perhaps", annotation | None)])


def returned(running: Running, annotation: Any, storage: Storage, values: tuple[Any, Any]) -> Any:
    """Send the values to the database and fetch them; the second may be None."""
    statement = f"SELECT {storage.select('always')}, {storage.select('perhaps')}"
    sent = [None if value is None else storage.encode(value) for value in values]
    parameters = dict(zip(("always", "perhaps"), sent, strict=True))
    return running.run(fetch_one(running.connection, row_of(annotation), statement, parameters))


def assert_same(found: Any, sent: Any) -> None:
    """Both values and all their parts are equal and of the same type."""
    assert found == sent
    if isinstance(sent, UUID):
        assert isinstance(found, UUID)  # asyncpg returns a subclass
        return
    assert type(found) is type(sent)
    if isinstance(sent, list):
        for one, other in zip(found, sent, strict=True):
            assert_same(one, other)
    elif isinstance(sent, datetime | time):
        assert (found.tzinfo is None) is (sent.tzinfo is None)
    elif isinstance(sent, Item | Order):
        for name, value in vars(sent).items():
            assert_same(getattr(found, name), value)


@pytest.mark.parametrize("trip", TRIPS, ids=lambda trip: trip.name)
def test_a_value_comes_back_unchanged(running: Running, trip: Trip) -> None:
    storage = trip.storage.get(running.lab.family)
    if storage is None:
        pytest.skip("this database has no such type")
    values = trip.values if storage.values is None else storage.values

    @without_deadline
    @given(st.tuples(values, st.none() | values))
    def comes_back(sent: tuple[Any, Any]) -> None:
        row = returned(running, trip.annotation, storage, sent)
        assert_same(row.always, sent[0])
        assert_same(row.perhaps, sent[1])

    comes_back()


@pytest.mark.parametrize("name", RANGES)
def test_a_range_of_the_driver_comes_back_unchanged(running: Running, name: str) -> None:
    if running.lab.family != "postgresql":
        pytest.skip("this database has no ranges")
    if running.lab.driver == "asyncpg":
        from asyncpg import Range
    else:
        from psycopg.types.range import Range
    bound, bounds, _ = RANGES[name]
    values = ranges(Range, bounds)
    storage = Storage(name)

    @without_deadline
    @given(st.tuples(values, st.none() | values))
    def comes_back(sent: tuple[Any, Any]) -> None:
        row = returned(running, Range, storage, sent)
        assert (row.always, row.perhaps) == sent
        ends = [row.always.lower, row.always.upper]
        assert {type(each) for each in ends if each is not None} <= {bound}

    comes_back()


@pytest.mark.parametrize("name", RANGES)
def test_a_range_of_sqlalchemy_comes_back_unchanged(running: Running, name: str) -> None:
    if running.lab.family != "postgresql":
        pytest.skip("this database has no ranges")
    bound, bounds, kind = RANGES[name]
    values = ranges(postgresql.Range, bounds)

    @without_deadline
    @given(st.tuples(values, st.none() | values))
    def comes_back(sent: tuple[Any, Any]) -> None:
        always, perhaps = (sa.cast(sa.literal(value, kind), kind) for value in sent)
        statement = sa.select(always.label("always"), perhaps.label("perhaps"))
        row_type = row_of(postgresql.Range[bound])  # type: ignore[valid-type]
        row = running.run(fetch_one(running.connection, row_type, statement))
        assert (row.always, row.perhaps) == sent
        assert type(row.always) is postgresql.Range

    comes_back()


@pytest.mark.filterwarnings("ignore:.*does \\*not\\* support Decimal:sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("name", STORED)
def test_a_value_of_a_sqlalchemy_type_comes_back_unchanged(running: Running, name: str) -> None:
    stored, table = STORED[name], STORES[name]

    async def stored_and_fetched(sent: tuple[Any, Any]) -> Any:
        connection = running.connection
        values = [None if value is None else stored.encode(value) for value in sent]
        await execute(connection, sa.delete(table))
        await execute(connection, sa.insert(table), dict(zip(table.c.keys(), values, strict=True)))
        return await fetch_one(connection, row_of(stored.annotation), sa.select(table))

    @without_deadline
    @given(st.tuples(stored.values, st.none() | stored.values))
    def comes_back(sent: tuple[Any, Any]) -> None:
        row = running.run(stored_and_fetched(sent))
        assert_same(row.always, sent[0])
        assert_same(row.perhaps, sent[1])

    comes_back()
