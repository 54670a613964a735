"""A temporary PgBouncer on 127.0.0.1 in front of a temporary PostgreSQL."""

from __future__ import annotations

import signal
import socket
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from sqla_typedpool.embedded import process as processes
from sqla_typedpool.embedded.folders import ServerFolder
from sqla_typedpool.embedded.process import EmbeddedServerError
from tests.support.servers.mariadb import find_program

if TYPE_CHECKING:
    from sqla_typedpool.embedded import Postgres

START_TIMEOUT = 30.0
STOP_TIMEOUT = 5.0


class PgBouncer:
    """A running PgBouncer; `PgBouncer.start(server)` starts it and `stop()` stops it."""

    host = "127.0.0.1"

    def __init__(self, target: Postgres, settings: dict[str, str]) -> None:
        self._program = find_program("pgbouncer")
        self._account = processes.service_user("postgres")
        self._process: subprocess.Popen[bytes] | None = None
        self._owned = ServerFolder("pgbouncer-", self._account)
        self._folder = self._owned.path
        self.port = processes.free_port()
        self.log = self._folder / "pgbouncer.log"
        self._write_configuration(target, settings)
        processes.give_to(self._account, self._folder)

    @classmethod
    def start(cls, target: Postgres, **settings: str) -> PgBouncer:
        """Start one in transaction mode; `settings` are written to the [pgbouncer] section."""
        bouncer = cls(target, settings)
        try:
            bouncer._launch()
        except BaseException:
            bouncer.stop()
            raise
        return bouncer

    def url(self, driver: str = "asyncpg", database: str = "postgres") -> str:
        """A SQLAlchemy URL that connects through PgBouncer."""
        return f"postgresql+{driver}://postgres@{self.host}:{self.port}/{database}"

    def stop(self) -> None:
        """Stop it and remove its folder; may be called repeatedly."""
        if self._process is not None:
            processes.end(self._process, (signal.SIGTERM,), STOP_TIMEOUT)
            self._process = None
        self._owned.remove()

    def _write_configuration(self, target: Postgres, settings: dict[str, str]) -> None:
        users = self._folder / "users.txt"
        users.write_text('"postgres" ""\n')
        options = {
            "listen_addr": self.host,
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "any",
            "auth_file": str(users),
            "pool_mode": "transaction",
            "ignore_startup_parameters": "extra_float_digits",
            **settings,
        }
        database = f"* = host={target.host} port={target.port} user=postgres"
        section = "\n".join(f"{name} = {value}" for name, value in options.items())
        text = f"[databases]\n{database}\n\n[pgbouncer]\n{section}\n"
        (self._folder / "pgbouncer.ini").write_text(text)

    def _launch(self) -> None:
        command = [self._program, str(self._folder / "pgbouncer.ini")]
        self._process = process = processes.spawn(command, self.log, self._account)
        processes.wait_until(lambda: process.poll() is not None or self._listens(), START_TIMEOUT)
        if process.poll() is not None or not self._listens():
            raise EmbeddedServerError(f"PgBouncer not ready\n{processes.log_tail(self.log)}")

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
            return True
        return False
