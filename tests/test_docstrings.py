"""The examples in docstrings run.

pytest's own collection would leave out the methods of public classes, because these say that they are from
``runnel_trio``, and not from the file that they stand in.
"""

from __future__ import annotations

import ast
import doctest
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "runnel_trio"
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def examples() -> Iterator[tuple[str, str, str, int]]:
    """Module, name, text and line of every docstring that has an example."""
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, Documented):
                text = ast.get_docstring(node) or ""
                if ">>>" in text:
                    name = getattr(node, "name", "module")
                    yield module, name, text, getattr(node, "lineno", 1)


EXAMPLES = list(examples())


@pytest.mark.parametrize(
    ("module", "name", "text", "line"), EXAMPLES, ids=[f"{x[0]}.{x[1]}" for x in EXAMPLES]
)
def test_the_example_runs(module: str, name: str, text: str, line: int) -> None:
    names = dict(vars(importlib.import_module(module)))
    example = doctest.DocTestParser().get_doctest(text, names, name, module, line)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert not said, "".join(said)


def test_there_are_examples_of_all_that_is_declared() -> None:
    named = {x[1] for x in EXAMPLES}
    assert {"App", "stream", "processor", "task", "timer", "crontab", "Record", "partition_of"} <= named
