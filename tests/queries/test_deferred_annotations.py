"""Declared queries with the annotations of Python 3.14, by a stand-in."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sqla_typedpool import query, query_info
from sqla_typedpool.errors import DeclarationError
from sqla_typedpool.queries import Cardinality
from tests.queries.declaring import User, on_database
from tests.support.python_314 import get_annotations, python_314


@pytest.fixture(autouse=True)
def annotationlib() -> Iterator[None]:
    with python_314():
        yield


def declared() -> Any:
    @query("SELECT id, name FROM users WHERE id = :user_id OR name = :name")
    async def get(db: OnlyForTypes, user_id: LaterId, name: str = "") -> User:  # type: ignore[name-defined]  # noqa: F821
        raise NotImplementedError

    return get


def test_a_query_may_be_declared_before_a_name_of_its_annotations() -> None:
    info = query_info(declared())
    assert (info.cardinality, info.row_type) == (Cardinality.ONE, User)  # of the other annotations
    with pytest.raises(
        DeclarationError, match=r"annotation of user_id 'LaterId' cannot be resolve"
    ):
        info.binds  # noqa: B018


def test_it_has_its_types_once_the_name_is_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    get = declared()
    monkeypatch.setitem(globals(), "LaterId", int)
    assert [each.annotation for each in query_info(get).binds] == [int, str]
    assert on_database(lambda db: get(db, 1)) == User(1, "Ada")


def test_the_function_keeps_its_annotations_without_their_being_evaluated() -> None:
    get = declared()
    with pytest.raises(NameError, match="OnlyForTypes"):
        inspect.signature(get)
    with pytest.raises(NameError, match="OnlyForTypes"):
        get_annotations(get)
    assert get.__annotations__["user_id"] == "LaterId"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement needs Python 3.12")
def test_a_type_alias_may_use_a_name_that_is_defined_later() -> None:
    space: dict[str, Any] = {"query": query, "__name__": "late"}
    source = "type Rows = list[Late]\n@query('SELECT 1')\nasync def f(db) -> Rows: ..."
    exec(source, space)
    with pytest.raises(DeclarationError, match=r"the return annotation .* cannot be resolved"):
        query_info(space["f"]).cardinality  # noqa: B018
    space["Late"] = int
    assert query_info(space["f"]).cardinality is Cardinality.ALL
