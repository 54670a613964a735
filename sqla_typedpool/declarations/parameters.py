"""The Python types of a query's parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from sqla_typedpool.declarations.literals import string
from sqla_typedpool.declarations.python_types import TypeWriter
from sqla_typedpool.describe.model import Description, ParameterDescription
from sqla_typedpool.describe.writes import TargetColumn, ValueSource
from sqla_typedpool.mapping.dbtypes import DbType
from sqla_typedpool.tokens import binds

# What drivers accept where the database does not report the types of parameters.
_SQLITE = "int | float | str | bytes"
_MYSQL = "int | float | Decimal | str | bytes | date"


def optional_parameters(description: Description, sql: str) -> set[str]:
    """Return the parameters for which None is sensible.

    They are used once, and written to columns that may be NULL.

    :param sql: the text with ``:name`` parameters.
    """
    uses = Counter(bind.text[1:] for bind in binds(sql))
    return {
        name
        for name, columns in _written_columns(description).items()
        if uses[name] == 1 and not any(each.not_null for each in columns)
    }


def _written_columns(description: Description) -> dict[str, list[TargetColumn]]:
    """Return the columns to which each parameter is written unchanged."""
    found: dict[str, list[TargetColumn]] = {}
    for write in description.writes or ():
        for name in write.parameters if write.source is ValueSource.PARAMETER else ():
            found.setdefault(name, []).append(write.column)
    return found


def parameter_types(
    description: Description, types: TypeWriter, optional: set[str]
) -> Iterator[tuple[str, str]]:
    """Yield the name and the annotation of each parameter, in their order."""
    written = _written_columns(description)
    for each in description.parameters:
        text = _annotation(each, description.family, types)
        accepted = _accepted(written.get(each.name, ()))
        if accepted and "str" in text.split(" | "):
            literals = ", ".join(map(string, accepted))
            text = f"{types.use('typing', 'Literal')}[{literals}]"
        is_optional = each.name in optional and text != "Any"
        yield each.name, f"{text} | None" if is_optional else text


def _accepted(columns: Iterable[TargetColumn]) -> list[str]:
    """Return the only texts that all of these columns can store; [] if they are not limited."""
    limits = [each.accepted for each in columns if each.accepted]
    return [text for text in limits[0] if all(text in each for each in limits)] if limits else []


def _annotation(parameter: ParameterDescription, family: str, types: TypeWriter) -> str:
    if parameter.db_type is None:
        text = _unreported(family, types)
    else:
        text = _of_type(parameter.db_type, parameter.name, types)
    return f"list[{text}]" if parameter.is_list else text


def _unreported(family: str, types: TypeWriter) -> str:
    if family == "sqlite":
        return _SQLITE
    if family != "mysql":
        return types.use("typing", "Any")
    types.use("decimal", "Decimal")
    return _MYSQL.replace("date", types.datetime_name("date"))


def _of_type(db_type: DbType, name: str, types: TypeWriter) -> str:
    if db_type.json:
        return "str"  # drivers accept JSON as text
    if db_type.element is not None:
        return f"list[{_of_type(db_type.element, name, types)}]"
    if db_type.fields and not db_type.usual:
        parts = (_of_type(part, name, types) for _, part in db_type.fields)
        return f"tuple[{', '.join(_or_none(part) for part in parts)}]"
    return types.text(types.annotation(db_type, name))


def _or_none(text: str) -> str:
    return text if text == "Any" else f"{text} | None"
