"""Turns the bytes that a terminal sends into keys, however the bytes are divided among reads.

One key may be one byte or many, and a read may have half a key, or ten of them (key repeat, over SSH). A
sequence is parsed to its end by its grammar (ECMA-48, and what xterm adds) before it is looked up. So an
unknown sequence is one key without a meaning, and is never read as the characters that it contains.
"""

from __future__ import annotations

import re

import attrs

__all__ = ["ESCAPE", "Keys"]

#: The name of the Escape key on its own.
ESCAPE = "escape"

_ESC = 0x1B
#: Sequences with a meaning, also in the form that says "and no other key is held down".
_NAMED = {"[A": "up", "OA": "up", "[1;1A": "up", "[B": "down", "OB": "down", "[1;1B": "down"}
_PASTE, _PASTED = "[200~", b"\x1b[201~"
#: What follows ESC: sequences with parameters or with a text up to a terminator, each whole and incomplete.
_CSI = re.compile(rb"\[(?:\[[ -~]|M[\x00-\xff]{3}|(?![M\[])[0-?]*[ -/]*[@-~])")
_CSI_BEGUN = re.compile(rb"\[(?:\[|M[\x00-\xff]{0,2}|[0-?]*[ -/]*)")
_SS3, _SS3_BEGUN = re.compile(rb"O[0-9;]*[@-~]"), re.compile(rb"O[0-9;]*")
_TEXT = re.compile(rb"[P\]X^_][^\x07\x18\x1a\x1b]*(?:[\x07\x18\x1a]|\x1b\\)")
_TEXT_BEGUN = re.compile(rb"[P\]X^_][^\x07\x18\x1a\x1b]*(?:\x1b\Z)?")
#: How many bytes a character of UTF-8 has, by its first byte.
_WIDTHS = ((0xC2, 0xDF, 2), (0xE0, 0xEF, 3), (0xF0, 0xF4, 4))


@attrs.define
class Keys:
    r"""Collects bytes until they are whole keys.

    Example:
        >>> keys = Keys()
        >>> keys.feed(b"q\x1b[A\x1b[A\x1b[H\x1b[1;"), keys.is_pending, keys.feed(b"5Bj")
        (['q', 'up', 'up'], True, ['j'])
    """

    _rest: bytes = b""
    _pasting: bool = False

    @property
    def is_pending(self) -> bool:
        """Whether there is the beginning of a key; if nothing follows soon, call `flush`."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[str]:
        """The keys that are whole now: characters and names. Keys without a meaning are left out."""
        self._rest += data
        found = []
        while (taken := self._take()) is not None:
            size, key = taken
            self._rest = self._rest[size:]
            if key:
                found.append(key)
        return found

    def flush(self) -> list[str]:
        """The keys after a while of silence: a pending ESC is the Escape key, another beginning is none."""
        if self._pasting:
            return []
        alone = self._rest.strip(b"\x1b") == b"" != self._rest
        self._rest = b""
        return [ESCAPE] if alone else []

    def _take(self) -> tuple[int, str] | None:
        """The size and the meaning of the first key; None while it is not whole."""
        rest = self._rest
        if self._pasting:
            return self._pasted(rest)
        if not rest:
            return None
        if rest[0] != _ESC:
            return _character(rest)
        escapes = len(rest) - len(rest.lstrip(b"\x1b"))
        size = _sequence(rest[escapes:])
        if size is None:
            return None
        text = rest[escapes : escapes + size].decode("latin-1")
        self._pasting = text == _PASTE
        return escapes + size, _NAMED.get(text, "") if escapes == 1 else ""

    def _pasted(self, rest: bytes) -> tuple[int, str] | None:
        """Skip pasted text, which is not keys. Its end may have arrived only in part."""
        before, end, _ = rest.partition(_PASTED)
        if end:
            self._pasting = False
            return len(before) + len(end), ""
        kept = next(n for n in range(len(_PASTED) - 1, -1, -1) if rest.endswith(_PASTED[:n]))
        return (len(rest) - kept, "") if len(rest) > kept else None


def _sequence(rest: bytes) -> int | None:
    """The length of a sequence behind its ESC; None while it is not whole."""
    for whole, begun in ((_CSI, _CSI_BEGUN), (_SS3, _SS3_BEGUN), (_TEXT, _TEXT_BEGUN)):
        if found := whole.match(rest):
            return found.end()
        if found := begun.match(rest):  # followed by something that cannot be part of it
            return None if found.end() == len(rest) else found.end()
    character = _character(rest) if rest else None  # a key with Alt
    return None if character is None else character[0]


def _character(rest: bytes) -> tuple[int, str] | None:
    """The size and the text of a character; for bytes that are none, one byte and no text."""
    width = next((width for least, most, width in _WIDTHS if least <= rest[0] <= most), 1)
    text = rest[:width]
    follows = all(0x80 <= x <= 0xBF for x in text[1:])
    if follows and len(text) < width:
        return None
    try:
        return width, text.decode()
    except UnicodeDecodeError:
        return 1, ""
