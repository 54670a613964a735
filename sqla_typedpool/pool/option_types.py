"""The keyword arguments of ``TypedPool.configured`` and ``create_typed_engine``, for type
checkers and editors. What they mean when the pool runs is in :mod:`.options`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import ModuleType
from typing import Any, Literal, TypedDict

from sqlalchemy.engine.interfaces import IsolationLevel


class PoolOptions(TypedDict, total=False):
    """The options of the pool, with the names that ``create_async_engine`` takes.

    Times are seconds, and None means never. An option that is left out has its default, which is
    in parentheses below. docs/reference/options.md has the reasons, and when to change each one.

    Example::

        options: PoolOptions = {"pool_size": 10, "pool_timeout": 5}
        engine = create_async_engine(url, poolclass=TypedPool, **options)
    """

    pool_size: int
    """Connections kept at most while idle (5); 0 = no limit."""
    max_overflow: int
    """Connections allowed beyond ``pool_size`` (10); -1 = no limit."""
    pool_timeout: float | None
    """One deadline for a checkout: queueing, connecting and validating (30). 0 or less = do
    not queue."""
    pool_use_lifo: bool
    """Reuse the connection returned last (True), so that the others reach their idle timeout."""
    pool_recycle: float
    """SQLAlchemy's name of ``pool_max_lifetime``; -1 = the default of that option."""
    pool_pre_ping: bool
    """Accepted, and changes nothing: connections are validated as ``pool_validate_after`` sets."""
    pool_reset_on_return: Literal["rollback", "commit"] | bool | None
    """What ends the transaction of a returned connection: "rollback" (the default, also True),
    "commit", or nothing (None, also False)."""
    pool_logging_name: str | None
    """The name in SQLAlchemy's log records of the pool. Excludes ``pool_name``."""
    echo_pool: bool | Literal["debug"] | None
    """Log the pool's connects and invalidations to standard output; "debug" = also each
    checkout and return."""
    pool_min_size: int
    """Connections kept open, refilled in the background (0)."""
    pool_idle_timeout: float | None
    """An idle connection above ``pool_min_size`` is closed when unused for longer (600)."""
    pool_max_lifetime: float | None
    """A connection's age limit, less 0-10 % jitter (1800)."""
    pool_validate_after: float | None
    """Ping before use if unused for longer (0.5); 0 = at every checkout, None = only check the
    socket."""
    pool_connect_timeout: float
    """The bound on one connection attempt (10)."""
    pool_connect_retry: float
    """How long, from the start of an outage, callers wait although connects are refused (5)."""
    pool_reset_timeout: float
    """The bound on the rollback or commit of a return, and on a graceful close (5; MySQL and
    MariaDB 60)."""
    pool_max_waiting: int | None
    """If so many callers wait already, a checkout that would have to wait raises
    ``PoolSaturated`` at once (None)."""
    pool_overload: Literal["adaptive", "fifo"]
    """Which waiter is served next while many callers give up before they are served: the newest
    ("adaptive", the default), or the oldest as always ("fifo")."""
    pool_shed_after: float | None
    """Refuse the oldest waiters, once the oldest has been waiting for longer than this for two
    seconds (None). Implies ``pool_overload="fifo"``."""
    pool_keepalive: float | None
    """Ping idle connections this often (None)."""
    pool_slow_checkout: float | None
    """A checkout slower than this is logged (2)."""
    pool_keep_cancelled: bool
    """Roll back and keep the connection of a cancelled statement, where that is safe (True;
    asyncpg only); False = close it."""
    pool_leak_threshold: float | None
    """A connection held for longer is reported with the line that checked it out (None)."""
    pool_name: str | None
    """The pool's name in logs, errors and statistics (None = ``host:port/database``)."""


class EngineOptions(PoolOptions, total=False):
    """The options of the pool, and every other one of ``create_async_engine``.

    Left out are ``poolclass`` and ``pool``, since the pool is always ``TypedPool``, and those
    that SQLAlchemy refuses for an async engine or ignores.
    """

    connect_args: Mapping[str, Any]
    """Arguments for the driver's connect function."""
    async_creator: Callable[[], Awaitable[Any]]
    """Opens a connection of the driver in place of its connect function and the URL."""
    creator: Callable[..., Any]
    """Opens a connection in SQLAlchemy's form of the driver. Excludes ``async_creator``."""
    isolation_level: IsolationLevel
    """The isolation level of all connections, such as "REPEATABLE READ" or "AUTOCOMMIT"."""
    skip_autocommit_rollback: bool
    """Send no ROLLBACK on a connection in autocommit mode."""
    execution_options: Mapping[str, Any]
    """Execution options of all connections."""
    echo: bool | Literal["debug"] | None
    """Log all statements to standard output; "debug" = also the rows."""
    logging_name: str
    """The name in SQLAlchemy's log records of the engine."""
    hide_parameters: bool
    """Leave the values of parameters out of logs and errors."""
    plugins: list[str]
    """The names of engine plugins to load."""
    query_cache_size: int
    """Statements of which the compiled form is kept (500)."""
    use_insertmanyvalues: bool
    """Insert several rows with one INSERT ... RETURNING (True)."""
    insertmanyvalues_page_size: int
    """Rows of such an INSERT (1000)."""
    enable_from_linting: bool
    """Warn about a SELECT that is a cartesian product (True)."""
    json_serializer: Callable[..., Any]
    """Converts a value of type JSON to text (``json.dumps``)."""
    json_deserializer: Callable[..., Any]
    """Converts JSON text to a value (``json.loads``)."""
    label_length: int | None
    """The longest name of a column label that SQLAlchemy makes."""
    max_identifier_length: int | None
    """The longest identifier, if it is another one than the dialect's."""
    paramstyle: Literal["qmark", "numeric", "named", "format", "pyformat", "numeric_dollar"] | None
    """The form of bound parameters, if it is another one than the driver's."""
    module: ModuleType | None
    """The module of the driver, or a stand-in."""
    implicit_returning: Literal[True]
    """Without effect; True is the only value."""
    future: Literal[True]
    """Without effect; True is the only value."""
    native_inet_types: bool
    """PostgreSQL: whether INET and CIDR are Python's ``ipaddress`` objects, or str."""
    client_encoding: str | None
    """psycopg: the encoding of the client."""
    use_native_hstore: bool
    """psycopg: whether SQLAlchemy sets up the type hstore of new connections (True)."""
    native_datetime: bool
    """SQLite: whether the driver converts dates, and SQLAlchemy does not."""
