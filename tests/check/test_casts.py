"""The casts that are proposed for parameters without a type."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest

from sqla_typedpool import Json
from sqla_typedpool.errors import Refused
from tests.support.check_lab import declare, refused


@pytest.mark.parametrize(
    ("annotation", "sql_type"),
    [
        *((int, "bigint"), (int | None, "bigint"), (str, "text"), (bool, "boolean")),
        *((Decimal, "numeric"), (datetime, "timestamptz"), (UUID, "uuid"), (list[int], "bigint[]")),
        *((list[list[str]], "text[]"), (Annotated[dict[str, int], Json()], "jsonb")),
        *((Any, "..."), (complex, "..."), (int | str, "...")),
    ],
)
def test_the_cast_has_the_name_and_the_type_of_the_parameter(
    annotation: Any, sql_type: str
) -> None:
    info = declare("SELECT :first + 1, :x IS NULL", tuple[int, bool], first=int, x=annotation)
    error = Refused("could not determine data type of parameter $2", code="42P18")
    assert refused(info, error).hint == f"add a cast: CAST(:x AS {sql_type})"


@pytest.mark.parametrize("message", ["could not determine data type", "parameter $7"])
def test_an_unnamed_parameter_has_a_cast_without_a_type(message: str) -> None:
    info = declare("SELECT :x IS NULL", bool, x=int)
    assert refused(info, Refused(message, code="42P18")).hint == "add a cast: CAST(:name AS ...)"


def test_a_call_whose_argument_has_no_type_has_the_advice() -> None:
    message = "could not determine polymorphic type because input has type unknown"
    info = declare("SELECT cardinality(:ids)", int, ids=list[int])
    found = refused(info, Refused(message, code="42804"))
    assert (found.code, found.hint) == ("TP202", "add a cast: CAST(:name AS ...)")
    literal = declare("SELECT cardinality('{}')", int)
    assert refused(literal, Refused(message, code="42804")).code == "TP301"
