"""How instances are made: by stores, by a draft, or by the constructor."""

from __future__ import annotations

import copy
import pickle
from dataclasses import InitVar, dataclass, field, make_dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest

from sqla_typedpool.errors import RowShapeError, RowValueError
from sqla_typedpool.mapping.construction import Strategy
from sqla_typedpool.mapping.rowtype import row_type_of
from tests.support.mapping_lab import mapped

T = TypeVar("T")


def strategy_of(cls: Any) -> Strategy:
    return row_type_of(cls).construction.strategy


@dataclass
class Plain:
    id: int
    name: str


@dataclass(slots=True)
class Slots:
    id: int
    name: str


@dataclass(frozen=True)
class Frozen:
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class FrozenSlots:
    id: int
    name: str


@dataclass(kw_only=True)
class KeywordOnly:
    id: int
    name: str


@dataclass
class Base:
    id: int


@dataclass
class Inherited(Base):
    name: str


@dataclass(slots=True)
class SlotsBase:
    id: int


@dataclass(slots=True)
class InheritedSlots(SlotsBase):
    name: str


@dataclass(frozen=True)
class FrozenBase:
    id: int


@dataclass(frozen=True)
class InheritedFrozen(FrozenBase):
    name: str


@dataclass(frozen=True, slots=True)
class FrozenGeneric(Generic[T]):
    id: int
    name: T


@dataclass(frozen=True, slots=True)
class FrozenSlotsBase:
    id: int


@dataclass(frozen=True, slots=True)
class InheritedFrozenSlots(FrozenSlotsBase):
    name: str


class Undecorated(Plain):
    """Inherits its constructor, and has its own __dict__."""


@dataclass(order=True, unsafe_hash=True)
class Ordered:
    id: int
    name: str = field(default="", compare=False)


@attrs.define
class Attrs:
    id: int
    name: str


@attrs.frozen
class AttrsFrozen:
    id: int
    name: str


@attrs.define(kw_only=True)
class AttrsKeywordOnly:
    id: int
    name: str


class Named(NamedTuple):
    id: int
    name: str


class Struct(msgspec.Struct):
    id: int
    name: str


class StructKeywordOnly(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str


class Model(pydantic.BaseModel):
    id: int
    name: str


@pydantic.dataclasses.dataclass
class PydanticDataclass:
    id: int
    name: str


BY_STORES = [Plain, Slots, KeywordOnly, Inherited, InheritedSlots, Undecorated, Ordered]
BY_DRAFT = [Frozen, FrozenSlots, InheritedFrozen, FrozenGeneric]
BY_CALL = [
    InheritedFrozenSlots,
    Attrs,
    AttrsFrozen,
    AttrsKeywordOnly,
    Named,
    Struct,
    StructKeywordOnly,
    Model,
    PydanticDataclass,
]
CLASSES = [*BY_STORES, *BY_DRAFT, *BY_CALL]


@pytest.mark.parametrize("cls", CLASSES)
def test_a_row_becomes_the_object_that_the_constructor_makes(cls: Any) -> None:
    (made,) = mapped(cls, "id name", (1, "Ann"))
    normal = cls(id=1, name="Ann")
    assert type(made) is cls
    assert made == normal
    assert repr(made) == repr(normal)
    assert hasattr(made, "__dict__") == hasattr(normal, "__dict__")


@pytest.mark.parametrize("cls", CLASSES)
def test_columns_are_found_by_name_and_not_by_order(cls: Any) -> None:
    assert mapped(cls, "name id", ("Ann", 1)) == [cls(id=1, name="Ann")]


@pytest.mark.parametrize("cls", CLASSES)
def test_the_objects_can_be_copied_and_pickled(cls: Any) -> None:
    (made,) = mapped(cls, "id name", (1, "Ann"))
    assert copy.copy(made) == made
    assert copy.deepcopy(made) == made
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize("cls", [Frozen, FrozenSlots, InheritedFrozen, InheritedFrozenSlots])
def test_frozen_objects_are_frozen_and_have_the_same_hash(cls: Any) -> None:
    (made,) = mapped(cls, "id name", (1, "Ann"))
    assert hash(made) == hash(cls(1, "Ann"))
    with pytest.raises(AttributeError):
        made.id = 2
    with pytest.raises(AttributeError):
        del made.id


@pytest.mark.parametrize("cls", BY_STORES)
def test_a_plain_dataclass_is_made_by_stores(cls: Any) -> None:
    assert strategy_of(cls) is Strategy.STORES


@pytest.mark.parametrize("cls", BY_DRAFT)
def test_a_frozen_dataclass_is_made_by_its_draft(cls: Any) -> None:
    assert strategy_of(cls) is Strategy.DRAFT


@pytest.mark.parametrize("cls", BY_CALL)
def test_every_other_class_is_made_by_its_constructor(cls: Any) -> None:
    assert strategy_of(cls) is Strategy.CALL


def test_a_draft_is_not_a_subclass_of_a_base_of_its_class() -> None:
    row_type_of(InheritedFrozen)
    assert FrozenBase.__subclasses__() == [InheritedFrozen]


# -------------------------------------- code of the application in the construction of an object


@dataclass
class WithPostInit:
    name: str
    length: int = field(init=False)

    def __post_init__(self) -> None:
        self.length = len(self.name)


@dataclass
class WithPostInitAlone:
    name: str

    def __post_init__(self) -> None:
        self.name = self.name.upper()


@dataclass
class WithInit:
    name: str

    def __init__(self, name: str) -> None:
        self.name = name.upper()


class SubclassWithInit(Plain):
    def __init__(self, id: int, name: str) -> None:  # noqa: A002 - the field's name
        super().__init__(id, name.upper())


@dataclass
class WithNew:
    name: str
    made = 0

    def __new__(cls, *args: Any, **kw: Any) -> WithNew:
        cls.made += 1
        return super().__new__(cls)


@dataclass
class WithSetattr:
    name: str

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value.upper())


class Upper:
    def __set_name__(self, owner: type, name: str) -> None:
        self.place = f"_{name}"

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else getattr(instance, self.place)

    def __set__(self, instance: Any, value: str) -> None:
        setattr(instance, self.place, value.upper())


class UpperFrozen(Upper):
    def __set__(self, instance: Any, value: Any) -> None:
        vars(instance)[self.place] = value.upper()


class WithDescriptor(make_dataclass("WithDescriptor", [("name", str)])):  # type: ignore[misc]
    name = Upper()


@dataclass(frozen=True)
class FrozenWithDescriptor:
    name: Any = UpperFrozen()


class Metaclass(type):
    def __call__(cls, *args: Any, **kw: Any) -> Any:
        upper = {name: value.upper() for name, value in kw.items()}
        return super().__call__(*(each.upper() for each in args), **upper)


@dataclass
class WithMetaclass(metaclass=Metaclass):
    name: str


@attrs.define
class WithConverter:
    name: str = attrs.field(converter=str.upper)


class WithValidator(pydantic.BaseModel):
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def upper(cls, name: str) -> str:
        return name.upper()


@pytest.mark.parametrize(
    "cls",
    [
        WithPostInitAlone,
        WithInit,
        WithSetattr,
        WithDescriptor,
        FrozenWithDescriptor,
        WithMetaclass,
        WithConverter,
        WithValidator,
    ],
)
def test_constructors_and_validators_are_run(cls: Any) -> None:
    (made,) = mapped(cls, "name", ("ann",))
    assert made.name == "ANN"


def test_a_constructor_of_a_subclass_is_run() -> None:
    assert mapped(SubclassWithInit, "id name", (1, "ann")) == [SubclassWithInit(1, "ann")]


def test_post_init_is_run_and_its_fields_need_no_columns() -> None:
    (made,) = mapped(WithPostInit, "name", ("Ann",))
    assert made.length == 3


def test_a_custom_new_is_run() -> None:
    mapped(WithNew, "name", ("Ann",))
    assert WithNew.made == 1


def test_pydantic_coerces_no_values() -> None:
    with pytest.raises(RowValueError, match="expected int, found str"):
        mapped(Model, "id name", ("1", "Ann"))


@dataclass
class TakesSomethingElse:
    name: str

    def __init__(self, title: str) -> None:
        self.name = title


def test_a_constructor_that_does_not_take_the_fields_is_refused() -> None:
    with pytest.raises(RowShapeError) as caught:
        row_type_of(TakesSomethingElse)
    assert caught.value.faults == (
        "TakesSomethingElse: the constructor has no parameter 'name' for the field",
        "TakesSomethingElse: the constructor requires 'title', which is not a field",
    )


@dataclass
class WithInitVar:
    name: str
    seed: InitVar[int]


def test_an_initvar_is_refused_by_name() -> None:
    with pytest.raises(RowShapeError, match=r"WithInitVar\.seed is an InitVar"):
        row_type_of(WithInitVar)
