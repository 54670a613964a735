"""Python names for the names of a database."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable

from sqla_typedpool.errors import CannotRun

# Between a small letter and a capital: ``orderStatus``.
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Names that the code uses, and that no field, class or function may have.
ANNOTATION_NAMES = frozenset(
    {
        *("bool", "bytes", "dict", "float", "int", "list", "str", "tuple", "asyncpg", "dt"),
        *("date", "datetime", "time", "timedelta", "Any", "Annotated", "Decimal", "UUID", "Enum"),
        *("IPv4Address", "IPv4Interface", "IPv4Network", "Range", "TypedDict", "BaseModel"),
        *(
            "IPv6Address",
            "IPv6Interface",
            "IPv6Network",
            "Struct",
            "ConfigDict",
            "dataclass",
            "Literal",
        ),
        *("Col", "Executor", "Json", "Literal", "RowCount", "query", "NotImplementedError"),
    }
)
# The types of the module ``datetime``; fields often have these names.
DATETIME_NAMES = frozenset({"date", "datetime", "time", "timedelta"})


class UniqueNames:
    """Gives each name once; further names get a number."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def unique(self, name: str, separator: str = "") -> str:
        """Return the name, or the first free one of ``name2``, ``name3``, ...

        :param separator: stands before the number: ``name_2``.
        """
        found, number = name, 1
        while found in self._taken:
            number += 1
            found = f"{name}{separator}{number}"
        self._taken.add(found)
        return found


def class_name_of(name: str, fallback: str) -> str:
    """Return the name of a class: ``order_status`` -> ``OrderStatus``.

    :param fallback: the name, or the part before a digit, of names that cannot begin a class.
    """
    found = "".join(word.capitalize() for word in _words(name))
    return found if found[:1].isalpha() else f"{fallback}{found}"


def variable_name_of(name: str, fallback: str) -> str:
    """Return the name of a field or function: ``Unit Price`` -> ``unit_price``.

    :param fallback: the name, or the word before a digit, of names without a letter.
    """
    found = "_".join(_words(name)) or fallback
    if not found[0].isalpha():
        found = f"{fallback}_{found}"
    return f"{found}_" if keyword.iskeyword(found) else found


def is_usual(name: str) -> bool:
    """Return whether a name can be that of a field as it is: small ASCII letters, no keyword."""
    is_small = name.isascii() and name == name.lower() and not name.startswith("_")
    return is_small and name.isidentifier() and not keyword.iskeyword(name)


def require_name(name: str) -> str:
    """Return a name that the user has chosen.

    :raises CannotRun: no class or function can have this name.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise CannotRun(f"--name {name!r} is not a Python name; next: choose another name")
    if name in ANNOTATION_NAMES:
        raise CannotRun(
            f"--name {name} is a name that the code needs for something else; next: choose another"
        )
    return name


def _words(name: str) -> list[str]:
    """Return the parts of a name in small ASCII letters, without accents."""
    separated = _HUMP.sub(" ", name).casefold()
    plain = unicodedata.normalize("NFKD", separated).encode("ascii", "ignore").decode()
    return re.findall(r"[a-z0-9]+", plain)
