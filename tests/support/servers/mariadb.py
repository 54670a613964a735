"""A temporary MariaDB on 127.0.0.1, with the programs of the installed MariaDB or MySQL."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

from sqla_typedpool.embedded import process as processes
from sqla_typedpool.embedded.folders import ServerFolder
from sqla_typedpool.embedded.process import EmbeddedServerError

START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0
SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec")

# The server runs these statements at its start, before it listens.
ACCOUNTS = """
CREATE DATABASE IF NOT EXISTS typedpool CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS 'tester'@'127.0.0.1' IDENTIFIED BY 'secret';
CREATE USER IF NOT EXISTS 'tester'@'localhost' IDENTIFIED BY 'secret';
GRANT ALL ON *.* TO 'tester'@'127.0.0.1' WITH GRANT OPTION;
GRANT ALL ON *.* TO 'tester'@'localhost';
"""


class MariaDB:
    """A running server; `MariaDB.start()` starts it and `stop()` stops it."""

    host = "127.0.0.1"
    user = "tester"
    password = "secret"
    database = "typedpool"

    def __init__(self) -> None:
        self._server_program = find_program("mariadbd", "mysqld")
        self._install_program = find_program("mariadb-install-db", "mysql_install_db")
        self._account = processes.service_user("mysql")
        self._process: subprocess.Popen[bytes] | None = None
        self._owned = ServerFolder("mariadb-", self._account)
        self._folder = self._owned.path
        self.port = processes.free_port()
        self.log = self._folder / "server.log"

    @classmethod
    def start(cls) -> MariaDB:
        """Start a new server; on failure raise EmbeddedServerError and leave nothing behind."""
        server = cls()
        try:
            server._create_data()
            server._launch()
        except BaseException:
            server.stop()
            raise
        return server

    def url(self, driver: str = "aiomysql") -> str:
        """The SQLAlchemy URL of the test database, such as mysql+aiomysql://..."""
        account = f"{self.user}:{self.password}@{self.host}:{self.port}"
        return f"mysql+{driver}://{account}/{self.database}?charset=utf8mb4"

    def restart(self) -> None:
        """Kill the server and start it again on the same port and data."""
        self._stop_process()
        self._launch()

    def freeze(self) -> None:
        """Send SIGSTOP: connections stay open, and the server does not answer."""
        processes.send((self._running().pid,), signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT: the server continues."""
        processes.send((self._running().pid,), signal.SIGCONT)

    def stop(self) -> None:
        """Stop the server and remove its folder; may be called repeatedly."""
        self._stop_process(signal.SIGTERM)
        self._owned.remove()

    def _stop_process(self, *signals: signal.Signals) -> None:
        if self._process is not None:
            processes.end(self._process, signals, STOP_TIMEOUT)
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the MariaDB server is not running"
        return self._process

    def _create_data(self) -> None:
        (self._folder / "init.sql").write_text(ACCOUNTS)
        processes.give_to(self._account, self._folder)
        options = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        with self._spawn(self._install_program, *options) as install:
            try:
                status = install.wait(START_TIMEOUT)
            except BaseException:
                processes.end(install, (), 0)
                raise
        if status != 0:
            raise self._failure(f"mariadb-install-db failed with status {status}")

    def _launch(self) -> None:
        self._process = self._spawn(
            self._server_program,
            f"--port={self.port}",
            f"--socket={self._folder / 'socket'}",
            f"--pid-file={self._folder / 'pid'}",
            f"--init-file={self._folder / 'init.sql'}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=32M",
        )
        ready = processes.wait_until(self._ready_or_ended, START_TIMEOUT)
        if not ready or self._process.poll() is not None:
            raise self._failure(f"not ready within {START_TIMEOUT:g} s, or ended at once")

    def _spawn(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        folders = [
            f"--datadir={self._folder / 'data'}",
            # in a shared folder, a server that starts deletes the temporary files of others
            f"--tmpdir={self._folder}",
        ]
        command = [program, "--no-defaults", *folders, *options]
        return processes.spawn(command, self.log, self._account)

    def _ready_or_ended(self) -> bool:
        # The server writes its pid file when it starts to accept; an old file may still exist.
        pid_file = self._folder / "pid"
        pid = pid_file.read_text().strip() if pid_file.exists() else ""
        return self._running().poll() is not None or pid == str(self._running().pid)

    def _failure(self, what: str) -> EmbeddedServerError:
        return EmbeddedServerError(f"MariaDB: {what}\n{processes.log_tail(self.log)}")


def find_program(*names: str) -> str:
    """The first of `names` found on PATH or in the usual folders for servers."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_FOLDERS))
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise EmbeddedServerError(f"no {' or '.join(names)} on this machine")
