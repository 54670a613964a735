"""A query that shows what an earlier borrower may have left in a session of PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass, fields

# The settings that the requests change, and that no view lists: the server has no rule for them.
OWN_SETTING = "cancelled.setting"

_PARTS = {
    "token": "CAST(:token AS text)",
    "pid": "pg_backend_pid()",
    "role": "CAST(current_user AS text)",
    "settings": (
        "(SELECT string_agg(name || '=' || setting, ', ') FROM pg_settings "
        "WHERE source = 'session' AND name NOT LIKE 'transaction!_%' ESCAPE '!')"
    ),
    "own_setting": f"NULLIF(current_setting('{OWN_SETTING}', true), '')",
    "isolation": "current_setting('transaction_isolation')",
    "read_only": "current_setting('transaction_read_only')",
    "advisory_locks": (
        "(SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory')"
    ),
    "temporary_tables": (
        "(SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r')"
    ),
    "channels": "(SELECT count(*) FROM pg_listening_channels())",
    "prepared_by_sql": "(SELECT count(*) FROM pg_prepared_statements WHERE from_sql)",
    "cursors": "(SELECT count(*) FROM pg_cursors WHERE name <> '')",
    "transaction_id": "txid_current_if_assigned()",
    "began_at": "CAST(extract(epoch FROM transaction_timestamp()) AS float8)",
}
SESSION_QUERY = "SELECT " + ", ".join(f"{sql} AS {name}" for name, sql in _PARTS.items())


@dataclass(frozen=True)
class Session:
    """The state of a session at the first statement of a checkout."""

    token: str
    pid: int
    role: str
    settings: str | None
    own_setting: str | None
    isolation: str
    read_only: str
    advisory_locks: int
    temporary_tables: int
    channels: int
    prepared_by_sql: int
    cursors: int
    transaction_id: int | None
    began_at: float  # seconds of the server's clock, which is that of this machine

    def faults(self, token: str, checked_out_at: float, isolation: str) -> list[str]:
        """What is wrong, for the borrower who sent this token and checked out at this time."""
        expected = Session(
            token, self.pid, "postgres", None, None, isolation, "off", 0, 0, 0, 0, 0, None, 0
        )
        faults = [
            f"{field.name} is {getattr(self, field.name)}, not {getattr(expected, field.name)}"
            for field in fields(self)
            if field.name != "began_at"
            and getattr(self, field.name) != getattr(expected, field.name)
        ]
        if self.began_at < checked_out_at - 0.01:
            age = checked_out_at - self.began_at
            faults.append(f"the transaction began {age:.3f} s before the checkout")
        return faults
