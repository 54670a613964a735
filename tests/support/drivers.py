"""The drivers that the tests use, and the fixture of the server that each one connects to."""

from __future__ import annotations

POSTGRESQL = ("asyncpg", "psycopg")
MARIADB = ("aiomysql", "asyncmy")
SERVERS = (*POSTGRESQL, *MARIADB)
ALL = (*SERVERS, "aiosqlite")

# The name of the fixture is also the marker of the tests that need this server.
SERVER_OF_DRIVER = {
    **dict.fromkeys(POSTGRESQL, "postgres"),
    **dict.fromkeys(MARIADB, "mariadb"),
}
