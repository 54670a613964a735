"""Annotations that are corrected in an unusual way, and those that are left, with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sqla_typedpool.describe.model import Description
from sqla_typedpool.queries import QueryInfo
from tests.check.fixes import lab
from tests.check.fixes.lab import run, write_snapshots

FIELD = """{head}

from sqla_typedpool import ByName, Col, Decode, Executor, Json, query


{body}


@query('SELECT {sql} FROM users')
async def rows(db: Executor) -> {returns}:
    raise NotImplementedError
"""
TYPING = "from dataclasses import dataclass\nfrom typing import *"
USER = "@dataclass\nclass User:\n    {}"


def source(
    sql: str, field: str = "", *, head: str = TYPING, returns: str = "list[User]", body: str = ""
) -> str:
    """Return a module with one query, of a class with one field or with another body."""
    return FIELD.format(head=head, body=body or USER.format(field), sql=sql, returns=returns)


def fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> tuple[str, str]:
    """Return the text of a module and the report after ``--fix --write``."""
    file = tmp_path / "app.py"
    file.write_text(text, encoding="utf-8")
    write_snapshots(tmp_path, monkeypatch)
    answer = run(tmp_path, "--fix", "--write", "--offline")
    assert answer.returncode in (0, 1), answer.stderr
    again = run(tmp_path, "--fix", "--write", "--offline")
    assert again.stdout.startswith("nothing to correct"), again.stdout
    return file.read_text(encoding="utf-8"), answer.stdout


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # | None
        ('name AS "nick?"; nick: int | str', "nick: int | str | None"),
        ("nick; nick: Literal['a']", "nick: Literal['a'] | None"),
        ("nick; nick: Annotated[str, Decode(str)]", "nick: Annotated[str | None, Decode(str)]"),
        ('nick; nick: """str"""', 'nick: """str | None"""'),
        ("name; name: int | None | str", "name: int | str"),
        ("name; name: Union[int, None, str]", "name: Union[int, str]"),
        ("name; name: None | (str)", None),
        ("name; name: (str) | None", None),
        # types
        ("id; id: 'bytes | None'", "id: 'int'"),
        ("score; score: Optional[bytes]", "score: Optional[int]"),
        ("id; id: Annotated[str, Col()]", "id: Annotated[int, Col()]"),
        ("tags; tags: str", "tags: list[str]"),
        ("tags; tags: List[int]", "tags: list[str]"),
    ],
)
def test_fields(
    before: str, after: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql, _, field = before.partition("; ")
    text, report = fixed(tmp_path, monkeypatch, source(sql, field))
    assert text == source(sql, after or field)
    assert ("not fixed: " in report) is (after is None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (source("nick", r"nick: 's\x74r'"), r"the string 's\x74r' is not a simple annotation"),
        (
            source("nick", "nick: Text", head=f"{TYPING}\nText = 'str'"),
            "Text | None cannot be evaluated (unsupported operand type(s)",
        ),
        (source("name", "name: Literal['a', None]"), "None is not written there, but in what"),
        (source("id", "id: int | None = 1"), "there is a default value, which may be None"),
        (source("id", "id: str | bytes"), "str | bytes is a union of several types"),
        (source("id", "id: Annotated[float, Decode(float)]"), None),
        (source("data", "data: Annotated[dict | None, Json()]"), None),
        (
            source(
                "id",
                "id: Colour",
                head=f"{TYPING}\nfrom enum import Enum\nclass Colour(Enum):\n    RED = 'red'",
            ),
            "Colour is not the name of a simple type",
        ),
        (
            source("id", "id: Number", head=f"{TYPING}\nNumber = NewType('Number', str)"),
            "Number is not the name of a simple type",
        ),
        (source("tags", "tags: list[list[int]]"), "list[list[int]] is not the name of a simple"),
        (source("id", returns="Row", body="Row = tuple[str]"), "Row does not show the types of"),
        (
            source("nick", returns="Rows[str]", body="T = TypeVar('T')\nRows = list[T]"),
            "Rows[str] does not show the type of the rows",
        ),
        (
            source("name", "name: str | None") + source("name", "name: str | None", head=TYPING),
            "there are several definitions of User",
        ),
        (
            source("name", body="User = TypedDict('User', {'name': str | None})"),
            "User.name is not declared by `name: ...` in a class",
        ),
    ],
)
def test_what_is_left_has_a_reason(
    text: str, reason: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after, report = fixed(tmp_path, monkeypatch, text)
    assert after == text
    unwrapped = " ".join(report.split())
    assert reason is None or f"not fixed: {reason}" in unwrapped


@pytest.mark.parametrize(
    ("head", "first", "field"),
    [
        ('"""Users."""\n\nimport os\nimport uuid', "import os", "uuid.UUID"),
        ("import os\nfrom uuid import UUID as Id", "from uuid import UUID as Id\n", "Id"),
        ("from uuid import (\n    uuid4,  # new\n)", "    UUID, uuid4,  # new", "UUID"),
        ("import sys", "dataclass\nfrom uuid import UUID\nfrom sqla", "UUID"),
        (
            "import sqlalchemy",
            "import sqlalchemy\n\nfrom dataclasses import dataclass\nfrom uuid import UUID\n",
            "UUID",
        ),
    ],
)
def test_the_right_type_is_imported(
    head: str, first: str, field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = source("token", "token: str", head=head).replace(
        "from sqla", "from dataclasses import dataclass\nfrom sqla"
    )
    after, _ = fixed(tmp_path, monkeypatch, text)
    assert f"\n    token: {field}\n" in after
    assert first in after


DAY = "@dataclass\nclass User:\n    day: str"
CHECKED = (
    f"from __future__ import annotations\n{TYPING}\n"
    "if TYPE_CHECKING:\n    from app.days import date"
)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        pytest.param(TYPING, f"{DAY}\n    date: ClassVar[int] = 1", id="of a class"),
        pytest.param(TYPING, f"{DAY}\n\n\nfrom datetime import date", id="imported below"),
        pytest.param(CHECKED, DAY, id="another type for type checkers"),
    ],
)
def test_a_name_with_another_meaning_is_not_used(
    head: str, body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = source("day", head=head, body=body)
    after, report = fixed(tmp_path, monkeypatch, text)
    assert after == text
    assert "not fixed: date may have another meaning in app.py" in report


def test_a_file_without_imports_at_its_top_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "X = 1\n" + source("token", "token: str")
    after, report = fixed(tmp_path, monkeypatch, text)
    assert after == text
    assert "not fixed: there is no line in app.py beside which from uuid import UUID fits" in report


def test_nothing_is_corrected_if_the_nullability_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = lab.describe

    def without_nullability(info: QueryInfo) -> Description:
        notes = ("nullability is unknown: the server is a standby; next: use --ephemeral",)
        return replace(described(info), notes=notes)

    monkeypatch.setattr(lab, "describe", without_nullability)
    text = source("nick", "nick: str")
    after, report = fixed(tmp_path, monkeypatch, text)
    assert after == text
    assert "not fixed: nullability is unknown for app.rows" in report
