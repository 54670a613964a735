"""The table of connect errors: which of them pass by themselves.

The first rule that applies to an error decides. ``connect_errors`` applies the table,
``docs/reference/connect-errors.md`` shows it.

Words are written in lower case. In a message, each name in double quotes is replaced by
``"..."`` before the words are searched for: a database named "connection refused" must
not be taken for a network error. Fatal words come first, because a message may contain
several errors (several hosts, TLS and then plain, an error that a proxy has kept): a
server that rejects the password is not reached by waiting for another one.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import Enum
from functools import partial


class ErrorKind(Enum):
    """What a connect error means for the next attempt."""

    # The server did not answer, or not yet: try again.
    TRANSIENT = "transient"
    # A limit or a shortage allows no further connection now; those in use still work.
    FULL = "full"
    # Another attempt would fail as well: authentication, unknown database, TLS.
    FATAL = "fatal"
    # No rule applies.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ErrorRule:
    """One row. It applies to an error with one of its codes, or else by type and words."""

    kind: ErrorKind
    # What has happened.
    meaning: str
    # Where that is defined: a file of the server's, proxy's or driver's source.
    source: str
    # SQLSTATEs of PostgreSQL and of what speaks its protocol.
    states: tuple[str, ...] = ()
    # Error numbers of MySQL and MariaDB, and of their drivers.
    numbers: tuple[int, ...] = ()
    # Exception classes, with their top-level package; subclasses count.
    types: tuple[str, ...] = ()
    # ``errno`` of an ``OSError``.
    errnos: tuple[int, ...] = ()
    # Any of these is contained in the message of an error without a code (psycopg has none for
    # a failed connect).
    words: tuple[str, ...] = ()
    # Neither a code nor a class is enough without one of the words.
    needs_words: bool = False
    # The driver reports many errors in this way: a cause to which a rule applies decides.
    asks_cause: bool = False


# PgBouncer passes the errors of its server on with this state: the words of rules for other
# states count too.
PASSED_ON = "08P01"
# Stands for an ``OSError`` that names a file, among the types.
WITH_FILENAME = "builtins.OSError with a file name"

_transient = partial(ErrorRule, ErrorKind.TRANSIENT)
_full = partial(ErrorRule, ErrorKind.FULL)
_fatal = partial(ErrorRule, ErrorKind.FATAL)

_FATAL_BY_WORDS = (
    _fatal(
        "authentication failed, or the account may not connect",
        "PostgreSQL: src/backend/libpq/auth.c, src/backend/utils/init/miscinit.c",
        states=("28000", "28P01"),
        words=(
            *("authentication failed for user", "no pg_hba.conf entry", "pg_hba.conf rejects"),
            *('role "..." does not exist', 'role "..." is not permitted to log in'),
            *("no password supplied", "password authentication failed", "certificate auth"),
        ),
    ),
    _fatal(
        "the database does not exist, accepts no connections, or not those of this role",
        "PostgreSQL: src/backend/utils/init/postinit.c",
        states=("3D000", "55000", "42501", "57P04"),
        words=(
            *('database "..." does not exist', "is not currently accepting connections"),
            "permission denied for database",
        ),
    ),
    _fatal(
        "a setting or protocol version that the server does not support",
        "PostgreSQL: src/backend/utils/misc/guc.c, src/backend/tcop/backend_startup.c",
        states=("42704", "22023", "0A000"),
        words=(
            *("unrecognized configuration parameter", "invalid value for parameter"),
            *("unsupported frontend protocol", "unsupported startup parameter"),
        ),
    ),
    _fatal(
        "TLS is refused, or the certificate is not accepted",
        "asyncpg: connect_utils.py; libpq: fe-connect.c, fe-secure-openssl.c; PgBouncer: client.c",
        words=(
            *("rejected ssl upgrade", "server does not support ssl", "ssl required"),
            *("certificate verify failed", "does not match host name", "root certificate file"),
            *("could not create ssl context", "could not load private key", "certificate file"),
            *("alpn protocol negotiation", "ssl error: wrong version", "ssl error: tlsv1 alert"),
            *("ssl error: sslv3 alert", "ssl error: certificate"),
            *("doesn't support gssapi encryption", "channel binding required"),
        ),
    ),
    _fatal(
        "another kind of server: MySQL, HTTP",
        "libpq: fe-connect.c; aiomysql: connection.py; asyncmy: connection.pyx",
        words=(
            *("invalid response to ssl negotiation", "invalid response to gssapi negotiation"),
            *("expected authentication request from server", "packet sequence number wrong"),
        ),
    ),
    _fatal(
        "the tenant or account does not exist",
        "Supavisor: lib/supavisor/errors/tenant_or_user_not_found_error.ex",
        states=("XX000",),
        words=("(enotfound)", "tenant or user not found", "tenant/user "),
        needs_words=True,
    ),
    _transient(
        "the connection was lost while it was opened",
        "asyncpg: connection.py, protocol/protocol.pyx",
        types=("asyncpg.InterfaceError",),
        words=("connection is closed",),
        needs_words=True,
    ),
    _fatal(
        "wrong arguments of the connect call, an authentication method without support",
        "asyncpg: exceptions/_base.py; psycopg: conninfo.py",
        types=("asyncpg.InterfaceError", "psycopg.ProgrammingError"),
    ),
    _fatal(
        "a file of the configuration, such as a certificate, cannot be read",
        "Python: OSError.filename",
        types=(WITH_FILENAME,),
    ),
    _fatal(
        "the file cannot be opened, or is no database",
        "SQLite: src/main.c (sqlite3ErrStr)",
        types=("sqlite3.Error",),
        words=("unable to open database file", "file is not a database"),
        needs_words=True,
    ),
)

_FULL_RULES = (
    _full(
        "a connection limit is reached: of the server, the role or the database",
        "PostgreSQL: src/backend/storage/lmgr/proc.c, src/backend/utils/init/postinit.c, "
        "src/backend/utils/init/miscinit.c",
        states=("53300",),
        words=(
            *("too many clients already", "remaining connection slots are reserved"),
            *("too many connections for role", "too many connections for database"),
        ),
    ),
    _full(
        "the server has no memory, process or disk space for another connection",
        "PostgreSQL: src/backend/utils/errcodes.txt (class 53), "
        "src/backend/postmaster/postmaster.c (report_fork_failure_to_client)",
        states=("53000", "53100", "53200", "53400"),
        words=("could not fork new process for connection", "out of memory"),
    ),
    _full(
        "PgBouncer has no client slot or no server connection left",
        "PgBouncer: src/client.c, src/janitor.c",
        states=("08P01",),
        words=(
            *("max_client_conn", "max_db_client_connections", "max_user_client_connections"),
            *("query_wait_timeout", "bouncer resources exhaustion", "no memory for pool"),
        ),
        needs_words=True,
    ),
    _full(
        "Supavisor has no client slot or no server connection left",
        "Supavisor: lib/supavisor/errors/max_connections_error.ex, checkout_timeout_error.ex",
        states=("XX000",),
        words=(
            *("maxclientsinsessionmode", "max clients reached", "max client connections reached"),
            *("max pools count reached", "unable to check out connection from the pool"),
        ),
        needs_words=True,
    ),
    _full(
        "a connection limit is reached, or the server has no memory or thread left",
        "MySQL: share/messages_to_clients.txt; MariaDB: sql/share/errmsg-utf8.txt",
        numbers=(1037, 1040, 1041, 1135, 1203),
    ),
    _full(
        "the account is at its limit of connections",
        "MySQL: share/messages_to_clients.txt (ER_USER_LIMIT_REACHED); MariaDB: the same name",
        numbers=(1226,),
        words=("max_user_connections",),
        needs_words=True,
    ),
    _full(
        "this process or machine has no file descriptor or memory left",
        "Linux: socket(2); libpq: fe-connect.c; asyncio: base_events.py (Multiple exceptions)",
        errnos=(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM),
        words=("too many open files", "no buffer space available", "cannot allocate memory"),
    ),
)

_TRANSIENT_RULES = (
    _transient(
        "the server starts, stops or recovers",
        "PostgreSQL: src/backend/tcop/backend_startup.c, src/backend/tcop/postgres.c",
        states=("57P01", "57P02", "57P03", "57P05"),
        words=(
            *("the database system is starting up", "the database system is shutting down"),
            *("the database system is in recovery mode", "is not yet accepting connections"),
            *("the database system is not accepting connections", "terminating connection"),
        ),
    ),
    _transient(
        "the server was too slow to authenticate",
        "PostgreSQL: src/backend/tcop/postgres.c (ProcessInterrupts)",
        states=("57014",),
        words=("canceling authentication due to timeout",),
        needs_words=True,
    ),
    _transient(
        "PgBouncer cannot reach its server, or stops",
        "PgBouncer: src/objects.c (check_fast_fail), src/janitor.c",
        states=("08P01",),
        words=(
            *("server login has been failing", "server_login_retry", "client_login_timeout"),
            *("server shutting down", "pooler is shutting down", "suspend_timeout"),
            *("pgbouncer cannot connect to server", "server conn crashed"),
        ),
        needs_words=True,
    ),
    _transient(
        "Supavisor has lost its server",
        "Supavisor: lib/supavisor/errors/db_handler_exited_error.ex, "
        "checkout_retries_exhausted_error.ex, auth_query_error.ex",
        states=("XX000",),
        words=(
            *("dbhandler exited", "connection to database closed"),
            *("failed to check out a connection after", "connection to database not available"),
        ),
        needs_words=True,
    ),
    _transient(
        "the connection was lost or could not be made",
        "PostgreSQL: src/backend/utils/errcodes.txt (class 08); "
        "asyncpg: protocol/protocol.pyx (ConnectionDoesNotExistError)",
        states=("08000", "08001", "08003", "08006"),
        asks_cause=True,
    ),
    _transient(
        "no host of the list is a primary (or standby), as during a failover",
        "asyncpg: connect_utils.py; libpq: fe-connect.c (target_session_attrs)",
        types=("asyncpg.TargetServerAttributeNotMatched",),
        words=(
            *("session is read-only", "session is not read-only"),
            *("server is in hot standby mode", "server is not in hot standby mode"),
        ),
    ),
    _transient(
        "the server fails before it reads the request, such as for want of a process",
        "asyncpg: connect_utils.py (TLSUpgradeProto); libpq: fe-connect.c",
        words=("server sent an error response during",),
    ),
    _transient(
        "the server shuts down or is offline, or the connection was killed",
        "MySQL: share/messages_to_clients.txt; MariaDB: sql/share/errmsg-utf8.txt",
        numbers=(1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 3032, 3169),
    ),
    _transient(
        "the server cannot be reached, or the connection was lost",
        "MySQL: include/errmsg.h; aiomysql, asyncmy: connection.py (2003 for every OSError)",
        numbers=(2002, 2003, 2005, 2006, 2012, 2013, 2055),
        asks_cause=True,
    ),
    _transient(
        "no server of the group can be reached",
        "ProxySQL: lib/MySQL_Session.cpp (Max connect timeout reached)",
        numbers=(9001,),
    ),
    _transient(
        "refused, reset, timed out, or closed in the TLS handshake",
        "Python: Objects/exceptions.c (the classes of errno), Modules/_ssl.c",
        types=(
            *("builtins.ConnectionError", "builtins.TimeoutError", "asyncio.TimeoutError"),
            *("ssl.SSLEOFError", "ssl.SSLZeroReturnError", "ssl.SSLSyscallError"),
            "psycopg.ConnectionTimeout",
        ),
    ),
    _transient(
        "a Unix socket does not exist, as while its server restarts",
        "Linux: connect(2), ENOENT",
        types=("builtins.FileNotFoundError",),
    ),
    _transient(
        "the name of the host is not resolved, as while DNS changes",
        "Python: Modules/socketmodule.c (gaierror)",
        types=("socket.gaierror",),
    ),
    _transient(
        "no route to the server, no free local port, a Unix socket with a full queue",
        "Linux: connect(2)",
        errnos=(
            *(errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN),
            *(errno.EADDRNOTAVAIL, errno.ENOTCONN, errno.EAGAIN),
        ),
    ),
    _transient(
        "the network, reported as text",
        "libpq: fe-connect.c, fe-misc.c, fe-secure-openssl.c; psycopg: _conninfo_attempts_async.py",
        words=(
            *("connection refused", "connection reset", "connect call failed", "timeout expired"),
            *("could not receive data", "could not send", "connection was closed in the middle"),
            *("server closed the connection unexpectedly", "unexpected connection_lost"),
            *("ssl syscall error", "ssl connection has been closed unexpectedly"),
            "ssl error: unexpected eof",
            *("could not translate host name", "failed to resolve host", "name resolution"),
            *("name or service not known", "network is unreachable", "no route to host"),
            *("host is down", "connection timed out", "broken pipe"),
            "accepting connections on that socket",  # a Unix socket: gone or refused
        ),
    ),
)

_OTHERWISE = (
    _fatal(
        "TLS fails: a certificate, a version, a server without TLS",
        "Python: Modules/_ssl.c; libpq: fe-secure-openssl.c",
        types=("ssl.SSLError",),
        words=("ssl error:", "could not establish ssl connection"),
    ),
    _fatal(
        "this process may not use the socket or file",
        "Linux: connect(2), EACCES, EPERM",
        types=("builtins.PermissionError",),
    ),
    _fatal(
        "any other error with this state: PgBouncer sends it for most of its errors",
        "PgBouncer: src/proto.c (send_pooler_error)",
        states=("08P01",),
    ),
    _fatal(
        "authentication, database, protocol or TLS is wrong, or the host is blocked",
        "MySQL: share/messages_to_clients.txt, include/errmsg.h; MariaDB: the same names",
        numbers=(
            *(1043, 1044, 1045, 1049, 1129, 1130, 1226, 1251, 1524, 1698, 1820, 1862),
            *(2026, 2059, 2061, 3118, 3159, 4151),
        ),
    ),
)

# The first rule that applies decides.
RULES = (*_FATAL_BY_WORDS, *_FULL_RULES, *_TRANSIENT_RULES, *_OTHERWISE)
