"""Which columns fit a row type, and every issue, found before the first row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from sqla_typedpool.errors import RowShapeError, RowValueError
from sqla_typedpool.mapping.markers import Col, Flatten
from sqla_typedpool.mapping.plan import Column, make_plan
from tests.support.mapping_lab import columns_of, mapped


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


def issues_of(row_type: Any, names: str, family: str = "postgresql") -> tuple[str, ...]:
    with pytest.raises(RowShapeError) as caught:
        make_plan(row_type, columns_of(names), family)
    return caught.value.faults


# ---------------------------------------------------------------------------------------- issues


def test_one_error_names_every_issue() -> None:
    issues = issues_of(User, "id:text id:text nam home_zip:int4 more")
    assert len(issues) == 7
    message = str(RowShapeError(*issues))
    assert message.startswith("7 faults:\n- ")
    for issue in issues:
        assert f"\n- {issue}" in message


def test_a_missing_column_is_reported_with_its_field_and_a_similar_name() -> None:
    (issue, extra) = issues_of(User, "id nmae home_street home_zip")
    assert issue == 'missing column "name" for User.name (str | None); did you mean "nmae"?'
    assert extra.startswith('extra column "nmae": User has no such field; next: ')


def test_without_a_similar_name_all_columns_are_listed() -> None:
    (issue,) = issues_of(User, "id home_street home_zip")
    assert issue.endswith('; the result has 3 columns: "id", "home_street", "home_zip"')


def test_duplicate_columns_are_reported_with_their_numbers() -> None:
    (issue,) = issues_of(User, f"{USER} id")
    assert issue.startswith('duplicate column "id" (columns 1, 5); next: ')


def test_an_impossible_type_is_reported_with_both_types_and_the_next_step() -> None:
    (issue,) = issues_of(User, "id:numeric name:text home_street home_zip")
    assert issue == (
        'column "id" numeric cannot be int for User.id (it arrives as Decimal); '
        "next: declare it Decimal, or CAST(... AS bigint)"
    )


def test_an_issue_inside_a_flattened_class_names_that_class() -> None:
    (issue,) = issues_of(User, "id name home_street:bytea home_zip")
    assert issue.startswith('column "home_street" bytea cannot be str for Address.street')


@pytest.mark.parametrize(
    ("row_type", "columns", "message"),
    [
        (tuple[int, str], "id", "needs 2 columns, but the result has 1 column"),
        (tuple[int, str], "", "but the result has no columns$"),
        (int, "id name", 'int needs 1 column, but the result has 2 columns: "id", "name"'),
    ],
)
def test_a_wrong_number_of_columns_is_reported(row_type: Any, columns: str, message: str) -> None:
    with pytest.raises(RowShapeError, match=message):
        mapped(row_type, columns)


# ------------------------------------------------------------------------------------- Flatten()


def test_a_flattened_class_is_made_of_columns_with_its_prefix() -> None:
    assert mapped(User, USER, (1, "Ann", "High St", None)) == [
        User(1, "Ann", Address("High St", None))
    ]


def test_prefixes_add_up() -> None:
    names = "title user_id user_name user_home_street user_home_zip"
    made = mapped(Company, names, ("Boss", 1, None, "High St", "1"))
    assert made == [Company(User(1, None, Address("High St", "1")), "Boss")]


def test_an_optional_object_is_none_only_if_all_its_columns_are_null() -> None:
    assert mapped(User, USER, (1, "Ann", None, None)) == [User(1, "Ann", None)]
    with pytest.raises(RowValueError, match='"home_street": expected str, found NULL'):
        mapped(User, USER, (1, "Ann", None, "1"))


def test_an_object_that_is_not_optional_is_never_none() -> None:
    assert mapped(Certain, "id m_nick m_note", (1, None, None)) == [Certain(1, Maybe(None, None))]


def test_an_optional_object_whose_fields_may_all_be_none_is_ambiguous() -> None:
    (issue,) = issues_of(Vague, "id nick note")
    assert "Vague.maybe: every field of Maybe may be None" in issue
    assert '"nick", "note"' in issue


@dataclass
class Outer:
    note: str | None
    home: Annotated[Address | None, Flatten(prefix="home_")]


@dataclass
class OuterMaybe:
    outer: Annotated[Outer | None, Flatten()]


def test_an_optional_inner_object_does_not_resolve_the_ambiguity() -> None:
    (issue,) = issues_of(OuterMaybe, "note home_street home_zip")
    assert "OuterMaybe.outer: every field of Outer may be None" in issue


def test_an_asserted_column_resolves_the_ambiguity() -> None:
    assert mapped(Vague, "id nick! note", (1, None, None)) == [Vague(1, None)]
    assert mapped(Vague, "id nick! note", (1, "A", None)) == [Vague(1, Maybe("A", None))]
    with pytest.raises(RowValueError, match='column "nick!": expected str, found NULL'):
        mapped(Vague, "id nick! note", (1, None, "n"))


def test_a_missing_column_is_not_reported_as_ambiguous_too() -> None:
    issues = issues_of(Vague, "id nick")
    assert len(issues) == 1
    assert issues[0].startswith('missing column "note"')


@dataclass
class Point:
    x: int
    y: Annotated[int, Col(default=True)] = 7


@dataclass
class Holder:
    point: Annotated[Point | None, Flatten(prefix="p_")]


def test_a_column_of_a_flattened_class_may_be_missing_if_it_has_a_default() -> None:
    assert mapped(Holder, "p_x", (1,), (None,)) == [Holder(Point(1)), Holder(None)]


# --------------------------------------------------------------------- marks in names of columns


@pytest.mark.parametrize("mark", ["!", "?"])
def test_a_marked_column_is_the_field_without_the_mark(mark: str) -> None:
    assert mapped(User, USER.replace("name", f"name{mark}"), (1, "A", None, None)) == [
        User(1, "A", None)
    ]


def test_null_in_an_asserted_column_is_refused_even_if_the_field_is_optional() -> None:
    with pytest.raises(RowValueError, match='column "name!": expected str, found NULL'):
        mapped(User, USER.replace("name", "name!"), (1, None, None, None))
    with pytest.raises(RowValueError, match='column "x!": expected Any, found NULL'):
        mapped(tuple[Any], "x!", (None,))
    with pytest.raises(
        RowValueError, match=r'column "x!": expected int, found NULL.*next: change the query'
    ):
        mapped(int | None, "x!", (None,))


@pytest.mark.parametrize("name", ["?column?", "count(*) > ?", "a=?", "!", "?"])
def test_the_name_of_an_expression_or_of_a_lone_mark_has_no_mark(name: str) -> None:
    assert Column(name).label == name
    assert not Column(name).is_asserted


def test_two_columns_that_differ_only_in_their_mark_are_duplicates() -> None:
    issues = issues_of(User, f"{USER} name!")
    assert issues[0].startswith('duplicate column "name"')
