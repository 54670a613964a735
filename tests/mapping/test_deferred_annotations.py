"""Annotations of Python 3.14, which are evaluated when they are read, by a stand-in.

`tests/support/python_314.py` does what the documentation of `annotationlib` says.
"""

from __future__ import annotations

import ast
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any, ForwardRef, NamedTuple

import attrs
import msgspec
import pydantic
import pytest
from typing_extensions import TypedDict

from sqla_typedpool import Decode
from sqla_typedpool.errors import RowShapeError
from sqla_typedpool.mapping import deferred
from sqla_typedpool.mapping.annotations import AnnotationError, spec_of
from sqla_typedpool.mapping.rowtype import row_type_of
from tests.support.imports import PACKAGE_ROOT
from tests.support.mapping_lab import mapped
from tests.support.python_314 import python_314


class Raising(type):
    """The class of a class whose annotations cannot be read while `Later` is undefined."""

    @property
    def __annotations__(cls) -> dict[str, Any]:  # type: ignore[override]
        return {name: eval(each, globals()) for name, each in vars(cls)["__annotations__"].items()}


@dataclass
class Data(metaclass=Raising):
    id: int
    later: list[Later]  # type: ignore[name-defined]  # noqa: F821


@attrs.define(slots=False)
class Attrs(metaclass=Raising):
    id: int
    later: list[Later]  # type: ignore[name-defined]  # noqa: F821


class Tuple(NamedTuple):
    id: int
    later: list[Later]  # type: ignore[name-defined]  # noqa: F821


class Dict(TypedDict):
    id: int
    later: list[Later]  # type: ignore[name-defined]  # noqa: F821


class Struct(msgspec.Struct):
    id: int
    later: list[Later]  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Decoded:
    id: int
    value: Annotated[str, Decode(decode_later)]  # type: ignore[name-defined]  # noqa: F821


@pytest.fixture
def annotationlib() -> Iterator[None]:
    with python_314():
        yield


@pytest.mark.usefixtures("annotationlib")
@pytest.mark.parametrize("cls", [Data, Attrs, Tuple, Dict, Struct])
def test_a_name_may_be_defined_after_the_class(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RowShapeError) as caught:
        row_type_of(cls)
    (fault,) = caught.value.faults  # not that of `id`
    assert fault.startswith(f"{cls.__name__}.later: 'list[Later]' is not defined in the module of ")
    monkeypatch.setitem(globals(), "Later", str)
    assert mapped(cls, "id later", (1, ["x"])) == [cls(id=1, later=["x"])]
    assert [field.name for field in row_type_of(cls).fields] == ["id", "later"]


def test_the_classes_of_these_tests_raise_when_their_annotations_are_read() -> None:
    for cls in (Data, Attrs):
        with pytest.raises(NameError, match="Later"):
            cls.__annotations__  # noqa: B018


@pytest.mark.usefixtures("annotationlib")
def test_a_marker_may_use_a_function_that_is_defined_after_the_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(RowShapeError, match=r"Decoded.value: 'decode_later' in Decode\(\) is not"):
        row_type_of(Decoded)
    monkeypatch.setitem(globals(), "decode_later", str.upper)
    assert mapped(Decoded, "id value", (1, "a")) == [Decoded(1, "A")]


def test_a_marker_with_an_unknown_name_is_an_error_that_names_it() -> None:
    marker: Any = Decode(ForwardRef("convert"))  # type: ignore[arg-type]
    with pytest.raises(AnnotationError, match=r"'convert' in Decode\(\) is not defined; next: "):
        spec_of(Annotated[int, marker])


@dataclass
class Attribute:
    id: math.Nothing  # type: ignore[name-defined]
    name: str


@pytest.mark.parametrize("is_314", [False, True])
def test_an_unknown_attribute_of_a_module_is_reported_with_the_field(is_314: bool) -> None:
    with pytest.raises(RowShapeError, match=r"Attribute\.id: 'math.Nothing' is not defined"):
        if is_314:
            with python_314():
                row_type_of(Attribute)
        row_type_of(Attribute)


class Model(pydantic.BaseModel):
    later: list[LaterModel]


def test_a_pydantic_model_that_is_not_complete_is_an_error_that_names_the_call() -> None:
    # pydantic on 3.14 keeps `list[ForwardRef("LaterModel")]`, elsewhere the string
    Model.model_fields["later"].annotation = list[ForwardRef("LaterModel")]  # type: ignore[misc]
    with pytest.raises(RowShapeError, match=r"Model.later: pydantic has not resolved .*; next: "):
        row_type_of(Model)


class LaterModel(pydantic.BaseModel):
    id: int


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement needs Python 3.12")
def test_an_unknown_name_in_a_type_alias_is_reported_with_the_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("aliases")
    monkeypatch.setitem(sys.modules, "aliases", module)
    space = vars(module)
    source = "type Ids = list[Nothing]\n@dataclasses.dataclass\nclass Row:\n    ids: Ids"
    exec(f"import dataclasses\n{source}", space)
    with pytest.raises(RowShapeError, match=r"Row\.ids: .*name 'Nothing' is not defined"):
        row_type_of(space["Row"])
    space["Nothing"] = int
    assert row_type_of(space["Row"]).fields[0].spec.text == "list[int]"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement needs Python 3.12")
def test_a_type_alias_may_contain_itself() -> None:
    space: dict[str, Any] = {}
    exec("type Tree = dict[str, Tree]\nclass Row:\n    tree: Tree", space)
    assert deferred.evaluated(space["Row"], "tree", {}, space) is space["Tree"]


def test_annotations_that_can_be_evaluated_are_not_copied_as_values() -> None:
    class Function:
        def __annotate__(self, format: int) -> Any:  # noqa: A002
            raise NotImplementedError

        @property
        def __annotations__(self) -> Any:  # type: ignore[override]
            raise NameError("Later")

    def target() -> None:
        pass

    deferred.copy_annotations(Function(), target)
    assert target.__annotations__ == {"return": "None"}


# ------------------------------------------------------------------------ every reader

READERS = {"__annotations__", "get_annotations", "get_type_hints"}


def readers_of_annotations(source: str) -> set[str]:
    """What reads annotations by itself, which raises NameError on 3.14."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in READERS:
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and node.value in READERS:
            found.add(node.value)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "inspect.signature":
            found.add("inspect.signature")
    return found


def test_only_one_file_of_the_package_reads_annotations() -> None:
    files = {file.relative_to(PACKAGE_ROOT).as_posix(): file for file in PACKAGE_ROOT.rglob("*.py")}
    readers = {name for name, file in files.items() if readers_of_annotations(file.read_text())}
    assert readers == {"mapping/deferred.py"}


def test_readers_of_annotations_are_found() -> None:
    source = "cls.__annotations__; getattr(cls, 'get_type_hints'); inspect.signature(f)"
    assert readers_of_annotations(source) == READERS - {"get_annotations"} | {"inspect.signature"}
