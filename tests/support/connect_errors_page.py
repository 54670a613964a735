"""Makes docs/reference/connect-errors.md from the table of the pool.

python -m tests.support.connect_errors_page > docs/reference/connect-errors.md
"""

# ruff: noqa: E501

from __future__ import annotations

import errno
import sys

from sqla_typedpool.pool.connect_rules import RULES, ErrorKind, ErrorRule

INTRODUCTION = """\
# Connect errors

When an attempt to open a connection fails, the pool decides by its error whether another attempt is worth it.

| kind | what the pool does |
|---|---|
| transient | The attempt is repeated, and callers are kept for `pool_connect_retry` seconds from the beginning of the outage, or until their `pool_timeout`. |
| full | The same. While the pool has other connections, callers are kept beyond `pool_connect_retry`, until one is returned or their `pool_timeout` has passed. |
| fatal | The callers that waited when the attempt began get the error at once. While the pool has other connections, it is one caller for each attempt, as a return may serve the others. |
| unknown | No row of the table applies. While the pool has other connections, callers wait for one to be returned, and attempts are repeated. Otherwise as fatal. |

## The table

The first row that applies decides. An error is compared

- by its number, if it is an error of a MySQL driver with a number;
- by its SQLSTATE, if it has one: asyncpg's errors do. A row marked "and" needs one of its words too;
- by its exception class or `errno`, and its words, if it has none of these: psycopg reports no SQLSTATE for a failed connect, so its
  errors are recognised by the English text of server and libpq. If `lc_messages` of the server is another language, they are unknown.

Upper and lower case are the same, and each name in double quotes counts as `"..."`, so a database called "connection refused" is not taken for
a refused connection. Fatal words come first: in a message about several hosts or attempts, a rejected password decides. If no row
applies to an error, its `__cause__` is compared. A row marked "unless its cause applies" is a collective error of a driver: a row that
applies to the cause takes precedence. PgBouncer passes errors of its server on as 08P01; for that state the words of all rows with an SQLSTATE
count, and any other message is fatal.

"""

LIMITS = """
## What cannot be recognised

- **A MySQL URL at the port of PostgreSQL or of an HTTP server.** The client waits for the greeting of the server, and the server waits
  for the first message of the client. The attempt ends at `pool_connect_timeout`, callers get `PoolTimeout` (stage "connecting").
- **asyncpg without TLS (`ssl=False`) at the port of MySQL or HTTP.** asyncpg reports a closed connection, as in a restart, so the attempt is
  repeated for `pool_connect_retry`. With TLS, also the default `prefer`, it is fatal at once.
- **aiomysql with `ssl=...` at a server without TLS.** aiomysql connects without TLS and reports nothing. asyncmy fails at once.
- **SQLite: a lack of file descriptors.** SQLite reports "unable to open database file", which is fatal.
"""


def page() -> str:
    """The text of the page."""
    head = [
        "| kind | what has happened | code | class or words | source |",
        "|---|---|---|---|---|",
    ]
    rows = [_row(rule) for rule in RULES]
    return INTRODUCTION + "\n".join([*head, *rows]) + "\n" + LIMITS


def _row(rule: ErrorRule) -> str:
    codes = ", ".join([*rule.states, *map(str, rule.numbers)])
    if rule.asks_cause:
        codes += " unless its cause applies"
    names = [f"`{each.removeprefix('builtins.')}`" for each in rule.types]
    names += [f"`{errno.errorcode[each]}`" for each in rule.errnos]
    words = ", ".join(f"`{each}`" for each in rule.words)
    joined = (" and " if rule.types and rule.needs_words else ", ").join(
        filter(None, [", ".join(names), words])
    )
    if codes and rule.needs_words:
        joined = f"and {joined}"
    return f"| {rule.kind.value} | {rule.meaning} | {codes} | {joined} | {rule.source} |"


if __name__ == "__main__":
    assert ErrorKind.UNKNOWN not in {rule.kind for rule in RULES}
    sys.stdout.write(page())
