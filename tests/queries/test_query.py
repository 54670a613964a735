"""Declared queries: what is checked where they stand, and what a call does."""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import inspect
import sys
import textwrap
import traceback
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,  # noqa: F401 - named in an annotation below
    AsyncIterator,
    Callable,
    Coroutine,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypeVar

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateTable

from sqla_typedpool import (
    Executor,
    Json,
    RowCount,
    RowShapeError,
    RowValueError,
    StatementTimeout,
    TypedPool,
    TypedPoolError,
    query,
    query_info,
)
from sqla_typedpool.errors import DeclarationError
from sqla_typedpool.queries import Bind, Cardinality, QueryInfo, declared
from sqla_typedpool.queries import calls as calls_module

T = TypeVar("T")
UserId = NewType("UserId", int)
users = Table("users", MetaData(), Column("id", Integer, primary_key=True), Column("name", Text))


@dataclass(frozen=True)
class User:
    id: int
    name: str


class Pair(NamedTuple):
    id: int
    name: str


@asynccontextmanager
async def database() -> AsyncIterator[AsyncEngine]:
    """A SQLite with two users."""
    pytest.importorskip("aiosqlite")
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE users (id integer, name text NOT NULL)"))
        await connection.execute(text("INSERT INTO users VALUES (1, 'Ada'), (2, 'Bob')"))
    try:
        yield engine
    finally:
        await engine.dispose()


def on_database(work: Callable[[AsyncEngine], Coroutine[Any, Any, T]]) -> T:
    async def main() -> T:
        async with database() as engine:
            return await work(engine)

    return asyncio.run(main())


def faults_of(declare: Callable[[], Any]) -> tuple[str, ...]:
    """What is wrong with a declaration."""
    with pytest.raises(DeclarationError) as raised:
        declare()
    return raised.value.faults


def fault_of(declare: Callable[[], Any]) -> str:
    (fault,) = faults_of(declare)
    return fault


def declare(sql: Any, signature: str, *, is_async: bool = True, **options: Any) -> Any:
    """A query, its function written as ``(db, a: int) -> User``."""
    space: dict[str, Any] = {"query": query, "sql": sql, "options": options, **globals()}
    kind = "async def" if is_async else "def"
    source = (
        f"@query(sql, **options)\n{kind} declared_here{signature}:\n    raise NotImplementedError"
    )
    exec(source, space)
    return space["declared_here"]


# ------------------------------------------------------------------ what comes back


@query("SELECT id, name FROM users WHERE id = :user_id")
async def get_user(db: Executor, user_id: int) -> User:
    """One of them."""
    raise NotImplementedError


@query("SELECT id, name FROM users WHERE id = :user_id")
async def find_user(db: Executor, *, user_id: int = 2) -> User | None:
    raise NotImplementedError


@query("SELECT name FROM users WHERE id = :user_id")
async def find_name(db: Executor, user_id: UserId) -> Optional[str]:  # noqa: UP045
    raise NotImplementedError


@query("SELECT id, name FROM users ORDER BY id")
async def list_users(db: Executor) -> list[User]:
    raise NotImplementedError


@query("SELECT id, name FROM users ORDER BY id")
async def list_pairs(db: Executor) -> Sequence[tuple[int, str]]:
    raise NotImplementedError


@query("SELECT id, name FROM users ORDER BY id")
def all_users(db: Executor) -> AsyncIterator[User]:
    raise NotImplementedError


@query("SELECT id FROM users WHERE id >= :least ORDER BY id")
def all_ids(db: Executor, *, least: int) -> AsyncGenerator[int, None]:
    raise NotImplementedError


@query("UPDATE users SET name = :name WHERE id = :user_id")
async def rename(db: Executor, *, user_id: int, name: str) -> RowCount:
    raise NotImplementedError


@query("DELETE FROM users")
async def delete_all(db: Executor) -> None:
    raise NotImplementedError


def test_the_return_annotation_says_what_comes_back() -> None:
    async def work(db: AsyncEngine) -> None:
        ada, bob = User(1, "Ada"), User(2, "Bob")
        assert await get_user(db, 1) == ada
        assert await find_user(db) == bob
        assert await find_user(db, user_id=3) is None
        assert await find_name(db, UserId(1)) == "Ada"
        assert await find_name(db, UserId(3)) is None
        assert await list_users(db) == [ada, bob]
        assert await list_pairs(db) == [(1, "Ada"), (2, "Bob")]
        assert [user async for user in all_users(db)] == [ada, bob]
        assert [number async for number in all_ids(db, least=2)] == [2]
        assert await rename(db, user_id=1, name="Ida") == 1
        assert await delete_all(db) is None  # type: ignore[func-returns-value]
        assert await list_users(db) == []

    on_database(work)


def test_arguments_are_bound_as_python_binds_them() -> None:
    async def work(db: AsyncEngine) -> None:
        assert await get_user(db=db, user_id=2) == User(2, "Bob")
        for wrong in (
            lambda: get_user(db),
            lambda: get_user(db, 1, 2),
            lambda: get_user(db, usr=1),
            lambda: find_user(db, 1),
        ):
            with pytest.raises(TypeError, match=r"(get|find)_user\(\)"):
                wrong()

    on_database(work)


def test_a_connection_and_a_session_serve_as_well_as_an_engine() -> None:
    async def work(db: AsyncEngine) -> None:
        async with db.connect() as connection:
            assert await rename(connection, user_id=1, name="Ida") == 1
            assert await find_name(connection, UserId(1)) == "Ida"
            await connection.rollback()
        assert await find_name(db, UserId(1)) == "Ada"

    on_database(work)


@pytest.mark.parametrize(
    ("annotation", "cardinality", "row_type"),
    [
        ("User", Cardinality.ONE, User),
        ("Pair", Cardinality.ONE, Pair),
        ("int", Cardinality.ONE, int),
        ("tuple[int, str]", Cardinality.ONE, tuple[int, str]),
        ("Literal['a', 'b']", Cardinality.ONE, Literal["a", "b"]),
        ("Annotated[list[int], Json()]", Cardinality.ONE, Annotated[list[int], Json()]),
        ("User | None", Cardinality.OPTIONAL, User),
        ("Optional[Pair]", Cardinality.OPTIONAL, Pair),
        ("tuple[int, str] | None", Cardinality.OPTIONAL, tuple[int, str]),
        ("int | None", Cardinality.OPTIONAL, int | None),
        ("int | str | None", Cardinality.OPTIONAL, int | str | None),
        ("UserId | None", Cardinality.OPTIONAL, UserId | None),
        ("list[User]", Cardinality.ALL, User),
        ("list[int | None]", Cardinality.ALL, int | None),
        ("Sequence[list[int]]", Cardinality.ALL, list[int]),
        ("AsyncIterator[User]", Cardinality.STREAM, User),
        ("AsyncIterable[int]", Cardinality.STREAM, int),
        ("AsyncGenerator[User, None]", Cardinality.STREAM, User),
        ("RowCount", Cardinality.COUNT, None),
        ("None", Cardinality.NOTHING, None),
    ],
)
def test_every_supported_return_type_is_understood(
    annotation: str, cardinality: Cardinality, row_type: Any
) -> None:
    is_async = cardinality is not Cardinality.STREAM
    info = query_info(declare("SELECT 1", f"(db) -> {annotation}", is_async=is_async))
    assert (info.cardinality, info.row_type) == (cardinality, row_type)


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ("list", "does not say of what"),
        ("Sequence", "does not say of what"),
        ("dict", "says nothing about the columns"),
        ("dict[str, int]", "says nothing about the columns"),
        ("tuple", "says nothing about the columns"),
        ("Iterator[User]", "no value is exactly of type"),
        ("list[User] | None", "never None"),
        ("RowCount | None", "never None"),
        ("list[User | None]", "a row is never None"),
        ("User | Pair", "a union of more than plain types"),
        ("list[T]", "type variable"),
        ("tuple[int, T]", "type variable"),
        ("7", "type"),
        ("AsyncIterator[User]", "plain `def`"),
        ("'list['", "is no type (SyntaxError"),
    ],
)
def test_a_return_type_that_no_query_has_is_refused(annotation: str, reason: str) -> None:
    assert reason in fault_of(lambda: declare("SELECT 1", f"(db) -> {annotation}"))


def test_a_plain_def_is_for_streams_alone() -> None:
    fault = fault_of(lambda: declare("SELECT 1", "(db) -> User", is_async=False))
    assert "declare it with `async def`" in fault
    bare = "(db) -> AsyncIterator"
    assert "does not say of what" in fault_of(lambda: declare("SELECT 1", bare, is_async=False))
    sent = "(db) -> AsyncGenerator[int, str]"
    assert "nothing can be sent" in fault_of(lambda: declare("SELECT 1", sent, is_async=False))


def test_an_async_generator_is_told_to_be_a_plain_def() -> None:
    def wrong() -> None:
        @query("SELECT 1")
        async def numbers(db: Executor) -> AsyncIterator[int]:
            yield 1

    assert "declare it with a plain `def`" in fault_of(wrong)


# ------------------------------------------------------------- SQL beside parameters


def test_everything_wrong_is_told_at_once_with_its_place() -> None:
    line = inspect.currentframe().f_lineno + 3  # type: ignore[union-attr]
    with pytest.raises(DeclarationError) as raised:

        @query("SELECT ':a', :usr_id; SELECT 2")
        async def wrong(db: Executor, user_id: int, x, *rest, **more):  # type: ignore[no-untyped-def]
            raise NotImplementedError

    error = raised.value
    assert isinstance(error, TypeError)
    assert isinstance(error, TypedPoolError)
    assert (error.file, error.line) == (Path(__file__), line)
    assert error.query.endswith(
        "test_everything_wrong_is_told_at_once_with_its_place.<locals>.wrong"
    )
    head, *faults = str(error).splitlines()
    assert head == f"{__file__}:{line}: query {error.query} has {len(error.faults)} faults:"
    assert faults == [f"- {fault}" for fault in error.faults]
    for part in (
        "*rest cannot be a bind",
        "**more cannot be a bind",
        "the parameter x has no type",
        "does not say what it returns",
        ":a stands in a string",
        "did you mean :user_id?",
        "the parameter user_id is not used",
        "several statements",
    ):
        assert sum(part in fault for fault in error.faults) == 1, part


@pytest.mark.parametrize(
    ("sql", "signature", "reason"),
    [
        ("", "(db) -> int", "the SQL is empty"),
        (" -- nothing\n", "(db) -> int", "the SQL is empty"),
        ("SELECT :a", "(db) -> int", "the function has none of that name; add a to the function"),
        ("SELECT :user_i", "(db, user_id: int) -> int", "did you mean :user_id?"),
        ("SELECT 1", "(db, a: int) -> int", "the parameter a is not used: the SQL has no :a"),
        ("SELECT 1 -- :a", "(db, a: int) -> int", ":a stands in a string"),
        ("SELECT '12:30'", "(db) -> int", None),
        ("SELECT 'at :30'", "(db) -> int", r"write \:30"),
        (r"SELECT 'at \:30'", "(db) -> int", None),
        ("SELECT '\n:b'", "(db) -> int", ":b (line 2 of the SQL) stands in a string"),
        ("SELECT a[:2] FROM t", "(db) -> int", r"if a slice is meant, write \:2"),
        ("SELECT :a::int", "(db, a: int) -> int", "write CAST(:a AS ...)"),
        ("SELECT :a ::int", "(db, a: int) -> int", None),
        ("SELECT a[b :n::int] FROM t", "(db) -> int", None),
        ("SELECT 1; SELECT 2", "(db) -> int", "it holds several statements: SELECT begins"),
        ("SELECT 1;", "(db) -> int", None),
        ("SELECT :a", "(db, /, a: int) -> int", None),
        ("SELECT :a", "(db, a: int, /) -> int", "a is positional-only"),
        ("SELECT 1", "() -> int", "it has no parameter for the database"),
        ("SELECT 1", "(*db) -> int", None),
        ("SELECT :a", "(db, a) -> int", "the parameter a has no type; write a: int"),
        ("SELECT 1", "(db)", "it does not say what it returns"),
    ],
)
def test_a_text_is_held_against_the_signature(sql: str, signature: str, reason: str | None) -> None:
    if reason is not None:
        assert any(reason in fault for fault in faults_of(lambda: declare(sql, signature)))
    elif signature == "(*db) -> int":
        assert len(faults_of(lambda: declare(sql, signature))) == 2
    else:
        declare(sql, signature)


@pytest.mark.parametrize(
    ("sql", "signature"),
    [
        ("SELECT :a, :a", "(db) -> int"),
        ("SELECT :a::int", "(db, a: int) -> int"),
        ("SELECT ':a'", "(db) -> int"),
    ],
)
def test_one_mistake_is_told_once(sql: str, signature: str) -> None:
    fault_of(lambda: declare(sql, signature))


def test_a_text_object_with_values_of_its_own_needs_no_parameters_for_them() -> None:
    statement = text("SELECT :a + :b").bindparams(a=1)
    info = query_info(declare(statement, "(db, b: int) -> int"))
    assert (info.sql, info.is_text, info.bind_names) == ("SELECT :a + :b", True, ("b",))
    assert "no :c" in fault_of(lambda: declare(statement, "(db, b: int, c: int) -> int"))
    assert "parameter :b" in fault_of(lambda: declare(statement, "(db) -> int"))

    async def work(db: AsyncEngine) -> None:
        assert await declare(statement, "(db, b: int) -> int")(db, 4) == 5
        assert await declare(statement, "(db, a: int, b: int) -> int")(db, 4, 4) == 8

    on_database(work)


@pytest.mark.parametrize("wrong", [True, 0, -1, float("nan"), float("inf"), "5"])
def test_a_timeout_is_a_number_of_seconds(wrong: Any) -> None:
    assert f"timeout={wrong!r}" in fault_of(
        lambda: declare("SELECT 1", "(db) -> int", timeout=wrong)
    )


def test_what_is_no_sql_is_refused() -> None:
    assert "needs the SQL" in fault_of(lambda: declare(None, "(db) -> int"))
    assert "not both" in fault_of(lambda: declare("SELECT 1", "(db) -> int", path="a.sql"))
    assert "not int" in fault_of(lambda: declare(7, "(db) -> int"))

    def bare() -> None:
        @query  # type: ignore[arg-type]
        async def forgotten(db: Executor) -> int:
            raise NotImplementedError

        forgotten(lambda: None)  # type: ignore[arg-type,type-var]

    assert any("SQL in the brackets" in fault for fault in faults_of(bare))


@pytest.mark.parametrize("thing", [User, functools.partial(print), print])
def test_only_functions_are_declared(thing: Any) -> None:
    with pytest.raises(DeclarationError, match=r"@query stands on a function, not on"):
        query("SELECT 1")(thing)


def test_a_decorator_below_is_refused_and_one_above_is_welcome() -> None:
    def other(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any) -> Any:
            return function(*args)

        return wrapped

    def below() -> None:
        query("SELECT 1")(other(get_user))

    assert any("put it above" in fault for fault in faults_of(below))
    above = other(get_user)
    assert query_info(above) is query_info(get_user)


# ------------------------------------------------------------------ Core statements


def test_core_statements_take_their_binds_by_name() -> None:
    by_id = select(users).where(users.c.id == bindparam("user_id"), users.c.name != "x")
    within = select(users.c.id).where(users.c.id.in_(bindparam("ids", expanding=True)))
    one = declare(by_id, "(db, user_id: int) -> User")
    some = declare(within, "(db, ids: list[int]) -> list[int]")
    add = declare(insert(users), "(db, id: int, name: str) -> RowCount")
    change = declare(
        update(users).where(users.c.id == bindparam("user_id")),
        "(db, user_id: int, name: str) -> RowCount",
    )
    gone = declare(delete(users).returning(users.c.id), "(db) -> list[int]")

    async def work(db: AsyncEngine) -> None:
        assert await one(db, 1) == User(1, "Ada")
        assert await some(db, [1, 2, 3]) == [1, 2]
        assert await add(db, 3, "Eve") == 1
        assert await change(db, 3, "Eva") == 1
        assert await one(db, 3) == User(3, "Eva")
        assert await gone(db) == [1, 2, 3]

    on_database(work)
    info = query_info(one)
    assert (info.is_text, info.statement) == (False, by_id)
    assert info.sql.startswith("SELECT users.id, users.name")


@pytest.mark.parametrize(
    ("statement", "signature", "reason"),
    [
        (select(users.c.id), "(db, a: int) -> int", "the parameter a is not used"),
        (select(users).where(users.c.id == bindparam("a")), "(db) -> User", "parameter :a"),
        (insert(users), "(db, id: int, nam: str) -> RowCount", "the parameter nam is not used"),
        (delete(users), "(db) -> User", "returns no rows; add .returning(...)"),
        (insert(users), "(db, id: int) -> list[User]", "returns no rows"),
        (CreateTable(users), "(db) -> None", "neither parameters nor rows"),
        (
            update(users).where(users.c.name == bindparam("name")),
            "(db, name: str) -> None",
            "bindparam() name 'name' is reserved",
        ),
    ],
)
def test_a_core_statement_is_held_against_the_signature(
    statement: Any, signature: str, reason: str
) -> None:
    assert reason in fault_of(lambda: declare(statement, signature))


@pytest.mark.parametrize(
    "statement",
    [
        pg.insert(users).on_conflict_do_nothing(),
        mysql.insert(users).on_duplicate_key_update(name="x"),
    ],
)
def test_a_statement_of_one_database_needs_no_other(statement: Any) -> None:
    assert not query_info(declare(statement, "(db, id: int) -> None")).is_text


def test_text_with_columns_is_a_core_statement() -> None:
    statement = text("SELECT id, name FROM users WHERE id = :a").columns(users.c.id, users.c.name)
    one = declare(statement, "(db, a: int) -> User")
    assert on_database(lambda db: one(db, 1)) == User(1, "Ada")


# ------------------------------------------------------------------------- SQL files


def module_with(folder: Path, source: str, name: str) -> Any:
    """A module of its own, imported."""
    (folder / f"{name}.py").write_text(textwrap.dedent(source))
    importlib.invalidate_caches()
    return importlib.import_module(name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where modules are imported from; they are forgotten afterwards."""
    known = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


FROM_FILE = """
    from sqla_typedpool import Executor, query

    @query(path="sql/one.sql")
    async def one(db: Executor, *, a: int) -> int:
        raise NotImplementedError
"""


def test_a_path_starts_at_the_declaring_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "sql").mkdir()
    file = folder / "sql" / "one.sql"
    file.write_bytes("\ufeff-- größer\r\nSELECT :a + 1\r\n".encode())
    monkeypatch.chdir("/")
    module = module_with(folder, FROM_FILE, "from_file")
    info = query_info(module.one)
    assert info.sql == "-- größer\nSELECT :a + 1\n"
    assert info.origin.sql_file == file
    assert (info.origin.file, info.origin.line) == (folder / "from_file.py", 4)
    assert on_database(lambda db: module.one(db, a=1)) == 2


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    fault = fault_of(lambda: module_with(folder, FROM_FILE, "without_file"))
    assert str(folder / "sql" / "one.sql") in fault
    assert "No such file" in fault
    (folder / "sql").mkdir()
    (folder / "sql" / "one.sql").write_bytes("SELECT 'größer'".encode("latin-1"))
    fault = fault_of(lambda: module_with(folder, FROM_FILE, "with_latin"))
    assert "is not UTF-8 (byte 10 of the file)" in fault
    (folder / "sql" / "one.sql").unlink()
    (folder / "sql" / "one.sql").mkdir()
    assert "directory" in fault_of(lambda: module_with(folder, FROM_FILE, "with_folder"))
    for wrong in ("a\0b", 7):
        assert "is no path" in fault_of(lambda: declare(None, "(db) -> int", path=wrong))  # noqa: B023


# ---------------------------------------------------------------------- repositories


class Repo(Generic[T]):
    def __init__(self, least: int) -> None:
        self.least = least

    @query("SELECT id, name FROM users WHERE id = :user_id")
    async def get(self, db: Executor, *, user_id: int) -> User:
        raise NotImplementedError

    @classmethod
    @query("SELECT count(*) FROM users")
    async def count(cls, db: Executor) -> int:
        raise NotImplementedError

    @staticmethod
    @query("SELECT :a + 1")
    async def more(db: Executor, a: int) -> int:
        raise NotImplementedError

    @query("SELECT count(*) FROM users")  # type: ignore[arg-type]
    @classmethod
    async def count_above(cls, db: Executor) -> int:
        raise NotImplementedError

    @query("SELECT :a + 1")  # type: ignore[arg-type]
    @staticmethod
    async def more_above(db, a: int) -> int:  # type: ignore[no-untyped-def]
        raise NotImplementedError

    @query("SELECT id FROM users ORDER BY id")
    def ids(this, db: Executor) -> AsyncIterator[int]:  # noqa: N805
        raise NotImplementedError

    @query("SELECT 1")
    async def nested(self, db: Executor) -> Inner:
        raise NotImplementedError

    Inner = int


class Users(Repo[User]):
    @query("SELECT id, 'renamed' AS name FROM users WHERE id = :user_id")
    async def get(self, db: Executor, *, user_id: int) -> User:
        raise NotImplementedError


class Abstract(ABC):
    @query("SELECT 1")
    @abstractmethod
    async def one(self, db: Executor) -> int:
        raise NotImplementedError


def test_methods_of_every_kind_are_queries() -> None:
    async def work(db: AsyncEngine) -> None:
        for repo in (Repo[User](1), Users(1)):
            assert await repo.count(db) == 2
            assert await type(repo).count(db) == 2
            assert await repo.count_above(db) == 2  # type: ignore[call-arg,arg-type]
            assert await repo.more(db, 1) == 2
            assert await repo.more_above(db, 1) == 2  # type: ignore[call-arg,arg-type]
            assert [number async for number in repo.ids(db)] == [1, 2]
            assert await repo.nested(db) == 1
        assert await Repo[User](1).get(db, user_id=1) == User(1, "Ada")
        assert await Users(1).get(db, user_id=1) == User(1, "renamed")

    on_database(work)
    with pytest.raises(TypeError, match="abstract"):
        Abstract()  # type: ignore[abstract]


def test_query_info_looks_into_methods_and_wrappers() -> None:
    for form in (Repo.get, Repo(1).get, Users.count, Users(1).count, Users.__mro__[1].get):
        assert isinstance(query_info(form), QueryInfo)
    assert query_info(Repo.__dict__["count"]) is query_info(Users(1).count)
    assert query_info(Repo.__dict__["more"]) is query_info(Repo.more)
    assert query_info(functools.partial(get_user, user_id=1)) is query_info(get_user)
    assert query_info(Users.get).name == f"{__name__}.Users.get"
    assert query_info(Users.get).bind_names == ("user_id",)
    assert query_info(Repo.ids).bind_names == ()


@pytest.mark.parametrize("thing", [print, User, 7, None, test_methods_of_every_kind_are_queries])
def test_query_info_of_anything_else_is_a_clear_error(thing: Any) -> None:
    with pytest.raises(TypeError, match=r"is no declared query; next: put @query"):
        query_info(thing)


def test_an_executor_without_annotation_in_a_class_is_told_that_it_was_taken_for_self() -> None:
    def wrong() -> None:
        class Unannotated:
            @staticmethod
            @query("SELECT :a")
            async def one(db, a: int) -> int:  # type: ignore[no-untyped-def]
                raise NotImplementedError

    *_, last = faults_of(wrong)
    assert last == "db was taken for self, as it has no annotation; write db: Executor"


# ------------------------------------------------------------------------ annotations


@query("SELECT :a, :b, :c, :d, :e, :f, :g")
async def many_binds(
    db: Executor,
    a: int,
    b: int | None,
    c: Optional[UserId],  # noqa: UP045
    d: Any,
    e: Literal["x", None],
    f: Annotated[str | None, "note"],
    g: str = None,  # type: ignore[assignment]  # noqa: RUF013
) -> tuple[Any, ...]:
    raise NotImplementedError


def test_binds_tell_their_types_and_whether_they_may_be_none() -> None:
    binds = query_info(many_binds).binds
    assert [bind.name for bind in binds] == list("abcdefg")
    assert [bind.is_optional for bind in binds] == [False, *[True] * 6]
    assert binds[0] == Bind("a", int, False)
    assert binds[5].annotation == Annotated[str | None, "note"]


@query("SELECT id, name FROM users WHERE id = :user_id")
async def get_later(db: Executor, user_id: LaterId) -> LaterUser:
    raise NotImplementedError


class LaterUser(User):
    pass


LaterId = NewType("LaterId", int)


def test_an_annotation_may_name_what_is_defined_later() -> None:
    assert on_database(lambda db: get_later(db, LaterId(1))) == LaterUser(1, "Ada")
    assert on_database(lambda db: get_later(db, LaterId(1))) == LaterUser(1, "Ada")
    info = query_info(get_later)
    assert (info.row_type, info.cardinality) == (LaterUser, Cardinality.ONE)
    assert info.binds == (Bind("user_id", LaterId, False),)


def test_an_annotation_may_name_what_a_function_defines() -> None:
    class Local(User):
        pass

    class Queries:
        class Inner(User):
            pass

        @query("SELECT id, name FROM users WHERE id = 1")
        async def local(self, db: Executor) -> Local:
            raise NotImplementedError

        @query("SELECT id, name FROM users WHERE id = 1")
        async def inner(self, db: Executor) -> Inner:
            raise NotImplementedError

    assert on_database(lambda db: Queries().local(db)) == Local(1, "Ada")
    assert on_database(lambda db: Queries().inner(db)) == Queries.Inner(1, "Ada")


def test_a_name_that_is_never_defined_is_an_error_at_the_first_use() -> None:
    unknown: Any = declare("SELECT :a", "(db, a: Nothing) -> list[Nowhere]")
    info = query_info(unknown)
    message = r"query .*declared_here: the return annotation 'list\[Nowhere\]' is not known"
    for use in (lambda: info.row_type, lambda: info.cardinality):
        with pytest.raises(DeclarationError, match=message):
            use()
    with pytest.raises(DeclarationError, match=r"the annotation of a 'Nothing' is not known"):
        info.binds  # noqa: B018
    for _ in range(2):
        with pytest.raises(DeclarationError, match=message):
            asyncio.run(unknown(None, 1))


def test_a_late_annotation_that_no_query_has_is_an_error_at_the_first_use() -> None:
    space: dict[str, Any] = {"query": query, "__name__": "late"}
    exec("@query('SELECT 1')\nasync def f(db) -> 'Late': ...", space)
    space["Late"] = AsyncIterator[int]
    with pytest.raises(DeclarationError, match="plain `def`"):
        asyncio.run(space["f"](None))


# ------------------------------------------------------------- the function that is made


def test_the_function_keeps_its_face() -> None:
    assert inspect.iscoroutinefunction(get_user)
    assert not inspect.iscoroutinefunction(all_users)
    assert (get_user.__name__, get_user.__doc__) == ("get_user", "One of them.")
    assert (get_user.__module__, get_user.__qualname__) == (__name__, "get_user")
    assert str(inspect.signature(get_user)) == "(db: 'Executor', user_id: 'int') -> 'User'"
    assert get_user.__annotations__["user_id"] == "int"
    assert get_user.__wrapped__ is query_info(get_user).function  # type: ignore[attr-defined]
    assert inspect.signature(find_user).parameters["user_id"].default == 2
    assert inspect.getsource(get_user).startswith("@query(")


def test_parameters_may_have_any_name() -> None:
    names = ["_query_run", "_query_", "_query__name", "self", "error", "timeout", "é", "print"]
    sql = "SELECT " + " || ".join(f":{name}" for name in names)
    typed = ", ".join(f"{name}: str" for name in names)
    joined = declare(sql, f"(db, {typed}) -> str")
    values = [str(number) for number in range(len(names))]
    assert on_database(lambda db: joined(db, *values)) == "".join(values)


def test_a_query_may_have_any_order_of_parameters() -> None:
    class Odd:
        @query("SELECT :a || :b || :c")
        async def method(self, db: Executor, /, a: str, b: str = "b", *, c: str = "c") -> str:
            raise NotImplementedError

        @query("SELECT 1")
        async def nothing(self, db: Executor, /) -> int:
            raise NotImplementedError

    assert on_database(lambda db: Odd().method(db, "a")) == "abc"
    assert on_database(lambda db: Odd().method(db, "a", c="d")) == "abd"
    assert on_database(lambda db: Odd().nothing(db)) == 1
    for by_name in (Odd().method, Odd().nothing):
        with pytest.raises(TypeError, match="positional-only"):
            by_name(db=None)  # type: ignore[call-arg]


def test_a_query_made_by_lambda_or_helper_knows_its_place() -> None:
    def helper(sql: str) -> Any:
        return query(sql)

    made: Any = lambda db: None  # noqa: E731
    made.__annotations__["return"] = int
    fault = fault_of(lambda: query("SELECT 1")(made))
    assert "async def" in fault

    @helper("SELECT 1")
    async def one(db: Executor) -> int:
        raise NotImplementedError

    assert query_info(one).origin.file == Path(__file__)


HELPED = """
    from helping import one_row
    from sqla_typedpool import Executor

    @one_row
    async def one(db: Executor) -> int:
        raise NotImplementedError
"""


def test_a_query_under_a_helper_of_another_file_stands_where_its_function_does(
    folder: Path,
) -> None:
    helper = "from sqla_typedpool import query\n\none_row = query('SELECT 1')\n"
    (folder / "helping.py").write_text(helper)
    module = module_with(folder, HELPED, "helped")
    origin = query_info(module.one).origin
    assert (origin.file, origin.line) == (folder / "helped.py", 5)


@query("SELECT 'x' AS id, name FROM users")
async def wrong_value(db: Executor) -> list[User]:
    raise NotImplementedError


@query("SELECT 'x' AS id, name FROM users")
def wrong_stream(db: Executor) -> AsyncIterator[User]:
    raise NotImplementedError


@query("SELECT id FROM users")
async def wrong_shape(db: Executor) -> list[User]:
    raise NotImplementedError


def test_errors_name_the_query() -> None:
    async def work(db: AsyncEngine) -> None:
        with pytest.raises(RowValueError) as raised:
            await wrong_value(db)
        assert raised.value.query == f"{__name__}.wrong_value"
        assert f"(query {__name__}.wrong_value)" in str(raised.value)
        with pytest.raises(RowValueError) as raised:
            [user async for user in wrong_stream(db)]
        assert raised.value.query == f"{__name__}.wrong_stream"
        with pytest.raises(RowShapeError, match=rf"\(query {__name__}.wrong_shape\)"):
            await wrong_shape(db)

    on_database(work)


def test_a_traceback_shows_the_declaration() -> None:
    try:
        on_database(wrong_value)
    except RowValueError as error:
        frames = traceback.extract_tb(error.__traceback__)
    (shown,) = [frame for frame in frames if frame.name == "wrong_value"]
    assert shown.filename == __file__
    assert shown.lineno == query_info(wrong_value).origin.line
    assert shown.line == """@query("SELECT 'x' AS id, name FROM users")"""


def test_a_count_that_the_driver_does_not_tell_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def untold(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(calls_module, "execute", untold)
    with pytest.raises(TypedPoolError, match=r"query .*rename was run, but the driver does not"):
        asyncio.run(rename(None, user_id=1, name="x"))  # type: ignore[arg-type]


SLOW = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000000)
SELECT count(*) FROM n
"""


def test_the_timeout_is_that_of_each_call() -> None:
    slow = declare(SLOW, "(db) -> int", timeout=0.05)
    assert query_info(slow).timeout == 0.05
    with pytest.raises(StatementTimeout, match=r"timeout=0\.05"):
        on_database(slow)


# ------------------------------------------------------------------------ the registry


REGISTERED = """
    from sqla_typedpool import Executor, query

    @query("SELECT 1")
    async def first(db: Executor) -> int:
        raise NotImplementedError

    @query("SELECT 2")
    async def second(db: Executor) -> int:
        raise NotImplementedError
"""


def names_of(module: str) -> list[str]:
    return [info.name for info in declared() if info.module == module]


def test_declared_queries_are_listed_in_their_order_and_replaced_by_a_reload(folder: Path) -> None:
    module = module_with(folder, REGISTERED, "registered")
    assert names_of("registered") == ["registered.first", "registered.second"]
    before = query_info(module.first)
    importlib.reload(module)
    assert names_of("registered") == ["registered.first", "registered.second"]
    assert query_info(module.first) is not before
    assert before not in declared()


def test_after_a_reload_the_new_order_holds(folder: Path) -> None:
    module = module_with(folder, REGISTERED, "reordered")
    swapped = REGISTERED.replace("first", "third").replace("second", "first")
    (folder / "reordered.py").write_text(textwrap.dedent(swapped.replace("third", "second")))
    importlib.reload(module)
    assert names_of("reordered") == ["reordered.second", "reordered.first"]


def test_a_query_that_nobody_can_call_any_more_is_forgotten() -> None:
    def make() -> Any:
        @query("SELECT 1")
        async def passing(db: Executor) -> int:
            raise NotImplementedError

        return passing

    def use() -> str:  # a frame of its own: before 3.13 one keeps what its f_locals once showed
        made, again = make(), make()
        assert names_of_all().count(query_info(made).name) == 2, "both can be called"
        return query_info(again).name

    gc.disable()  # at once: nothing that it is made of refers to itself
    try:
        assert use() not in names_of_all()
    finally:
        gc.enable()


def names_of_all() -> list[str]:
    return [info.name for info in declared()]


def test_a_refused_declaration_is_not_listed() -> None:
    before = declared()
    faults_of(lambda: declare("SELECT :a", "(db) -> int"))
    assert declared() == before


def test_typed_pool_engines_run_queries_as_well() -> None:
    pytest.importorskip("aiosqlite")

    async def main() -> int:
        engine = create_async_engine("sqlite+aiosqlite://", poolclass=TypedPool, pool_size=1)
        try:
            return await Repo.more(engine, 1)
        finally:
            await engine.dispose()

    assert asyncio.run(main()) == 2
