"""Connect errors as the drivers construct them: examples for each rule of `connect_rules`."""

from __future__ import annotations

import asyncio
import errno
import importlib
import socket
import sqlite3
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass

from sqla_typedpool.pool.connect_rules import ErrorKind

Make = Callable[[], BaseException]

TRANSIENT, FULL, FATAL = ErrorKind.TRANSIENT, ErrorKind.FULL, ErrorKind.FATAL


@dataclass
class Example:
    """One error, and the kind that it must have."""

    driver: str  # which must be installed; "" = none
    name: str
    make: Make
    kind: ErrorKind

    def __str__(self) -> str:
        return f"{self.driver or 'python'}: {self.name}"


# ----------------------------------------------------------------------- how drivers construct


def asyncpg_error(state: str, message: str) -> Make:
    """As asyncpg constructs it from an ErrorResponse."""

    def make() -> BaseException:
        fields = {"S": "FATAL", "V": "FATAL", "C": state, "M": message}
        error: BaseException = importlib.import_module("asyncpg").PostgresError.new(fields)
        return error

    return make


def asyncpg_raised(name: str, message: str) -> Make:
    return lambda: getattr(importlib.import_module("asyncpg.exceptions"), name)(message)


def psycopg_error(*failures: str) -> Make:
    """As libpq formats it; each failure is of one attempt."""

    def make() -> BaseException:
        place = 'connection to server at "127.0.0.1", port 5432 failed: '
        text = "\n".join(place + each for each in failures)
        psycopg = importlib.import_module("psycopg")
        error: BaseException = psycopg.OperationalError(f"connection failed: {text}")
        return error

    return make


def psycopg_of_hosts(*failures: str) -> Make:
    """As psycopg combines the errors of several hosts or addresses."""

    def make() -> BaseException:
        psycopg = importlib.import_module("psycopg")
        lines = [failures[-1], "Multiple connection attempts failed. All failures were:"]
        for number, each in enumerate(failures):
            lines.append(f"- host: 'db{number}', port: '5432', hostaddr: '10.0.0.{number}': {each}")
        error: BaseException = psycopg.OperationalError("\n".join(lines))
        return error

    return make


def mysql_error(driver: str, number: int, message: str, state: str = "HY000") -> Make:
    """As the driver constructs it from an error packet."""

    def make() -> BaseException:
        name = {"aiomysql": "pymysql.err", "asyncmy": "asyncmy.errors"}[driver]
        data = b"\xff" + struct.pack("<H", number) + b"#" + state.encode() + message.encode()
        try:
            importlib.import_module(name).raise_mysql_exception(data)
        except Exception as error:
            return error
        raise AssertionError("no error")

    return make


def cannot_connect(driver: str, cause: BaseException) -> Make:
    """As the driver reports every `OSError` of a connect."""

    def make() -> BaseException:
        name = {"aiomysql": "pymysql.err", "asyncmy": "asyncmy.errors"}[driver]
        text = f"Can't connect to MySQL server on 'db.example.org' ({cause})"
        error: BaseException = importlib.import_module(name).OperationalError(2003, text)
        error.__cause__ = cause
        return error

    return make


def closed_after(state: str, message: str) -> Make:
    """As asyncpg reports a FATAL error after which the server closed the connection."""

    def make() -> BaseException:
        error = asyncpg_raised(
            "ConnectionDoesNotExistError",
            f"connection was closed in the middle of operation: {message}",
        )()
        error.__cause__ = asyncpg_error(state, message)()
        return error

    return make


# ---------------------------------------------------------------------------------- PostgreSQL

# SQLSTATE, message
_POSTGRESQL = (
    (FATAL, "28P01", 'password authentication failed for user "app"'),
    (FATAL, "28000", 'role "app" does not exist'),
    (FATAL, "28000", 'role "app" is not permitted to log in'),
    (FATAL, "28000", 'no pg_hba.conf entry for host "10.0.0.1", user "app", database "d", SSL off'),
    (FATAL, "28000", 'pg_hba.conf rejects connection for host "10.0.0.1", user "app"'),
    (FATAL, "28000", 'Peer authentication failed for user "app"'),
    (FATAL, "3D000", 'database "shop" does not exist'),
    (FATAL, "55000", 'database "shop" is not currently accepting connections'),
    (FATAL, "42501", 'permission denied for database "shop"'),
    (FATAL, "42704", 'unrecognized configuration parameter "no_such"'),
    (FATAL, "22023", 'invalid value for parameter "TimeZone": "nowhere"'),
    (FATAL, "0A000", "unsupported frontend protocol 9.0: server supports 3.0 to 3.0"),
    (FULL, "53300", "sorry, too many clients already"),
    (
        FULL,
        "53300",
        "remaining connection slots are reserved for roles with the SUPERUSER attribute",
    ),
    (FULL, "53300", 'too many connections for role "app"'),
    (FULL, "53300", 'too many connections for database "shop"'),
    (FULL, "53200", "out of memory"),
    (TRANSIENT, "57P03", "the database system is starting up"),
    (TRANSIENT, "57P03", "the database system is shutting down"),
    (TRANSIENT, "57P03", "the database system is in recovery mode"),
    (TRANSIENT, "57P03", "the database system is not yet accepting connections"),
    (TRANSIENT, "57P03", "the database system is not accepting connections"),
    (TRANSIENT, "57P01", "terminating connection due to administrator command"),
    (TRANSIENT, "57P02", "terminating connection because of crash of another server process"),
    (TRANSIENT, "57014", "canceling authentication due to timeout"),
    # PgBouncer
    (FULL, "08P01", "no more connections allowed (max_client_conn)"),
    (FULL, "08P01", "client connections exceeded (max_db_client_connections)"),
    (FULL, "08P01", "client connections exceeded (max_user_client_connections)"),
    (FULL, "08P01", "query_wait_timeout"),
    (FULL, "08P01", "bouncer resources exhaustion"),
    (FULL, "08P01", 'too many connections for role "app"'),
    (TRANSIENT, "08P01", "server login has been failing, try again later (server_login_retry)"),
    (TRANSIENT, "08P01", "server login has been failing, cached error: connect failed (server_l"),
    (TRANSIENT, "08P01", "client_login_timeout (server down)"),
    (TRANSIENT, "08P01", "pooler is shutting down"),
    (TRANSIENT, "08P01", "the database system is shutting down"),
    (FATAL, "08P01", "SSL required"),
    (FATAL, "08P01", "password authentication failed"),
    (
        FATAL,
        "08P01",
        "server login has been failing, cached error: FATAL: password authentication failed for "
        'user "app" (server_login_retry)',
    ),
    # Supavisor
    (
        FULL,
        "XX000",
        "MaxClientsInSessionMode: max clients reached - in Session mode max clients are limited "
        "to pool_size",
    ),
    (
        FULL,
        "XX000",
        "(EMAXCONNSESSION) max clients reached in session mode - max clients are limited to "
        "pool_size: 15",
    ),
    (FULL, "XX000", "Max client connections reached"),
    (FULL, "XX000", "(EMAXCONN) max client connections reached, limit: 200"),
    (
        FULL,
        "XX000",
        "(ECHECKOUTTIMEOUT) unable to check out connection from the pool after 60000ms in "
        "Session mode",
    ),
    (TRANSIENT, "XX000", "(EDBHANDLEREXITED) DbHandler exited. Check logs for more information"),
    (FATAL, "XX000", "Tenant or user not found"),
    (FATAL, "XX000", "(ENOTFOUND) tenant/user app.ref not found"),
)


def _of_postgresql() -> list[Example]:
    examples = []
    for kind, state, message in _POSTGRESQL:
        make = asyncpg_error(state, message)
        examples.append(Example("asyncpg", f"{state} {message[:50]}", make, kind))
        examples.append(Example("psycopg", message[:50], psycopg_error(f"FATAL:  {message}"), kind))
    return examples


_ASYNCPG = (
    Example("asyncpg", "08006", asyncpg_error("08006", "connection failure"), TRANSIENT),
    Example("asyncpg", "08P01, other words", asyncpg_error("08P01", "bouncer config error"), FATAL),
    Example(
        "asyncpg",
        "closed in the middle",
        asyncpg_raised(
            "ConnectionDoesNotExistError", "connection was closed in the middle of operation"
        ),
        TRANSIENT,
    ),
    Example("asyncpg", "closed by 08P01", closed_after("08P01", "query_wait_timeout"), FULL),
    Example("asyncpg", "closed by 28P01", closed_after("28P01", "password authentication"), FATAL),
    Example(
        "",
        "TLS refused",
        lambda: ConnectionError('PostgreSQL server at "db:5432" rejected SSL upgrade'),
        FATAL,
    ),
    Example(
        "",
        "an error before TLS",
        lambda: ConnectionError(
            'PostgreSQL server at "db:5432": server sent an error response during SSL exchange; '
            "check the server logs for details"
        ),
        TRANSIENT,
    ),
    Example(
        "", "lost in TLS", lambda: ConnectionError("unexpected connection_lost() call"), TRANSIENT
    ),
    Example(
        "asyncpg",
        "no host matches",
        asyncpg_raised("TargetServerAttributeNotMatched", "None of the hosts match"),
        TRANSIENT,
    ),
    Example(
        "asyncpg",
        "wrong arguments",
        asyncpg_raised("ClientConfigurationError", "could not determine host"),
        FATAL,
    ),
    Example(
        "asyncpg",
        "lost in a connect event",
        asyncpg_raised("InterfaceError", "cannot perform operation: connection is closed"),
        TRANSIENT,
    ),
)

_LIBPQ = (
    (TRANSIENT, "Connection refused"),
    (TRANSIENT, "server closed the connection unexpectedly"),
    (TRANSIENT, "could not receive data from server: Connection reset by peer"),
    (TRANSIENT, "could not send startup packet: Broken pipe"),
    (TRANSIENT, "timeout expired"),
    (TRANSIENT, "Network is unreachable"),
    (TRANSIENT, "No route to host"),
    (TRANSIENT, "session is read-only"),
    (TRANSIENT, "server is in hot standby mode"),
    (TRANSIENT, "SSL SYSCALL error: EOF detected"),
    (TRANSIENT, "SSL error: unexpected eof while reading"),
    (TRANSIENT, "server sent an error response during SSL exchange"),
    (FULL, "could not create socket: Too many open files"),
    (FULL, "could not fork new process for connection: Cannot allocate memory"),
    (FULL, "could not fork new process for connection: Resource temporarily unavailable"),
    (FATAL, "server does not support SSL, but SSL was required"),
    (FATAL, "SSL error: certificate verify failed"),
    (FATAL, "SSL error: some new message"),
    (FATAL, 'server certificate for "a" does not match host name "b"'),
    (FATAL, 'root certificate file "/etc/root.crt" does not exist'),
    (FATAL, "received invalid response to SSL negotiation: J"),
    (FATAL, "expected authentication request from server, but received H"),
    (FATAL, "fe_sendauth: no password supplied"),
)

_PSYCOPG = (
    *(Example("psycopg", each[:50], psycopg_error(each), kind) for kind, each in _LIBPQ),
    Example(
        "psycopg",
        "a Unix socket",
        lambda: importlib.import_module("psycopg").OperationalError(
            'connection is bad: connection to server on socket "/run/.s.PGSQL.5432" failed: No '
            "such file or directory\n\tIs the server running locally and accepting connections "
            "on that socket?"
        ),
        TRANSIENT,
    ),
    Example(
        "psycopg",
        "name resolution",
        lambda: importlib.import_module("psycopg").OperationalError(
            "failed to resolve host 'db': [Errno -2] Name or service not known"
        ),
        TRANSIENT,
    ),
    Example(
        "psycopg",
        "a timeout",
        lambda: importlib.import_module("psycopg.errors").ConnectionTimeout("connection timeout"),
        TRANSIENT,
    ),
    Example(
        "psycopg",
        "wrong arguments",
        lambda: importlib.import_module("psycopg").ProgrammingError(
            'invalid connection option "hots"'
        ),
        FATAL,
    ),
)

# Messages with words of several kinds.
_SEVERAL = (
    Example(
        "psycopg",
        "one host refuses, another one rejects the password",
        psycopg_of_hosts(
            "connection failed: Connection refused",
            'connection failed: FATAL:  password authentication failed for user "app"',
        ),
        FATAL,
    ),
    Example(
        "psycopg",
        "one host rejects the password, another one refuses",
        psycopg_of_hosts(
            'connection failed: FATAL:  password authentication failed for user "app"',
            "connection failed: Connection refused",
        ),
        FATAL,
    ),
    Example(
        "psycopg",
        "one host is down, the other one is a standby",
        psycopg_of_hosts("connection failed: Connection refused", "session is read-only"),
        TRANSIENT,
    ),
    Example(
        "psycopg",
        "one host is down, the other one is full",
        psycopg_of_hosts(
            "connection failed: Connection refused", "FATAL:  sorry, too many clients already"
        ),
        FULL,
    ),
    Example(
        "psycopg",
        "rejected with TLS, then reset without",
        psycopg_error(
            'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "a", database "d", SSL on',
            "could not receive data from server: Connection reset by peer",
        ),
        FATAL,
    ),
    Example(
        "psycopg",
        "a database with the name of an error",
        psycopg_error('FATAL:  database "connection refused" does not exist'),
        FATAL,
    ),
    Example(
        "psycopg",
        "a role with the name of an error",
        psycopg_error('FATAL:  password authentication failed for user "timeout expired"'),
        FATAL,
    ),
    Example(
        "psycopg",
        "a role with the name of a fatal error",
        psycopg_error('FATAL:  too many connections for role "no password supplied"'),
        FULL,
    ),
)


# --------------------------------------------------------------------------------------- MySQL

_MYSQL = (
    (FULL, 1040, "Too many connections", "08004"),
    (FULL, 1203, "User app already has more than 'max_user_connections' active", "42000"),
    (FULL, 1226, "User 'app' has exceeded the 'max_user_connections' resource", "42000"),
    (FATAL, 1226, "User 'app' has exceeded the 'max_queries_per_hour' resource", "42000"),
    (FULL, 1135, "Can't create a new thread (errno 11)", "HY000"),
    (FULL, 1041, "Out of memory; check if mysqld or some other process uses all", "HY000"),
    (TRANSIENT, 1053, "Server shutdown in progress", "08S01"),
    (TRANSIENT, 1159, "Got timeout reading communication packets", "08S01"),
    (TRANSIENT, 1927, "Connection was killed", "70100"),
    (TRANSIENT, 3032, "The server is currently in offline mode", "HY000"),
    (TRANSIENT, 9001, "Max connect timeout reached while reaching hostgroup 0", "HY000"),
    (TRANSIENT, 2013, "Lost connection to MySQL server during query", "HY000"),
    (FATAL, 1045, "Access denied for user 'app'@'h' (using password: YES)", "28000"),
    (FATAL, 1044, "Access denied for user 'app'@'h' to database 'd'", "42000"),
    (FATAL, 1049, "Unknown database 'connection refused'", "42000"),
    (FATAL, 1129, "Host 'h' is blocked because of many connection errors", "HY000"),
    (FATAL, 1130, "Host 'h' is not allowed to connect to this server", "HY000"),
    (FATAL, 1698, "Access denied for user 'root'@'localhost'", "28000"),
    (FATAL, 3159, "Connections using insecure transport are prohibited", "HY000"),
)


def _of_mysql() -> list[Example]:
    examples = []
    for driver, module in (("aiomysql", "pymysql.err"), ("asyncmy", "asyncmy.errors")):
        for kind, number, message, state in _MYSQL:
            make = mysql_error(driver, number, message, state)
            examples.append(Example(driver, f"{number} {message[:40]}", make, kind))
        for kind, cause in (
            (TRANSIENT, ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")),
            (TRANSIENT, socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
            (TRANSIENT, OSError(errno.EHOSTUNREACH, "Connect call failed ('10.0.0.1', 3306)")),
            (FULL, OSError(errno.EMFILE, "Too many open files")),
            (FATAL, ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")),
            (FATAL, ssl.SSLCertVerificationError("certificate verify failed")),
        ):
            make = cannot_connect(driver, cause)
            examples.append(Example(driver, f"2003 from {cause!r}"[:60], make, kind))

        def out_of_sequence(name: str = module) -> BaseException:
            text = "Packet sequence number wrong - got 80 expected 0"
            error: BaseException = importlib.import_module(name).InternalError(text)
            return error

        examples.append(Example(driver, "an HTTP server", out_of_sequence, FATAL))
    return examples


# -------------------------------------------------------------------------------------- Python


def _os_error(number: int, *arguments: object) -> Make:
    return lambda: OSError(number, "message", *arguments)


_PYTHON = (
    Example("", "refused", _os_error(errno.ECONNREFUSED), TRANSIENT),
    Example("", "reset", _os_error(errno.ECONNRESET), TRANSIENT),
    Example("", "timed out", _os_error(errno.ETIMEDOUT), TRANSIENT),
    Example("", "asyncio's timeout", asyncio.TimeoutError, TRANSIENT),
    Example("", "unreachable", _os_error(errno.ENETUNREACH), TRANSIENT),
    Example("", "no local port", _os_error(errno.EADDRNOTAVAIL), TRANSIENT),
    Example("", "name resolution", lambda: socket.gaierror(-3, "Temporary failure"), TRANSIENT),
    Example("", "no Unix socket", _os_error(errno.ENOENT), TRANSIENT),
    Example("", "no certificate", _os_error(errno.ENOENT, "root.crt"), FATAL),
    Example("", "not allowed", _os_error(errno.EACCES), FATAL),
    Example("", "no descriptor", _os_error(errno.EMFILE), FULL),
    Example("", "no descriptor of the machine", _os_error(errno.ENFILE), FULL),
    Example("", "no memory", _os_error(errno.ENOMEM), FULL),
    Example("", "certificate", lambda: ssl.SSLCertVerificationError("verify failed"), FATAL),
    Example("", "TLS version", lambda: ssl.SSLError(1, "wrong version number"), FATAL),
    Example("", "closed in TLS", lambda: ssl.SSLEOFError(8, "EOF occurred"), TRANSIENT),
    Example(
        "",
        "several addresses",
        lambda: OSError(
            "Multiple exceptions: [Errno 111] Connect call failed ('::1', 5432, 0, 0), "
            "[Errno 111] Connect call failed ('127.0.0.1', 5432)"
        ),
        TRANSIENT,
    ),
    Example(
        "aiosqlite",
        "no such folder",
        lambda: sqlite3.OperationalError("unable to open database file"),
        FATAL,
    ),
    Example(
        "aiosqlite",
        "not a database",
        lambda: sqlite3.DatabaseError("file is not a database"),
        FATAL,
    ),
)

EXAMPLES = (
    *_of_postgresql(),
    *_ASYNCPG,
    *_PSYCOPG,
    *_SEVERAL,
    *_of_mysql(),
    *_PYTHON,
)

# Errors that no rule knows.
UNKNOWN: tuple[Make, ...] = (
    lambda: Exception("an unknown error"),
    lambda: LookupError("raised by a connect listener"),
    lambda: sqlite3.OperationalError("database is locked"),
)
