"""Which classes rows can become, and how they are made."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field, make_dataclass
from datetime import date
from typing import Annotated, Any, Generic, NamedTuple, NewType, TypedDict, TypeVar

import attr
import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
import typing_extensions
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from sqla_typedpool.errors import RowShapeError, RowValueError
from sqla_typedpool.mapping.construction import Strategy
from sqla_typedpool.mapping.mapper import mapper_for
from sqla_typedpool.mapping.markers import Col, Flatten, Json
from sqla_typedpool.mapping.plan import Column
from sqla_typedpool.mapping.rowtype import row_type_of

T = TypeVar("T")
U = TypeVar("U")


def mapped(row_type: Any, columns: str, *rows: tuple[Any, ...]) -> list[Any]:
    """Rows of columns that are named in one string, through a mapper."""
    described = tuple(Column(name) for name in columns.split())
    return mapper_for(row_type, described, "postgresql").map_rows(rows)


def strategy_of(cls: Any) -> Strategy:
    return row_type_of(cls).construction.strategy


# ------------------------------------------------------------------ dataclasses


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
    """Inherits its constructor, and has a __dict__ of its own."""


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
def test_a_row_becomes_what_the_constructor_would_have_made(cls: Any) -> None:
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
def test_what_was_made_can_be_copied_and_pickled(cls: Any) -> None:
    (made,) = mapped(cls, "id name", (1, "Ann"))
    assert copy.copy(made) == made
    assert copy.deepcopy(made) == made
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize("cls", [Frozen, FrozenSlots, InheritedFrozen, InheritedFrozenSlots])
def test_what_is_frozen_stays_frozen_and_hashes_alike(cls: Any) -> None:
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
def test_everything_else_is_made_by_its_constructor(cls: Any) -> None:
    assert strategy_of(cls) is Strategy.CALL


def test_drafts_are_not_counted_among_the_subclasses_of_a_base() -> None:
    row_type_of(InheritedFrozen)
    assert FrozenBase.__subclasses__() == [InheritedFrozen]


# ------------------------------------------- what people write is run, not skipped


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


def test_post_init_is_run_and_its_fields_are_no_columns() -> None:
    (made,) = mapped(WithPostInit, "name", ("Ann",))
    assert made.length == 3


def test_a_custom_new_is_run() -> None:
    mapped(WithNew, "name", ("Ann",))
    assert WithNew.made == 1


def test_a_failing_validator_is_told_as_it_is() -> None:
    class Even(pydantic.BaseModel):
        number: Annotated[int, pydantic.Field(multiple_of=2)]

    with pytest.raises(pydantic.ValidationError):
        mapped(Even, "number", (1,))


def test_pydantic_does_not_get_to_coerce() -> None:
    with pytest.raises(RowValueError, match="expected int, found str"):
        mapped(Model, "id name", ("1", "Ann"))


@dataclass
class TakesSomethingElse:
    name: str

    def __init__(self, title: str) -> None:
        self.name = title


def test_a_constructor_that_does_not_know_the_fields_is_refused() -> None:
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


# -------------------------------------------------------------- names and defaults


@dataclass
class Renamed:
    id: Annotated[int, Col("user_id")]
    name: Annotated[str, Col(default=True)] = "nobody"
    tags: Annotated[list[str], Col(default=True)] = field(default_factory=list)


def test_a_column_may_have_another_name_than_its_field() -> None:
    assert mapped(Renamed, "user_id name tags", (1, "Ann", [])) == [Renamed(1, "Ann", [])]


def test_a_missing_column_takes_the_default_where_that_was_asked_for() -> None:
    first, second = mapped(Renamed, "user_id", (1,), (2,))
    assert [first, second] == [Renamed(1), Renamed(2)]
    assert first.tags is not second.tags


def test_a_default_never_stands_in_for_null() -> None:
    with pytest.raises(RowValueError, match="found NULL"):
        mapped(Renamed, "user_id name", (1, None))


def test_a_default_that_was_not_asked_for_does_not_stand_in() -> None:
    @dataclass
    class User:
        name: str = "nobody"

    with pytest.raises(RowShapeError, match='missing column "name"'):
        mapped(User, "nam", ("Ann",))


def test_asking_for_a_default_that_is_not_there_is_an_error() -> None:
    @dataclass
    class User:
        name: Annotated[str, Col(default=True)]

    with pytest.raises(RowShapeError, match=r"User.name: Col\(default=True\), but"):
        row_type_of(User)


@attrs.define
class Private:
    _name: str


def test_a_private_attribute_of_attrs_is_given_as_its_constructor_calls_it() -> None:
    assert mapped(Private, "_name", ("Ann",)) == [Private(name="Ann")]


@attr.s
class Classic:
    id = attr.ib(type=int)
    anything = attr.ib()


def test_the_types_of_classic_attrs_classes_are_heeded() -> None:
    assert mapped(Classic, "id anything", (1, None)) == [Classic(1, None)]
    with pytest.raises(RowValueError, match="expected int, found str"):
        mapped(Classic, "id anything", ("1", None))


class Aliased(pydantic.BaseModel):
    name: str = pydantic.Field(alias="userName")
    nick: Annotated[str, Col("nick_name")]


def test_a_pydantic_model_is_filled_by_alias_and_found_by_name() -> None:
    assert mapped(Aliased, "name nick_name", ("Ann", "A")) == [Aliased(userName="Ann", nick="A")]


class StructWithDefault(msgspec.Struct):
    id: int
    name: Annotated[str, Col(default=True)] = "nobody"


def test_a_struct_knows_defaults() -> None:
    assert mapped(StructWithDefault, "id", (1,)) == [StructWithDefault(1)]


# -------------------------------------------------------------------- TypedDicts


class Whole(TypedDict):
    id: int
    name: str | None


class Parts(TypedDict, total=False):
    id: typing_extensions.Required[int]
    name: str


class Partly(typing_extensions.TypedDict):
    id: int
    name: typing_extensions.NotRequired[str]


class RenamedKey(TypedDict):
    id: Annotated[int, Col("user_id")]


Odd = TypedDict("Odd", {"user-id": int, "class": str})


def test_a_typed_dict_is_a_dict() -> None:
    assert mapped(Whole, "id name", (1, None)) == [{"id": 1, "name": None}]
    assert strategy_of(Whole) is Strategy.DICT


@pytest.mark.parametrize("cls", [Parts, Partly])
def test_a_key_that_is_not_required_may_be_missing(cls: Any) -> None:
    assert mapped(cls, "id", (1,)) == [{"id": 1}]
    assert mapped(cls, "id name", (1, "Ann")) == [{"id": 1, "name": "Ann"}]
    with pytest.raises(RowShapeError, match='missing column "id"'):
        mapped(cls, "name", ("Ann",))


def test_a_key_may_have_another_name_than_its_column() -> None:
    assert mapped(RenamedKey, "user_id", (1,)) == [{"id": 1}]


def test_keys_need_not_be_names() -> None:
    assert mapped(Odd, "user-id class", (1, "A")) == [{"user-id": 1, "class": "A"}]


# ---------------------------------------------------------------------- generics


@dataclass
class Page(Generic[T]):
    item: T
    more: list[T]


@dataclass
class Pair(Page[T], Generic[T, U]):
    other: U


class GenericModel(pydantic.BaseModel, Generic[T]):
    item: T


class GenericStruct(msgspec.Struct, Generic[T]):
    item: T


class GenericDict(typing_extensions.TypedDict, Generic[T]):
    item: T


@pytest.mark.parametrize("cls", [GenericModel, GenericStruct, GenericDict])
def test_type_variables_mean_what_they_stand_for(cls: Any) -> None:
    assert mapped(cls[int], "item", (1,)) == [cls[int](item=1)]
    with pytest.raises(RowValueError, match="expected int, found str"):
        mapped(cls[int], "item", ("1",))


def test_type_variables_are_followed_through_bases() -> None:
    assert mapped(Pair[int, str], "item more other", (1, [2], "x")) == [Pair(1, [2], "x")]
    with pytest.raises(RowValueError, match=r'"more" at \[0\]: expected int, found str'):
        mapped(Pair[int, str], "item more other", (1, ["2"], "x"))
    with pytest.raises(RowValueError, match='"other": expected str, found int'):
        mapped(Pair[int, str], "item more other", (1, [2], 3))


def test_a_base_may_fix_a_type_variable() -> None:
    @dataclass
    class Texts(Page[str]):
        pass

    with pytest.raises(RowValueError, match='"item": expected str, found int'):
        mapped(Texts, "item more", (1, []))


def test_the_same_variable_may_stand_for_different_things_in_base_and_class() -> None:
    @dataclass
    class Nested(Page[list[T]], Generic[T]):
        own: T

    assert mapped(Nested[int], "item more own", ([1], [[2]], 3)) == [Nested([1], [[2]], 3)]
    with pytest.raises(RowValueError, match=r'"item" at \[0\]: expected int'):
        mapped(Nested[int], "item more own", (["1"], [], 3))


def test_a_variable_that_stands_for_nothing_is_anything() -> None:
    assert mapped(Page, "item more", (1, ["x"])) == [Page(1, ["x"])]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement is younger")
def test_type_aliases_are_what_they_stand_for() -> None:
    space: dict[str, Any] = {}
    exec("type Id = int\ntype Many[T] = list[T]", space)
    identity, many = space["Id"], space["Many"]
    row_type = tuple[identity, many[str]]
    assert mapped(row_type, "a b", (1, ["x"])) == [(1, ["x"])]
    with pytest.raises(RowValueError, match=r'"b" at \[0\]: expected str'):
        mapped(row_type, "a b", (1, [1]))


# ------------------------------------------------------------ scalars and tuples

UserId = NewType("UserId", int)


@pytest.mark.parametrize(
    ("row_type", "rows"),
    [
        (int, [1, 2]),
        (int | None, [1, None]),
        (UserId, [1]),
        (list[int], [[1, 2]]),
        (Annotated[dict[str, int], Json()], [{"a": 1}]),
        (Annotated[Plain, Json()], [{"id": 1, "name": "Ann"}]),
        (Any, [1, None, "x"]),
        (object, [1, None, "x"]),
    ],
)
def test_one_column_may_be_a_value(row_type: Any, rows: list[Any]) -> None:
    made = mapped(row_type, "anything", *((value,) for value in rows))
    assert made == [Plain(**row) if row_type == Annotated[Plain, Json()] else row for row in rows]


def test_a_tuple_goes_by_position_and_names_may_repeat() -> None:
    assert mapped(tuple[int, str], "id id", (1, "x")) == [(1, "x")]
    assert mapped(tuple[int], "id", (1,)) == [(1,)]
    assert mapped(tuple[int | None, ...], "a b c", (1, None, 3)) == [(1, None, 3)]


@pytest.mark.parametrize(
    ("row_type", "columns", "words"),
    [
        (tuple[int, str], "id", "needs 2 columns, but the result has 1 column"),
        (int, "id name", 'int needs 1 column, but the result has 2 columns: "id", "name"'),
    ],
)
def test_the_number_of_columns_has_to_be_right(row_type: Any, columns: str, words: str) -> None:
    with pytest.raises(RowShapeError, match=words):
        mapped(row_type, columns)


# ----------------------------------------------------------------- what is refused


class Entities(DeclarativeBase):
    pass


class Entity(Entities):
    __tablename__ = "entity"
    id: Mapped[int] = mapped_column(primary_key=True)


class DataEntity(MappedAsDataclass, Entities):
    __tablename__ = "data_entity"
    id: Mapped[int] = mapped_column(primary_key=True)


@dataclass
class WithEntity:
    entity: Entity


@pytest.mark.parametrize("cls", [Entity, DataEntity, WithEntity, Entity | None, list[Entity]])
def test_a_mapped_class_is_refused_with_advice(cls: Any) -> None:
    with pytest.raises(RowShapeError, match=r"mapped by SQLAlchemy.*session.scalars"):
        row_type_of(cls)


@pytest.mark.parametrize(
    ("row_type", "words"),
    [
        (dict, "dict as a row type says nothing.*TypedDict"),
        (dict[str, Any], r"dict\[str, Any\] as a row type says nothing.*TypedDict"),
        (list, "list as a row type says nothing"),
        (tuple, r"tuple as a row type says nothing"),
        (Plain | None, r"a row is never None; next: declare Plain, or call fetch_optional"),
        (tuple[int, str] | None, "a row is never None"),
        (Plain | Slots, "union of more than plain types"),
        (Callable[[], int], "no value is exactly of type"),
        (set[int], "the elements of a set cannot be checked"),
        (tuple[int, Annotated[Plain, Flatten()]], r"Flatten\(\) is for the fields of a class"),
        (Annotated[int, Json], r"write Json\(\)"),
        (Annotated[int, Flatten()], r"Flatten\(\) is for classes with fields, not int"),
        (dict[int, str], "the keys of JSON and hstore are str"),
        ("int", "not a type a column can have"),
    ],
)
def test_what_cannot_be_a_row_is_refused_with_advice(row_type: Any, words: str) -> None:
    with pytest.raises(RowShapeError, match=words):
        row_type_of(row_type)


@dataclass
class Shadowing:
    date: date | None = None
    other: date | None = None


def test_a_field_called_as_its_type_hides_nothing() -> None:
    assert [field.spec.text for field in row_type_of(Shadowing).fields] == ["date | None"] * 2


@dataclass
class Broken:
    first: Nowhere  # type: ignore[name-defined]  # noqa: F821
    second: list[Elsewhere]  # type: ignore[name-defined]  # noqa: F821
    third: int


def test_unknown_names_are_told_with_class_field_and_name() -> None:
    with pytest.raises(RowShapeError) as caught:
        row_type_of(Broken)
    first, second = caught.value.faults
    assert first.startswith("Broken.first: 'Nowhere' is not defined in the module of Broken")
    assert "name 'Elsewhere' is not defined" in second


def test_a_class_without_fields_is_refused() -> None:
    @dataclass
    class Empty:
        pass

    with pytest.raises(RowShapeError, match="Empty has no fields"):
        row_type_of(Empty)
