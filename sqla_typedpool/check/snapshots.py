"""Descriptions kept in files, one per query, so that a check needs no database.

``.sqla_typedpool/postgresql/app.users.get_user-1f3a9c02.json``: the folder is the family of
databases, the digits a digest of the statement as it is sent and of the parameters that are
never None. Canonical JSON: the same description is the same file, byte by byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from sqla_typedpool._sqlalchemy.compiling import compile_statement
from sqla_typedpool.check.encoding import FORMAT, decoded, encoded, sealed
from sqla_typedpool.describe.model import Description
from sqla_typedpool.errors import CannotRun, SnapshotError
from sqla_typedpool.queries import QueryInfo

FOLDER = ".sqla_typedpool"

_OURS = re.compile(r".+-[0-9a-f]{8}\.json")
_LONGEST_NAME = 120
_NEW = ".new-"
_STALE_SECONDS = 3600


def never_null(info: QueryInfo, family: str) -> tuple[str, ...]:
    """The parameters whose annotation does not allow None, and a Core statement's own values.

    :raises DeclarationError: an annotation means nothing.
    :raises sqlalchemy.exc.CompileError: it cannot be sent to that family.
    """
    declared = {bind.name for bind in info.binds if not bind.is_optional}
    own = compile_statement(info.statement, family, info.bind_names).never_null
    return tuple(sorted(declared | own))


def document_of(info: QueryInfo, description: Description) -> str:
    """What is written for a query."""
    head = {
        "format": FORMAT,
        "query": info.name,
        "never_null": never_null(info, description.family),
    }
    document = sealed(head | encoded(description))
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


class Snapshots:
    """The snapshots of one folder.

    Example::

        description = Snapshots(Path(".sqla_typedpool")).read(query_info(get_user), "postgresql")
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def families(self) -> list[str]:
        """The databases there are snapshots for."""
        known = ("mysql", "postgresql", "sqlite")
        return [each for each in known if any(self._files(each))]

    def path_of(self, info: QueryInfo, family: str) -> Path:
        """Where a query's snapshot is, whether or not there is one.

        :raises sqlalchemy.exc.CompileError: it cannot be sent to that family.
        """
        sql = compile_statement(info.statement, family, info.bind_names).sql
        key = json.dumps([family, sql, never_null(info, family)])
        digest = hashlib.sha256(key.encode()).hexdigest()[:8]
        name = re.sub(r"[^\w.]+", "_", info.name)[-_LONGEST_NAME:]
        return self.folder / family / f"{name}-{digest}.json"

    def read(self, info: QueryInfo, family: str) -> Description | None:
        """A query's description; None = there is no snapshot.

        :raises Damaged: it cannot be understood, or is of another statement.
        """
        path = self.path_of(info, family)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise SnapshotError(f"it cannot be read: {error}") from error
        description = decoded(text)
        wanted = compile_statement(info.statement, family, info.bind_names).sql
        if (description.family, description.sql) != (family, wanted):
            raise SnapshotError("it is of another statement")
        return description

    def written(self, info: QueryInfo, family: str) -> str | None:
        """The text of a query's snapshot, whatever it is; None = there is none."""
        path = self.path_of(info, family)
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def orphans(self, family: str, used: Collection[Path], roots: Sequence[str]) -> list[Path]:
        """Files that no query needs.

        :param roots: the modules that were looked at; of others nothing is known.
        """
        below = tuple(f"{root}." for root in roots)
        unused = set(self._files(family)) - set(used)
        return sorted(path for path in unused if path.name.startswith(below))

    def write(
        self, family: str, documents: Mapping[Path, str], stale: Collection[Path] = ()
    ) -> tuple[int, int]:
        """Write snapshots, and remove those that are stale.

        Everything is written beside them first, and then each file is put in its place:
        whatever goes wrong, there is never half a snapshot.

        :return: how many were new or changed, and how many were removed.
        :raises CannotRun: the folder cannot be written.
        """
        try:
            return self._write(family, documents, stale)
        except OSError as error:
            raise CannotRun(
                f"the snapshots cannot be written to {self.folder}: {error.strerror or error}; "
                "next: make it a writable folder, or name another one with --snapshots"
            ) from error

    def _write(
        self, family: str, documents: Mapping[Path, str], stale: Collection[Path]
    ) -> tuple[int, int]:
        home = self.folder / family
        home.mkdir(parents=True, exist_ok=True)
        self._tidy()
        changed = {path: text for path, text in documents.items() if not _holds(path, text)}
        beside = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.folder))
        try:
            for path, text in changed.items():
                (beside / path.name).write_text(text, encoding="utf-8", newline="\n")
            for path in changed:
                os.replace(beside / path.name, path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        for path in stale:
            path.unlink(missing_ok=True)
        return len(changed), len(stale)

    def _tidy(self) -> None:
        """Remove what a run that was killed has left; a younger one may be at work."""
        for left in self.folder.glob(f"{_NEW}*"):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)

    def _files(self, family: str) -> Iterable[Path]:
        with contextlib.suppress(OSError):
            for path in (self.folder / family).iterdir():
                if _OURS.fullmatch(path.name):
                    yield path


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False
