"""The server of an ephemeral database: started, filled, and stopped whatever happens."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqla_typedpool.embedded import EmbeddedServerError, Postgres
from sqla_typedpool.ephemeral.building import build, the_one_of
from sqla_typedpool.errors import CannotRun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from sqlalchemy import MetaData

_ENDINGS = (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))


@contextmanager
def database(
    *,
    metadata: str | MetaData | None = None,
    alembic: str | os.PathLike[str] | None = None,
    schema: str | os.PathLike[str] | None = None,
) -> Iterator[str]:
    """Start an embedded PostgreSQL, build a schema in it, yield its URL, and stop it at the end.

    It is stopped after an error, a Ctrl-C and a SIGTERM too. Exactly one of the three is given.

    :param metadata: ``"app.models:Base.metadata"``, or the object; see `build`.
    :param alembic: an ``alembic.ini``, whose migrations are run up to the newest ones.
    :param schema: a file of SQL, such as `pg_dump --schema-only` writes it.
    :raises CannotRun: no server to start, or the schema could not be built; says what to do.

    Example::

        >>> with database(alembic="alembic.ini") as url:
        ...     print(url)
        postgresql+asyncpg://postgres@127.0.0.1:40123/postgres
    """
    the_one_of(metadata=metadata, alembic=alembic, schema=schema)  # before a server is started
    try:
        server = Postgres.start()
    except EmbeddedServerError as error:
        raise CannotRun(f"No PostgreSQL could be started: {error}") from None
    with unwinding(SystemExit), server:
        url = server.url("asyncpg")
        build(url, metadata=metadata, alembic=alembic, schema=schema)
        yield url


@contextmanager
def unwinding(raised: type[BaseException]) -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack, as a Ctrl-C does: the server must not outlive us.

    Handlers of the application stay; only the main thread may set any.

    :param raised: called with the exit code, 128 + the signal's number.
    """
    owner = os.getpid()

    def unwind(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            raise raised(128 + number)
        signal.signal(number, signal.SIG_DFL)  # a forked child ends as it would without us
        os.kill(os.getpid(), number)

    ours: list[int] = []
    if threading.current_thread() is threading.main_thread():
        ours = [each for each in set(_ENDINGS) if signal.getsignal(each) is signal.SIG_DFL]
    for each in ours:
        signal.signal(each, unwind)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)
