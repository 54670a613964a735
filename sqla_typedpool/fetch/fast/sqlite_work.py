"""What runs in the thread of a SQLite connection: one statement, and the end of its transaction."""

from __future__ import annotations

import sys
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any

from sqla_typedpool._sqlalchemy.aiosqlite_adapter import COUNTS_RETURNED_ROWS
from sqla_typedpool.fetch.fast.refusals import NeedsSlowPath

if TYPE_CHECKING:
    from sqla_typedpool.fetch.fast.call import Call

# of ``sqlite3`` since Python 3.12; only the connection's thread may read the attribute
_HAS_AUTOCOMMIT = sys.version_info >= (3, 12)
_LEGACY_TRANSACTION_CONTROL = -1


class GivenUp(Exception):
    """The caller was cancelled. Nobody waits for the result, so nobody sees this error."""


class ThreadWork:
    """The work of one call.

    ``run``, ``commit`` and ``roll_back`` are called in the connection's thread, ``give_up`` in
    that of the event loop.
    """

    __slots__ = ("_call", "_is_executing", "_is_given_up", "_lock", "_raw", "new_columns")

    def __init__(self, raw: Any, call: Call) -> None:
        self._raw = raw
        self._call = call
        # Guards the two flags below.
        self._lock = Lock()
        self._is_given_up = self._is_executing = False
        # DB-API's description of columns that have not been accepted before. A transaction is
        # left open until the caller accepts or refuses them. None = there is nothing to decide.
        self.new_columns: tuple[Any, ...] | None = None

    def run(self) -> Any:
        """Run the statement; alone, commit it, unless its columns have to be accepted first.

        :return: the rows, or the row count for ``execute``.
        """
        is_alone = self._call.is_alone
        if is_alone and _HAS_AUTOCOMMIT and self._raw.autocommit != _LEGACY_TRANSACTION_CONTROL:
            raise NeedsSlowPath("sqlite3 begins no transactions with `autocommit`")
        try:
            result = self._execute()
            if is_alone and self.new_columns is None and self._raw.in_transaction:
                self._commit()
        except BaseException:
            if is_alone:
                self.roll_back()
            raise
        return result

    def commit(self) -> None:
        """End the transaction after the columns have been accepted."""
        try:
            self._commit()
        except BaseException:
            self.roll_back()
            raise

    def roll_back(self) -> None:
        """End the transaction. If that fails, the pool finds it open."""
        with suppress(Exception):
            self._raw.rollback()  # does nothing if no transaction is open

    def give_up(self) -> None:
        """Interrupt the statement, and commit nothing from now on. The caller was cancelled."""
        with self._lock:
            self._is_given_up = True
            if self._is_executing:
                self._raw.interrupt()

    def _execute(self) -> Any:
        call, cursor, lock = self._call, self._raw.cursor(), self._lock
        with lock:
            if self._is_given_up:
                raise GivenUp
            self._is_executing = True
        try:
            cursor.execute(call.statement.sql, call.arguments)
            description = cursor.description
            # a statement has ended when its rows have been read, for ``execute`` too
            rows = cursor.fetchall() if description else None
            count = cursor.rowcount if COUNTS_RETURNED_ROWS or not description else -1
        finally:
            with lock:  # an interrupt in progress must not meet the next statement
                self._is_executing = False
            cursor.close()  # what a traceback refers to would keep the statement active
        if self._is_given_up:
            raise GivenUp
        if not call.wants_rows:
            return count
        mapper = call.mappers.get(description)
        if mapper is not None:
            call.mapper = mapper
        else:
            self.new_columns = description or ()
        return rows

    def _commit(self) -> None:
        with self._lock:  # a cancellation from now on is too late
            if self._is_given_up:
                raise GivenUp
            self._call.is_committing = True
        self._raw.commit()
