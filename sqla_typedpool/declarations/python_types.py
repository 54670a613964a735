"""Database types as annotations, with the Enums and classes that they need."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqla_typedpool.declarations.code import ClassCode, EnumCode, FieldCode, ImportedName
from sqla_typedpool.declarations.literals import string
from sqla_typedpool.declarations.names import (
    ANNOTATION_NAMES,
    DATETIME_NAMES,
    UniqueNames,
    class_name_of,
    is_usual,
    variable_name_of,
)
from sqla_typedpool.declarations.row_kinds import RowKind
from sqla_typedpool.mapping.dbtypes import DbType

_ANY = "Any"
_DRIVERS = ("asyncpg", "psycopg")
# The types of the bounds of built-in ranges, by the beginning of their names.
_BOUNDS: Mapping[str, type] = {
    "int4": int,
    "int8": int,
    "num": Decimal,
    "tstz": datetime,
    "ts": datetime,
    "date": date,
}


@dataclass(frozen=True)
class Annotation:
    """The type of a field, in parts."""

    # The type, without None.
    text: str

    # The markers of ``Annotated``.
    markers: tuple[str, ...] = ()

    # Whether a class of a driver is in it.
    has_driver_class: bool = False

    # Whether the Python type is not known.
    is_unknown: bool = False

    def optional(self) -> Annotation:
        """Return the type with None, unless it contains None already."""
        if self.is_unknown:
            return self
        return Annotation(f"{self.text} | None", self.markers, self.has_driver_class)

    def marked(self, marker: str) -> Annotation:
        """Return the type with a further marker."""
        markers = (*self.markers, marker)
        return Annotation(self.text, markers, self.has_driver_class, self.is_unknown)

    def __str__(self) -> str:
        if not self.markers:
            return self.text
        return f"Annotated[{', '.join((self.text, *self.markers))}]"


@dataclass(frozen=True)
class FieldSource:
    """What a field is written for: a column, or a field of a composite type."""

    # The name in the database.
    label: str
    db_type: DbType
    nullable: bool
    doc: str = ""


class TypeWriter:
    """Writes types, and collects the imports and classes that they need.

    Each enum and each composite type has one class.
    """

    def __init__(self, kind: RowKind, field_names: Collection[str], taken: Sequence[str]) -> None:
        """
        :param kind: the kind of the classes of composite types.
        :param field_names: the names of all columns, and of the fields of composite types. In a
            class with a field ``date``, the type ``date`` needs another name.
        :param taken: the names of the row class and of the function.
        """
        self.imports: set[ImportedName] = set()
        self.enums: list[EnumCode] = []
        self.classes: list[ClassCode] = []
        self._kind = kind
        self._names = UniqueNames({*ANNOTATION_NAMES, *taken})
        self._is_qualified = bool(DATETIME_NAMES & set(field_names))
        self._class_names: dict[tuple[object, ...], str] = {}
        # The fields of composite types that may be NULL, by the name of the type.
        self._nullable_fields: dict[str, set[str]] = {}

    def use(self, module: str, name: str) -> str:
        """Import a name, and return it."""
        self.imports.add(ImportedName(module, name))
        return name

    # -------------------------------------------------------------------- annotations

    def annotation(self, db_type: DbType, owner: str) -> Annotation:
        """Return the annotation of a value that is not NULL.

        :param owner: the name of its column, for an enum without a name of its own.
        """
        if db_type.labels:
            return Annotation(self.enum(db_type, owner))
        if db_type.json or db_type.name == "json":
            marker = f"{self.use('sqla_typedpool', 'Json')}()"
            return Annotation(self.use("typing", _ANY), (marker,))
        if db_type.usual:
            return Annotation(self._usual(db_type))
        if db_type.python is list:
            element = self.annotation(db_type.element or DbType(""), owner)
            return Annotation(f"list[{self.text(element)}]", (), element.has_driver_class)
        if db_type.fields:
            return Annotation(self.composite(db_type))
        return self._plain(db_type)

    def _usual(self, db_type: DbType) -> str:
        if db_type.usual == (dict,):
            return "dict[str, str | None]"
        return " | ".join(self.name_of(each) for each in db_type.usual)

    def _plain(self, db_type: DbType) -> Annotation:
        python = db_type.python
        if python is None or python is tuple or db_type.name == "void":
            return self.unknown()
        if python.__module__.partition(".")[0] not in _DRIVERS:
            return Annotation(self.name_of(python))
        if db_type.is_range:
            is_generic = hasattr(python, "__class_getitem__")
            bounds = f"[{self._bound(db_type)}]" if is_generic else ""
            return Annotation(f"{self.name_of(python)}{bounds}", has_driver_class=True)
        if hasattr(python, "__class_getitem__") and not issubclass(python, tuple):
            return self.unknown()  # psycopg's Multirange, whose elements the mapper does not check
        return Annotation(self.name_of(python), has_driver_class=True)

    def unknown(self) -> Annotation:
        """Return the annotation of a value whose Python type is not known."""
        return Annotation(self.use("typing", _ANY), is_unknown=True)

    def _bound(self, db_type: DbType) -> str:
        python = _BOUNDS.get(db_type.name.removesuffix("range"))
        return self.use("typing", _ANY) if python is None else self.name_of(python)

    def name_of(self, python: type) -> str:
        """Import a class, and return its name in the code."""
        module, name = python.__module__, python.__name__
        if module == "builtins":
            return name
        if module == "datetime":
            return self.datetime_name(name)
        if module.partition(".")[0] == "asyncpg":
            self.use("asyncpg", "")
            return f"asyncpg.{name}"
        return self.use(module, name)

    def datetime_name(self, name: str) -> str:
        """Import a type of the module ``datetime``, and return its name in the code."""
        if self._is_qualified:
            self.use("datetime as dt", "")
            return f"dt.{name}"
        return self.use("datetime", name)

    # ------------------------------------------------------------------------ classes

    def enum(self, db_type: DbType, owner: str) -> str:
        """Return the name of the Enum of a database's enum."""
        key = (db_type.name, db_type.labels)
        if key not in self._class_names:
            own_name = owner if db_type.name == "enum" else db_type.name  # MySQL's have no names
            name = self._names.unique(class_name_of(own_name, "Enum"))
            self._class_names[key] = name
            self.use("enum", "Enum")
            self.enums.append(EnumCode(name, tuple(_members(db_type.labels))))
        return self._class_names[key]

    def composite(self, db_type: DbType) -> str:
        """Return the name of the class of a composite type."""
        key = (db_type.name, db_type.fields)
        if key not in self._class_names:
            name = self._names.unique(class_name_of(db_type.name, "Composite"))
            self._class_names[key] = name
            nullable = self._nullable_fields.get(db_type.name, ())
            fields = [FieldSource(label, part, label in nullable) for label, part in db_type.fields]
            self.classes.append(self.class_of(name, fields))
        return self._class_names[key]

    def class_of(self, name: str, sources: Sequence[FieldSource]) -> ClassCode:
        """Return a class with these fields."""
        self.imports.update(self._kind.imports)
        names = field_names([each.label for each in sources], self._kind.reserved)
        fields = [self._field(*each) for each in zip(names, sources, strict=True)]
        has_driver_class = any(each.has_driver_class for _, each in fields)
        if has_driver_class and self._kind.import_to_allow is not None:
            self.imports.add(self._kind.import_to_allow)
        return ClassCode(name, tuple(field for field, _ in fields), has_driver_class)

    def _field(self, name: str, source: FieldSource) -> tuple[FieldCode, Annotation]:
        annotation = self.annotation(source.db_type, source.label)
        if source.nullable:
            annotation = annotation.optional()
        if name != source.label:
            column = string(source.label)
            annotation = annotation.marked(f"{self.use('sqla_typedpool', 'Col')}({column})")
        is_unknown, type_name = annotation.is_unknown, source.db_type.name
        comment = f"{type_name}: values of any Python type are accepted" if is_unknown else ""
        return FieldCode(name, self.text(annotation), source.doc, comment), annotation

    def text(self, annotation: Annotation) -> str:
        """Return the text of an annotation, and import what it needs."""
        if annotation.markers:
            self.use("typing", "Annotated")
        return str(annotation)

    def note_nullable_fields(self, db_type: DbType, nullable: Collection[str]) -> None:
        """Note which fields may be NULL in the composite values of a column.

        In composite values inside others, and in arrays of them, all fields may be.
        """
        if db_type.fields:
            self._nullable_fields.setdefault(db_type.name, set()).update(nullable)
        for part in (db_type.element, *(each for _, each in db_type.fields)):
            if part is not None:
                self.note_nullable_fields(part, [name for name, _ in part.fields])


def field_names(labels: Sequence[str], reserved: Collection[str]) -> list[str]:
    """Return the names of fields for columns, in their order.

    :param reserved: names that a field cannot have.
    """
    forbidden = {*ANNOTATION_NAMES, *reserved} - DATETIME_NAMES
    usual = {each for each in labels if is_usual(each) and each not in forbidden}
    names = UniqueNames(usual)
    found = []
    for label in labels:
        name = variable_name_of(label, "column")
        if name in forbidden:
            name += "_"
        found.append(label if label in usual else names.unique(name, "_"))
    return found


def _members(labels: Sequence[str]) -> list[tuple[str, str]]:
    names = UniqueNames()
    return [(names.unique(_member(each), "_"), each) for each in labels]


def _member(label: str) -> str:
    return variable_name_of(label, "value").rstrip("_").upper()
