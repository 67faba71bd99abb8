"""Every way in which a field can name a type: now or later, quoted or not, here or in a function, by each Python."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from runnel_trio._codec import JSONSerializer, RecordCodec, make_converter
from runnel_trio.exceptions import Misconfigured

#: Each makes a class `Made`, and a value of it. None has `from __future__ import annotations`, but as the tests add it.
FORMS = {
    "a type": "class Made(Record):\n    x: int\nvalue = Made(x=1)",
    "quoted": "class Made(Record):\n    x: 'int'\nvalue = Made(x=1)",
    "itself, quoted": "class Made(Record):\n    x: 'Made | None' = None\nvalue = Made(x=Made())",
    "itself, quoted within": "class Made(Record):\n    x: Optional['Made'] = None\nvalue = Made(x=Made())",
    "itself, in a list": "class Made(Record):\n    x: list['Made']\nvalue = Made(x=[Made(x=[])])",
    "a known class, quoted": "class A(Record):\n    n: int\nclass Made(Record):\n    x: 'A'\nvalue = Made(x=A(n=1))",
    "a later class, quoted": "class Made(Record):\n    x: 'A'\nclass A(Record):\n    n: int\nvalue = Made(x=A(n=1))",
    "a later class, in a dict": """
        class Made(Record):
            x: dict[str, 'A']
        class A(Record):
            n: int
        value = Made(x={'a': A(n=1)})
        """,
    "a later class, annotated": """
        class Made(Record):
            x: Annotated['A', 'a word']
        class A(Record):
            n: int
        value = Made(x=A(n=1))
        """,
    "two that name each other": """
        class Made(Record):
            x: 'A | None' = None
        class A(Record):
            made: 'Made | None' = None
        value = Made(x=A(made=Made()))
        """,
    "inherited": """
        class A(Record):
            x: 'A | None' = None
        class Made(A):
            y: int = 1
        value = Made(x=A())
        """,
    "a dataclass that names itself": """
        @dataclass
        class A:
            x: 'A | None' = None
        class Made(Record):
            x: 'A'
        value = Made(x=A(A()))
        """,
    "an attrs class that names itself": """
        @attrs.define
        class A:
            x: 'A | None' = None
        class Made(Record):
            x: 'A'
        value = Made(x=A(x=A()))
        """,
    "primitive, quoted": "class Made(Record, primitive=True):\n    x: 'int'\n    y: 'str'\nvalue = Made(x=1, y='a')",
    "in a function": """
        def make():
            class A(Record):
                n: int
            class Made(Record):
                x: 'A'
                y: 'Made | None' = None
            return Made, Made(x=A(n=1), y=Made(x=A(n=2)))
        Made, value = make()
        """,
}
#: Written so, they fail in the class statement itself before Python 3.14.
SINCE_314 = {
    "itself": "class Made(Record):\n    x: Made | None = None\nvalue = Made(x=Made())",
    "a later class": "class Made(Record):\n    x: A\nclass A(Record):\n    n: int\nvalue = Made(x=A(n=1))",
    "a later class, in a list": "class Made(Record):\n    x: list[A]\nclass A(Record):\n    n: int\nvalue = Made(x=[A(n=1)])",
    "an attrs class that names a later one": """
        @attrs.define
        class A:
            x: B | None = None
        class Made(Record):
            x: A
        class B(Record):
            n: int
        value = Made(x=A(x=B(n=1)))
        """,
    "in a function, a later one": """
        def make():
            class Made(Record):
                x: A
                y: Made | None = None
            class A(Record):
                n: int
            return Made, Made(x=A(n=1), y=Made(x=A(n=2)))
        Made, value = make()
        """,
}
#: As above; they never name a type.
NEVER = {
    "quoted": "class Made(Record):\n    x: 'Nothing'",
    "in a list": "class Made(Record):\n    x: list['Nothing']",
    "for type checkers only": """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from decimal import Decimal as Nothing
        class Made(Record):
            x: 'Nothing'
        """,
}
HEAD = "import attrs\nfrom dataclasses import dataclass\nfrom typing import Annotated, Optional\nfrom runnel_trio import Record\n"
FUTURE = "from __future__ import annotations\n"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """What a module has that is written so."""

    def make(text: str) -> Any:
        made = ModuleType("of_a_user")
        monkeypatch.setitem(sys.modules, made.__name__, made)
        future = FUTURE if text.startswith(FUTURE) else ""
        exec(compile(future + HEAD + textwrap.dedent(text.removeprefix(FUTURE)), "of_a_user", "exec", dont_inherit=True), made.__dict__)  # fmt: skip
        return made

    return make


def codec_of(made: Any) -> RecordCodec:
    return RecordCodec(made.Made, JSONSerializer(), make_converter())


def comes_back(made: Any) -> bool:
    codec = codec_of(made)
    return bool(codec.decode(list(codec.encode(made.value))) == made.value)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_field_may_name_its_type_in_any_way(module: Callable[[str], Any], form: str) -> None:
    assert comes_back(module(form))


WITH_FUTURE = {
    name: text for name, text in (FORMS | SINCE_314).items() if name != "in a function, a later one"
}


@pytest.mark.parametrize("form", WITH_FUTURE.values(), ids=WITH_FUTURE)
def test_so_it_may_where_annotations_are_text(module: Callable[[str], Any], form: str) -> None:
    assert comes_back(module(FUTURE + form))


@pytest.mark.skipif(sys.version_info < (3, 14), reason="these names are looked up by the class statement")
@pytest.mark.parametrize("form", SINCE_314.values(), ids=SINCE_314)
def test_names_without_quotes_may_come_later(module: Callable[[str], Any], form: str) -> None:
    assert comes_back(module(form))


@pytest.mark.parametrize("form", NEVER.values(), ids=NEVER)
@pytest.mark.parametrize("future", ["", FUTURE], ids=["", "future"])
def test_a_name_that_is_nowhere_is_told(module: Callable[[str], Any], form: str, future: str) -> None:
    made = module(future + form)
    with pytest.raises(Misconfigured, match=r"Made.*cannot be resolved: name 'Nothing' is not defined"):
        codec_of(made)
