"""Which values become which types: the table, and every refusal by name."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import asyncpg
import pytest
from asyncpg.pgproto import pgproto
from sqlalchemy.dialects.postgresql import Range

from sqla_typedpool.errors import RowShapeError, RowValueError
from sqla_typedpool.mapping.annotations import spec_of
from sqla_typedpool.mapping.coercions import RULES, Action, rule_table
from sqla_typedpool.mapping.context import Fit
from sqla_typedpool.mapping.dbtypes import DbType, db_type_of, mysql_type, postgresql_type
from sqla_typedpool.mapping.handlers import converter_of, fit_of
from sqla_typedpool.mapping.mapper import mapper_for
from sqla_typedpool.mapping.markers import ByName, Decode, Json
from sqla_typedpool.mapping.plan import Column
from sqla_typedpool.mapping.value_error import ConversionError

T = TypeVar("T")
MOMENT = datetime(2026, 1, 31, 12, 30)
IDENTITY = UUID("12345678123456781234567812345678")


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Rights(Flag):
    READ = 1
    WRITE = 2


class Swapped(Enum):
    A = "B"
    B = "A"


@dataclass
class Point:
    x: int
    y: int | None


def fit(annotation: Any, db_type: DbType, family: str) -> Fit:
    return fit_of(spec_of(annotation), db_type, family)


def converted(annotation: Any, value: Any, family: str = "postgresql") -> Any:
    """One value through a mapper that knows nothing of its column."""
    mapper = mapper_for(annotation, (Column("field"),), family)
    ((made),) = mapper.map_rows([(value,)])
    return made


def refusal(annotation: Any, value: Any, family: str = "postgresql") -> str:
    """The message, which names the column and never tells the value."""
    with pytest.raises(RowValueError) as caught:
        converted(annotation, value, family)
    message = str(caught.value)
    assert 'row 1, column "field"' in message
    assert caught.value.value is value
    return message


def shape_refusal(annotation: Any, db_type: DbType, family: str = "postgresql") -> str:
    with pytest.raises(RowShapeError) as caught:
        mapper_for(annotation, (Column("field", db_type),), family)
    message = str(caught.value)
    assert f'column "field" {db_type.name}' in message
    return message


# ------------------------------------------------------------------------ exactness

REFUSED = [
    (str, "int8", 1, "int"),
    (int, "bool", True, "bool"),
    (float, "numeric", Decimal(1), "Decimal"),
    (float, "int8", 1, "int"),
    (date, "timestamp", MOMENT, "datetime"),
    (datetime, "date", MOMENT.date(), "date"),
    (int, "text", "1", "str"),
    (str, "bytea", b"a", "bytes"),
    (bytes, "text", "a", "str"),
    (str, "uuid", IDENTITY, "UUID"),
    (Decimal, "float8", 1.0, "float"),
    (bool, "int4", 1, "int"),
    (int, "float8", 1.0, "float"),
    (time, "interval", timedelta(1), "timedelta"),
    (str, "int4[]", [1], "list"),
    (list[int], "int4", 1, "int"),
    (UUID, "text", str(IDENTITY), "str"),
    (Color, "int4", 1, "int"),
    (Literal["a"], "int4", 1, "int"),
    (int | str, "bool", True, "bool"),
    (tuple[int, ...], "int4[]", [1], "list"),
]


@pytest.mark.parametrize(("annotation", "database_type", "value", "found"), REFUSED)
def test_a_wrong_type_is_refused_before_the_first_row_and_at_every_value(
    annotation: Any, database_type: str, value: Any, found: str
) -> None:
    row_type = tuple[annotation, ...]
    column = Column("field", postgresql_type(database_type))
    with pytest.raises(RowShapeError, match=rf'column "field" .*arrives as {found}'):
        mapper_for(row_type, (column,), "postgresql")
    with pytest.raises(RowValueError, match=f'row 1, column "field": expected .* found {found}'):
        mapper_for(row_type, (Column("field"),), "postgresql").map_rows([(value,)])


@pytest.mark.parametrize(("annotation", "database_type", "value", "found"), REFUSED)
def test_an_optional_type_is_as_exact(
    annotation: Any, database_type: str, value: Any, found: str
) -> None:
    mapper = mapper_for(tuple[annotation | None, ...], (Column("field"),), "postgresql")
    assert mapper.map_rows([(None,)]) == [(None,)]
    with pytest.raises(RowValueError, match=f"found {found}"):
        mapper.map_rows([(value,)])


@pytest.mark.parametrize("annotation", [int, str, Color, Literal["a"], list[int], int | str, UUID])
def test_null_is_refused_where_none_is_not_declared(annotation: Any) -> None:
    message = refusal(annotation, None)
    assert "found NULL" in message
    assert "| None, or make the column never NULL" in message


def test_the_row_is_counted_from_the_first() -> None:
    rows: list[tuple[Any]] = [("a",)] * 499 + [(None,)]
    mapper = mapper_for(str, (Column("name"),), "postgresql")
    with pytest.raises(RowValueError) as caught:
        mapper.map_rows(rows)
    assert str(caught.value) == (
        'row 500, column "name": expected str, found NULL; '
        "next: declare it str | None, or make the column never NULL"
    )
    caught.value.query = "get_user"
    assert "found NULL (query get_user); next:" in str(caught.value)
    with pytest.raises(RowValueError, match="row 1500"):
        mapper.map_rows(rows, 1000)


def test_naive_and_aware_moments_are_told_apart_in_words() -> None:
    aware = MOMENT.replace(tzinfo=timezone.utc)
    assert "found datetime (aware)" in refusal(date, aware)
    assert "found datetime (naive)" in refusal(date, MOMENT)
    assert "timestamptz (aware)" in shape_refusal(date, postgresql_type("timestamptz"))
    assert fit(datetime, postgresql_type("timestamptz"), "postgresql").reason == "unchanged, aware"
    assert fit(datetime, postgresql_type("timestamp"), "postgresql").reason == "unchanged, naive"


def test_a_uuid_of_the_driver_is_a_uuid() -> None:
    driver = pgproto.UUID(IDENTITY.hex)
    assert converted(UUID, driver) is driver
    assert converted(UUID | None, driver) is driver
    assert converted(list[UUID], [driver]) == [IDENTITY]


def test_a_subclass_of_anything_else_is_not_the_class() -> None:
    class Text(str):
        __slots__ = ()

    assert "found Text" in refusal(str, Text("a"))
    assert "found Level" in refusal(int, Level.LOW)


def test_ip_types_are_told_apart() -> None:
    address, interface = ipaddress.ip_address("10.0.0.1"), ipaddress.ip_interface("10.0.0.1/8")
    assert converted(ipaddress.IPv4Address, address) is address
    assert "found IPv4Interface" in refusal(ipaddress.IPv4Address, interface)
    assert converted(ipaddress.IPv4Address | ipaddress.IPv4Interface, interface) is interface


# ------------------------------------------------------------------- stored forms

FORMS = [
    ("sqlite", bool, 1, True),
    ("mysql", bool, 0, False),
    ("mysql", bool, b"\x01", True),
    ("sqlite", Decimal, 3, Decimal(3)),
    ("sqlite", Decimal, 0.1, Decimal("0.1")),
    ("sqlite", datetime, "2026-01-31 12:30:00", MOMENT),
    ("sqlite", datetime, "2026-01-31T12:30", MOMENT),
    ("sqlite", datetime, "2026-01-31 12:30:00.5", MOMENT.replace(microsecond=500000)),
    ("sqlite", datetime, "2026-01-31 12:30:00Z", MOMENT.replace(tzinfo=timezone.utc)),
    ("sqlite", date, "2026-01-31", MOMENT.date()),
    ("sqlite", time, "12:30:00.000001", time(12, 30, 0, 1)),
    ("sqlite", UUID, IDENTITY.hex, IDENTITY),
    ("mysql", UUID, str(IDENTITY), IDENTITY),
    ("mysql", time, timedelta(hours=12, minutes=30), time(12, 30)),
    ("mysql", ipaddress.IPv6Address, "::1", ipaddress.IPv6Address("::1")),
    ("sqlite", ipaddress.IPv4Network, "10.0.0.0/8", ipaddress.IPv4Network("10.0.0.0/8")),
]


@pytest.mark.parametrize(("family", "annotation", "stored", "value"), FORMS)
def test_what_a_database_stores_as_something_else_is_read(
    family: str, annotation: type, stored: Any, value: Any
) -> None:
    made = converted(annotation, stored, family)
    assert made == value
    assert type(made) is type(value)
    assert converted(list[annotation], [stored], family) == [value]
    assert fit(annotation, DbType("x", type(stored)), family).action is Action.CONVERT


@pytest.mark.parametrize(("family", "annotation", "stored", "value"), FORMS)
def test_postgresql_stores_nothing_as_something_else(
    family: str, annotation: type, stored: Any, value: Any
) -> None:
    refusal(annotation, stored, "postgresql")
    assert fit(annotation, DbType("x", type(stored)), "postgresql").action is Action.REFUSE


@pytest.mark.parametrize(
    ("family", "annotation", "value"),
    [
        ("sqlite", bool, 2),
        ("sqlite", bool, 1.0),
        ("sqlite", bool, "true"),
        ("mysql", bool, b"\x02"),
        ("mysql", bool, b"\x00\x01"),
        ("sqlite", int, True),
        ("sqlite", Decimal, "0.1"),
        ("sqlite", datetime, "2026-01-31"),
        ("sqlite", datetime, "2026-02-31 00:00:00"),
        ("sqlite", datetime, "2026-01-31 12:30:00 "),
        ("sqlite", datetime, "20260131T123000"),
        ("sqlite", date, "2026-01-31 00:00:00"),
        ("sqlite", date, "2026-W05-6"),
        ("sqlite", time, "25:00:00"),
        ("sqlite", UUID, f"{{{IDENTITY}}}"),
        ("sqlite", UUID, "x"),
        ("mysql", time, timedelta(days=1)),
        ("mysql", time, timedelta(seconds=-1)),
        ("mysql", datetime, "2026-01-31 12:30:00"),
        ("mysql", ipaddress.IPv4Address, "10.0.0.256"),
    ],
)
def test_nothing_but_the_stored_form_is_read(family: str, annotation: type, value: Any) -> None:
    refusal(annotation, value, family)


def test_the_table_prints_a_row_for_every_rule() -> None:
    lines = rule_table().splitlines()
    assert len(lines) == len(RULES) + 2
    assert "| int | bool | converted: 0 or 1 | sqlite, mysql |" in lines
    assert "| bool | int | refused: declare it bool | where nothing above converts it |" in lines


def test_no_pair_is_both_converted_and_refused_in_one_place_by_accident() -> None:
    converted_pairs = [
        (rule.source, rule.target, family)
        for rule in RULES
        if rule.convert is not None
        for family in rule.families
    ]
    assert len(converted_pairs) == len(set(converted_pairs))


# ---------------------------------------------------------------- Enum and Literal


def test_an_enum_goes_by_value() -> None:
    assert converted(Color, "red") is Color.RED
    assert converted(Level, 2) is Level.HIGH
    assert converted(Swapped, "A") is Swapped.B


def test_an_enum_goes_by_name_when_asked() -> None:
    assert converted(Annotated[Color, ByName()], "RED") is Color.RED
    assert converted(Annotated[Level, ByName()], "HIGH") is Level.HIGH
    assert converted(Annotated[list[Color], ByName()], ["RED"]) == [Color.RED]
    assert "not the name of a member" in refusal(Annotated[Color, ByName()], "red")


def test_an_unknown_label_is_refused_and_a_name_gets_a_hint() -> None:
    message = refusal(Color, "green")
    assert "expected Color, found str that is not the value of a member" in message
    assert "green" not in message
    assert "annotate it with ByName()" in refusal(Color, "RED")


def test_an_enum_value_has_to_be_of_the_right_type() -> None:
    refusal(Level, True)
    refusal(Level, 1.0)
    refusal(Level, "1")
    refusal(Color, ["red"])


def test_flags_may_be_combined() -> None:
    assert converted(Rights, 3) == Rights.READ | Rights.WRITE
    refusal(Rights, 8)


def test_labels_of_a_database_enum_are_text() -> None:
    mood = postgresql_type("mood", labels=("red", "blue"))
    assert fit(Color, mood, "postgresql").action is Action.CONVERT
    assert fit(str, mood, "postgresql").action is Action.ACCEPT
    assert "arrives as str" in shape_refusal(Level, mood)


@pytest.mark.parametrize("value", [True, 1.0, "1", 2, [1]])
def test_a_literal_is_a_value_of_its_type(value: Any) -> None:
    assert converted(Literal[1], 1) == 1
    assert "expected Literal[1]" in refusal(Literal[1], value)


def test_a_literal_may_be_none_or_a_member() -> None:
    assert converted(Literal["a", None], None) is None
    assert converted(Literal[Color.RED], "red") is Color.RED
    refusal(Literal[Color.RED], "blue")


# -------------------------------------------------------------- arrays and ranges


def test_elements_are_checked() -> None:
    assert converted(list[int], [1, 2]) == [1, 2]
    assert converted(list[int | None], [1, None]) == [1, None]
    assert converted(list[list[int]], [[1], [2]]) == [[1], [2]]
    assert converted(list[Color], ["red"]) == [Color.RED]
    assert '"field" at [1]: expected int, found NULL' in refusal(list[int], [1, None])
    assert "at [1][0]: expected int, found str" in refusal(list[list[int]], [[1], ["2"]])
    assert "at [0]: expected int, found bool" in refusal(list[int], [True])
    assert "at [1]: expected Color, found str that" in refusal(list[Color], ["red", "green"])


@pytest.mark.parametrize("name", ["int4[]", "_int4", "integer[]"])
def test_an_array_type_is_known_by_each_of_its_names(name: str) -> None:
    array = postgresql_type(name)
    assert fit(list[int], array, "postgresql").action is Action.ACCEPT
    assert fit(list[list[int]], array, "postgresql").action is Action.ACCEPT
    assert "element" in shape_refusal(list[str], array)


@pytest.mark.parametrize("name", ["mood[]", "_mood"])
def test_an_array_of_an_unknown_type_may_be_text(name: str) -> None:
    array = postgresql_type(name)
    assert array == DbType("mood[]", element=DbType("mood"))
    assert fit(list[Color], array, "postgresql").action is Action.CONVERT
    assert fit(str, array, "postgresql").action is Action.ACCEPT


def test_ranges_are_exact_and_their_bounds_too() -> None:
    whole = asyncpg.Range(1, 5)
    assert converted(asyncpg.Range, whole) is whole
    assert converted(Range[int], Range(1, None)) == Range(1, None)
    assert "at .upper: expected int | None, found str" in refusal(Range[int], Range(1, "5"))
    assert "expected Range, found list" in refusal(asyncpg.Range, [1, 5])


# ------------------------------------------------------- composites, Decode, unions


class Record:
    """What asyncpg makes of a composite value."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def keys(self) -> Any:
        return self._fields.keys()

    def __getitem__(self, key: str) -> Any:
        return self._fields[key]


def test_a_composite_value_becomes_an_object() -> None:
    assert converted(list[Point], [Record(x=1, y=None)]) == [Point(1, None)]
    assert "at [0].x: expected int, found NULL" in refusal(list[Point], [Record(x=None, y=1)])
    assert "at [0].y: expected int | None, found no such" in refusal(list[Point], [Record(x=1)])
    assert "at [0].z" in refusal(list[Point], [Record(x=1, y=2, z=3)])


def test_a_composite_type_is_judged_by_its_fields() -> None:
    int4, text = postgresql_type("int4"), postgresql_type("text")
    fits = postgresql_type("point2d", fields=(("x", int4), ("y", int4)))
    assert fit(Point, fits, "postgresql").action is Action.CONVERT
    wrong = postgresql_type("point2d", fields=(("x", int4), ("y", text)))
    assert fit(Point, wrong, "postgresql").action is Action.REFUSE
    short = postgresql_type("point2d", fields=(("x", int4),))
    assert fit(Point, short, "postgresql").reason == "only one of the two types has y"


def test_what_decode_takes_is_nobody_elses_business() -> None:
    annotation = list[Annotated[list[int], Decode(range)]]
    assert fit(annotation, postgresql_type("text[]"), "postgresql").action is Action.CONVERT


def half(number: int) -> float:
    if number % 2:
        raise ArithmeticError("secret 13")
    return number / 2


def test_decode_is_called_with_what_is_not_null() -> None:
    assert converted(Annotated[float, Decode(half)], 4) == 2.0
    assert converted(Annotated[float, Decode(half)] | None, None) is None
    assert converted(list[Annotated[float, Decode(half)]], [4, 2]) == [2.0, 1.0]
    assert converted(list[Annotated[list[int], Decode(range)]], [2]) == [range(2)]
    assert "found NULL" in refusal(Annotated[float, Decode(half)], None)


def test_what_decode_raises_is_the_cause_and_stays_out_of_the_message() -> None:
    message = refusal(Annotated[float, Decode(half)], 13)
    assert "a value for Decode(half), found int (the function raised ArithmeticError)" in message
    assert "13" not in message
    with pytest.raises(RowValueError) as caught:
        converted(Annotated[float, Decode(half)], 13)
    assert isinstance(caught.value.__cause__, ArithmeticError)


def test_a_union_is_one_of_its_members_exactly() -> None:
    assert converted(int | str, 1) == 1
    assert converted(int | str | None, None) is None
    assert converted(int | Literal["none"], "none") == "none"
    assert "expected int | str, found bool" in refusal(int | str, True)
    assert converted(datetime | int, "2026-01-31 12:30:00", "sqlite") == MOMENT


# ------------------------------------------------------------------ JSON without Json


@pytest.mark.parametrize(
    "annotation", [dict, dict[str, int], list[int], Point, str, int, tuple[int, ...]]
)
def test_json_without_json_is_refused(annotation: Any) -> None:
    verdict = fit(annotation, postgresql_type("jsonb"), "postgresql")
    assert verdict.action is Action.REFUSE
    assert "Json()" in verdict.hint


@pytest.mark.parametrize("annotation", [list[int], Point, str, int])
def test_a_value_that_is_json_is_refused_too(annotation: Any) -> None:
    assert "Json()" in refusal(list[annotation], [{"a": 1}])


@pytest.mark.parametrize("family", ["postgresql", "sqlite", "mysql"])
@pytest.mark.parametrize("annotation", [dict, dict[str, int]])
def test_a_dict_needs_json_whatever_is_known(annotation: Any, family: str) -> None:
    with pytest.raises(RowShapeError, match=r'column "field".*Json\(\)'):
        mapper_for(tuple[annotation, ...], (Column("field"),), family)


@pytest.mark.parametrize("family", ["sqlite", "mysql"])
def test_a_nested_class_needs_json_or_flatten_where_there_are_no_composites(family: str) -> None:
    with pytest.raises(RowShapeError, match=r"Json\(\) if it is JSON, or Flatten\(\)"):
        mapper_for(list[Point], (Column("field"),), family)


def test_json_is_for_json_columns() -> None:
    document = Annotated[Point, Json()]
    assert fit(document, postgresql_type("jsonb"), "postgresql").action is Action.CONVERT
    assert "x::jsonb" in shape_refusal(document, postgresql_type("text"))
    assert fit(document, mysql_type("json"), "mysql").action is Action.CONVERT


# -------------------------------------------------------------- agreement everywhere

SAMPLES: list[Any] = [
    True,
    1,
    1.5,
    "text",
    str(IDENTITY),
    "2026-01-31",
    "2026-01-31 12:30:00",
    "12:30:00",
    "10.0.0.1",
    b"\x01",
    Decimal("1.5"),
    MOMENT,
    MOMENT.date(),
    MOMENT.time(),
    timedelta(hours=1),
    IDENTITY,
]
SCALARS = [bool, int, float, str, bytes, Decimal, datetime, date, time, timedelta, UUID]
OTHERS = [Color, Literal["text", 1], int | str, list[int], *(ipaddress.IPv4Address,)]


@pytest.mark.parametrize("family", ["postgresql", "sqlite", "mysql"])
@pytest.mark.parametrize("annotation", [*SCALARS, *OTHERS])
def test_what_is_judged_impossible_never_succeeds(annotation: Any, family: str) -> None:
    convert = converter_of(spec_of(annotation), family)
    for value in SAMPLES:
        if fit(annotation, DbType("x", type(value)), family).action is Action.REFUSE:
            with pytest.raises(ConversionError):
                convert(value)


@pytest.mark.parametrize("family", ["postgresql", "sqlite", "mysql"])
@pytest.mark.parametrize("annotation", SCALARS)
def test_what_is_judged_acceptable_is_left_as_it_is(annotation: Any, family: str) -> None:
    convert = converter_of(spec_of(annotation), family)
    for value in SAMPLES:
        if fit(annotation, DbType("x", type(value)), family).action is Action.ACCEPT:
            assert convert(value) is value


@pytest.mark.parametrize(
    ("family", "name", "python"),
    [
        ("postgresql", 23, int),
        ("postgresql", "varchar(20)", str),
        ("postgresql", "double precision", float),
        ("postgresql", 1009, list),
        ("postgresql", 3802, None),
        ("postgresql", "hstore", None),
        ("mysql", 246, Decimal),
        ("mysql", "bigint", int),
        ("mysql", "decimal(10,2)", Decimal),
        ("mysql", 999, None),
        ("sqlite", "INTEGER", None),
        ("oracle", "NUMBER", None),
    ],
)
def test_types_are_known_by_name_and_by_number(
    family: str, name: str | int, python: type | None
) -> None:
    assert db_type_of(name, family).python is python


def test_what_nobody_knows_is_unknown_and_looked_at_value_by_value() -> None:
    unknown = db_type_of("hstore", "postgresql")
    assert fit(int, unknown, "postgresql").reason == "each value is checked"
