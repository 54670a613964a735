"""Any value of a declared type is unchanged; any value of another type is refused."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, make_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqla_typedpool.errors import RowValueError
from sqla_typedpool.mapping.mapper import mapper_for
from sqla_typedpool.mapping.markers import Json
from sqla_typedpool.mapping.plan import Column

SCALARS: dict[type, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(),
    float: st.floats(),
    str: st.text(),
    bytes: st.binary(),
    Decimal: st.decimals(),
    datetime: st.datetimes(timezones=st.none() | st.just(timezone.utc)),
    date: st.dates(),
    time: st.times(timezones=st.none() | st.just(timezone.utc)),
    timedelta: st.timedeltas(),
    UUID: st.uuids(),
    ipaddress.IPv4Address: st.ip_addresses(v=4),
    ipaddress.IPv6Address: st.ip_addresses(v=6),
}
# A slow machine must not fail these tests.
without_time_limit = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TYPES = st.sampled_from(list(SCALARS))
ANY_VALUE = st.one_of(*SCALARS.values())


@dataclass(frozen=True, slots=True)
class Drawn:
    """A type, and a value that has this type or another."""

    annotation: Any
    value: Any


@st.composite
def of_type(draw: st.DrawFn) -> Drawn:
    """A scalar type, an optional one, a list or a union, and a value of this type."""
    cls = draw(TYPES)
    value = SCALARS[cls]
    shape = draw(st.sampled_from(["scalar", "optional", "list", "matrix", "union"]))
    if shape == "optional":
        return Drawn(cls | None, draw(st.none() | value))
    if shape == "list":
        return Drawn(list[cls | None], draw(st.lists(st.none() | value)))  # type: ignore[valid-type]
    if shape == "matrix":
        return Drawn(list[list[cls]], draw(st.lists(st.lists(value))))  # type: ignore[valid-type]
    if shape == "union":
        other = draw(TYPES)
        return Drawn(cls | other, draw(value | SCALARS[other]))
    return Drawn(cls, draw(value))


@st.composite
def of_another_type(draw: st.DrawFn) -> Drawn:
    """A scalar type or a list of it, and a value that has another type."""
    cls = draw(TYPES)
    other = draw(TYPES.filter(lambda each: each is not cls))
    value = draw(SCALARS[other] | st.none())
    if draw(st.booleans()):
        good = draw(st.lists(SCALARS[cls], max_size=3))
        return Drawn(list[cls], [*good, value, *good])  # type: ignore[valid-type]
    return Drawn(cls, value)


def is_unchanged(made: Any, value: Any) -> bool:
    """Whether these are the same objects; lists may be new."""
    if isinstance(value, list):
        return (
            type(made) is list and len(made) == len(value) and all(map(is_unchanged, made, value))
        )
    return made is value


def mapped(annotation: Any, value: Any, family: str) -> Any:
    mapper = mapper_for(tuple[annotation, ...], (Column("field"),), family)
    ((made,),) = mapper.map_rows([(value,)])
    return made


@pytest.mark.parametrize("family", ["postgresql", "sqlite", "mysql"])
@without_time_limit
@given(drawn=of_type())
def test_a_value_of_the_declared_type_is_unchanged(family: str, drawn: Drawn) -> None:
    assert is_unchanged(mapped(drawn.annotation, drawn.value, family), drawn.value)


@without_time_limit
@given(drawn=of_another_type())
def test_a_value_of_another_type_is_refused(drawn: Drawn) -> None:
    with pytest.raises(RowValueError) as caught:
        mapped(drawn.annotation, drawn.value, "postgresql")
    assert 'row 1, column "field"' in str(caught.value)


@pytest.mark.parametrize("family", ["sqlite", "mysql"])
@without_time_limit
@given(drawn=of_another_type())
def test_where_stored_forms_exist_every_result_has_the_declared_type(
    family: str, drawn: Drawn
) -> None:
    try:
        made = mapped(drawn.annotation, drawn.value, family)
    except RowValueError:
        return
    made = made if isinstance(made, list) else [made]
    cls = getattr(drawn.annotation, "__args__", (drawn.annotation,))[0]
    assert {type(each) for each in made} == {cls}


@without_time_limit
@given(st.lists(st.tuples(TYPES, st.booleans()), min_size=1, max_size=12), st.data())
def test_whole_rows_equal_the_objects_that_the_constructor_makes(
    fields: list[tuple[type, bool]], data: st.DataObject
) -> None:
    frozen, slots = data.draw(st.booleans()), data.draw(st.booleans())
    declared = [
        (f"field{number}", cls | None if optional else cls)
        for number, (cls, optional) in enumerate(fields)
    ]
    row_type = make_dataclass("Row", declared, frozen=frozen, slots=slots)
    values = (SCALARS[cls] | st.none() if optional else SCALARS[cls] for cls, optional in fields)
    rows = data.draw(st.lists(st.tuples(*values), max_size=4))
    columns = tuple(Column(name) for name, _ in declared)
    made = mapper_for(row_type, columns, "postgresql").map_rows(rows)
    assert [type(each) for each in made] == [row_type] * len(rows)
    assert repr(made) == repr([row_type(*row) for row in rows])


JSON_TYPES: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    datetime: st.datetimes(),
    date: st.dates(),
    time: st.times(),
    UUID: st.uuids(),
}


@pytest.mark.parametrize("family", ["postgresql", "sqlite", "mysql"])
@without_time_limit
@given(st.sampled_from(list(JSON_TYPES)), st.data())
def test_a_value_written_as_json_comes_back_unchanged(
    family: str, cls: Any, data: st.DataObject
) -> None:
    value = data.draw(st.dictionaries(st.text(), st.lists(JSON_TYPES[cls])))
    written = json.dumps(value, default=lambda each: getattr(each, "isoformat", each.__str__)())
    document = json.loads(written) if family == "postgresql" else written
    returned = mapped(Annotated[dict[str, list[cls]], Json()], document, family)
    assert returned == value
    assert {type(each) for part in returned.values() for each in part} <= {cls}


@without_time_limit
@given(ANY_VALUE)
def test_a_value_that_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(RowValueError):
        mapped(Annotated[list[int], Json()], value, "postgresql")
