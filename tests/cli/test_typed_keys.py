"""Keys are parsed whole, whatever a terminal sends and however it is cut into reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnel_trio._cli._keys import ESCAPE, Keys

#: What a terminal sends, and the keys that it means.
SENT: list[tuple[str, bytes, list[str]]] = [
    ("a character", b"q", ["q"]),
    ("several in one read", b"qq\x03", ["q", "q", "\x03"]),
    ("an arrow", b"\x1b[A", ["up"]),
    ("an arrow in application mode", b"\x1bOB", ["down"]),
    ("an arrow that says: no other key", b"\x1b[1;1B", ["down"]),
    ("key repeat", b"\x1b[A\x1b[A\x1b[B", ["up", "up", "down"]),
    ("an arrow with Ctrl", b"\x1b[1;5A", []),
    ("an arrow with Alt, as rxvt has it", b"\x1b\x1b[A", []),
    ("Home", b"\x1b[H", []),
    ("Home, as rxvt has it", b"\x1b[7~", []),
    ("Delete", b"\x1b[3~", []),
    ("F1", b"\x1bOP", []),
    ("F1 on Linux' console", b"\x1b[[A", []),
    ("F1 with Shift", b"\x1b[1;2P", []),
    ("F5", b"\x1b[15~", []),
    ("q with Alt", b"\x1bq", []),
    ("an umlaut with Alt", "\x1bü".encode(), []),
    ("q by kitty's protocol", b"\x1b[113;5u", []),
    ("a click, SGR", b"\x1b[<0;13;7M\x1b[<0;13;7m", []),
    ("a click, X10", b"\x1b[M !q", []),
    ("focus", b"\x1b[I\x1b[O", []),
    ("who the terminal is", b"\x1b[?64;1;2c", []),
    ("where the cursor is", b"\x1b[24;80R", []),
    ("its colours, with BEL", b"\x1b]11;rgb:00/qq/py\x07", []),
    ("its colours, with ST", b"\x1b]11;rgb:00/qq/py\x1b\\", []),
    ("a device's string", b"\x1bP1$r0 q\x1b\\", []),
    ("a string that is cut off by a key", b"\x1b]0;q\x1b[A", ["up"]),
    ("a paste", b"\x1b[200~pyq\x1b[A\x1b[201~", []),
    ("a paste of the beginning of its end", b"\x1b[200~py\x1b[201\x1b[20\x1b[201~", []),
    ("a character of two bytes", "é".encode(), ["é"]),
    ("one of four", "🦀".encode(), ["🦀"]),
    ("bytes that are no character", b"\xff\xc3q\x9b", ["q"]),
    ("half a sequence, and Ctrl-C", b"\x1b[12\x03", ["\x03"]),
    ("an intermediate byte", b"\x1b[0 q", []),
]  # fmt: skip
IDS = [name for name, *_ in SENT]


def pressed(*reads: bytes) -> list[str]:
    """The keys of these reads, and of a while without one."""
    keys = Keys()
    return [key for read in reads for key in keys.feed(read)] + keys.flush()


@pytest.mark.parametrize(("sent", "meant"), [row[1:] for row in SENT], ids=IDS)
def test_what_is_sent_means_these_keys_and_no_others(sent: bytes, meant: list[str]) -> None:
    assert pressed(sent) == meant
    keys = Keys()
    assert keys.feed(sent + b"j") == [*meant, "j"], "what follows is not swallowed"
    assert not keys.is_pending


@pytest.mark.parametrize("sent", [b"\x1b", b"\x1b\x1b"])
def test_escape_is_a_key_once_nothing_has_followed(sent: bytes) -> None:
    keys = Keys()
    assert keys.feed(sent) == []
    assert keys.is_pending
    assert keys.flush() == [ESCAPE]
    assert (keys.is_pending, keys.flush()) == (False, [])


@pytest.mark.parametrize("sent", [b"\x1b[", b"\x1b[1;", b"\x1bO", b"\x1b[M!", b"\x1b]0;q", b"\x1bP", b"\xc3"])
def test_the_beginning_of_a_key_that_does_not_go_on_is_none(sent: bytes) -> None:
    assert pressed(sent) == []
    assert pressed(sent, b"") == []


def test_a_paste_ends_at_its_end_however_long_that_takes() -> None:
    keys = Keys()
    assert keys.feed(b"\x1b[200~py") == []
    assert keys.flush() == []
    assert keys.feed(b"pyq\x1b[2") == []
    assert keys.flush() == []
    assert keys.feed(b"01~j") == ["j"]


PARTS = st.sampled_from([sent for _, sent, _ in SENT] + [b"\x1b", b"[", b"O", b"]", b"P", b"M", b"~", b"\\"])


@given(parts=st.lists(PARTS | st.binary(max_size=3), max_size=8), data=st.data())
def test_however_it_is_cut_into_reads_it_means_the_same(parts: list[bytes], data: st.DataObject) -> None:
    sent = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=12)))
    reads = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert pressed(*reads) == pressed(sent)
    assert pressed(*(sent[n : n + 1] for n in range(len(sent)))) == pressed(sent)
