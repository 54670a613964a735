"""What is found in the values that a statement writes, from descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NewType

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from sqla_typedpool.check.compare import compare
from sqla_typedpool.check.describing import compile_query
from sqla_typedpool.check.model import Finding, Severity
from sqla_typedpool.describe.writes import ColumnWrite, ValueSource, WriteAction
from sqla_typedpool.mapping.dbtypes import postgresql_type
from tests.support.check_lab import codes, declare, described, in_file, takes, written

PARAMETER, EXPRESSION = ValueSource.PARAMETER, ValueSource.EXPRESSION
OMITTED, DEFAULT, NULL = ValueSource.OMITTED, ValueSource.DEFAULT, ValueSource.NULL
INSERTS = (WriteAction.INSERT, WriteAction.MERGE_INSERT)
UPDATES = tuple(each for each in WriteAction if each not in INSERTS)

INSERT = "INSERT INTO users (name) VALUES (:x)"
UPDATE = "UPDATE users SET name = :x"

metadata = sa.MetaData()
users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created", sa.Text, nullable=False, default=lambda: "now"),
    sa.Column("changed", sa.Text, nullable=False, onupdate=lambda: "now"),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Column("strict_data", sa.JSON(none_as_null=True), nullable=False),
)


class Trimmed(sa.types.TypeDecorator[str]):
    """A type of the application."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str:
        return (value or "").strip()


class Mood(str, Enum):
    SAD = "sad"
    OK = "ok"


class Code(Enum):
    ONE = 1


Name = NewType("Name", str)


def found(statement: Any, *writes: ColumnWrite, family: str = "postgresql", **binds: Any) -> Any:
    """Return the findings of a statement that writes these values."""
    query = declare(statement, None, **binds)
    sql = compile_query(query, family).compiled.sql
    parameters = [takes(name, "text") for name in binds]
    return compare(query, described(*parameters, *writes, family=family, sql=sql))


def in_columns(findings: Sequence[Finding], source: str) -> list[str]:
    """Return the text that each finding underlines."""
    lines = source.splitlines()
    places = [each.location for each in findings]
    return [
        lines[place.line - 1][place.column - 1 : place.column - 1 + place.length]
        for place in places
        if place is not None and place.line and place.column
    ]


# ------------------------------------------------------------------------------- TP501


@pytest.mark.parametrize("action", INSERTS)
def test_a_required_column_that_an_insert_leaves_out_is_an_error(action: WriteAction) -> None:
    (error,) = found("INSERT INTO users (id) VALUES (1)", written("name", OMITTED, action=action))
    assert (error.code, error.severity) == ("TP501", Severity.ERROR)
    assert error.message == (
        f"{action.value} leaves out users.name, which is NOT NULL and has no default"
    )
    assert error.subject == "name"
    assert error.details["column"] == "public.users.name"


def test_all_columns_that_one_insert_leaves_out_are_one_finding() -> None:
    names = ("name", "mail", "public.teams.name")
    first, second = found("INSERT ...", *(written(each, OMITTED) for each in names))
    assert first.message == (
        "INSERT leaves out users.name and users.mail, which are NOT NULL and have no default"
    )
    assert first.subject == "name, mail"
    assert second.message.startswith("INSERT leaves out teams.name, which is")


def test_a_column_that_two_inserts_leave_out_is_named_once() -> None:
    omitted = written("name", OMITTED, action=WriteAction.MERGE_INSERT)
    (error,) = found("MERGE ...", omitted, omitted)
    assert "leaves out users.name, which is NOT NULL" in error.message


@pytest.mark.parametrize("action", list(WriteAction))
@pytest.mark.parametrize(("source", "word"), [(NULL, "NULL"), (DEFAULT, "DEFAULT")])
def test_a_value_that_is_always_null_is_an_error(
    action: WriteAction, source: ValueSource, word: str
) -> None:
    (error,) = found("UPDATE ...", written("name", source, action=action))
    assert codes([error]) == ["TP501 name"]
    assert error.message.startswith(f"{action.value} writes {word} to users.name, which is NOT")
    assert ("no default" in error.message) == (source is DEFAULT)


@pytest.mark.parametrize("source", list(ValueSource))
def test_nothing_is_found_for_a_column_that_accepts_null(source: ValueSource) -> None:
    write = written("name", source, "x", not_null=False)
    assert found(INSERT, write, x=str | None) == []


def test_the_same_value_in_several_rows_is_found_once() -> None:
    assert len(found("INSERT ...", written("name", NULL), written("name", NULL))) == 1


# ------------------------------------------------------------------------------- TP502


@pytest.mark.parametrize("action", list(WriteAction))
@pytest.mark.parametrize("source", [PARAMETER, EXPRESSION])
def test_an_optional_parameter_for_a_not_null_column_is_an_error(
    action: WriteAction, source: ValueSource
) -> None:
    (error,) = found(INSERT, written("name", source, "x", action=action), x=str | None)
    assert (error.code, error.severity, error.subject) == ("TP502", Severity.ERROR, "x")
    assert error.message == (
        f":x can be None, but {action.value} writes it to users.name, which is NOT NULL"
    )
    assert error.hint.startswith("declare it str, or write coalesce(:x, ")


@pytest.mark.parametrize(
    ("action", "hint"),
    [
        (WriteAction.INSERT, "declare it str, or write coalesce(:x, ...)"),
        (WriteAction.MERGE_UPDATE, "declare it str, or write coalesce(:x, ...)"),
        (
            WriteAction.UPDATE,
            "declare it str, or write coalesce(:x, name) to keep the value of the row",
        ),
        (
            WriteAction.CONFLICT_UPDATE,
            "declare it str, or write coalesce(:x, users.name) to keep the value of the row",
        ),
    ],
)
def test_the_hint_keeps_the_stored_value_where_there_is_one(action: WriteAction, hint: str) -> None:
    (error,) = found(UPDATE, written("name", PARAMETER, "x", action=action), x=str | None)
    assert error.hint == hint


def test_a_parameter_that_is_written_several_times_is_one_finding() -> None:
    insert = written("name", PARAMETER, "x")
    update = written("name", PARAMETER, "x", action=WriteAction.CONFLICT_UPDATE)
    other = written("mail", PARAMETER, "x", action=WriteAction.CONFLICT_UPDATE)
    (error,) = found(INSERT, insert, update, x=str | None)
    assert "but INSERT writes it to users.name, which is NOT NULL" in error.message
    (error,) = found(INSERT, insert, update, other, x=str | None)
    assert "but the statement writes it to users.name and users.mail, which" in error.message


@pytest.mark.parametrize("annotation", [str, Literal["a"], Any, Name, list[str | None]])
def test_nothing_is_found_for_a_parameter_that_is_not_declared_to_be_none(annotation: Any) -> None:
    findings = found(INSERT, written("name", PARAMETER, "x"), x=annotation)
    assert [each for each in findings if each.code == "TP502"] == []


@pytest.mark.parametrize("annotation", [None, object, str | None, Literal["a", None], int | None])
def test_an_annotation_that_allows_none_is_found(annotation: Any) -> None:
    findings = found(INSERT, written("name", PARAMETER, "x"), x=annotation)
    assert "TP502 x" in codes(findings)


def test_a_default_that_is_none_is_found(tmp_path: Path) -> None:
    source = (
        "from sqla_typedpool import Executor, query\n"
        f'@query("{INSERT}")\n'
        "async def declared(db: Executor, x: str = None) -> None:\n"
        "    raise NotImplementedError\n"
    )
    query = in_file(tmp_path / "app.py", source)
    (error,) = compare(query, described(written("name", PARAMETER, "x")))
    assert error.code == "TP502"
    assert error.hint.startswith("declare it str without the default None, or")


def test_a_parameter_that_is_not_written_is_not_found() -> None:
    """As in ``WHERE nick = :x``, or in ``coalesce(:x, 'a')``."""
    assert found(UPDATE, written("name", EXPRESSION, nullable=False), x=str | None) == []


# ------------------------------------------------------------------------------- TP503


@pytest.mark.parametrize("action", list(WriteAction))
def test_an_expression_that_may_be_null_is_a_warning(action: WriteAction) -> None:
    write = written("name", EXPRESSION, action=action, why="o.name may be NULL")
    (warning,) = found("INSERT ...", write)
    assert (warning.code, warning.severity, warning.subject) == ("TP503", Severity.WARNING, "name")
    assert warning.message == (
        f"{action.value} writes a value that may be NULL to users.name, which is NOT NULL"
    )
    assert warning.reason == "o.name may be NULL"


def test_an_expression_that_is_never_null_is_not_found() -> None:
    assert found("INSERT ...", written("name", EXPRESSION, nullable=False)) == []


def test_an_optional_parameter_in_an_expression_is_one_finding() -> None:
    assert codes(found(INSERT, written("name", EXPRESSION, "x"), x=str | None)) == ["TP502 x"]
    assert codes(found(INSERT, written("name", EXPRESSION, "x"), x=str)) == ["TP503 name"]


# ------------------------------------------------------------------------------- TP504


@pytest.mark.parametrize(
    ("annotation", "column", "message", "hint"),
    [
        (
            str,
            {"accepted": ("a", "b")},
            ":x is declared str, but users.name accepts only 'a', 'b'",
            "declare it Literal['a', 'b']",
        ),
        (Name, {"accepted": ("a",)}, ":x is declared str, but", "declare it Literal['a']"),
        (
            str | None,
            {"accepted": ("a",)},
            ":x is declared str, but users.name accepts only 'a'",
            "declare it Literal['a'] | None",
        ),
        (
            str,
            {"accepted": tuple("abcdefghij")},
            "'g', 'h' and 2 more",
            "declare it Literal[...]",
        ),
        (
            Literal["a", "c", 1],
            {"accepted": ("a", "b")},
            ":x can be 'c', but users.name accepts only 'a', 'b'",
            "remove 'c' from Literal['a', 'c', 1]",
        ),
        (Mood, {"accepted": ("ok",)}, ":x can be 'sad', but", "remove 'sad' from Mood"),
        (
            Literal["abc", "abcd"] | None,
            {"max_length": 3},
            ":x can be 'abcd', but users.name stores at most 3 characters",
            "remove 'abcd' from Literal['abc', 'abcd']",
        ),
        (Mood, {"max_length": 2}, ":x can be 'sad', but users.name stores at most 2", "from Mood"),
    ],
)
def test_a_parameter_that_is_wider_than_its_column_is_a_note(
    annotation: Any, column: Any, message: str, hint: str
) -> None:
    write = written("name", PARAMETER, "x", not_null=False, **column)
    notes = [each for each in found(INSERT, write, x=annotation) if each.code == "TP504"]
    (note,) = notes
    assert (note.severity, note.subject) == (Severity.NOTE, "x")
    assert message in note.message
    assert hint in note.hint


@pytest.mark.parametrize(
    ("annotation", "column"),
    [
        (str, {"max_length": 3}),  # an ordinary column
        (str, {}),
        (int, {"accepted": ("a",)}),
        (Literal["a"], {"accepted": ("a", "b"), "max_length": 1}),
        (Mood, {"accepted": ("sad", "ok")}),
        (Literal["äöü"], {"max_length": 3}),
        (Literal["abc  "], {"max_length": 3}),  # the server drops the spaces
    ],
)
def test_a_parameter_that_fits_its_column_is_not_found(annotation: Any, column: Any) -> None:
    write = written("name", PARAMETER, "x", not_null=False, **column)
    assert [each for each in found(INSERT, write, x=annotation) if each.code == "TP504"] == []


def test_the_labels_of_mariadb_are_compared_as_mariadb_does() -> None:
    column = written("name", PARAMETER, "x", not_null=False, accepted=("sad", "glad"))
    same, other = Literal["SAD", "glad ", "1", "gläd"], Literal["SAD", "bad"]
    assert codes(found(INSERT, column, family="mysql", x=same)) == []
    (note,) = found(INSERT, column, family="mysql", x=other)
    assert note.message.startswith(":x can be 'bad', but")


def test_an_expression_has_other_values_than_its_parameter() -> None:
    write = written("name", EXPRESSION, "x", nullable=False, accepted=("a",))
    assert found(INSERT, write, x=str) == []


def test_a_label_that_an_enum_lacks_is_one_finding() -> None:
    enum = postgresql_type("mood", labels=("ok",))
    write = written("name", PARAMETER, "x", accepted=("ok",))

    def of(annotation: Any) -> list[str]:
        query = declare(INSERT, None, x=annotation)
        return codes(compare(query, described(takes("x", enum), write)))

    assert of(Mood) == ["TP111 x"]
    assert of(Literal["sad"]) == ["TP111 x"]
    assert of(str) == ["TP504 x"]


# -------------------------------------------------------------------------- the places

SOURCE = '''\
from sqla_typedpool import Executor, query


@query("""
{sql}
""")
async def declared(db: Executor{binds}) -> None:
    raise NotImplementedError
'''
UPSERT = (
    "INSERT INTO public.users (id, name) VALUES (:i, :x), (2, NULL)\n"
    "ON CONFLICT (id) DO UPDATE SET name = :x, mail = NULL, age = DEFAULT WHERE users.mail = :x"
)
MERGE = (
    "MERGE INTO users u USING old o ON o.id = u.id AND o.mail = :x\n"
    "WHEN MATCHED THEN UPDATE SET name = lower(:x)\n"
    "WHEN NOT MATCHED THEN INSERT (id, mail) VALUES (o.id, o.mail)"
)
CTE = (
    "WITH t AS (INSERT INTO teams (id) VALUES (1))\n"
    'UPDATE users SET "Name" = o.name, mail = CASE WHEN a THEN :x END FROM old o'
)
TWO_UPDATES = (
    "WITH t AS (UPDATE app.teams AS s SET name = a WHERE id = 1)\n"
    "UPDATE ONLY users SET name = b || :x"
)
CONFLICT, MERGED = WriteAction.CONFLICT_UPDATE, WriteAction.MERGE_INSERT


@pytest.mark.parametrize(
    ("sql", "write", "underlined"),
    [
        (UPSERT, written("mail", OMITTED), "(id, name)"),
        (UPSERT, written("mail", NULL, action=CONFLICT), "NULL"),
        (UPSERT, written("age", DEFAULT, action=CONFLICT), "DEFAULT"),
        (UPSERT, written("name", NULL), "NULL"),
        (UPSERT, written("name", PARAMETER, "x", action=CONFLICT), ":x"),
        (MERGE, written("name", EXPRESSION, "x", action=WriteAction.MERGE_UPDATE), ":x"),
        (MERGE, written("name", OMITTED, action=MERGED), "(id, mail)"),
        (MERGE, written("mail", EXPRESSION, action=MERGED), "o.mail"),
        (CTE, written("public.teams.name", OMITTED), "(id)"),
        (CTE, written("Name", EXPRESSION, action=WriteAction.UPDATE), "o.name"),
        (
            CTE,
            written("mail", EXPRESSION, action=WriteAction.UPDATE),
            "CASE WHEN a THEN :x END",
        ),
        ("INSERT INTO users VALUES (1, :x)", written("name", OMITTED), "users"),
        ("INSERT INTO users VALUES (1, :x)", written("name", PARAMETER, "x"), ":x"),
        ("INSERT INTO users VALUES (1, NULL)", written("name", NULL), "NULL"),
        ("INSERT INTO users DEFAULT VALUES", written("name", OMITTED), "users"),
        ("INSERT INTO v (a) SELECT :x", written("name", PARAMETER, "x"), ":x"),
        ("INSERT INTO v (a) VALUES (1)", written("name", OMITTED), "(a)"),
        ("INSERT INTO v (name) SELECT a FROM b", written("name", EXPRESSION), "a"),
        ("UPDATE v SET a = a || :x", written("name", EXPRESSION, "x"), ":x"),
        ("UPDATE v SET a = NULL", written("name", NULL, action=WriteAction.UPDATE), "@query("),
        ("INSERT INTO u SET name = NULL", written("name", NULL), "NULL"),
        (TWO_UPDATES, written("name", EXPRESSION, action=WriteAction.UPDATE), "b || :x"),
        (TWO_UPDATES, written("teams.name", EXPRESSION, action=WriteAction.UPDATE), "a"),
        (TWO_UPDATES, written("of_a_view.name", EXPRESSION, action=WriteAction.UPDATE), "@query("),
    ],
)
def test_a_finding_points_at_the_value(
    tmp_path: Path, sql: str, write: ColumnWrite, underlined: str
) -> None:
    binds = "".join(f", {name}: str | None" for name in "ix" if f":{name}" in sql)
    source = SOURCE.format(sql=sql, binds=binds)
    query = in_file(tmp_path / "app.py", source)
    findings = [each for each in compare(query, described(write)) if each.code.startswith("TP5")]
    (text,) = in_columns(findings, source)
    assert text == underlined or (underlined == "@query(" and text.startswith(underlined))


def test_a_parameter_is_underlined_where_it_is_written(tmp_path: Path) -> None:
    source = SOURCE.format(
        sql="UPDATE users SET mail = 'a', name = :x WHERE name <> :x", binds=", x: str | None"
    )
    query = in_file(tmp_path / "app.py", source)
    write = written("name", PARAMETER, "x", action=WriteAction.UPDATE)
    (error,) = compare(query, described(write))
    assert error.location is not None
    assert error.location.column == source.splitlines()[4].index(":x") + 1


# ------------------------------------------------------------------------------- Core


def test_a_none_in_a_core_statement_is_an_error() -> None:
    statement = sa.insert(users).values(name=None)
    (error,) = found(statement, written("name", PARAMETER, "name"))
    assert codes([error]) == ["TP501 name"]
    assert error.message == "INSERT writes NULL to users.name, which is NOT NULL"
    sql, offset = error.details["sql"], int(error.details["offset"])
    assert sql[offset:].startswith("$1")


def test_a_value_in_a_core_statement_is_not_found() -> None:
    statement = sa.insert(users).values(name="a")
    assert found(statement, written("name", PARAMETER, "name")) == []


def test_a_none_in_one_row_of_several_is_an_error() -> None:
    statement = sa.insert(users).values([{"name": "a"}, {"name": None}])
    writes = [written("name", PARAMETER, f"name_m{number}") for number in range(2)]
    assert codes(found(statement, *writes)) == ["TP501 name"]


def test_a_none_in_the_update_of_an_upsert_is_an_error() -> None:
    statement = postgresql.insert(users).values(name="a")
    statement = statement.on_conflict_do_update(index_elements=["id"], set_={"name": None})
    write = written("name", PARAMETER, "param_1", action=CONFLICT)
    assert codes(found(statement, write)) == ["TP501 name"]


def test_a_parameter_of_a_core_insert_is_found() -> None:
    statement = sa.insert(users)
    (error,) = found(statement, written("name", PARAMETER, "name"), name=str | None)
    assert codes([error]) == ["TP502 name"]
    assert error.hint == "declare it str, or pass it to func.coalesce()"
    assert error.details["sql"].startswith("INSERT INTO users")
    assert found(statement, written("name", PARAMETER, "name"), name=str) == []


def test_a_parameter_of_a_core_update_is_found() -> None:
    statement = sa.update(users).values(name=sa.bindparam("x")).where(users.c.id == 1)
    write = written("name", PARAMETER, "x", action=WriteAction.UPDATE)
    assert codes(found(statement, write, x=str | None)) == ["TP502 x"]


def test_the_default_of_a_column_that_python_computes_is_not_found() -> None:
    insert = sa.insert(users).values(name="a")
    assert found(insert, written("created", PARAMETER, "created")) == []
    assert found(insert, written("created", EXPRESSION, "created")) == []
    update = sa.update(users).values(name="a")
    write = written("changed", PARAMETER, "changed", action=WriteAction.UPDATE)
    assert found(update, write) == []


def test_a_none_in_json_is_null_only_if_the_column_is_declared_so() -> None:
    statement = sa.insert(users).values(data=None, strict_data=None)
    data = written("data", PARAMETER, "data")
    strict = written("strict_data", PARAMETER, "strict_data")
    assert codes(found(statement, data, strict)) == ["TP501 strict_data"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (sa.JSON(), []),
        (Trimmed(), []),
        (sa.JSON(none_as_null=True), ["TP502 x"]),
        (sa.Text(), ["TP502 x"]),
        (sa.Uuid(), ["TP502 x"]),
    ],
)
def test_a_type_that_sends_none_as_something_else_is_not_found(
    kind: Any, expected: list[str]
) -> None:
    statement = sa.text(INSERT).bindparams(sa.bindparam("x", type_=kind))
    for source in (PARAMETER, EXPRESSION):
        assert codes(found(statement, written("name", source, "x"), x=str | None)) == expected


def test_a_value_that_is_computed_at_run_time_is_not_found() -> None:
    bind = sa.bindparam("x", callable_=lambda: None, type_=sa.Text)
    statement = sa.insert(users).values(name=bind)
    assert found(statement, written("name", PARAMETER, "x")) == []
