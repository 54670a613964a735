"""The kinds of classes that a row may become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqla_typedpool.declarations.code import ImportedName

# An attribute of every class, which `@dataclass` would take for the default of a field.
_OF_CLASSES = frozenset({"mro"})
# The attributes of pydantic's models; a field would replace them.
_OF_MODELS = frozenset(
    {
        *_OF_CLASSES,
        "register",
        *("construct", "copy", "dict", "from_orm", "json", "parse_file", "parse_obj"),
        *("parse_raw", "schema", "schema_json", "update_forward_refs", "validate"),
        *("model_computed_fields", "model_config", "model_construct", "model_copy"),
        *("model_dump", "model_dump_json", "model_extra", "model_fields", "model_fields_set"),
        *("model_json_schema", "model_parametrized_name", "model_post_init", "model_rebuild"),
        *("model_validate", "model_validate_json", "model_validate_strings"),
    }
)


@dataclass(frozen=True)
class RowKind:
    """How a class of one kind is written."""

    # What stands in the brackets after its name; "" = nothing.
    bases: str

    # The names that every class of the kind needs.
    imports: tuple[ImportedName, ...]

    decorator: str = ""

    # Names that a field cannot have.
    reserved: frozenset[str] = frozenset()

    # The line that allows classes of drivers as types of fields, and the name that it needs.
    allow_driver_classes: str = ""
    import_to_allow: ImportedName | None = None


# All kinds by the names that a user gives them.
ROW_KINDS: Mapping[str, RowKind] = {
    "dataclass": RowKind(
        "",
        (ImportedName("dataclasses", "dataclass"),),
        "@dataclass(frozen=True, slots=True)",
        reserved=_OF_CLASSES,
    ),
    "pydantic": RowKind(
        "BaseModel",
        (ImportedName("pydantic", "BaseModel"),),
        reserved=_OF_MODELS,
        allow_driver_classes="model_config = ConfigDict(arbitrary_types_allowed=True)",
        import_to_allow=ImportedName("pydantic", "ConfigDict"),
    ),
    "msgspec": RowKind("Struct, frozen=True", (ImportedName("msgspec", "Struct"),)),
    "typeddict": RowKind("TypedDict", (ImportedName("typing", "TypedDict"),)),
}
