"""The wire form of primitive records: each field of the record is a field of the Redis entry.

int is decimal, float is ``repr``, bool is ``1`` or ``0``, str is UTF-8, bytes are themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from runnel_trio._codec._bounds import too_large
from runnel_trio._codec._hooks._fields import fields_of
from runnel_trio._codec._hooks._numbers import exact_float, exact_int, write_bool, write_str
from runnel_trio._codec._hooks._structures import Structure
from runnel_trio._codec._hooks._traits import Hook, Mismatch, Part, refuse, trait
from runnel_trio._codec._record import unwrapped
from runnel_trio._names import TRACE_FIELD

__all__ = ["primitive_hooks"]

#: The most characters of an int that Python reads: its digits and a sign.
_LONGEST_NUMBER = 4301


def primitive_hooks(
    cls: type[Any], *, forbid_unknown: bool, most: int
) -> tuple[tuple[bytes, ...], Hook, Hook]:
    """The field names; record → field values; names and values, of up to ``most`` bytes → record."""
    fields = fields_of(cls)
    forms = [_FORMS[unwrapped(x.annotation)] for x in fields]
    return (
        tuple(x.name.encode() for x in fields),
        _Entry(cls, fields, [x.write for x in forms], forbid_unknown, forms, most).write_hook(),
        _Entry(cls, fields, [x.read for x in forms], forbid_unknown, forms, most).read_hook(),
    )


@attrs.frozen
class _Form:
    """How one type is written.

    Attributes:
        write: value → bytes.
        read: bytes → value.
        quick: source of an expression that does the same as ``write``, if ``{v}`` is of the class ``kind``.
        kind: the name of that class.
    """

    write: Hook
    read: Hook
    quick: str
    kind: str


@attrs.frozen
class _Entry(Structure):
    """Generates the same code as for other records, except for the shape of the result."""

    forms: list[_Form]
    most: int

    def write_hook(self) -> Hook:
        """A record to ``(b"12", b"click")``."""
        lines = ["if o.__class__ is not cls: check(o)"]
        for i, (field, form) in enumerate(zip(self.fields, self.forms, strict=True)):
            quick = form.quick.format(v=f"v{i}")
            lines += [
                f"v{i} = o.{field.name}",
                f"v{i} = {quick} if v{i}.__class__ is {form.kind} else h{i}(v{i})",
            ]
        values = "".join(f"v{i}, " for i in range(len(self.fields)))
        write = self.compiled("write", "o", [*lines, f"return ({values})"], check=self.check)
        return trait(parts=self.attributes)(write)

    def read_hook(self) -> Hook:
        """The inverse. Entries of another writer may have the fields in another order."""
        same = "".join(f" and e[{2 * i}] == {x.name.encode()!r}" for i, x in enumerate(self.fields))
        count = 2 * len(self.fields)
        traced = f"len(e) == {count + 2} and e[{count}] == {TRACE_FIELD!r}"
        # The hooks of int and bool refuse long values themselves. Near the limit, everything is counted.
        wide = [f"len(e[{2 * i + 1}])" for i, x in enumerate(self.forms) if x.kind not in {"int", "bool"}]
        limit = self.most - _LONGEST_NUMBER * (len(self.forms) - len(wide))
        small = f" and {' + '.join(['0', *wide])} <= {limit}"
        lines = [f"if not ((len(e) == {count} or {traced}){same}{small}): return sparse(e)"]
        lines += [f"v{i} = h{i}(e[{2 * i + 1}])" for i in range(len(self.fields))]
        read = self.compiled("decode", "e, _=None", [*lines, *self.construction()], sparse=self._sparse_entry)
        return trait(parts=self._entry_parts)(read)

    def _sparse_entry(self, entry: Sequence[bytes]) -> Any:
        found = self._by_name(entry)
        present = [(x, hook) for x, hook in zip(self.fields, self.hooks, strict=True) if x.name in found]
        return self.cls(**{x.argument: hook(found[x.name]) for x, hook in present})

    def _by_name(self, entry: Sequence[bytes]) -> dict[str, bytes]:
        if len(entry) % 2:
            raise Mismatch("expected fields and values in turn")
        if (size := sum(map(len, entry[1::2]))) > self.most:
            raise too_large(size, self.most)
        found = {x.decode(errors="replace"): y for x, y in zip(entry[::2], entry[1::2], strict=True)}
        found.pop(TRACE_FIELD.decode(), None)
        self.check_names(found)
        return found

    def _entry_parts(self, entry: Sequence[bytes]) -> Iterator[Part]:
        found = self._by_name(entry)
        for field, hook in zip(self.fields, self.hooks, strict=True):
            if field.name in found:
                yield f".{field.name}", found[field.name], hook


@trait()
def _write_int(value: Any) -> bytes:
    return b"%d" % exact_int(value)


@trait()
def _read_int(value: bytes) -> int:
    digits = value[1:] if value[:1] == b"-" else value
    if not digits.isdigit():  # int() alone takes spaces and underscores
        raise refuse("int in decimal", value)
    return int(value)


@trait()
def _write_float(value: Any) -> bytes:
    return repr(exact_float(value)).encode()


@trait()
def _read_float(value: bytes) -> float:
    try:
        if b"_" not in value and value.strip() == value:  # float() alone takes both
            return float(value)
    except ValueError:
        pass
    raise refuse("float", value)


@trait()
def _write_bool(value: Any) -> bytes:
    return b"1" if write_bool(value) else b"0"


@trait()
def _read_bool(value: bytes) -> bool:
    if value == b"1":
        return True
    if value == b"0":
        return False
    raise refuse("bool as 1 or 0", value)


@trait()
def _write_str(value: Any) -> bytes:
    return write_str(value).encode()


@trait()
def _read_str(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        wrong = value[error.start : error.end]
        raise Mismatch(f"expected UTF-8, got {wrong!r} at byte {error.start}") from None


@trait()
def _write_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise refuse("bytes", value)
    return bytes(value)


_FORMS: dict[type, _Form] = {
    int: _Form(_write_int, _read_int, "b'%d' % {v}", "int"),
    float: _Form(_write_float, _read_float, "repr({v}).encode()", "float"),
    bool: _Form(_write_bool, _read_bool, "(b'1' if {v} else b'0')", "bool"),
    str: _Form(_write_str, _read_str, "{v}.encode()", "str"),
    bytes: _Form(_write_bytes, bytes, "{v}", "bytes"),
}
