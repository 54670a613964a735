"""Every code of a finding: what it says, why it matters, a wrong example and a right one.

Codes are stable: one that is retired is never given to something else.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqla_typedpool.check.model import Severity

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


@dataclass(frozen=True)
class Rule:
    """What a code means."""

    code: str
    title: str
    severities: tuple[Severity, ...]
    """The first is the usual one."""

    why: str
    wrong: str = ""
    """An example that is found; Python."""

    right: str = ""
    """The same, mended."""


_BODY = "\n    raise NotImplementedError"
_USERS = f"\nasync def users(db: Executor) -> list[User]:{_BODY}"

_DECLARATIONS = (
    Rule(
        "TP001",
        "an ignore comment that silences nothing",
        (WARNING,),
        "A comment that outlives what it was for silences the next finding of that code unseen. "
        "Nothing is said where the query could not be checked as a whole.",
        '@query("SELECT id FROM users")  # typedpool: ignore[TP101]' + _USERS,
        '@query("SELECT id FROM users")' + _USERS,
    ),
    Rule(
        "TP002",
        "SQL that nobody checks",
        (NOTE,),
        "SQL handed straight to fetch_all(), fetch_one(), fetch_optional(), stream() or execute() "
        "is seen by the database only when it runs. Declared with @query it is checked before.",
        'users = await fetch_all(db, User, "SELECT id, name FROM users")',
        '@query("SELECT id, name FROM users")\n'
        "async def all_users(db: Executor) -> list[User]:" + _BODY,
    ),
    Rule(
        "TP003",
        "the text of a declared query is put together at run time",
        (WARNING,),
        "What was checked is the text as it was when the module was imported; with other settings "
        "it may be another one. Text put together from values is also how injections get in: "
        "values belong into parameters.",
        '@query(f"SELECT id FROM {TABLE}")' + _USERS,
        '@query("SELECT id FROM users")' + _USERS,
    ),
)

_COLUMNS = (
    Rule(
        "TP101",
        "a column may be NULL, and its field is never None",
        (ERROR,),
        "The first row with a NULL raises RowValueError in production. A column counts as "
        "never NULL only where that is certain; `= because` says what the database knows. "
        'Who knows better writes AS "name!": the statement is trusted, and every row is looked '
        "at. Elements of an array may always be NULL, in every array of every table, so they "
        "are not reported: list[int] is checked as rows arrive.",
        '@query("SELECT u.id, p.nick FROM users u LEFT JOIN profiles p ON p.user_id = u.id")\n'
        "async def nicks(db: Executor) -> list[tuple[int, str]]:" + _BODY,
        '@query("SELECT u.id, p.nick FROM users u LEFT JOIN profiles p ON p.user_id = u.id")\n'
        "async def nicks(db: Executor) -> list[tuple[int, str | None]]:" + _BODY,
    ),
    Rule(
        "TP102",
        "a field has no column",
        (ERROR,),
        "Every call raises RowShapeError. A field may do without a column only where it says so: "
        "Col(default=True) with a default, or NotRequired in a TypedDict.",
        "# class User: id: int; name: str\n"
        '@query("SELECT id FROM users")\n'
        "async def users(db: Executor) -> list[User]:" + _BODY,
        '@query("SELECT id, name FROM users")\n'
        "async def users(db: Executor) -> list[User]:" + _BODY,
    ),
    Rule(
        "TP103",
        "a column has no field",
        (ERROR,),
        "Every call raises RowShapeError: a column that nobody reads is a misspelt name or work "
        "for nothing.",
        "# class User: id: int; name: str\n"
        '@query("SELECT id, name, email FROM users")\n'
        "async def users(db: Executor) -> list[User]:" + _BODY,
        '@query("SELECT id, name FROM users")\n'
        "async def users(db: Executor) -> list[User]:" + _BODY,
    ),
    Rule(
        "TP104",
        "two columns of one name",
        (ERROR,),
        "Which of them a field would get is anybody's guess, so every call raises RowShapeError.",
        '@query("SELECT u.id, t.id FROM users u JOIN teams t ON t.id = u.team_id")' + _USERS,
        '@query("SELECT u.id, t.id AS team_id FROM users u JOIN teams t ON t.id = u.team_id")'
        + _USERS,
    ),
    Rule(
        "TP105",
        "a column can never become its field",
        (ERROR,),
        "Every call raises RowShapeError. Types are exact: a Decimal is no float, a datetime no "
        "date, and JSON is built into a type only with Json(); see docs/guide/typed-results.md.",
        '@query("SELECT sum(price) FROM orders HAVING count(*) > 0")  # numeric\n'
        "async def total(db: Executor) -> float | None:" + _BODY,
        '@query("SELECT sum(price) FROM orders HAVING count(*) > 0")\n'
        "async def total(db: Executor) -> Decimal | None:" + _BODY,
    ),
    Rule(
        "TP106",
        "another number of columns than the tuple or single value wants",
        (ERROR,),
        "Tuples and single values take columns by position, so the numbers have to agree.",
        '@query("SELECT id, name FROM users")\nasync def ids(db: Executor) -> list[int]:' + _BODY,
        '@query("SELECT id FROM users")\nasync def ids(db: Executor) -> list[int]:' + _BODY,
    ),
    Rule(
        "TP107",
        "a field may be None, and its column is never NULL",
        (NOTE,),
        "Harmless, but whoever reads the type writes branches that nothing ever takes.",
        '@query("SELECT count(*) FROM users")\n'
        "async def counts(db: Executor) -> list[int | None]:" + _BODY,
        '@query("SELECT count(*) FROM users")\n'
        "async def counts(db: Executor) -> list[int]:" + _BODY,
    ),
    Rule(
        "TP108",
        "`!` is trusted: the database does not know it",
        (NOTE,),
        'AS "name!" says that the column is never NULL although the database cannot tell. It is '
        "looked at in every row, and a NULL raises RowValueError.",
        "@query('SELECT max(id) AS \"last!\" FROM users')\n"
        "async def last_user(db: Executor) -> int:" + _BODY,
        '@query("SELECT max(id) FROM users")\n'
        "async def last_user(db: Executor) -> int | None:" + _BODY,
    ),
    Rule(
        "TP109",
        "a needless `!` or `?`",
        (NOTE,),
        "It says what is known anyway, and will go on saying it when the schema has changed.",
        "@query('SELECT id AS \"id!\" FROM users')  # id is NOT NULL" + _USERS,
        '@query("SELECT id FROM users")' + _USERS,
    ),
    Rule(
        "TP110",
        "nobody can tell whether an optional Flatten() is there",
        (ERROR,),
        "It is None if and only if all its columns are NULL. That works where a missing row of "
        "one outer join makes all of them NULL together: each field that is never None has to "
        "come from that row, and no column may be there without it.",
        "# class Author: id: int; name: str\n"
        "# class Book: title: str; author: Annotated[Author | None, Flatten('author_')]\n"
        '@query("""SELECT b.title, b.author_id AS author_id, a.name AS author_name\n'
        '          FROM books b LEFT JOIN authors a ON a.id = b.author_id""")\n'
        "async def books(db: Executor) -> list[Book]:" + _BODY,
        '@query("""SELECT b.title, a.id AS author_id, a.name AS author_name\n'
        '          FROM books b LEFT JOIN authors a ON a.id = b.author_id""")\n'
        "async def books(db: Executor) -> list[Book]:" + _BODY,
    ),
    Rule(
        "TP111",
        "an Enum or Literal and the enum of the database differ",
        (ERROR, WARNING),
        "A label that Python does not know raises RowValueError when the first row has it; a "
        "parameter that the database does not know is refused. A member that can never arrive "
        "is only a warning.",
        "# CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')\n"
        '@query("SELECT mood FROM diary")\n'
        'async def moods(db: Executor) -> list[Literal["sad", "happy"]]:\n'
        "    raise NotImplementedError",
        '@query("SELECT mood FROM diary")\n'
        'async def moods(db: Executor) -> list[Literal["sad", "ok", "happy"]]:\n'
        "    raise NotImplementedError",
    ),
    Rule(
        "TP112",
        "SELECT *",
        (WARNING,),
        "The next migration that adds a column breaks every call at once: the code that is "
        "running does not know it. Named columns are changed when you say so.",
        '@query("SELECT * FROM users")' + _USERS,
        '@query("SELECT id, name FROM users")' + _USERS,
    ),
)

_PARAMETERS = (
    Rule(
        "TP201",
        "a parameter of the wrong type",
        (ERROR,),
        "The driver or the database refuses the value when the query runs, or, worse, takes "
        "something else: asyncpg cuts a float down to an int and a datetime down to a date "
        "without a word.",
        '@query("SELECT id FROM users WHERE born = :born")  # born is a date\n'
        "async def born_on(db: Executor, *, born: datetime) -> list[int]:" + _BODY,
        '@query("SELECT id FROM users WHERE born = :born")\n'
        "async def born_on(db: Executor, *, born: date) -> list[int]:" + _BODY,
    ),
    Rule(
        "TP202",
        "the database cannot tell a parameter's type",
        (ERROR, WARNING),
        "Nothing around the parameter says what it is: the statement is refused (error), or the "
        "parameter goes unchecked (warning).",
        '@query("SELECT :a IS NULL")\n'
        "async def is_null(db: Executor, *, a: int | None) -> bool:" + _BODY,
        '@query("SELECT CAST(:a AS integer) IS NULL")\n'
        "async def is_null(db: Executor, *, a: int | None) -> bool:" + _BODY,
    ),
    Rule(
        "TP203",
        "a parameter that may be None stands in a comparison",
        (NOTE,),
        "`x = NULL` is never true: with None the query finds nothing, and no error says so. It "
        "is only said where nothing else in the statement could make up for it: no OR, IS, NOT or "
        "COALESCE, and no other mention of the parameter.",
        '@query("SELECT id FROM users WHERE team = :team")\n'
        "async def members(db: Executor, *, team: int | None) -> list[int]:" + _BODY,
        '@query("SELECT id FROM users WHERE team IS NOT DISTINCT FROM :team")\n'
        "async def members(db: Executor, *, team: int | None) -> list[int]:" + _BODY,
    ),
    Rule(
        "TP204",
        "a value that only SQLAlchemy's types could convert",
        (ERROR,),
        "A parameter of plain SQL text goes to the driver as it is. Drivers know no Enum members "
        "(other than those that are a str or an int), no dataclasses, and take JSON as text.",
        '@query("INSERT INTO events (payload) VALUES (:payload)")  # jsonb\n'
        "async def add(db: Executor, *, payload: dict[str, Any]) -> None:" + _BODY,
        "@query(\n"
        '    text("INSERT INTO events (payload) VALUES (:payload)").bindparams(\n'
        '        bindparam("payload", type_=JSONB)\n'
        "    )\n"
        ")\n"
        "async def add(db: Executor, *, payload: dict[str, Any]) -> None:" + _BODY,
    ),
)

_STATEMENTS = (
    Rule(
        "TP301",
        "the database refuses the statement",
        (ERROR,),
        "A misspelt table or column, a syntax error, a missing privilege: what every call would "
        "raise, in the database's own words.",
        '@query("SELECT nmae FROM users")' + _USERS,
        '@query("SELECT name FROM users")' + _USERS,
    ),
    Rule(
        "TP302",
        "rows are returned and none declared, or the other way round",
        (ERROR,),
        "A function that returns None or RowCount drops rows unseen; one that returns rows needs "
        "a statement that has some: RETURNING for INSERT, UPDATE, DELETE.",
        '@query("INSERT INTO users (name) VALUES (:name)")\n'
        "async def add(db: Executor, *, name: str) -> int:" + _BODY,
        '@query("INSERT INTO users (name) VALUES (:name) RETURNING id")\n'
        "async def add(db: Executor, *, name: str) -> int:" + _BODY,
    ),
    Rule(
        "TP303",
        "the declaration cannot be understood",
        (ERROR,),
        "An annotation that cannot be resolved, or a row type that says nothing about columns. "
        "The first call would raise DeclarationError or RowShapeError.",
        '@query("SELECT id, name FROM users")\n'
        "async def users(db: Executor) -> list[dict[str, Any]]:" + _BODY,
        '@query("SELECT id, name FROM users")\n'
        "async def users(db: Executor) -> list[User]:" + _BODY,
    ),
    Rule(
        "TP304",
        "something could not be found out here",
        (NOTE,),
        "This server, or this role, does not let the checker look: every column counts as "
        "possibly NULL. `= next` says what would help.",
    ),
)

_SNAPSHOTS = (
    Rule(
        "TP401",
        "no snapshot of a query",
        (ERROR,),
        "Without a database the checker knows what snapshots tell it, and this query has none: "
        "it is new, or its SQL has changed. Run `sqla-typedpool prepare` and commit the files.",
    ),
    Rule(
        "TP402",
        "a stale snapshot",
        (ERROR,),
        "The database describes the query otherwise than its snapshot does: the schema has "
        "changed. Run `sqla-typedpool prepare` and look at the difference.",
    ),
    Rule(
        "TP403",
        "a damaged snapshot",
        (ERROR,),
        "The file is no snapshot of this format, or not of the SQL it claims to be of: often a "
        "merge conflict. Run `sqla-typedpool prepare`.",
    ),
    Rule(
        "TP404",
        "a snapshot nobody uses",
        (WARNING,),
        "Its query is gone, or its SQL has changed. `sqla-typedpool prepare` removes it.",
    ),
)

EXPLANATIONS: tuple[Rule, ...] = (
    *_DECLARATIONS,
    *_COLUMNS,
    *_PARAMETERS,
    *_STATEMENTS,
    *_SNAPSHOTS,
)
