"""The names of pools: unique in the process, by default ``host:port/database``."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final
from urllib.parse import parse_qsl
from weakref import WeakValueDictionary

from sqla_typedpool.secrets import mask_secrets

_PORTS: Final = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "oracle": 1521, "mssql": 1433}
_DATABASE_ARGUMENTS: Final = ("database", "dbname", "db", "service_name")
_CONNINFO_PART: Final = re.compile(r"(\w+)\s*=\s*(?:'((?:\\.|[^'\\])*)'|(\S*))")


class PoolName:
    """The name of one pool, unique among the pools of the process that are in use.

    A pool and those of its ``recreate()`` share one object.

    :param wanted: a number is added to it (``#2``, ``#3``) while other pools have the name.
    :param is_given: the application has chosen it.
    """

    def __init__(self, wanted: str, *, is_given: bool = False) -> None:
        self.wanted = wanted
        self.is_given = is_given
        self.is_released = True
        self._text = wanted

    def __str__(self) -> str:
        return self._text

    def take(self) -> bool:
        """Take the name for a pool that is used.

        :return: whether it is another one than before, because the name was not free.
        """
        with _registry.lock:
            before, self.is_released = self._text, False
            if _registry.live.get(before) is not self:
                self._text = _registry.free_name(self.wanted)
                _registry.live[self._text] = self
            return self._text not in (before, self.wanted)

    def release(self) -> None:
        """The pool was disposed of: another one may take the name, until this one is used again."""
        with _registry.lock:
            self.is_released = True
            if _registry.live.get(self._text) is self:
                del _registry.live[self._text]


class _Registry:
    """The names in use. The name of a pool that is garbage-collected is free again."""

    def __init__(self) -> None:
        # Reentrant, since the garbage collector may run any code in between.
        self.lock = threading.RLock()
        self.live: WeakValueDictionary[str, PoolName] = WeakValueDictionary()

    def free_name(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self.live:
            number += 1
            name = f"{wanted}#{number}"
        return name

    def renew_lock(self) -> None:
        """In a forked child: another thread of the parent may hold the inherited lock."""
        self.lock = threading.RLock()


_registry = _Registry()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_registry.renew_lock)


# ------------------------------------------------------------------- the default


def default_name(dialect: Any, positional: Sequence[Any], named: Mapping[str, Any]) -> str:
    """The default of ``pool_name``: ``host:port/database``, without user and password.

    :param dialect: SQLAlchemy's dialect, or a stand-in.
    :param positional: with ``named``, the arguments of the driver's connect function.
    :return: for SQLite the path of the file; if nothing is known, the name of the driver.
    """
    kind = _text(getattr(dialect, "name", ""))
    if kind == "sqlite":
        found = _text(positional[0] if positional else named.get("database"))
    else:
        found = _address_and_database(kind, {**_connection_string(kind, named), **named})
    driver = _text(getattr(dialect, "driver", "")) or kind or "unnamed"
    return " ".join(mask_secrets(found).split()) or driver


def _address_and_database(kind: str, arguments: Mapping[str, Any]) -> str:
    hosts = _split(arguments.get("host") or arguments.get("hostaddr"))
    ports = _split(arguments.get("port"))
    database = next((_text(arguments[n]) for n in _DATABASE_ARGUMENTS if arguments.get(n)), "")
    if "@" in database:  # the password is not encoded, and the host is a part of it
        return after_userinfo(database)
    if not (hosts or ports or database or arguments.get("unix_socket")):
        return ""
    if kind == "postgresql":  # what its drivers do as well
        hosts = hosts or _split(os.environ.get("PGHOST"))
        ports = ports or _split(os.environ.get("PGPORT"))
    socket = _text(arguments.get("unix_socket"))
    addresses = socket or _addresses(hosts or ["localhost"], ports, _text(_PORTS.get(kind)))
    return "/".join(filter(None, [addresses, database]))


def _addresses(hosts: list[str], ports: list[str], default_port: str) -> str:
    if len(ports) == 1:
        ports = ports * len(hosts)
    pairs = zip_longest(map(after_userinfo, hosts), ports[: len(hosts)], fillvalue="")
    return ",".join(_address(host, port or default_port) for host, port in pairs)


def _address(host: str, port: str) -> str:
    host = f"[{host}]" if ":" in host else host  # IPv6
    return f"{host}:{port}" if port else host


def _connection_string(kind: str, named: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments in asyncpg's ``dsn`` or psycopg's ``conninfo``."""
    given = _text(named.get("dsn") or named.get("conninfo"))
    if "://" in given:
        return _arguments_in_url(given)
    if kind != "postgresql":
        return {}
    parts = _CONNINFO_PART.finditer(given)
    return {part[1]: re.sub(r"\\(.)", r"\1", part[2] or part[3] or "") for part in parts}


def _arguments_in_url(url: str) -> Mapping[str, Any]:
    # By the last "@": a password that is not encoded must not become a host.
    main, _, query = after_userinfo(url.partition("://")[2]).partition("?")
    addresses, _, database = main.partition("/")
    pairs = [re.fullmatch(r"\[?(.*?)\]?(?::(\d*))?", each) for each in _split(addresses)]
    hosts, ports = ([pair[n] or "" for pair in pairs if pair] for n in (1, 2))
    found = {"host": hosts, "port": ports if any(ports) else None, "database": database}
    return {**found, **dict(parse_qsl(query))}


def after_userinfo(text: str) -> str:
    """What follows the last ``@``: SQLAlchemy ends an unencoded password at the first one."""
    return text.rpartition("@")[2]


def _split(value: Any) -> list[str]:
    """The items of a list, or of a text with commas."""
    items = value if isinstance(value, (list, tuple)) else _text(value).split(",")
    return [_text(item).strip() for item in items] if any(items) else []


def _text(value: Any) -> str:
    """A value of an argument; "" for None, and for a stand-in (a mock)."""
    return str(value) if isinstance(value, (str, int, os.PathLike)) else ""
