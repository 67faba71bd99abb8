"""The dashboard and the page of the documentation speak of the metrics that there are."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from runnel_trio.metrics import families

FAMILIES = {family.name: family for family in families()}
ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "contrib" / "grafana" / "runnel-trio.json").read_text(encoding="utf-8"))
PANELS = DASHBOARD["panels"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
#: What a family is asked for by, and the labels that it has there.
SAMPLES = {
    name + suffix: {*family.labels, *(["le"] if suffix == "_bucket" else [])}
    for name, family in FAMILIES.items()
    for suffix in (("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",))
}
#: What Prometheus adds.
OF_PROMETHEUS = {"instance", "job"}


def names(text: str) -> set[str]:
    return set(re.findall(r"\brunnel_\w+", text))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_that_a_panel_asks_for_exists_with_those_labels(expression: str) -> None:
    assert names(expression)
    for name, selected in re.findall(r"(runnel_\w+)(?:\{([^}]*)\})?", expression):
        assert set(re.findall(r"(\w+)=", selected)) <= SAMPLES[name]
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        (first, *_) = names(expression)
        assert set(grouped.split(", ")) <= SAMPLES[first] | OF_PROMETHEUS


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_legends_name_labels_that_are_there(panel: Any) -> None:
    for target in panel["targets"]:
        labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        grouped = re.search(r"\bby \(([^)]*)\)", target["expr"])
        (first, *_) = names(target["expr"])
        there = set(grouped[1].split(", ")) if grouped else SAMPLES[first] | OF_PROMETHEUS
        assert labels <= there


def test_every_metric_has_its_place_on_the_dashboard() -> None:
    shown = {
        name.removesuffix(x)
        for name in names(" ".join(EXPRESSIONS))
        for x in ("", "_bucket", "_sum", "_count")
    }
    assert shown >= FAMILIES.keys()


def test_variables_ask_for_metrics_that_exist() -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            assert names(variable["definition"]) <= SAMPLES.keys()
            assert variable["query"]["query"] == variable["definition"]


def test_panels_stand_beside_each_other() -> None:
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in PANELS]
    assert len(set(places)) == len(places)
    assert len({p["id"] for p in PANELS}) == len(PANELS)
    assert len({p["title"] for p in PANELS}) == len(PANELS)


def test_the_table_of_the_documentation_is_the_present_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs" / "tools")
    table = importlib.import_module("metrics_table")
    page = table.PAGE.read_text(encoding="utf-8")
    assert table.written(page) == page, "python docs/tools/metrics_table.py"
    assert all(f"``{name}``" in page for name in FAMILIES)
