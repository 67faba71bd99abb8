"""The file of figures: a run of some groups replaces their rows, and leaves those of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def merged(old: dict[str, Any], new: dict[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """Both, with the groups in this order; groups of the new run say when they were measured.

    A run of all groups stands by itself.
    """
    ran = {group["name"] for group in new["groups"]}
    kept = [group for group in old["groups"] if group["name"] not in ran]
    if not kept:
        return new
    groups = kept + [{**group, "measured": new["about"]} for group in new["groups"]]
    rows = [row for row in old["rows"] if row["group"] not in ran] + new["rows"]
    return {
        "about": old["about"],
        "groups": sorted(groups, key=lambda group: order.index(group["name"])),
        "rows": sorted(rows, key=lambda row: order.index(row["group"])),
    }
