"""Column types that may turn a value into None: those of applications, not SQLAlchemy's."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from sqla_typedpool._sqlalchemy.compiling import compile_statement, dialect_of
from sqla_typedpool._sqlalchemy.null_conversions import ConversionHook, result_hook

FAMILIES = ("postgresql", "sqlite", "mysql")


class Colour(Enum):
    RED = "red"


class Plain(TypeDecorator[str]):
    """It has no functions of its own."""

    impl = sa.String
    cache_ok = True


class Money(Plain):
    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value.strip()


class Around(TypeDecorator[str]):
    """A decorator of a decorator."""

    impl = Money
    cache_ok = True


class Point(UserDefinedType[str]):
    cache_ok = True

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        return lambda value: value or None


class Span(sa.Interval):
    """It adds nothing to SQLAlchemy's type."""


class Base(DeclarativeBase):
    pass


class Task(Base):
    __tablename__ = "task"
    id: Mapped[int] = mapped_column(primary_key=True)
    took: Mapped[timedelta]


def hook_of(kind: TypeEngine[Any], family: str = "sqlite") -> ConversionHook | None:
    return result_hook(kind, dialect_of(family))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "kind",
    [
        *(sa.Interval(), sa.PickleType(), sa.PickleType(pickler=pickle), sa.JSON(), sa.Uuid()),
        *(sa.Enum(Colour), sa.DateTime(), sa.Boolean(), sa.Numeric(), JSONB(), ARRAY(sa.Integer)),
        *(Plain(), Span()),
    ],
)
def test_no_type_of_sqlalchemy_converts_a_value_to_none(kind: TypeEngine[Any], family: str) -> None:
    assert hook_of(kind, family) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mapped_timedelta_is_converted_by_sqlalchemy_alone(family: str) -> None:
    columns = compile_statement(sa.select(Task.id, Task.took), family).columns
    assert [each.hook for each in columns] == [None, None]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Money(), "Money.process_result_value()"),
        (Around(), "Money.process_result_value()"),
        (Point(), "Point.result_processor()"),
        (sa.PickleType(pickler=json), "the pickler of PickleType"),
    ],
)
def test_the_function_of_an_application_s_type_is_named(kind: TypeEngine[Any], name: str) -> None:
    assert hook_of(kind) == ConversionHook(name)


def test_a_variant_converts_values_of_its_database_only() -> None:
    kind = sa.String().with_variant(Money(), "postgresql")
    assert hook_of(kind, "sqlite") is None
    assert hook_of(kind, "postgresql") == ConversionHook("Money.process_result_value()")


# ------------------------------------------------------------ does it return None?


def _guarded(self: Any, value: Any, dialect: Any) -> Any:
    if value is None:
        return None
    return value.strip()


def _guarded_by_the_opposite(self: Any, value: Any, dialect: Any) -> Any:
    if value is not None:
        return value.strip()
    return None


def _guarded_with_else(self: Any, value: Any, dialect: Any) -> Any:
    if value is not None:
        value = value.strip()
    else:
        return None
    return value


def _guarded_in_an_expression(self: Any, value: Any, dialect: Any) -> Any:
    return None if value is None else value.strip()


def _guarded_twice(self: Any, value: Any, dialect: Any) -> Any:
    if value is None and dialect.name == "sqlite":
        return None
    return value.strip() if value is not None else None


def _inner_function(self: Any, value: Any, dialect: Any) -> Any:
    def nothing() -> Any:
        return None

    return [nothing()]


def _raises(self: Any, value: Any, dialect: Any) -> Any:
    if value is not None:
        raise ValueError(value)
    return None


def _empty_is_none(self: Any, value: Any, dialect: Any) -> Any:
    if not value:
        return None
    return value.strip()


def _truth_is_tested(self: Any, value: Any, dialect: Any) -> Any:
    if value:
        return value.strip()
    return None


def _or_none(self: Any, value: Any, dialect: Any) -> Any:
    return value.strip() or None


def _none_in_an_expression(self: Any, value: Any, dialect: Any) -> Any:
    return value.strip() if value else None


def _error_is_none(self: Any, value: Any, dialect: Any) -> Any:
    try:
        return int(value)
    except ValueError:
        return None


def _one_of_two_tests(self: Any, value: Any, dialect: Any) -> Any:
    if value is None or value == "-":
        return None
    return value


def _in_a_loop(self: Any, value: Any, dialect: Any) -> Any:
    for each in value:
        if each == "-":
            return None
    return value


def _type_with(function: Callable[..., Any]) -> TypeEngine[Any]:
    created: type[Plain] = type("Own", (Plain,), {"process_result_value": function})
    return created()


@pytest.mark.parametrize(
    "function",
    [
        *(_guarded, _guarded_by_the_opposite, _guarded_with_else, _guarded_in_an_expression),
        *(_guarded_twice, _inner_function, _raises),
    ],
)
def test_returning_none_for_null_only_is_no_proof(function: Callable[..., Any]) -> None:
    hook = hook_of(_type_with(function))
    assert hook is not None
    assert not hook.returns_none


@pytest.mark.parametrize(
    "function",
    [
        *(_empty_is_none, _truth_is_tested, _or_none, _none_in_an_expression, _error_is_none),
        *(_one_of_two_tests, _in_a_loop),
    ],
)
def test_a_function_that_returns_none_for_a_value_is_recognised(
    function: Callable[..., Any],
) -> None:
    hook = hook_of(_type_with(function))
    assert hook is not None
    assert hook.returns_none


def test_a_function_without_source_is_no_proof() -> None:
    names: dict[str, Any] = {}
    exec("def convert(self, value, dialect):\n    return value or None\n", names)
    assert hook_of(_type_with(names["convert"])) == ConversionHook("Own.process_result_value()")


# --------------------------------------------------------------------- parameters


@pytest.mark.parametrize("family", FAMILIES)
def test_a_parameter_of_an_application_s_type_may_be_sent_as_null(family: str) -> None:
    class Own(Plain):
        def process_bind_param(self, value: Any, dialect: Any) -> Any:
            return value or None

    statement = sa.select(sa.bindparam("own", type_=Own), sa.bindparam("took", type_=sa.Interval))
    assert compile_statement(statement, family).own_types == {"own"}
