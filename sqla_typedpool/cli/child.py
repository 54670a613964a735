"""A check in a process of its own, so that modules, registries and metadata are never stale.

The parent has imported this package and SQLAlchemy, but nothing of the application. Each check
is a fork of it, which imports the application, reports and ends. So a check need not import the
libraries again. Without ``os.fork`` (Windows) the child is a new interpreter, which takes longer.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from sqla_typedpool.check.changes import State, States
from sqla_typedpool.check.importing import LIBRARY_FOLDERS
from sqla_typedpool.check.read_files import OWN_FOLDER, ReadFiles, ReadObserver, report_reads
from sqla_typedpool.cli.exits import FOUND, INTERRUPTED, escape_unprintable, guarded
from sqla_typedpool.errors import CannotRun
from sqla_typedpool.secrets import mask_secrets

START_METHOD = "fork" if hasattr(os, "fork") else "spawn"

_PATIENCE = 0.5  # seconds, for a child that may have got the same Ctrl-C
_UNWIND_SECONDS = 5.0  # for closing its connection
_UNDISTURBED_SECONDS = 5.0  # in which a check goes on if a file changes
_POLL_SECONDS = 0.25

# Libraries that the parent may import for its children. They start no threads.
_LIBRARIES = {
    *("sqla_typedpool", "sqlalchemy", "greenlet", "typing_extensions"),
    *("asyncpg", "psycopg", "psycopg_binary", "aiosqlite", "aiomysql", "asyncmy", "pymysql"),
    *("apsw", "sqlglot", "attr", "attrs", "msgspec", "pydantic", "pydantic_core"),
}
_FOLDERS = (*LIBRARY_FOLDERS, OWN_FOLDER)


@dataclass(frozen=True)
class Checked:
    """The result of a check in a child."""

    # The exit code of the command, or why there is none.
    result: str

    # What the check has read, with the states before that.
    states: States

    # The modules of libraries that the child has imported.
    libraries: tuple[str, ...] = ()


def check_in_child(
    check: Callable[[Any], int], arguments: Any, states_of: Callable[[Iterable[str]], States]
) -> Checked:
    """Run a check in a new process, and wait for its end. A Ctrl-C ends the process first.

    A check that takes longer than some seconds, because it hangs for example, is also ended if
    something changes that it has read.

    :param check: a function of a module. It prints the report and returns the exit code.
    :param states_of: returns the present states of paths.
    """
    context: Any = multiprocessing.get_context(START_METHOD)
    receiver, sender = context.Pipe(duplex=False)
    process: BaseProcess = context.Process(target=_run, args=(check, arguments, sender))
    sys.stdout.flush()  # otherwise a fork would print what is buffered once more
    sys.stderr.flush()
    process.start()
    try:
        sender.close()
        return _received(process, receiver, states_of)
    finally:
        _end(process)
        receiver.close()


def _received(
    process: BaseProcess, receiver: Connection, states_of: Callable[[Iterable[str]], States]
) -> Checked:
    """Receive what the child reads, until it has a result, has ended or is outdated."""
    read, end = ReadFiles(), time.monotonic() + _UNDISTURBED_SECONDS
    while True:
        is_alive = process.is_alive()  # before what it has sent is received
        while receiver.poll(_POLL_SECONDS if is_alive else 0):
            try:
                message = receiver.recv()
            except EOFError:
                break
            if isinstance(message, Checked):
                return replace(message, states=read.states())
            path, state, is_written = message
            read.add(path, state, is_written=is_written)
        states = read.states()
        if not is_alive:
            return Checked("the check crashed", states)
        if time.monotonic() > end and states_of(states) != states:
            return Checked("a file has changed, and the check was ended", states)


def _end(process: BaseProcess) -> None:
    """End the process, also if it hangs. It has a moment to close its connection."""
    process.join(_PATIENCE)
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, signal.SIGINT)
        process.join(_UNWIND_SECONDS)
    process.kill()
    process.join()


def _run(check: Callable[[Any], int], arguments: Any, sender: Connection) -> None:
    """Run a check, and send its result. The application's threads and exit handlers are not run.

    Bytecode is not written: after a second save in the same second and with the same size, Python
    would take the bytecode of the first one.
    """
    code = INTERRUPTED
    try:
        escape_unprintable()  # in a new interpreter
        report_reads(_reporting_to(sender))
        importlib.invalidate_caches()
        sys.dont_write_bytecode = True
        code = guarded(lambda: _checked(check, arguments))
        sender.send(Checked(f"exit code {code}", {}, tuple(_imported_libraries())))
    except KeyboardInterrupt:
        pass
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _reporting_to(sender: Connection) -> ReadObserver:
    """Return a function that sends what this process reads, and not what its children read."""
    owner, lock = os.getpid(), threading.RLock()

    def report(path: str, state: State, *, is_written: bool) -> None:
        if os.getpid() == owner:
            with lock:
                sender.send((path, state, is_written))

    return report


def _checked(check: Callable[[Any], int], arguments: Any) -> int:
    try:
        return check(arguments)
    except (CannotRun, OSError, KeyboardInterrupt):
        raise
    except Exception:  # noqa: BLE001 - it is shown, and the parent goes on
        print(mask_secrets(traceback.format_exc()), end="", file=sys.stderr)
        return FOUND


def _imported_libraries() -> Iterator[str]:
    """Yield the modules of known libraries that have been imported.

    A module of the application can have the name of a library. It is not among them.
    """
    known = _LIBRARIES | sys.stdlib_module_names
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] in known and (file is None or file.startswith(_FOLDERS)):
            yield name


def import_libraries(names: Iterable[str]) -> None:
    """Import what the last check has imported of libraries, so that the next one need not."""
    for name in names:
        if name not in sys.modules:
            with contextlib.suppress(Exception):  # the next check reports it if it matters
                importlib.import_module(name)
