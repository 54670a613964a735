"""What fits and what does not, all at once and before the first row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from sqla_typedpool.errors import RowShapeError, RowValueError
from sqla_typedpool.mapping.dbtypes import postgresql_type
from sqla_typedpool.mapping.explain import explain_mapping
from sqla_typedpool.mapping.mapper import mapper_for
from sqla_typedpool.mapping.markers import Col, Flatten, Json
from sqla_typedpool.mapping.plan import Column, make_plan


@dataclass
class Address:
    street: str
    zip: str | None


@dataclass
class Maybe:
    nick: str | None
    note: str | None


@dataclass
class User:
    id: int
    name: str | None
    home: Annotated[Address | None, Flatten(prefix="home_")]


@dataclass
class Company:
    user: Annotated[User, Flatten(prefix="user_")]
    title: str


@dataclass
class Vague:
    id: int
    maybe: Annotated[Maybe | None, Flatten()]


@dataclass
class Certain:
    id: int
    maybe: Annotated[Maybe, Flatten(prefix="m_")]


USER = "id name home_street home_zip"


def columns_of(names: str) -> tuple[Column, ...]:
    """Columns from ``id:int8 name``."""
    split = (name.partition(":") for name in names.split())
    return tuple(Column(name, postgresql_type(kind) if kind else None) for name, _, kind in split)


def faults_of(row_type: Any, names: str, family: str = "postgresql") -> tuple[str, ...]:
    with pytest.raises(RowShapeError) as caught:
        make_plan(row_type, columns_of(names), family)
    return caught.value.faults


def mapped(row_type: Any, names: str, *rows: tuple[Any, ...]) -> list[Any]:
    return mapper_for(row_type, columns_of(names), "postgresql").map_rows(rows)


# ---------------------------------------------------------------------------- faults


def test_all_faults_are_told_together() -> None:
    faults = faults_of(User, "id:text id:text nam home_zip:int4 more")
    assert len(faults) == 7
    message = str(RowShapeError(*faults))
    assert message.startswith("7 faults:\n- ")
    for fault in faults:
        assert f"\n- {fault}" in message


def test_a_missing_column_is_named_with_its_field_and_a_near_name() -> None:
    (fault, extra) = faults_of(User, "id nmae home_street home_zip")
    assert fault == 'missing column "name" for User.name (str | None); did you mean "nmae"?'
    assert extra.startswith('extra column "nmae": User has no such field; next: ')


def test_without_a_near_name_all_are_listed() -> None:
    (fault,) = faults_of(User, "id home_street home_zip")
    assert fault.endswith('; there are: "id", "home_street", "home_zip"')


def test_duplicates_are_told_with_their_places() -> None:
    (fault,) = faults_of(User, f"{USER} id")
    assert fault.startswith('duplicate column "id" (columns 1, 5); next: ')


def test_an_impossible_type_is_told_with_both_types_and_the_next_step() -> None:
    (fault,) = faults_of(User, "id:numeric name:text home_street home_zip")
    assert fault == (
        'column "id" numeric cannot be int for User.id (it arrives as Decimal); '
        "next: declare it Decimal, or CAST(... AS bigint)"
    )


def test_types_inside_a_flattened_class_are_told_with_its_name() -> None:
    (fault,) = faults_of(User, "id name home_street:bytea home_zip")
    assert fault.startswith('column "home_street" bytea cannot be str for Address.street')


# --------------------------------------------------------------------------- Flatten


def test_a_flattened_class_is_made_of_columns_with_its_prefix() -> None:
    assert mapped(User, USER, (1, "Ann", "High St", None)) == [
        User(1, "Ann", Address("High St", None))
    ]


def test_prefixes_add_up() -> None:
    names = "title user_id user_name user_home_street user_home_zip"
    made = mapped(Company, names, ("Boss", 1, None, "High St", "1"))
    assert made == [Company(User(1, None, Address("High St", "1")), "Boss")]


def test_an_optional_one_is_none_exactly_where_all_its_columns_are_null() -> None:
    assert mapped(User, USER, (1, "Ann", None, None)) == [User(1, "Ann", None)]
    with pytest.raises(RowValueError, match='"home_street": expected str, found NULL'):
        mapped(User, USER, (1, "Ann", None, "1"))


def test_one_that_is_not_optional_is_always_there() -> None:
    assert mapped(Certain, "id m_nick m_note", (1, None, None)) == [Certain(1, Maybe(None, None))]


def test_an_optional_one_that_may_be_all_null_is_ambiguous() -> None:
    (fault,) = faults_of(Vague, "id nick note")
    assert "Vague.maybe: every field of Maybe may be None" in fault
    assert '"nick", "note"' in fault


@dataclass
class Outer:
    note: str | None
    home: Annotated[Address | None, Flatten(prefix="home_")]


@dataclass
class OuterMaybe:
    outer: Annotated[Outer | None, Flatten()]


def test_what_may_be_none_itself_settles_nothing() -> None:
    (fault,) = faults_of(OuterMaybe, "note home_street home_zip")
    assert "OuterMaybe.outer: every field of Outer may be None" in fault


def test_an_asserted_column_settles_it() -> None:
    assert mapped(Vague, "id nick! note", (1, None, None)) == [Vague(1, None)]
    assert mapped(Vague, "id nick! note", (1, "A", None)) == [Vague(1, Maybe("A", None))]
    with pytest.raises(RowValueError, match='column "nick!": expected str, found NULL'):
        mapped(Vague, "id nick! note", (1, None, "n"))


def test_a_missing_column_does_not_count_as_ambiguous() -> None:
    faults = faults_of(Vague, "id nick")
    assert len(faults) == 1
    assert faults[0].startswith('missing column "note"')


@dataclass
class Point:
    x: int
    y: Annotated[int, Col(default=True)] = 7


@dataclass
class Holder:
    point: Annotated[Point | None, Flatten(prefix="p_")]


def test_a_flattened_class_may_leave_defaults_alone() -> None:
    assert mapped(Holder, "p_x", (1,), (None,)) == [Holder(Point(1)), Holder(None)]


# ------------------------------------------------------------- asserted column names


@pytest.mark.parametrize("mark", ["!", "?"])
def test_a_marked_column_is_the_field_without_the_mark(mark: str) -> None:
    assert mapped(User, USER.replace("name", f"name{mark}"), (1, "A", None, None)) == [
        User(1, "A", None)
    ]


def test_what_is_asserted_is_checked_even_where_none_is_declared() -> None:
    with pytest.raises(RowValueError, match='column "name!": expected str, found NULL'):
        mapped(User, USER.replace("name", "name!"), (1, None, None, None))
    with pytest.raises(RowValueError, match='column "x!": expected Any, found NULL'):
        mapped(tuple[Any], "x!", (None,))
    with pytest.raises(
        RowValueError, match=r'column "x!": expected int, found NULL.*next: change the query'
    ):
        mapped(int | None, "x!", (None,))


@pytest.mark.parametrize("name", ["?column?", "count(*) > ?", "a=?"])
def test_the_name_of_an_expression_without_one_has_no_mark(name: str) -> None:
    assert Column(name).label == name


def test_marks_do_not_make_two_columns_of_one() -> None:
    faults = faults_of(User, f"{USER} name!")
    assert faults[0].startswith('duplicate column "name"')


# -------------------------------------------------------------------------- printing


def test_a_plan_shows_where_everything_comes_from() -> None:
    plan = make_plan(User, columns_of("id:int8 name:text home_street:text home_zip"), "postgresql")
    assert str(plan).splitlines() == [
        "User (dataclass) from 4 columns on postgresql, by object.__new__ and a store per field",
        '  id: int <- "id" int8: unchanged',
        '  name: str | None <- "name" text: unchanged',
        "  home: Address, by object.__new__ and a store per field, "
        "None if all its columns are NULL",
        '    street: str <- "home_street" text: unchanged',
        '    zip: str | None <- "home_zip": each value is checked',
    ]


def test_explain_mapping_shows_the_plan_and_the_code() -> None:
    text = explain_mapping(User)
    assert 'home_street"' in text
    assert "def map_rows(rows, first=0" in text
    assert "row = new(User)" in text


def test_explain_mapping_takes_database_types_of_each_dialect() -> None:
    assert "from int: 0 or 1" in explain_mapping(bool, [("flag", "tinyint")], dialect="mariadb")
    assert "aware" in explain_mapping(tuple[Any, ...], [("at", "timestamptz"), "x"])
    assert "column2" in explain_mapping(tuple[int, str])
    with pytest.raises(RowShapeError, match="arrives as int"):
        explain_mapping(str, [("id", "int8")])


def test_a_documents_options_are_shown() -> None:
    text = explain_mapping(Annotated[list[Address], Json(extra=True)], [("data", "jsonb")])
    assert 'list[Address] Json(extra=True) <- "data" jsonb: built from JSON' in text
