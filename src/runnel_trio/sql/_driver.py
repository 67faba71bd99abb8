"""What differs between DB-API drivers: how they write parameters, and how they show transactions."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from inspect import iscoroutinefunction
from types import ModuleType
from typing import Any, Protocol

import attrs

from runnel_trio.exceptions import Misconfigured

__all__ = ["Connection", "Driver", "driver_of", "in_transaction", "refuse_unfit"]

#: How a parameter is written, by paramstyle.
_MARKS = {"qmark": "?", "numeric": ":{number}", "named": ":{name}", "format": "%s", "pyformat": "%({name})s"}
_PARAMETER = re.compile(r":(\w+)")


class Connection(Protocol):
    """What `Progress` needs of a connection: a part of DB-API 2.0 (PEP 249)."""

    def cursor(self) -> Any:
        """A new cursor."""
        ...

    def commit(self) -> None:
        """Commit the transaction."""
        ...

    def rollback(self) -> None:
        """Roll the transaction back."""
        ...


@attrs.frozen
class Driver:
    """A DB-API module.

    Attributes:
        paramstyle: as PEP 249 names it.
        is_sqlite: whether its database is SQLite, which has one writer at a time and no row locks.
        plain_rows: the ``row_factory`` with which a cursor returns tuples, whatever the connection has.
    """

    paramstyle: str
    is_sqlite: bool
    plain_rows: Any = None

    def cursor(self, connection: Connection) -> Any:
        """A new cursor whose rows are tuples."""
        cursor = connection.cursor()
        if hasattr(cursor, "row_factory"):
            cursor.row_factory = self.plain_rows
        return cursor

    def execute(self, cursor: Any, text: str, values: Mapping[str, Any]) -> None:
        """Execute a statement whose parameters are written ``:name``."""
        statement, names = _rendered(text, self.paramstyle)
        cursor.execute(statement, self._parameters(names, values))

    def execute_many(self, cursor: Any, text: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Execute it once for each row of values."""
        statement, names = _rendered(text, self.paramstyle)
        cursor.executemany(statement, [self._parameters(names, row) for row in rows])

    def _parameters(self, names: Sequence[str], values: Mapping[str, Any]) -> Any:
        if self.paramstyle in {"named", "pyformat"}:
            return {name: values[name] for name in names}
        return tuple(values[name] for name in names)


@lru_cache
def _rendered(text: str, paramstyle: str) -> tuple[str, tuple[str, ...]]:
    """A statement as a driver takes it, and the names of its parameters in order.

    Example:
        >>> _rendered("SELECT x FROM t WHERE a = :a AND b = :b", "qmark")
        ('SELECT x FROM t WHERE a = ? AND b = ?', ('a', 'b'))
        >>> _rendered("SELECT x FROM t WHERE a = :a AND b = :b", "pyformat")[0]
        'SELECT x FROM t WHERE a = %(a)s AND b = %(b)s'
    """
    names = tuple(_PARAMETER.findall(text))
    numbers = iter(range(1, len(names) + 1))
    mark = _MARKS[paramstyle]
    return _PARAMETER.sub(lambda found: mark.format(name=found[1], number=next(numbers)), text), names


def driver_of(connection: object, module: ModuleType | None = None) -> Driver:
    """The driver that a connection is of, unless its module is given.

    Raises:
        Misconfigured: it cannot be told, or is not usable here.
    """
    found = module or _module_of(type(connection))
    if found is None:
        raise Misconfigured(
            f"cannot tell which driver a {type(connection).__qualname__} of {type(connection).__module__} is "
            "of: none of its modules has a paramstyle. Give the driver's module, as in Progress(connection, "
            "driver=sqlite3)"
        )
    style = getattr(found, "paramstyle", None)
    if style not in _MARKS:
        raise Misconfigured(
            f"{found.__name__}.paramstyle is {style!r}, and must be one of {', '.join(_MARKS)}: is that the "
            "module of a DB-API 2.0 driver?"
        )
    return Driver(
        str(style),
        is_sqlite=hasattr(found, "sqlite_version"),
        plain_rows=getattr(getattr(found, "rows", None), "tuple_row", None),
    )


def _module_of(kind: type) -> ModuleType | None:
    """The module of a driver; a subclass may be anybody's."""
    for base in kind.__mro__:
        name = base.__module__
        while name:
            module = sys.modules.get(name)
            if hasattr(module, "paramstyle"):
                return module
            name = name.rpartition(".")[0]
    return None


def refuse_unfit(connection: Any, driver: Driver) -> None:
    """Refuse a connection that does not begin a transaction with the next statement.

    Raises:
        Misconfigured: what is wrong with it.
    """
    kind = type(connection).__qualname__
    if iscoroutinefunction(connection.commit):
        raise Misconfigured(f"{kind} is a connection of asyncio: give Progress one whose calls block")
    autocommit = getattr(connection, "autocommit", None)
    # In sqlite3 of Python 3.12 and later it may also be -1: then `isolation_level` decides, as it always did.
    if autocommit is True or (driver.is_sqlite and autocommit in {None, -1} and _lacks_level(connection)):
        raise Misconfigured(
            f"this {kind} is in autocommit mode: each statement would be a transaction of its own. Open it "
            "without autocommit (in sqlite3, without isolation_level=None)"
        )
    if in_transaction(connection):
        raise Misconfigured(
            f"this {kind} is in a transaction already: what was executed before must be committed or rolled "
            "back first (on PostgreSQL, a SELECT begins a transaction too)"
        )


def _lacks_level(connection: Any) -> bool:
    return getattr(connection, "isolation_level", "") is None


def in_transaction(connection: Any) -> bool | None:
    """Whether a transaction is open; None when the driver does not say."""
    if hasattr(connection, "in_transaction"):
        # With autocommit=False, sqlite3 begins the next one as soon as one ends.
        return None if getattr(connection, "autocommit", None) is False else bool(connection.in_transaction)
    status = getattr(getattr(connection, "info", None), "transaction_status", None)
    return None if status is None else bool(status != 0)
