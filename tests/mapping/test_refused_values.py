"""Values that a constructor refuses, and infinity among datetimes with a time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated, Any

import attrs
import msgspec
import pydantic
import pytest

from sqla_typedpool.errors import RowValueError
from sqla_typedpool.mapping.mapper import mapper_for
from sqla_typedpool.mapping.markers import Decode, Flatten, Json
from sqla_typedpool.mapping.plan import Column
from tests.support.mapping_lab import mapped, refusal

AWARE = datetime(2026, 1, 31, tzinfo=timezone.utc)
INFINITIES = [datetime.max, datetime.min]


# ----------------------------------------------------------------------------------- constructors


@dataclass
class Checked:
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError(f"{self.number} is odd")


@attrs.define
class CheckedByAttrs:
    number: int = attrs.field()

    @number.validator
    def _even(self, _: Any, value: int) -> None:
        if value % 2:
            raise ValueError(f"{value} is odd")


class CheckedByPydantic(pydantic.BaseModel):
    number: Annotated[int, pydantic.Field(multiple_of=2)]


class CheckedStruct(msgspec.Struct):
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError(f"{self.number} is odd")


class Even:
    """A data descriptor, which dataclass keeps."""

    def __get__(self, instance: Any, _: Any) -> Any:
        return 0 if instance is None else instance.__dict__["number"]

    def __set__(self, instance: Any, value: int) -> None:
        if value % 2:
            raise ValueError(f"{value} is odd")
        instance.__dict__["number"] = value


@dataclass
class CheckedByDescriptor:
    number: int = Even()  # type: ignore[assignment]


@dataclass
class CheckedBySetattr:
    number: int

    def __setattr__(self, name: str, value: Any) -> None:
        if value % 2:
            raise ValueError(f"{value} is odd")
        object.__setattr__(self, name, value)


CHECKED = [
    Checked,
    CheckedByAttrs,
    CheckedByPydantic,
    CheckedStruct,
    CheckedByDescriptor,
    CheckedBySetattr,
]
by_class = pytest.mark.parametrize("cls", CHECKED)


@by_class
def test_a_constructor_that_raises_is_reported_with_its_row_and_class(cls: Any) -> None:
    with pytest.raises(RowValueError) as caught:
        mapped(cls, "number", (2,), (75,))
    error = caught.value
    raised = type(error.__cause__).__name__
    assert isinstance(error.__cause__, ValueError)
    assert (error.row, error.column, error.value) == (2, None, None)
    assert str(error) == (
        f"row 2: expected {cls.__name__}, found values for which its constructor raised {raised}; "
        "next: read the cause of this error, and correct the values or the class"
    )


@by_class
def test_a_constructor_that_raises_in_json_is_reported_with_its_column_and_path(cls: Any) -> None:
    message = refusal(Annotated[list[cls], Json()], [{"number": 2}, {"number": 75}])
    assert 'column "field" at $[1]: expected' in message
    assert f"expected {cls.__name__}, found values for which its constructor raised" in message
    assert "75" not in message


@by_class
def test_values_that_the_constructor_accepts_make_an_object(cls: Any) -> None:
    assert [made.number for made in mapped(cls, "number", (2,), (4,))] == [2, 4]


def test_the_class_of_a_flattened_object_is_named() -> None:
    @dataclass
    class Outer:
        id: int
        inner: Annotated[Checked, Flatten()]

    with pytest.raises(RowValueError, match="row 1: expected Checked, found values"):
        mapped(Outer, "id number", (1, 75))


def test_an_interrupt_in_a_constructor_is_raised_unchanged() -> None:
    @dataclass
    class Interrupted:
        number: int

        def __post_init__(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mapped(Interrupted, "number", (1,))


# --------------------------------------------------------------------------------------- infinity


@pytest.mark.parametrize("infinity", INFINITIES)
@pytest.mark.parametrize("annotation", [datetime, datetime | None, datetime | str])
def test_infinity_among_aware_datetimes_is_refused(annotation: Any, infinity: datetime) -> None:
    with pytest.raises(RowValueError) as caught:
        mapped(annotation, "expires:timestamptz", (AWARE,), (infinity,))
    assert (caught.value.row, caught.value.column) == (2, "expires")
    assert "found an infinite date and time; next: replace it in SQL" in str(caught.value)
    assert "9999" not in str(caught.value)


def test_infinity_in_an_array_is_refused() -> None:
    with pytest.raises(
        RowValueError, match=r'column "days" at \[1\]: expected datetime, found an inf'
    ):
        mapped(list[datetime], "days:timestamptz[]", ([AWARE, datetime.max],))


def test_infinity_of_a_column_without_time_zone_is_what_the_driver_delivers() -> None:
    assert mapped(datetime, "day:timestamp", (datetime.max,)) == [datetime.max]
    assert mapped(list[datetime], "days:timestamp[]", ([datetime.max],)) == [[datetime.max]]


def test_a_column_of_unknown_type_may_contain_any_datetime() -> None:
    assert mapped(datetime, "day", (datetime.max,)) == [datetime.max]


def test_a_naive_datetime_of_an_own_codec_is_accepted() -> None:
    naive = datetime(2026, 1, 31)
    assert mapped(datetime, "day:timestamptz", (naive,), (AWARE,)) == [naive, AWARE]


def test_an_infinite_bound_of_a_range_is_refused() -> None:
    asyncpg = pytest.importorskip("asyncpg")
    mapped_range = asyncpg.Range(AWARE, datetime.max)
    with pytest.raises(RowValueError, match=r'column "x" at \.upper: expected datetime'):
        mapped(asyncpg.Range[datetime], "x:tstzrange", (mapped_range,))


def test_decode_gets_infinity() -> None:
    assert mapped(Annotated[str, Decode(str)], "x:timestamptz", (datetime.max,)) == [
        "9999-12-31 23:59:59.999999"
    ]


def test_null_and_other_types_are_refused_as_in_any_column() -> None:
    for value, found in ((None, "NULL"), ("x", "str"), (1, "int")):
        with pytest.raises(RowValueError, match=f"expected datetime, found {found}"):
            mapped(datetime, "x:timestamptz", (value,))


def test_the_second_batch_of_a_stream_counts_its_rows_from_the_first() -> None:
    mapper = mapper_for(Checked, (Column("number"),), "postgresql")
    with pytest.raises(RowValueError, match="row 1001: expected Checked"):
        mapper.map_rows([(1,)], 1000)
