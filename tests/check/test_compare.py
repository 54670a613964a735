"""The comparison of columns with declared row types."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, select

from sqla_typedpool import ByName, Decode, Flatten, Json, RowCount
from sqla_typedpool.check.compare import compare
from sqla_typedpool.check.model import Severity
from sqla_typedpool.errors import Refused
from sqla_typedpool.mapping.dbtypes import DbType, postgresql_type
from sqla_typedpool.mapping.plan import Column as PlannedColumn
from sqla_typedpool.mapping.plan import make_plan
from tests.support.check_lab import (
    codes,
    compared,
    declare,
    described,
    in_file,
    maybe,
    never,
    refused,
)

USERS = Table("users", MetaData(), Column("id", Integer), Column("nick", String))
MOOD = postgresql_type("mood", labels=("sad", "ok", "happy"))


class Mood(Enum):
    SAD = "sad"
    OK = "ok"
    HAPPY = "happy"


class Fewer(Enum):
    SAD = "sad"
    ANGRY = "angry"


@dataclass
class User:
    id: int
    name: str | None


@dataclass
class Author:
    id: int
    name: str
    born: str | None


@dataclass
class Book:
    title: str
    author: Annotated[Author | None, Flatten("a_")]


@dataclass
class CertainBook:
    title: str
    author: Annotated[Author, Flatten("a_")]


@dataclass
class Shelf:
    place: str
    book: Annotated[Book | None, Flatten("b_")]


@dataclass
class Note:
    note: str | None


@dataclass
class MaybeNoted:
    note: Annotated[Note | None, Flatten()]


BOOK = "SELECT title, a_id, a_name, a_born FROM books"


def joined(**changes: Any) -> list[Any]:
    """Return the columns of a book and its author, who can be missing."""
    columns = {
        "title": never("title", "text"),
        "a_id": maybe("a_id", "int8", missing="a"),
        "a_name": maybe("a_name", "text", missing="a"),
        "a_born": maybe("a_born", "text"),
    }
    return list({**columns, **changes}.values())


# --------------------------------------------------------------------- what agrees


@pytest.mark.parametrize(
    ("returns", "columns"),
    [
        (User, [never("id", "int8"), maybe("name", "text")]),
        (User | None, [never("id", "int8"), maybe("name", "text")]),
        (list[int], [never("id", "int8")]),
        (list[int | None], [maybe("id", "int8")]),
        (tuple[int, str | None], [never("id", "int8"), maybe("name", "text")]),
        (list[tuple[int, ...]], [never("id", "int8"), never("b", "int8")]),
        (list[Any], [maybe("id", "int8")]),
        (list[Decimal], [never("id", "numeric")]),
        (list[tuple[list[int]]], [never("ids", "int8[]")]),
        (list[Mood], [never("mood", MOOD)]),
        (list[Literal["ok", "sad", "happy"]], [never("mood", MOOD)]),
        (list[Annotated[dict[str, Any], Json()]], [never("doc", "jsonb")]),
        (list[Annotated[Author | None, Decode(lambda value: value)]], [maybe("doc", "jsonb")]),
    ],
)
def test_matching_columns_give_no_finding(returns: Any, columns: list[Any]) -> None:
    names = ", ".join(column.name for column in columns)
    assert codes(compared(f"SELECT {names} FROM t", returns, *columns)) == []


def test_none_for_a_missing_row_is_not_a_needless_optional() -> None:
    assert codes(compared("SELECT id FROM t", int | None, never("id", "int8"))) == []


def test_statements_without_rows_fit_none_and_row_count() -> None:
    for returns in (None, RowCount):
        assert codes(compared("DELETE FROM t", returns)) == []


# --------------------------------------------------------------- NULL and None


def test_a_nullable_column_needs_an_optional_field() -> None:
    (found,) = compared(
        "SELECT id, name FROM t",
        User,
        maybe("id", "int8", "t may be missing (LEFT JOIN)"),
        maybe("name", "text"),
    )
    assert codes([found]) == ["TP101 id"]
    assert found.severity is Severity.ERROR
    assert found.message == '"id" may be NULL, but User.id is int'
    assert found.reason == "t may be missing (LEFT JOIN)"
    assert found.hint == (
        'declare it int | None, or select it AS "id!" if you know that it is never NULL'
    )


def test_a_part_of_a_tuple_is_named_by_its_number() -> None:
    (found,) = compared(
        "SELECT a, b FROM t", tuple[int, str], never("a", "int8"), maybe("b", "text")
    )
    assert found.message == '"b" may be NULL, but part 2 of tuple[int, str] is str'


def test_the_hint_names_an_unnamed_expression() -> None:
    (found,) = compared("SELECT a + 1 FROM t", list[int], maybe("?column?", "int4"))
    assert codes([found]) == ["TP101 ?column?"]
    assert 'select it AS "name!"' in found.hint


def test_an_optional_field_of_a_column_that_is_never_null_is_a_note() -> None:
    found = compared("SELECT id FROM t", list[int | None], never("id", "int8"))
    assert codes(found) == ["TP107 id"]
    assert found[0].severity is Severity.NOTE
    assert found[0].hint == "declare it int"


def test_a_json_column_can_contain_the_null_of_json() -> None:
    document = Annotated[dict[str, Any], Json()]
    sql = "SELECT doc FROM t"
    for returns in (list[document], list[document | None]):  # type: ignore[valid-type]
        assert compared(sql, returns, never("doc", "jsonb")) == []


@pytest.mark.parametrize("returns", [list[str], list[int]])
def test_a_range_is_neither_a_string_nor_a_number(returns: Any) -> None:
    (found,) = compared("SELECT span FROM t", returns, never("span", "int4range"))
    assert (found.code, found.reason) == ("TP105", "it arrives as a range")


def test_a_field_of_type_none_does_not_fit_a_column_that_is_never_null() -> None:
    assert codes(compared("SELECT a FROM t", tuple[None], never("a", "int8"))) == ["TP105 a"]


def test_an_exclamation_mark_is_trusted_with_a_note() -> None:
    found = compared('SELECT id AS "id!" FROM t', list[int], maybe("id!", "int8"))
    assert codes(found) == ["TP108 id!"]


def test_an_expression_without_a_name_has_no_mark() -> None:
    assert compared("SELECT 1 = 1", bool, never("?column?", "bool")) == []


def test_a_column_that_is_named_like_a_mark_has_no_mark() -> None:
    assert compared('SELECT "!" FROM t', list[int | None], maybe("!", "int8")) == []
    assert codes(compared('SELECT "!" FROM t', list[int], maybe("!", "int8"))) == ["TP101 !"]


def test_a_needless_mark_is_a_note() -> None:
    assert codes(compared('SELECT id AS "id!" FROM t', list[int], never("id!", "int8"))) == [
        "TP109 id!"
    ]
    assert codes(compared('SELECT id AS "id?" FROM t', list[int | None], maybe("id?", "int8"))) == [
        "TP109 id?"
    ]


def test_a_question_mark_needs_an_optional_field() -> None:
    sql = 'SELECT id AS "id?" FROM t'
    assert codes(compared(sql, list[int], never("id?", "int8"))) == ["TP101 id?"]
    assert codes(compared(sql, list[int | None], never("id?", "int8"))) == []


# ------------------------------------------------------------------ optional Flatten


def test_an_object_whose_columns_are_missing_together_can_be_optional() -> None:
    assert codes(compared(BOOK, list[Book], *joined())) == []


def test_an_object_that_can_be_missing_must_be_optional() -> None:
    found = compared(BOOK, list[CertainBook], *joined())
    assert codes(found) == ["TP101 a_id", "TP101 a_name"]
    assert "Author.name is str" in found[1].message
    assert found[1].hint.startswith("declare it Author | None, or")


def test_a_column_that_is_present_without_the_object_makes_it_ambiguous() -> None:
    found = compared(BOOK, list[Book], *joined(a_id=never("a_id", "int8", "b.x is NOT NULL")))
    assert codes(found) == ["TP110 a_id"]
    assert "b.x is NOT NULL" in found[0].reason
    assert found[0].message.endswith("but they are not NULL together")
    found = compared(BOOK, list[Book], *joined(a_born=never("a_born", "text")))
    assert codes(found) == ["TP110 a_born"]


def test_columns_that_are_missing_with_different_rows_make_it_ambiguous() -> None:
    found = compared(BOOK, list[Book], *joined(a_id=maybe("a_id", "int8", missing="p")))
    assert codes(found) == ["TP110 a_id"]
    assert found[0].message.endswith("but they may be missing with different rows")


def test_a_column_that_is_nullable_itself_needs_an_optional_field_in_the_object() -> None:
    found = compared(BOOK, list[Book], *joined(a_name=maybe("a_name", "text")))
    assert codes(found) == ["TP101 a_name"]


def test_an_object_that_is_always_present_need_not_be_optional() -> None:
    columns = joined(a_id=never("a_id", "int8"), a_name=never("a_name", "text"))
    found = compared(BOOK, list[Book], *columns)
    assert codes(found) == ["TP107 a_id"]
    assert found[0].message == "Book.author is never None, but it is declared Author | None"


def test_a_column_with_an_exclamation_mark_shows_whether_the_object_exists() -> None:
    sql = 'SELECT title, a_id AS "a_id!", a_name, a_born FROM books'
    found = compared(sql, list[Book], *joined(a_id=maybe("a_id!", "int8")))
    assert codes(found) == ["TP108 a_id!"]


def test_an_optional_object_inside_another_is_checked_separately() -> None:
    sql = "SELECT place, b_title, b_a_id, b_a_name, b_a_born FROM books"
    columns = [
        never("place", "text"),
        maybe("b_title", "text", missing="b"),
        maybe("b_a_id", "int8", missing="a"),
        maybe("b_a_name", "text", missing="a"),
        maybe("b_a_born", "text"),
    ]
    assert codes(compared(sql, list[Shelf], *columns)) == []
    columns[3] = maybe("b_a_name", "text")
    assert codes(compared(sql, list[Shelf], *columns)) == ["TP101 b_a_name"]
    columns[2:4] = [never("b_a_id", "int8"), never("b_a_name", "text")]
    assert codes(compared(sql, list[Shelf], *columns)) == ["TP110 b_a_id", "TP107 b_a_id"]


# ------------------------------------------------------------- columns and fields


def test_each_kind_of_shape_error_has_its_code() -> None:
    found = compared(
        "SELECT id, nmae, more, more FROM t",
        User,
        never("id", "text"),
        maybe("nmae", "text"),
        never("more", "int8"),
        never("more", "int8"),
    )
    assert sorted({each.code for each in found}) == ["TP102", "TP103", "TP104", "TP105"]
    missing = next(each for each in found if each.code == "TP102")
    assert (missing.subject, missing.hint) == ("User.name", 'did you mean "nmae"?')


def test_the_location_of_a_duplicate_is_the_second_column(tmp_path: Path) -> None:
    info = in_file(
        tmp_path / "twice.py",
        "from typing import TypedDict\n"
        "from sqla_typedpool import Executor, query\n"
        'Row = TypedDict("Row", {"id": int})\n'
        '@query("SELECT id, b AS id FROM t")\n'
        "async def declared(db: Executor) -> Row:\n"
        "    raise NotImplementedError\n",
    )
    (found,) = compare(info, described(never("id", "int8"), never("id", "int8")))
    assert (found.code, found.subject) == ("TP104", "id")
    assert found.location is not None
    assert (found.location.line, found.location.column, found.location.length) == (4, 20, 7)


def test_the_checker_reports_the_faults_that_the_mapper_raises() -> None:
    columns = [never("id", "text"), maybe("nam", "text")]
    planned = [PlannedColumn(each.name, each.db_type) for each in columns]
    with pytest.raises(Exception, match="faults") as caught:
        make_plan(User, planned, "postgresql")
    found = compared("SELECT id, nam FROM t", User, *columns)
    assert len(found) == len(caught.value.args)
    for each in found:
        assert any(fault.startswith(each.message) for fault in caught.value.args)


def test_a_column_of_the_wrong_type_has_only_one_finding() -> None:
    found = compared("SELECT id FROM t", list[int], maybe("id", "text"))
    assert codes(found) == ["TP105 id"]
    assert found[0].message == 'column "id" text cannot be int'


def test_the_numbers_of_columns_must_be_equal() -> None:
    found = compared("SELECT a, b FROM t", list[int], never("a", "int8"), never("b", "int8"))
    assert codes(found) == ["TP106"]


def test_an_optional_object_without_a_certain_field_is_ambiguous() -> None:
    found = compared("SELECT note FROM t", list[MaybeNoted], maybe("note", "text"))
    assert codes(found) == ["TP110 note"]


def test_the_statement_and_the_function_must_agree_on_whether_there_are_rows() -> None:
    assert codes(compared("DELETE FROM t", list[int])) == ["TP302"]
    for returns in (None, RowCount):
        (found,) = compared("DELETE FROM t RETURNING id", returns, never("id", "int8"))
        assert found.code == "TP302"
        assert '"id"' in found.message


@pytest.mark.parametrize(
    ("returns", "message"),
    [("list[Nowhere]", "Nowhere"), ("list[Later]", "does not declare the columns")],
)
def test_an_annotation_that_cannot_be_used_is_a_finding(
    tmp_path: Path, returns: str, message: str
) -> None:
    info = in_file(
        tmp_path / "later.py",
        "from __future__ import annotations\n"
        "from sqla_typedpool import Executor, query\n"
        '@query("SELECT id FROM t")\n'
        f"async def declared(db: Executor) -> {returns}:\n"
        "    raise NotImplementedError\n"
        "Later = dict[str, int]\n",
    )
    (found,) = compare(info, described(never("id", "int8")))
    assert found.code == "TP303"
    assert message in found.message
    assert found.location is not None
    assert found.location.line == 3


# --------------------------------------------------------------------- other codes


def test_unknown_labels_are_an_error_and_unused_members_a_warning() -> None:
    found = compared("SELECT mood FROM t", list[Fewer], never("mood", MOOD))
    assert codes(found) == ["TP111 mood", "TP111 mood"]
    assert [each.severity for each in found] == [Severity.ERROR, Severity.WARNING]
    assert "'ok', 'happy'" in found[0].message
    assert "'angry'" in found[1].message


def test_by_name_compares_labels_with_the_names_of_members() -> None:
    upper = postgresql_type("mood", labels=("SAD", "OK", "HAPPY"))
    by_name = list[Annotated[Mood, ByName()]]
    assert codes(compared("SELECT mood FROM t", by_name, never("mood", upper))) == []
    assert codes(compared("SELECT mood FROM t", list[Mood], never("mood", upper))) == [
        "TP111 mood",
        "TP111 mood",
    ]


def test_the_labels_of_the_elements_of_an_array_are_compared() -> None:
    moods = DbType("mood[]", list, element=MOOD)
    found = compared("SELECT moods FROM t", list[tuple[list[Fewer]]], never("moods", moods))
    assert [each.severity for each in found] == [Severity.ERROR, Severity.WARNING]


def test_a_star_is_a_warning_that_names_its_columns() -> None:
    (found,) = compared("SELECT * FROM t", User, never("id", "int8"), maybe("name", "text"))
    assert found.code == "TP112"
    assert found.severity is Severity.WARNING
    assert found.hint.endswith("id, name")
    assert codes(compared("SELECT count(*) FROM t", list[int], never("count", "int8"))) == []


def test_columns_in_a_wrong_number_are_not_compared() -> None:
    columns = (maybe("id", "point"), maybe("name", "text"))
    found = compared("SELECT id, name FROM t", list[tuple[int, str, int]], *columns)
    assert codes(found) == ["TP106"]


def test_a_note_of_the_description_is_a_finding_with_its_hint() -> None:
    info = declare("SELECT id FROM t", list[int | None])
    note = "nullability is unknown: read-only; next: grant TEMP"
    (found,) = compare(info, described(maybe("id", "int8"), notes=(note,)))
    assert (found.code, found.severity) == ("TP304", Severity.NOTE)
    assert (found.message, found.hint) == ("nullability is unknown: read-only", "grant TEMP")


def test_the_rows_of_a_stream_are_compared(tmp_path: Path) -> None:
    info = in_file(
        tmp_path / "streams.py",
        "from collections.abc import AsyncIterator\n"
        "from sqla_typedpool import Executor, query\n"
        '@query("SELECT id FROM t")\n'
        "def declared(db: Executor) -> AsyncIterator[int]:\n"
        "    raise NotImplementedError\n",
    )
    assert codes(compare(info, described(maybe("id", "int8")))) == ["TP101 id"]


# ---------------------------------------------------------------- Core and refusals


def test_a_finding_of_a_core_statement_shows_the_sent_sql() -> None:
    info = declare(
        select(USERS.c.id, USERS.c.nick).where(USERS.c.id == bindparam("user_id")),
        tuple[int, str],
        user_id=int,
    )
    sql = "SELECT users.id, users.nick \nFROM users"
    description = described(never("id", "int8"), maybe("nick", "text"), sql=sql)
    (found,) = compare(info, description)
    start, length = int(found.details["offset"]), int(found.details["length"])
    assert found.details["sql"][start : start + length] == "users.nick"
    assert '.label("nick!")' in found.hint


def test_a_refused_statement_shows_the_message_of_the_database() -> None:
    info = declare("SELECT nmae FROM users", list[str])
    error = Refused('column "nmae" does not exist', position=7, hint="try name", code="42703")
    found = refused(info, error)
    assert (found.code, found.severity, found.hint) == ("TP301", Severity.ERROR, "try name")
    assert found.message == 'PostgreSQL refuses the statement: column "nmae" does not exist'
    assert found.details["sqlstate"] == "42703"


def test_a_parameter_without_a_type_has_a_code_of_its_own() -> None:
    info = declare("SELECT :a IS NULL", bool, a=int)
    error = Refused("could not determine data type of parameter $1", code="42P18")
    found = refused(info, error)
    assert found.code == "TP202"
    assert "CAST" in found.hint
