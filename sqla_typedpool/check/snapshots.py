"""Snapshots: descriptions in files, one for each query, so that a check needs no database.

A snapshot is a file like ``.sqla_typedpool/postgresql/app.users.get_user-1f3a9c02.json``. The
folder is the family of databases. The hexadecimal digits are a digest of the SQL as it is sent,
and of the names of the parameters that are never None.
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

from sqla_typedpool.check.describing import CompiledQuery
from sqla_typedpool.check.snapshot_format import document_text, parse_document
from sqla_typedpool.describe.model import Description
from sqla_typedpool.errors import CannotRun, SnapshotError

_FILE_NAME = re.compile(r".+-[0-9a-f]{8}\.json")
_MAX_NAME = 120  # characters of a query's name in a file name
_NEW = ".new-"
_LEFTOVER_SECONDS = 3600


def snapshot_text(query: CompiledQuery, description: Description) -> str:
    """Return the text of a query's snapshot."""
    return document_text(query.info.name, query.never_null, description)


class Snapshots:
    """The snapshots in a folder.

    Example::

        query = compile_query(query_info(get_user), "postgresql")
        description = Snapshots(Path(".sqla_typedpool")).read(query)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def families(self) -> list[str]:
        """Return the families of databases that have snapshots."""
        known = ("mysql", "postgresql", "sqlite")
        return [each for each in known if any(self._files(each))]

    def path_of(self, query: CompiledQuery) -> Path:
        """Return the path of a query's snapshot, whether or not the file exists."""
        key = json.dumps([query.family, query.compiled.sql, query.never_null])
        digest = hashlib.sha256(key.encode()).hexdigest()[:8]
        name = re.sub(r"[^\w.]+", "_", query.info.name)[-_MAX_NAME:]
        return self.folder / query.family / f"{name}-{digest}.json"

    def read(self, query: CompiledQuery) -> Description | None:
        """Return the description of a query; None if it has no snapshot.

        :raises SnapshotError: the file is not a snapshot of this query. The message names the
            file and what is wrong with it.
        """
        path = self.path_of(query)
        try:
            description = parse_document(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise SnapshotError(f"{path.name} cannot be read: {error}") from error
        except SnapshotError as error:
            raise SnapshotError(f"{path.name} is damaged: {error}") from error
        if (description.family, description.sql) != (query.family, query.compiled.sql):
            raise SnapshotError(f"{path.name} is damaged: it describes a different statement")
        return description

    def unused(self, family: str, used: Collection[Path], roots: Sequence[str]) -> list[Path]:
        """Return the files that no query uses.

        :param roots: the names of the modules that were imported. Snapshots of other modules
            are left out.
        """
        prefixes = tuple(f"{root}." for root in roots)
        unused = set(self._files(family)) - set(used)
        return sorted(path for path in unused if path.name.startswith(prefixes))

    def write(
        self, documents: Mapping[Path, str], unused: Collection[Path] = ()
    ) -> tuple[int, int]:
        """Write snapshots, and remove unused ones.

        All files are first written to a temporary folder, and then moved. So a snapshot is
        never incomplete, whatever fails.

        :param documents: the texts by the paths that `path_of` returns.
        :return: the number of files that are new or changed, and the number of removed ones.
        :raises CannotRun: the folder cannot be written.
        """
        try:
            return self._write(documents, unused)
        except OSError as error:
            raise CannotRun(
                f"the snapshots cannot be written to {self.folder}: {error.strerror or error}; "
                "next: make the folder writable, or name another one with --snapshots"
            ) from error

    def _write(self, documents: Mapping[Path, str], unused: Collection[Path]) -> tuple[int, int]:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        changed = {path: text for path, text in documents.items() if not _contains(path, text)}
        temporary = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.folder))
        try:
            for path, text in changed.items():
                (temporary / path.name).write_text(text, encoding="utf-8", newline="\n")
            for path in changed:
                path.parent.mkdir(exist_ok=True)
                os.replace(temporary / path.name, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for path in unused:
            path.unlink(missing_ok=True)
        return len(changed), len(unused)

    def _remove_leftovers(self) -> None:
        """Remove temporary folders of runs that were killed. A recent one may be in use."""
        for folder in self.folder.glob(f"{_NEW}*"):
            if time.time() - folder.stat().st_mtime > _LEFTOVER_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)

    def _files(self, family: str) -> Iterable[Path]:
        with contextlib.suppress(OSError):
            for path in (self.folder / family).iterdir():
                if _FILE_NAME.fullmatch(path.name):
                    yield path


def _contains(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False
