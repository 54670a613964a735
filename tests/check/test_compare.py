"""Columns and signature: what is found, and what is not."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, cast, select
from sqlalchemy.dialects.postgresql import INET

from sqla_typedpool import ByName, Decode, Flatten, Json, RowCount
from sqla_typedpool.check.compare import compare, refused
from sqla_typedpool.check.model import Severity
from sqla_typedpool.errors import Refused
from sqla_typedpool.mapping.dbtypes import DbType, postgresql_type
from sqla_typedpool.mapping.plan import Column as PlannedColumn
from sqla_typedpool.mapping.plan import make_plan
from tests.support.check_lab import codes, compared, declare, described, in_file, maybe, never

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
    """The columns of a book and its author, who may be missing."""
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
def test_what_agrees_is_not_mentioned(returns: Any, columns: list[Any]) -> None:
    names = ", ".join(column.name for column in columns)
    assert codes(compared(f"SELECT {names} FROM t", returns, *columns)) == []


def test_a_single_value_that_is_there_or_not_may_be_declared_none() -> None:
    assert codes(compared("SELECT id FROM t", int | None, never("id", "int8"))) == []


def test_statements_without_rows_are_declared_without_rows() -> None:
    for returns in (None, RowCount):
        assert codes(compared("DELETE FROM t", returns)) == []


# --------------------------------------------------------------- NULL and None


def test_a_column_that_may_be_null_needs_a_field_that_may_be_none() -> None:
    (found,) = compared(
        "SELECT id, name FROM t",
        User,
        maybe("id", "int8", "t may be missing (LEFT JOIN)"),
        maybe("name", "text"),
    )
    assert codes([found]) == ["TP101 id"]
    assert found.severity is Severity.ERROR
    assert found.message == '"id" may be NULL, and User.id is int'
    assert found.reason == "t may be missing (LEFT JOIN)"
    assert found.hint == 'declare int | None; or, if you know better, select it AS "id!"'


def test_a_part_of_a_tuple_is_named_by_its_number() -> None:
    (found,) = compared(
        "SELECT a, b FROM t", tuple[int, str], never("a", "int8"), maybe("b", "text")
    )
    assert found.message == '"b" may be NULL, and part 2 of tuple[int, str] is str'


def test_an_expression_without_a_name_is_asserted_under_a_new_one() -> None:
    (found,) = compared("SELECT a + 1 FROM t", list[int], maybe("?column?", "int4"))
    assert codes([found]) == ["TP101 ?column?"]
    assert found.hint.endswith('select it AS "name!"')


def test_none_where_null_never_comes_is_a_note() -> None:
    found = compared("SELECT id FROM t", list[int | None], never("id", "int8"))
    assert codes(found) == ["TP107 id"]
    assert found[0].severity is Severity.NOTE
    assert found[0].hint == "declare it int"


def test_a_json_column_may_hold_the_null_of_json() -> None:
    document = Annotated[dict[str, Any], Json()]
    sql = "SELECT doc FROM t"
    for returns in (list[document], list[document | None]):  # type: ignore[valid-type]
        assert compared(sql, returns, never("doc", "jsonb")) == []


@pytest.mark.parametrize("returns", [list[str], list[int]])
def test_a_range_is_no_text_and_no_number(returns: Any) -> None:
    (found,) = compared("SELECT span FROM t", returns, never("span", "int4range"))
    assert (found.code, found.reason) == ("TP105", "it arrives as a range")


def test_a_column_of_nothing_but_null_is_never_one_that_is_never_null() -> None:
    assert codes(compared("SELECT a FROM t", tuple[None], never("a", "int8"))) == ["TP105 a"]


def test_what_the_author_asserts_is_trusted_with_a_note() -> None:
    found = compared('SELECT id AS "id!" FROM t', list[int], maybe("id!", "int8"))
    assert codes(found) == ["TP108 id!"]


def test_an_expression_without_a_name_has_no_mark() -> None:
    assert compared("SELECT 1 = 1", bool, never("?column?", "bool")) == []


def test_a_needless_mark_is_a_note() -> None:
    assert codes(compared('SELECT id AS "id!" FROM t', list[int], never("id!", "int8"))) == [
        "TP109 id!"
    ]
    assert codes(compared('SELECT id AS "id?" FROM t', list[int | None], maybe("id?", "int8"))) == [
        "TP109 id?"
    ]


def test_a_column_that_is_said_to_be_nullable_needs_none() -> None:
    sql = 'SELECT id AS "id?" FROM t'
    assert codes(compared(sql, list[int], never("id?", "int8"))) == ["TP101 id?"]
    assert codes(compared(sql, list[int | None], never("id?", "int8"))) == []


# ------------------------------------------------------------------ optional Flatten


def test_an_object_whose_columns_are_missing_together_may_be_none() -> None:
    assert codes(compared(BOOK, list[Book], *joined())) == []


def test_an_object_that_may_be_missing_has_to_be_optional() -> None:
    found = compared(BOOK, list[CertainBook], *joined())
    assert codes(found) == ["TP101 a_id", "TP101 a_name"]
    assert "Author.name is str" in found[1].message
    assert found[1].hint.startswith("declare Author | None; or")


def test_a_column_that_is_there_without_the_object_makes_it_ambiguous() -> None:
    found = compared(BOOK, list[Book], *joined(a_id=never("a_id", "int8", "b.x is NOT NULL")))
    assert codes(found) == ["TP110 a_id"]
    assert "b.x is NOT NULL" in found[0].reason
    assert found[0].message.endswith("and they are not NULL together")
    found = compared(BOOK, list[Book], *joined(a_born=never("a_born", "text")))
    assert codes(found) == ["TP110 a_born"]


def test_columns_that_are_missing_with_different_rows_make_it_ambiguous() -> None:
    found = compared(BOOK, list[Book], *joined(a_id=maybe("a_id", "int8", missing="p")))
    assert codes(found) == ["TP110 a_id"]
    assert found[0].message.endswith("and they may be missing with different rows")


def test_a_column_that_is_null_on_its_own_account_needs_none_in_the_object_too() -> None:
    found = compared(BOOK, list[Book], *joined(a_name=maybe("a_name", "text")))
    assert codes(found) == ["TP101 a_name"]


def test_an_object_that_is_always_there_needs_no_none() -> None:
    columns = joined(a_id=never("a_id", "int8"), a_name=never("a_name", "text"))
    found = compared(BOOK, list[Book], *columns)
    assert codes(found) == ["TP107 a_id"]
    assert found[0].message == "Book.author is there in every row, and is declared Author | None"


def test_an_asserted_column_tells_whether_the_object_is_there() -> None:
    sql = 'SELECT title, a_id AS "a_id!", a_name, a_born FROM books'
    found = compared(sql, list[Book], *joined(a_id=maybe("a_id!", "int8")))
    assert codes(found) == ["TP108 a_id!"]


def test_an_object_in_an_object_is_looked_at_by_itself() -> None:
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


def test_what_the_plan_refuses_has_a_code_each() -> None:
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


def test_of_two_columns_of_one_name_the_second_is_pointed_at(tmp_path: Path) -> None:
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
    assert found.place is not None
    assert (found.place.line, found.place.column, found.place.length) == (4, 20, 7)


def test_the_checker_says_what_the_run_time_says() -> None:
    columns = [never("id", "text"), maybe("nam", "text")]
    planned = [PlannedColumn(each.name, each.db_type) for each in columns]
    with pytest.raises(Exception, match="faults") as caught:
        make_plan(User, planned, "postgresql")
    found = compared("SELECT id, nam FROM t", User, *columns)
    assert len(found) == len(caught.value.args)
    for each in found:
        assert any(fault.startswith(each.message) for fault in caught.value.args)


def test_a_column_that_cannot_be_is_not_complained_of_twice() -> None:
    found = compared("SELECT id FROM t", list[int], maybe("id", "text"))
    assert codes(found) == ["TP105 id"]
    assert found[0].message == 'column "id" text cannot be int'


def test_numbers_of_columns_have_to_agree() -> None:
    found = compared("SELECT a, b FROM t", list[int], never("a", "int8"), never("b", "int8"))
    assert codes(found) == ["TP106"]


def test_an_optional_object_without_a_certain_field_is_ambiguous() -> None:
    found = compared("SELECT note FROM t", list[MaybeNoted], maybe("note", "text"))
    assert codes(found) == ["TP110 note"]


def test_rows_and_no_rows_have_to_agree() -> None:
    assert codes(compared("DELETE FROM t", list[int])) == ["TP302"]
    for returns in (None, RowCount):
        (found,) = compared("DELETE FROM t RETURNING id", returns, never("id", "int8"))
        assert found.code == "TP302"
        assert '"id"' in found.message


@pytest.mark.parametrize(
    ("returns", "message"),
    [("list[Nowhere]", "Nowhere"), ("list[Later]", "says nothing about the columns")],
)
def test_a_declaration_that_means_nothing_is_a_finding(
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
    assert found.place is not None
    assert found.place.line == 3


# --------------------------------------------------------------------- other codes


def test_labels_that_python_does_not_know_are_an_error_and_the_others_a_warning() -> None:
    found = compared("SELECT mood FROM t", list[Fewer], never("mood", MOOD))
    assert codes(found) == ["TP111 mood", "TP111 mood"]
    assert [each.severity for each in found] == [Severity.ERROR, Severity.WARNING]
    assert "'ok', 'happy'" in found[0].message
    assert "'angry'" in found[1].message


def test_labels_are_compared_by_name_where_names_are_stored() -> None:
    upper = postgresql_type("mood", labels=("SAD", "OK", "HAPPY"))
    by_name = list[Annotated[Mood, ByName()]]
    assert codes(compared("SELECT mood FROM t", by_name, never("mood", upper))) == []
    assert codes(compared("SELECT mood FROM t", list[Mood], never("mood", upper))) == [
        "TP111 mood",
        "TP111 mood",
    ]


def test_the_labels_of_an_array_are_compared_too() -> None:
    moods = DbType("mood[]", list, element=MOOD)
    found = compared("SELECT moods FROM t", list[tuple[list[Fewer]]], never("moods", moods))
    assert [each.severity for each in found] == [Severity.ERROR, Severity.WARNING]


def test_a_star_is_a_warning_and_names_what_it_stands_for() -> None:
    (found,) = compared("SELECT * FROM t", User, never("id", "int8"), maybe("name", "text"))
    assert found.code == "TP112"
    assert found.severity is Severity.WARNING
    assert found.hint.endswith("id, name")
    assert codes(compared("SELECT count(*) FROM t", list[int], never("count", "int8"))) == []


def test_what_could_not_be_found_out_is_a_note_with_its_next_step() -> None:
    info = declare("SELECT id FROM t", list[int | None])
    note = "nullability is unknown: read-only; next: grant TEMP"
    (found,) = compare(info, described(maybe("id", "int8"), notes=(note,)))
    assert (found.code, found.severity) == ("TP304", Severity.NOTE)
    assert (found.message, found.hint) == ("nullability is unknown: read-only", "grant TEMP")


def test_a_stream_is_compared_as_its_rows_are(tmp_path: Path) -> None:
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


def test_of_a_core_statement_the_sent_text_is_shown() -> None:
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


def test_a_refusal_is_told_in_the_words_of_the_database() -> None:
    info = declare("SELECT nmae FROM users", list[str])
    error = Refused('column "nmae" does not exist', position=7, hint="try name", code="42703")
    found = refused(info, error)
    assert (found.code, found.severity, found.hint) == ("TP301", Severity.ERROR, "try name")
    assert found.message == 'PostgreSQL refuses it: column "nmae" does not exist'
    assert found.details["sqlstate"] == "42703"


def test_a_parameter_without_a_type_has_a_code_of_its_own() -> None:
    info = declare("SELECT :a IS NULL", bool, a=int)
    error = Refused("could not determine data type of parameter $1", code="42P18")
    found = refused(info, error)
    assert found.code == "TP202"
    assert "CAST" in found.hint


def test_a_statement_that_cannot_even_be_sent_is_a_finding() -> None:
    info = declare(select(cast(USERS.c.id, INET)), list[Any])
    found = refused(info, Refused("SQLite has no INET"), "sqlite")
    assert (found.code, found.details["sql"]) == ("TP301", info.sql)
