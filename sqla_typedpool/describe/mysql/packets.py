"""Read the packets that answer COM_STMT_PREPARE.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_prepare.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_NOT_NULL, _ENUM = 0x1, 0x100
_FIXED_LENGTH = 0x0C
_FIRST_LONG = 0xFB  # from here on, the first byte of a length says how many bytes it has


@dataclass(frozen=True)
class ColumnDefinition:
    """The definition of one column."""

    schema: str
    table: str
    org_table: str
    name: str
    org_name: str
    charset: int
    type: int
    flags: int

    @property
    def is_not_null(self) -> bool:
        return bool(self.flags & _NOT_NULL)

    @property
    def is_enum(self) -> bool:
        return bool(self.flags & _ENUM) and bool(self.org_name)


def parse_prepare_ok(packet: bytes) -> tuple[int, int, int]:
    """Return the statement's number, and how many columns and parameters it has."""
    number, columns, parameters = struct.unpack_from("<IHH", packet, 1)
    return number, columns, parameters


def parse_definition(packet: bytes) -> ColumnDefinition:
    """Parse a column definition: six strings, then numbers of fixed size."""
    strings, position = [], 0
    for _ in range(6):  # the first one is the catalog's name
        string, position = _string(packet, position)
        strings.append(string)
    # the length of the fixed part, or, if the server has sent more metadata, that first
    if packet[position] != _FIXED_LENGTH:
        position = _string(packet, position)[1]
    charset, _, type_code, flags = struct.unpack_from("<HIBH", packet, position + 1)
    _, schema, table, org_table, name, org_name = strings
    return ColumnDefinition(schema, table, org_table, name, org_name, charset, type_code, flags)


def _string(packet: bytes, position: int) -> tuple[str, int]:
    """Return a string and the position after it."""
    length = packet[position]
    position += 1
    if length >= _FIRST_LONG:
        size = {0xFC: 2, 0xFD: 3, 0xFE: 8}[length]
        length = int.from_bytes(packet[position : position + size], "little")
        position += size
    return packet[position : position + length].decode("utf-8", "replace"), position + length
