"""Print classes and functions with their imports, as `ruff format` and `isort` would."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from sys import stdlib_module_names

from sqla_typedpool.declarations.code import (
    ClassCode,
    Definition,
    EnumCode,
    FieldCode,
    FunctionCode,
    ImportedName,
)
from sqla_typedpool.declarations.layout import annotated, signature
from sqla_typedpool.declarations.literals import (
    INDENT,
    LINE_LENGTH,
    call_with_sql,
    comment_lines,
    docstring,
    string,
)
from sqla_typedpool.declarations.row_kinds import RowKind


def module_text(
    imports: Iterable[ImportedName], definitions: Sequence[Definition], kind: RowKind
) -> str:
    """Return the text of a module."""
    blocks = ["\n".join(_definition(each, kind)) for each in definitions]
    return "\n\n\n".join([_imports(imports), *blocks]).lstrip("\n")


def _definition(definition: Definition, kind: RowKind) -> Iterator[str]:
    if isinstance(definition, EnumCode):
        return _enum(definition)
    if isinstance(definition, ClassCode):
        return _class(definition, kind)
    return _function(definition)


# --------------------------------------------------------------------------- imports


def _imports(imports: Iterable[ImportedName]) -> str:
    names: dict[str, list[str]] = {}
    for module, name in sorted(set(imports), key=_order):
        names.setdefault(module, []).append(name)
    of_stdlib = {module: each for module, each in names.items() if _is_stdlib(module)}
    others = {module: each for module, each in names.items() if not _is_stdlib(module)}
    return "\n\n".join("\n".join(_section(part)) for part in (of_stdlib, others) if part)


def _order(imported: ImportedName) -> tuple[str, bool, bool, str]:
    """Constants stand before classes, and classes before functions."""
    module, name = imported
    return module, not name.isupper(), not name[:1].isupper(), name


def _is_stdlib(module: str) -> bool:
    return module.split(".", maxsplit=1)[0].split(" ", maxsplit=1)[0] in stdlib_module_names


def _section(names: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for module in (each for each in names if "" in names[each]):
        yield f"import {module}"
    for module, found in names.items():
        if "" not in found:
            yield from _from(module, found)


def _from(module: str, names: Sequence[str]) -> Iterator[str]:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= LINE_LENGTH:
        yield line
        return
    yield f"from {module} import ("
    yield from (f"{INDENT}{name}," for name in names)
    yield ")"


# ----------------------------------------------------------------------- definitions


def _enum(code: EnumCode) -> Iterator[str]:
    yield f"class {code.name}(str, Enum):"
    for name, label in code.members:
        line = f"{INDENT}{name} = {string(label)}"
        wrapped = [f"{INDENT}{name} = (", f"{INDENT * 2}{string(label)}", f"{INDENT})"]
        fits = len(line) <= LINE_LENGTH or len(wrapped[1]) > LINE_LENGTH
        yield from [line] if fits else wrapped


def _class(code: ClassCode, kind: RowKind) -> Iterator[str]:
    if kind.decorator:
        yield kind.decorator
    yield f"class {code.name}({kind.bases}):" if kind.bases else f"class {code.name}:"
    if code.has_driver_class and kind.allow_driver_classes:
        yield f"{INDENT}{kind.allow_driver_classes}"
        yield ""
    for field in code.fields:
        yield from _field(field)


def _field(field: FieldCode) -> Iterator[str]:
    yield from (INDENT + each for each in comment_lines(field.comment))
    yield from annotated(INDENT, f"{field.name}: ", field.annotation)
    if field.doc:
        yield from (f"{INDENT}{each}".rstrip() for each in docstring(field.doc))


def _function(code: FunctionCode) -> Iterator[str]:
    *lines, last = call_with_sql("@query", code.sql)
    yield from lines
    yield f"{last}  # typedpool: ignore[{code.ignored}]" if code.ignored else last
    (executor, *others) = (f"{name}: {annotation}" for name, annotation in code.parameters)
    parameters = [executor, "*", *others] if others else [executor]
    yield from signature(f"async def {code.name}", parameters, code.returns)
    yield f"{INDENT}raise NotImplementedError"
