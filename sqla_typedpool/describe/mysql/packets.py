"""The packets that answer COM_STMT_PREPARE.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_stmt_prepare.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_NOT_NULL, _ENUM = 0x1, 0x100


@dataclass(frozen=True)
class Definition:
    """One column, as the server sends it."""

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


def prepared(packet: bytes) -> tuple[int, int, int]:
    """The statement's number, and how many columns and parameters it has."""
    number, columns, parameters = struct.unpack_from("<IHH", packet, 1)
    return number, columns, parameters


def definition(packet: bytes) -> Definition:
    """A column: six texts, and numbers of fixed size."""
    texts, at = [], 0
    for _ in range(6):  # the catalogue's name comes first
        text, at = _text(packet, at)
        texts.append(text)
    at = _behind_further_metadata(packet, at)
    charset, _, kind, flags = struct.unpack_from("<HIBH", packet, at)
    _, schema, table, org_table, name, org_name = texts
    return Definition(schema, table, org_table, name, org_name, charset, kind, flags)


def _text(packet: bytes, at: int) -> tuple[str, int]:
    length, at = _length(packet, at)
    return packet[at : at + length].decode("utf-8", "replace"), at + length


def _length(packet: bytes, at: int) -> tuple[int, int]:
    first = packet[at]
    if first < 0xFB:
        return first, at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}[first]
    return int.from_bytes(packet[at + 1 : at + 1 + size], "little"), at + 1 + size


def _behind_further_metadata(packet: bytes, at: int) -> int:
    """The fixed part, whose length, 12, stands before it."""
    return at + 1 if packet[at] == 0x0C else _text(packet, at)[1] + 1
