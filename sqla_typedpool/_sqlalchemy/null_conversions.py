"""Find out whether a column type turns a value into None.

The types of SQLAlchemy do so for NULL only. A type of an application, or of another library, has
its own functions: `TypeDecorator.process_result_value` and the like.
"""

from __future__ import annotations

import ast
import inspect
import pickle
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import PickleType

_RESULT_HOOKS = ("process_result_value", "result_processor")
_BIND_HOOKS = ("process_bind_param", "bind_processor")


@dataclass(frozen=True)
class ConversionHook:
    """A function of a column type that is not SQLAlchemy's."""

    # ``Money.process_result_value()``
    name: str

    # Whether its source returns None for a value that is not None.
    returns_none: bool = False


def result_hook(kind: Any, dialect: Any) -> ConversionHook | None:
    """Return what converts the values of a column; None if that is SQLAlchemy alone."""
    return _hook(kind, dialect, _RESULT_HOOKS)


def has_bind_hook(kind: Any, dialect: Any) -> bool:
    """Return whether a function that is not SQLAlchemy's converts the values of a parameter."""
    return _hook(kind, dialect, _BIND_HOOKS) is not None


def _hook(kind: Any, dialect: Any, names: Sequence[str]) -> ConversionHook | None:
    used = kind.dialect_impl(dialect)  # the type, or its variant for this database
    while used is not None:
        if isinstance(used, PickleType) and used.pickler is not pickle:
            return ConversionHook(f"the pickler of {type(used).__name__}")
        for name in names:
            function = getattr(type(used), name, None)
            if function is not None and not _is_of_sqlalchemy(function):
                return ConversionHook(f"{type(used).__name__}.{name}()", _returns_none(function))
        used = getattr(used, "impl_instance", None)  # what a TypeDecorator decorates
    return None


def _is_of_sqlalchemy(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] == "sqlalchemy"


# ------------------------------------------------------------------- reading the source


def _returns_none(function: Callable[..., Any]) -> bool:
    """Return whether the source returns None for a value that is not None.

    ``if value is None: return None`` does not. False if it cannot be read.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return False
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef) or len(definition.args.args) < 2:
        return False
    if function.__name__ == "result_processor":  # it returns the function that converts
        return False
    return _Returns(definition.args.args[1].arg).in_block(definition.body)


@dataclass(frozen=True)
class _Returns:
    """Looks for ``return None`` where the value may be something else than None."""

    value: str

    def in_block(self, statements: Sequence[ast.stmt]) -> bool:
        for statement in statements:
            if self.in_statement(statement):
                return True
            if self.leaves_only_none(statement):
                return False
        return False

    def in_statement(self, statement: ast.stmt) -> bool:
        if isinstance(statement, ast.Return):
            return self.in_result(statement.value)
        if isinstance(statement, ast.If):
            return self.in_branches(
                statement.test,
                lambda: self.in_block(statement.body),
                lambda: self.in_block(statement.orelse),
            )
        if isinstance(statement, (ast.With, ast.For, ast.While)):
            return self.in_block(statement.body)
        if isinstance(statement, ast.Try):
            handlers = [handler.body for handler in statement.handlers]
            blocks = [statement.body, *handlers, statement.orelse, statement.finalbody]
            return any(map(self.in_block, blocks))
        return False

    def in_result(self, result: ast.expr | None) -> bool:
        if isinstance(result, ast.IfExp):
            return self.in_branches(
                result.test,
                lambda: self.in_result(result.body),
                lambda: self.in_result(result.orelse),
            )
        if isinstance(result, ast.BoolOp) and isinstance(result.op, ast.Or):
            return self.in_result(result.values[-1])
        return result is None or (isinstance(result, ast.Constant) and result.value is None)

    def in_branches(
        self, test: ast.expr, then: Callable[[], bool], otherwise: Callable[[], bool]
    ) -> bool:
        return (not self.is_none(test) and then()) or (not self.is_value(test) and otherwise())

    def leaves_only_none(self, statement: ast.stmt) -> bool:
        """Return whether the value is None in the statements that follow."""
        return (
            isinstance(statement, ast.If)
            and self.is_value(statement.test)
            and isinstance(statement.body[-1], (ast.Return, ast.Raise))
        )

    def is_none(self, test: ast.expr) -> bool:
        """Return whether a condition is true for None only."""
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
            return any(map(self.is_none, test.values))
        return self.compares(test, ast.Is)

    def is_value(self, test: ast.expr) -> bool:
        """Return whether a condition is false for None only."""
        return self.compares(test, ast.IsNot)

    def compares(self, test: ast.expr, operator: type[ast.cmpop]) -> bool:
        return (
            isinstance(test, ast.Compare)
            and isinstance(test.left, ast.Name)
            and test.left.id == self.value
            and isinstance(test.ops[0], operator)
            and isinstance(test.comparators[0], ast.Constant)
            and test.comparators[0].value is None
        )
