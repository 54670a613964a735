"""Exit codes, and error messages on standard error."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from collections.abc import Callable

from sqla_typedpool.errors import CannotRun
from sqla_typedpool.secrets import mask_secrets

OK = 0
FOUND = 1
COULD_NOT_RUN = 2
INTERRUPTED = 130

DISTRIBUTION = "sqla-typedpool"


def complain(message: str, code: int) -> int:
    """Print an error message without passwords, and return the exit code."""
    with contextlib.suppress(BrokenPipeError):  # of `2>&1 | head`
        print(f"{DISTRIBUTION}: {mask_secrets(message)}", file=sys.stderr)
    return code


def reason_of(error: OSError | UnicodeDecodeError) -> str:
    """Return why a file cannot be read, without its name."""
    return str(getattr(error, "strerror", None) or error)


def guarded(command: Callable[[], int]) -> int:
    """Run a command and return its exit code. An expected error becomes a message and a code."""
    try:
        code = command()
        flush_output()
        return code
    except CannotRun as error:
        return complain(str(error), COULD_NOT_RUN)
    except BrokenPipeError:
        return _discard_output()
    except OSError as error:
        _discard_output()  # printing the rest at the interpreter's exit would fail too
        message = f"the output or a file cannot be written: {error}; next: check the disk"
        return complain(message, COULD_NOT_RUN)


def flush_output() -> None:
    """Write what is buffered for standard output, if there is one.

    :raises OSError: it cannot be written: the disk is full, or the pipe is closed.
    """
    if sys.stdout is not None:  # `>&-`
        sys.stdout.flush()


def _discard_output() -> int:
    """Discard all further output, for example after `| head` has closed the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return COULD_NOT_RUN


def is_output_closed() -> bool:
    """Return whether standard output is a pipe whose reader has ended."""
    if not hasattr(select, "poll"):  # Windows
        return False
    with contextlib.suppress(OSError):  # it is no file
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
    return False


def escape_unprintable() -> None:
    """Print characters that the terminal's encoding does not have as escapes, without an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
