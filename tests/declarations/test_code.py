"""The code that is written for a description."""

from __future__ import annotations

import ast
import keyword
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from sqla_typedpool.declarations import ROW_KINDS, code_of_query, code_of_row
from sqla_typedpool.declarations import optional_parameters as optional
from sqla_typedpool.declarations.layout import split
from sqla_typedpool.declarations.literals import call_with_sql, docstring, string
from sqla_typedpool.declarations.names import class_name_of, variable_name_of
from sqla_typedpool.declarations.python_types import field_names
from sqla_typedpool.describe.model import ColumnDescription, Description
from sqla_typedpool.describe.postgres.driver_types import delivered_by
from sqla_typedpool.describe.writes import ColumnWrite, TargetColumn, ValueSource, WriteAction
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.mapping.dbtypes import DbType, postgresql_type
from sqla_typedpool.tokens import tokens
from tests.support.check_lab import described, maybe, never, takes

GOLDEN = Path(__file__).parent / "golden"
MOOD = DbType("mood", str, labels=("sad", "very happy", "2nd", "Sad", "", 'say "hi"'))
PLACE = DbType("place", fields=(("street", postgresql_type("text")), ("class", MOOD)))


def from_table(column: ColumnDescription) -> ColumnDescription:
    return ColumnDescription(
        column.name, column.db_type, column.nullable, "", f"app.t.{column.name}"
    )


DESCRIPTION = described(
    never("id", "uuid"),
    from_table(never("title", "text")),
    from_table(maybe("price", "numeric")),
    never("moods", DbType("mood[]", list, element=MOOD)),
    maybe("mood", MOOD),
    ColumnDescription("home", PLACE, True, "", nullable_fields=("street", "class")),
    maybe("Unit Price", "numeric"),
    never("class", "bool"),
    never("date", "date"),
    maybe("paid", "timestamptz"),
    maybe("given!", "int4"),
    maybe("address", "jsonb"),
    maybe("host", "inet"),
    never("ages", delivered_by("asyncpg", postgresql_type("int4range"))),
    maybe("thing", DbType("strange")),
    never("copy", "int8"),
    takes("mood", MOOD),
    takes("ids", "uuid[]"),
    takes("since", "timestamptz"),
    takes("home", PLACE),
)
COMMENTS = {"app.t.title": "The title.", "app.t.price": 'In "euros".\n\nC:\\new'}
SQL = """
    SELECT title, 'it\\:s' FROM t
      WHERE mood = :mood AND id = ANY(:ids) AND since > :since AND home = :home
"""


@pytest.mark.parametrize("kind", [*ROW_KINDS, "query"])
def test_the_code_of_a_kind_is_the_golden_file(kind: str) -> None:
    if kind == "query":
        code = code_of_query(DESCRIPTION, SQL, "find_things", COMMENTS)
    else:
        code = code_of_row(DESCRIPTION, kind, "Thing", COMMENTS)
    golden = GOLDEN / f"{kind}.txt"
    assert code + "\n" == golden.read_text(encoding="utf-8"), (
        f"review it, and write it to tests/declarations/golden/{kind}.txt"
    )


# ------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("label", "field"),
    [
        *(("id", "id"), ("user_id", "user_id"), ("type", "type"), ("match", "match")),
        *(("Unit Price", "unit_price"), ("userID", "user_id"), ("ID", "id")),
        *(("class", "class_"), ("None", "none"), ("def", "def_")),
        *(("2fa", "column_2fa"), ("_hidden", "hidden"), ("__init__", "init")),
        *(("größe", "grosse"), ("prénom", "prenom"), ("数量", "column"), ("?column?", "column")),
        *(("int", "int_"), ("str", "str_"), ("date", "date"), ("asyncpg", "asyncpg_")),
        *(("", "column"), (" ", "column"), ('"', "column")),
    ],
)
def test_every_column_becomes_a_field(label: str, field: str) -> None:
    assert field_names([label], ()) == [field]
    assert field.isidentifier()
    assert not keyword.iskeyword(field)


def test_fields_of_similar_columns_have_different_names() -> None:
    assert field_names(["Id", "id", "ID", "id_2"], ()) == ["id_3", "id", "id_4", "id_2"]


def test_a_field_of_pydantic_replaces_no_attribute_of_the_model() -> None:
    code = code_of_row(described(never("copy", "int8"), never("json", "text")), "pydantic")
    assert 'copy_: Annotated[int, Col("copy")]' in code
    assert 'json_: Annotated[str, Col("json")]' in code


def test_no_field_has_the_name_of_an_attribute_that_would_be_its_default() -> None:
    """Those of the metaclass count too: ``mro``."""
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.BaseModel
    for kind, attributes in (("dataclass", dir(type)), ("pydantic", dir(model) + dir(type(model)))):
        public = {each for each in attributes if not each.startswith("_")}
        assert public <= ROW_KINDS[kind].reserved
    code = code_of_row(described(never("a", "int4"), never("mro", "int4")), "dataclass")
    assert 'mro_: Annotated[int, Col("mro")]' in code


def test_names_of_classes_and_functions() -> None:
    assert class_name_of("order_status", "Enum") == "OrderStatus"
    assert class_name_of("2nd", "Enum") == "Enum2nd"
    assert class_name_of("数量", "Enum") == "Enum"
    assert variable_name_of("order lines", "run") == "order_lines"


def test_an_enum_has_no_name_that_the_code_imports() -> None:
    named = DbType("decimal", str, labels=("a",))
    code = code_of_row(described(never("a", named), never("b", "numeric")), "dataclass")
    assert "class Decimal2(str, Enum):" in code
    assert "a: Decimal2" in code
    assert "b: Decimal\n" in code + "\n"


def test_two_enums_of_one_name_have_two_classes() -> None:
    first, second = (DbType("mood", str, labels=(each,)) for each in "ab")
    code = code_of_row(described(never("a", first), never("b", second)), "dataclass")
    assert "a: Mood\n    b: Mood2" in code


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("class", "--name 'class' is not a Python name"),
        ("a b", "--name 'a b' is not a Python name"),
        ("", "--name '' is not a Python name"),
        ("Decimal", "--name Decimal is a name that the code needs for something else"),
        ("query", "--name query is a name that the code needs for something else"),
    ],
)
def test_a_chosen_name_must_be_usable(name: str, fault: str) -> None:
    with pytest.raises(CannotRun, match=fault):
        code_of_row(described(never("a", "int4")), "dataclass", name)
    with pytest.raises(CannotRun, match=fault):
        code_of_query(described(never("a", "int4")), "SELECT a FROM t", name)


def test_a_comment_of_spaces_is_no_docstring() -> None:
    code = code_of_row(DESCRIPTION, "dataclass", comments={"app.t.title": " \n", "app.t.price": ""})
    assert '"""' not in code


# ------------------------------------------------------------------------------- types


def row(*columns: ColumnDescription) -> list[str]:
    """Return the lines of the fields of a dataclass."""
    code = code_of_row(described(*columns), "dataclass")
    return [line.strip() for line in code.split("class Row:\n")[1].splitlines()]


def test_a_composite_field_is_optional_unless_it_is_known_that_it_is_never_null() -> None:
    pair = DbType("pair", fields=(("a", postgresql_type("int4")), ("b", postgresql_type("int4"))))
    column = ColumnDescription("p", pair, False, "", nullable_fields=("b",))
    code = code_of_row(described(column), "dataclass")
    assert "class Pair:\n    a: int\n    b: int | None" in code
    array = never("ps", DbType("pair[]", list, element=pair))
    for columns in ([array], [column, array]):
        code = code_of_row(described(*columns), "dataclass")
        assert "class Pair:\n    a: int | None\n    b: int | None" in code


def test_a_mark_decides_whether_a_field_is_optional() -> None:
    assert row(maybe("a!", "int4"), never("b?", "int4"), never("c", "int4")) == [
        "a: int",
        "b: int | None",
        "c: int",
    ]


def test_a_column_of_unknown_type_is_declared_any_with_a_comment() -> None:
    assert row(maybe("a", DbType("strange"))) == [
        "# strange: values of any Python type are accepted",
        "a: Any",
    ]


def test_types_of_datetime_are_qualified_beside_a_field_of_their_name() -> None:
    assert row(never("date", "date"), maybe("at", "timestamp")) == [
        "date: dt.date",
        "at: dt.datetime | None",
    ]
    assert row(never("day", "date")) == ["day: date"]
    visit = DbType("visit", fields=(("date", postgresql_type("date")),))
    visits = DbType("visit[]", list, element=visit)
    code = code_of_row(described(never("visits", visits), never("at", "timestamp")), "dataclass")
    assert "date: dt.date" in code
    assert "at: dt.datetime" in code


def test_ranges_of_a_driver_without_type_parameters_are_written_bare(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Range:
        lower = upper = lower_inc = upper_inc = None

    Range.__module__ = "asyncpg.types"
    monkeypatch.setattr(asyncpg, "Range", Range)
    kind = delivered_by("asyncpg", postgresql_type("int4range"))
    assert row(never("r", kind)) == ["r: asyncpg.Range"]


def test_duplicate_columns_are_named() -> None:
    faulty = described(never("id", "int4"), never("a", "int4"), never("id!", "int4"))
    with pytest.raises(CannotRun, match=r'2 columns are named "id" \(columns 1, 3\); next: give'):
        code_of_row(faulty, "dataclass")


def test_a_statement_without_rows_has_no_class() -> None:
    with pytest.raises(CannotRun, match="returns no rows; next: use --as query"):
        code_of_row(described(), "dataclass")


# ----------------------------------------------------------------------------- queries


def query(sql: str, *parts: object, family: str = "postgresql") -> str:
    """Return the last lines of a query: those after its decorator."""
    code = code_of_query(described(*parts, family=family), sql)  # type: ignore[arg-type]
    return code[code.rindex("async def") :]


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("SELECT 1 AS a", "run_select"),
        ("SELECT a FROM app.books", "select_books"),
        ('SELECT a FROM "Order Lines"', "select_order_lines"),
        ("SELECT (SELECT 1 FROM x) AS a FROM LATERAL f(1)", "select_f"),
        ("SELECT a FROM (SELECT 1 AS a) s", "run_select"),
        ("WITH x AS (SELECT 1) INSERT INTO app.books SELECT 1", "insert_books"),
        ("WITH x AS (DELETE FROM y) UPDATE books SET a = 1", "update_books"),
        ("DELETE FROM ONLY app.books", "delete_books"),
    ],
)
def test_a_function_is_named_after_the_statement(sql: str, name: str) -> None:
    assert query(sql, never("a", "int4")).startswith(f"async def {name}(db: Executor)")


def test_a_query_returns_the_values_of_one_column() -> None:
    assert "-> list[int | None]:" in query("SELECT a FROM t", maybe("a", "int4"))
    assert "-> list[list[str]]:" in query("SELECT a FROM t", never("a", "text[]"))
    assert "-> list[tuple[Place]]:" in query("SELECT a FROM t", never("a", PLACE))
    assert "-> None:" in query("SELECT f()", maybe("f", DbType("void", usual=(str,))))


def test_a_query_without_rows_returns_the_number_of_changed_rows() -> None:
    assert "-> RowCount:" in query("DELETE FROM t")
    assert "-> None:" in query("TRUNCATE t")
    assert "-> None:" in query("MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE")


def test_parameters_have_the_types_that_drivers_accept() -> None:
    types = "a int8, b numeric[], c jsonb, d uuid, e interval"
    sql = f"SELECT x FROM t WHERE f({', '.join(f':{each}' for each in 'abcde')})"
    parts = [takes(*each.split()) for each in types.split(", ")]
    assert query(sql, never("x", "int4"), *parts).splitlines()[:3] == [
        "async def select_t(",
        "    db: Executor, *, a: int, b: list[Decimal], c: str, d: UUID, e: timedelta",
        ") -> list[int]:",
    ]


def test_a_list_after_in_is_refused_on_postgresql_which_has_arrays() -> None:
    sql, parameter = "DELETE FROM t WHERE a IN :a", takes("a", None, is_list=True)
    assert "a: list[int | float | str | bytes]" in query(sql, parameter, family="sqlite")
    fault = r"`IN :a` is another statement for each length of the list; next: write = ANY\(:a\)"
    with pytest.raises(CannotRun, match=fault):
        query(sql, parameter)
    with pytest.raises(CannotRun, match=r"`NOT IN :a` is .*; next: write <> ALL\(:a\)"):
        query(sql.replace("IN", "NOT IN"), parameter)


def test_unreported_parameters_have_the_types_that_drivers_accept() -> None:
    sql = "DELETE FROM t WHERE a = :a"
    assert "a: int | float | str | bytes" in query(sql, takes("a", None), family="sqlite")
    assert "a: int | float | Decimal | str | bytes | date\n" in query(
        sql, takes("a", None), family="mysql"
    )


def test_the_executor_has_another_name_beside_a_parameter_db() -> None:
    code = query("DELETE FROM t WHERE a = :db", takes("db", "text"))
    assert code.startswith("async def delete_t(db2: Executor, *, db: str)")


@pytest.mark.parametrize(
    ("sql", "column", "fault"),
    [
        ("SELECT * FROM t", "a", "`\\*` selects columns that later migrations add; next: .*: a"),
        ("SELECT ':b' FROM t", "a", ":b is in a string, a quoted name or a comment"),
        ("SELECT 1; SELECT 2", "a", "the SQL has several statements"),
        ("SELECT 1", "a!", 'the `!` of "a!" is not needed; next: remove it'),
    ],
)
def test_a_statement_that_the_checker_does_not_accept_is_refused(
    sql: str, column: str, fault: str
) -> None:
    with pytest.raises(CannotRun, match=fault):
        query(sql, never(column, "int4"), *([takes("b", "text")] if ":b" in sql else []))


def test_a_column_named_like_a_mark_has_no_mark() -> None:
    assert row(maybe("!", "int4")) == ['column: Annotated[int | None, Col("!")]']


@pytest.mark.parametrize("name", ["class", "1"])
def test_a_parameter_that_python_cannot_name_is_refused(name: str) -> None:
    with pytest.raises(CannotRun, match=f"no Python parameter can be named {name}; next: rename"):
        query(f"DELETE FROM t WHERE a = :{name}", takes(name, "text"))


# ------------------------------------------------------------------ optional parameters


def written(
    name: str, *, not_null: bool, source: ValueSource = ValueSource.PARAMETER
) -> ColumnWrite:
    target = TargetColumn(f"public.t.{name}", not_null)
    return ColumnWrite(WriteAction.INSERT, target, source, (name,))


def writing(*writes: ColumnWrite) -> Description:
    return Description("postgresql", "", (), (), writes=writes)


def test_a_parameter_is_optional_if_its_only_use_is_a_write_to_a_nullable_column() -> None:
    sql = "INSERT INTO t VALUES (:a, :b)"
    both = writing(written("a", not_null=False), written("b", not_null=True))
    assert optional(both, sql) == {"a"}
    assert optional(both, f"{sql} RETURNING :a") == set()
    assert optional(Description("postgresql", "", (), ()), sql) == set()
    computed = writing(written("a", not_null=False, source=ValueSource.EXPRESSION))
    assert optional(computed, sql) == set()


def test_a_parameter_is_a_literal_if_its_column_accepts_only_some_texts() -> None:
    target = TargetColumn("public.t.a", True, accepted=("x", 'y "z"'))
    write = ColumnWrite(WriteAction.INSERT, target, ValueSource.PARAMETER, ("a",))
    for family, kind in (("postgresql", "text"), ("sqlite", None)):
        facts = replace(described(takes("a", kind), family=family), writes=(write,))
        code = code_of_query(facts, "INSERT INTO t VALUES (:a)")
        assert "from typing import Literal\n" in code
        assert '*, a: Literal["x", \'y "z"\']) -> RowCount:' in code


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (ValueSource.OMITTED, "INSERT leaves out public.t.a, which is NOT NULL; next: add the"),
        (ValueSource.NULL, "INSERT writes NULL to public.t.a, which is NOT NULL; next: write a"),
        (ValueSource.EXPRESSION, r"that may be NULL \(why\); next: write coalesce"),
    ],
)
def test_a_write_that_the_checker_does_not_accept_is_refused(
    source: ValueSource, fault: str
) -> None:
    target = TargetColumn("public.t.a", True)
    write = ColumnWrite(WriteAction.INSERT, target, source, why="why")
    facts = replace(described(), writes=(write, replace(write, nullable=False)))
    with pytest.raises(CannotRun, match=fault):
        code_of_query(facts, "INSERT INTO t (b) VALUES (1)")
    harmless = replace(write, column=TargetColumn("public.t.a", False))
    assert code_of_query(replace(facts, writes=(harmless,)), "INSERT INTO t (b) VALUES (1)")


def test_an_optional_parameter_can_be_none() -> None:
    facts = described(takes("a", "text"), takes("b", "text"))
    code = code_of_query(facts, "INSERT INTO t VALUES (:a, :b)", optional={"a"})
    assert "(db: Executor, *, a: str | None, b: str) -> RowCount:" in code


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("a, b", ["a", "b"]),
        ("list[a, b], c", ["list[a, b]", "c"]),
        ('Col("a, \\\\"), b', ['Col("a, \\\\")', "b"]),
        (r"""Col('it\'s, "'), b""", [r"""Col('it\'s, "')""", "b"]),
        ("Col(']'), b", ["Col(']')", "b"]),
        ("", [""]),
    ],
)
def test_code_is_split_outside_of_brackets_and_strings(code: str, parts: list[str]) -> None:
    assert split(code, ", ") == parts


# ---------------------------------------------------------------------------- literals

STRINGS = (
    "",
    "a",
    "it's",
    'say "hi"',
    'it\'s "hi"',
    "a\\b",
    "\\",
    "größe",
    "\0\n\t\x85",
    "'''",
    '"""',
)


@pytest.mark.parametrize("value", STRINGS)
def test_a_literal_has_the_value_of_its_string(value: str) -> None:
    assert ast.literal_eval(string(value)) == value


@pytest.mark.parametrize("text", [*(each for each in STRINGS if each.strip()), "x " * 60])
def test_a_docstring_has_the_words_of_its_text(text: str) -> None:
    lines = docstring(text)
    assert ast.literal_eval("\n".join(lines)).split() == text.split()
    assert all(len(line) <= 84 for line in lines)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        'SELECT "a" FROM t',
        "SELECT 'it''s' FROM t",
        "SELECT \"a\", 'b'",
        "SELECT E'\\n\\\\'",
        "SELECT '\\'",
        'SELECT """" AS """"',
        "SELECT '''', \"\"\"\"",
        "SELECT a\nFROM t\n  WHERE b",
        "SELECT 'a\n  b' AS \"c\"",
        "SELECT 1 -- a comment",
        "SELECT 1 -- it's a comment " + "of many words " * 9 + "\nFROM t",
        "SELECT /* it's */ 'a  b'" + ", 'c  d'" * 20,
        "SELECT " + ", ".join(f"column_{number}" for number in range(30)) + " FROM t",
        f"SELECT '{'long ' * 30}' AS a",
        "SELECT '\x01'",
        "SELECT '\r'",
    ],
)
def test_the_sql_of_the_code_has_the_tokens_of_the_statement(sql: str) -> None:
    source = "\n".join(call_with_sql("query", sql))
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    written = ast.literal_eval(call.args[0])
    assert [each.text for each in tokens(written)] == [each.text for each in tokens(sql)]


def test_a_long_statement_is_divided_before_its_clauses() -> None:
    columns = "first_name, last_name, email, phone"
    sql = f"SELECT {columns} FROM customers WHERE id = :id AND phone = :phone"
    assert call_with_sql("@query", sql) == [
        "@query(",
        '    """',
        "    SELECT first_name, last_name, email, phone FROM customers WHERE id = :id",
        "    AND phone = :phone",
        '    """',
        ")",
    ]
