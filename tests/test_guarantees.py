"""The page of guarantees: every promise names the tests that show it, and they exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reference" / "guarantees.rst").read_text(encoding="utf-8")
NAMED = re.compile(r"``(tests/[\w/]+\.py)::(\w+)``")


def rows() -> list[str]:
    """The rows of all tables, without their heads."""
    tables = PAGE.split(".. list-table::")[1:]
    return [row for table in tables for row in table.split("   * - ")[2:]]


@cache
def functions_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {x.name for x in tree.body if isinstance(x, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_fault_of_a_deployment_has_its_cells() -> None:
    part = PAGE.partition("\nBy deployment\n")[2].partition("\nNot promised\n")[0]
    table = [row.split("\n     - ") for row in part.split("   * - ")[2:]]
    assert {row[0] for row in table} == {"one server", "Sentinel", "cluster", "TLS"}
    assert [row for row in table if len(row) != 4 or not all(cell.strip() for cell in row)] == []
    assert [row for row in table if not NAMED.search(row[3])] == []


def test_there_are_promises() -> None:
    assert len(rows()) > 25
    assert [row for row in rows() if not row.strip()] == []


@pytest.mark.parametrize("row", rows(), ids=lambda row: " ".join(row.split())[:40])
def test_every_line_names_a_test(row: str) -> None:
    assert NAMED.search(row)


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED.findall(PAGE))), ids=lambda part: part)
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    assert name.startswith("test_")
    assert name in functions_of(file)


def test_every_gate_is_named() -> None:
    files = (path.relative_to(ROOT) for path in (ROOT / "tests" / "faults").glob("test_*.py"))
    gates = {name for file in files for name in functions_of(str(file)) if name.startswith("test_gate")}
    assert len(gates) >= 8
    assert gates <= {name for _, name in NAMED.findall(PAGE)}
