"""The changes of files: their diffs, and writing all of them or none."""

from __future__ import annotations

import contextlib
import difflib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from sqla_typedpool.check.edits import Edit, SourceFile
from sqla_typedpool.check.model import Location
from sqla_typedpool.check.report import shown_path
from sqla_typedpool.check.terminal import Paint
from sqla_typedpool.errors import CannotRun

_NO_LINE_END = "\n\\ No newline at end of file"
_ANY_WRITE = 0o222  # the write permissions of a file


@dataclass(frozen=True)
class FileChange:
    """The new text of a file."""

    source: SourceFile
    edits: tuple[Edit, ...]

    @cached_property
    def text(self) -> str:
        return self.source.edited(self.edits)

    @property
    def file(self) -> Path:
        return self.source.file

    @property
    def raw(self) -> bytes:
        """What the file will contain."""
        return self.text.encode(self.source.encoding)

    def moved(self, location: Location) -> Location:
        """Return where a location in the old text is in the new one."""
        if location.file.resolve() != self.file or location.line is None:
            return location
        line, column = self.source.moved(location.line, location.column or 1, self.edits)
        return replace(location, line=line, column=location.column and column)

    def diff(self, paint: Paint) -> Iterator[str]:
        """Yield the lines of a unified diff, as ``git apply -p0`` and ``patch -p0`` accept it."""
        name = shown_path(self.file)
        before, after = map(_lines, (self.source.text, self.text))
        for line in difflib.unified_diff(before, after, name, name):
            text = line[:-1] if line.endswith("\n") else line + _NO_LINE_END
            is_head = line in (f"--- {name}\n", f"+++ {name}\n")
            kind = "strong" if is_head else _KINDS.get(line[0])
            yield text if kind is None else paint(kind, text)


_KINDS = {"+": "added", "-": "removed", "@": "gutter"}


def _lines(text: str) -> list[str]:
    *whole, last = text.split("\n")
    return [f"{line}\n" for line in whole] + ([last] if last else [])


# ------------------------------------------------------------------------- writing


def write_changes(changes: Sequence[FileChange]) -> None:
    """Write all files, or none. Each is replaced at once, with the permissions that it has.

    :raises CannotRun: a file has changed since it was read, or cannot be written. Nothing is
        written then.
    """
    faults = [fault for change in changes if (fault := _fault(change))]
    if faults:
        raise CannotRun(f"nothing was written: {', '.join(faults)}; next: {_NEXT}")
    with contextlib.ExitStack() as cleanup:
        written = [(change, _written_beside(change, cleanup)) for change in changes]
        for change, temporary in written:
            os.replace(temporary, change.file)


_NEXT = "run the command again, or make the file writable"


def _fault(change: FileChange) -> str:
    """Return why a file must not be written; "" if there is no reason."""
    name = shown_path(change.file)
    try:
        if change.file.read_bytes() != change.source.raw:
            return f"{name} has changed since it was read"
        mode = change.file.stat().st_mode
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    # a superuser may write every file: the permissions show what the owner wants
    if not mode & _ANY_WRITE or not os.access(change.file, os.W_OK):
        return f"{name} is read-only"
    return ""


def _written_beside(change: FileChange, cleanup: contextlib.ExitStack) -> str:
    """Write the new content to a temporary file in the same folder, and return its path."""
    file = change.file
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        cleanup.callback(Path(temporary).unlink, missing_ok=True)
        with open(handle, "wb") as target:
            target.write(change.raw)
        _copy_owner(file, temporary)
    except OSError as error:
        raise CannotRun(
            f"nothing was written: {shown_path(file)} cannot be written ({error.strerror}); next: "
            "make its folder writable, or free some space"
        ) from error
    return temporary


def _copy_owner(file: Path, temporary: str) -> None:
    """Give a file the permissions and, as far as possible, the owner of another one."""
    found = file.stat()
    with contextlib.suppress(AttributeError, PermissionError):  # Windows has no owners
        os.chown(temporary, found.st_uid, found.st_gid)
    os.chmod(temporary, found.st_mode & 0o7777)
