"""What a hand-judged case is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """A statement and the truth about its columns, judged before it was run.

    The truth is checked by PostgreSQL too: each "1" must be NULL over one of the data sets at
    least, no "0" over any.
    """

    name: str
    sql: str
    truth: str
    """One character per column: "1" can be NULL, "0" never is."""
    data: str = ""
    """Statements run before it, in its own transaction, so that a "1" shows itself."""
    path: str = ""
    """A search_path to be described and run under."""
    values: Mapping[str, object] = field(default_factory=dict)
    """Of the parameters; those not named are NULL."""
    never_null: tuple[str, ...] = ()
    """Parameters of which the describer is told that they are never None."""
    since: int = 0
    """The first major version that understands it."""
    needs: str = ""
    """What the server may lack: "xml", "file_fdw"."""
