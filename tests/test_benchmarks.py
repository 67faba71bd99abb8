"""The benchmarks run, and the page shows what they found. How fast it is, no test says."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import budget, compare, crowd, environments, figures, rounds, scenarios, table  # noqa: E402 (not installed)
from benchmarks.contenders import named  # noqa: E402
from benchmarks.growth import Cost  # noqa: E402
from benchmarks.rows import rows  # noqa: E402
from benchmarks.scenario import RATE, Bar, Group, Scenario  # noqa: E402
from benchmarks.scenarios.peers import PEERS, among  # noqa: E402

#: One of each kind: a loop by hand, sending, consuming, the server's side, a worker in a process of its own.
REPRESENTATIVE = [
    "send(1000 records)",
    "records(), stdlib json",
    "max_unacked=1",
    "100 keys",
    "and by sending, beyond the XADD itself",
    "start to first event",
]


@pytest.fixture
def page() -> ModuleType:
    """The script that writes the page's tables and plots."""
    path = ROOT / "docs" / "tools" / "benchmarks_table.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


def found(title: str = "consume", ratios: tuple[float, ...] = (2.0, 2.1, 2.2), **other: object) -> dict:
    """A row as the JSON file has it."""
    low, ratio, high = sorted(ratios)
    row = {"group": "g", "title": title, "bar": "", "peer": "", "shown": "100/s", "value": 100.0, "met": None}
    return row | {"more_is_better": True, "ratio": ratio, "low": low, "high": high} | other


# The runner


def test_scenarios_run_and_have_their_rows(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = run("benchmarks", *REPRESENTATIVE, "--quick", "--json", str(figures))
    assert done.returncode == 0, done.stderr
    measured = json.loads(figures.read_text())
    assert len(measured["rows"]) >= len(REPRESENTATIVE)
    for row in measured["rows"]:
        assert row["shown"] in done.stdout
        assert row["low"] <= (row["ratio"] or row["value"]) <= row["high"]
        assert row["met"] is not None


def test_every_scenario_has_its_contenders() -> None:
    names = [name for group in scenarios.GROUPS for name in group.contenders()]
    assert all(callable(named(name)) for name in names)
    for group in among(PEERS):
        for row in group.scenarios:
            if row.peer:
                own = row.contender.split("/")[1]
                assert f'"{own}":' in (ROOT / "benchmarks" / "peers" / f"{row.peer}.py").read_text()


def test_the_list_has_every_group() -> None:
    done = run("benchmarks", "--list")
    assert done.returncode == 0, done.stderr
    for group in [*scenarios.GROUPS, *among(PEERS)]:
        assert f"\n{group.name}: " in done.stdout


def test_words_narrow_to_groups_and_to_parts_of_titles() -> None:
    everything = [*scenarios.GROUPS, *among(PEERS)]
    assert [group.name for group in scenarios.narrowed(everything, ["consuming"])] == [
        "consuming",
        "peers-consuming",
    ]
    (only,) = scenarios.narrowed(everything, ["primitive"])
    assert [row.title for row in only.scenarios] == ["primitive records"]


@pytest.mark.parametrize(
    ("text", "shown", "ratio", "met"),
    [
        ("≥ 1.8 x", 0, 1.8, True),
        ("≥ 1.8 x", 9, 1.79, False),
        ("≤ 1.3 x", 9, 1.3, True),
        ("< 0.3 %", 0.3, None, False),
        ("≤ 12 KiB", 12, 99.0, True),
    ],
)
def test_a_bar_is_of_the_ratio_or_of_what_is_shown(text: str, shown: float, ratio: float, met: bool) -> None:
    assert Bar.of(text).met(shown, ratio) is met


def test_a_bar_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="is no bar"):
        Scenario("title", "ours/consume", RATE, bar="fast")


def test_ratios_are_taken_within_a_round() -> None:
    group = Group("g", "G", "", [Scenario("faster", "ours/a", RATE, "by-hand/b", "≥ 2 x")])
    played = rounds.Rounds("", 1, [group])
    for ours, theirs in ((100, 50), (30, 10), (80, 20)):
        played.found.append({("g", "ours/a"): {"rate": ours}, ("g", "by-hand/b"): {"rate": theirs}})
    (row,) = rows(played)
    assert (row["value"], row["ratio"], row["low"], row["high"], row["met"]) == (80, 3.0, 2.0, 4.0, True)


def test_a_contender_that_fails_costs_its_rows_alone() -> None:
    group = Group("g", "G", "", [Scenario("a", "ours/a", RATE), Scenario("b", "ours/b", RATE)])
    played = rounds.Rounds("", 1, [group], found=[{("g", "ours/a"): {"rate": 1.0}}])
    played.failed["g", "ours/b"] = "it broke"
    assert [row.get("failed") for row in rows(played)] == [None, "ours/b: it broke"]
    assert any("failed: ours/b: it broke" in line for line in table.lines([group], rows(played)))


def test_a_peer_that_cannot_be_installed_takes_no_part(monkeypatch, capsys) -> None:
    def installed(peer):
        raise rounds.Failed("no such package")

    monkeypatch.setattr(environments, "installed", installed)
    assert environments.ready(environments.chosen("streaq")) == ([], {}, {})
    assert capsys.readouterr().err == "streaq takes no part: no such package\n"


def test_an_unknown_peer_is_refused_with_those_there_are() -> None:
    with pytest.raises(LookupError, match="there are faststream, coredis, streaq, runnel, and all"):
        environments.chosen("kafka")


# Two runs side by side


def compared(tmp_path: Path, old: list[dict], new: list[dict]) -> int:
    paths = [tmp_path / "old.json", tmp_path / "new.json"]
    for path, those in zip(paths, (old, new), strict=True):
        about = {"machine": "this one", "python": "3.11", "events": 1}
        path.write_text(json.dumps({"about": about, "rows": those}))
    return compare.main([str(path) for path in paths])


@pytest.mark.parametrize(
    ("new", "mark", "code"),
    [
        (found(ratios=(2.05, 2.1, 2.3)), "", 0),
        (found(ratios=(1.9, 1.95, 1.99)), "worse", 0),
        (found(ratios=(1.0, 1.1, 1.2)), "REGRESSED", 1),
        (found(ratios=(3.0, 3.1, 3.2)), "better", 0),
        (found(ratios=(1.0, 1.1, 2.15)), "", 0),
    ],
)
def test_a_change_counts_beyond_both_spreads(tmp_path, capsys, new, mark, code) -> None:
    assert compared(tmp_path, [found()], [new]) == code
    assert re.search(r"%\s*(\w*)$", capsys.readouterr().out.strip())[1] == mark


def test_more_of_what_should_be_little_is_a_regression(tmp_path) -> None:
    old = found(more_is_better=False, ratio=None, value=1.0, low=0.9, high=1.1)
    assert compared(tmp_path, [old], [{**old, "value": 2.0, "low": 1.9, "high": 2.1}]) == 1
    assert compared(tmp_path, [{**old, "title": "another"}], [old]) == 0


def test_a_run_of_some_groups_leaves_the_rows_of_the_others() -> None:
    def ran(load: str, *names: str) -> dict:
        rows = [found(group=name, shown=load) for name in names]
        return {"about": {"load": load}, "groups": [{"name": name} for name in names], "rows": rows}

    order = ["a", "b", "c"]
    both = figures.merged(ran("then", "a", "c"), ran("now", "b", "c"), order)
    assert [(row["group"], row["shown"]) for row in both["rows"]] == [
        ("a", "then"),
        ("b", "now"),
        ("c", "now"),
    ]
    assert [group.get("measured") for group in both["groups"]] == [None, {"load": "now"}, {"load": "now"}]
    assert figures.merged(ran("then", "a"), ran("now", "a", "b"), order) == ran("now", "a", "b")


# The page


def test_the_page_and_its_plots_show_the_figures_beside_them(page: ModuleType) -> None:
    assert page.written(page.PAGE.read_text()) == page.PAGE.read_text()
    for path, text in page.plots().items():
        assert path.read_text() == text


def test_the_page_has_every_scenario(page: ModuleType) -> None:
    shown = json.loads(page.FIGURES.read_text())["rows"]
    wanted = [(group.name, row.title) for group in scenarios.GROUPS for row in group.scenarios]
    assert [(row["group"], row["title"]) for row in shown if not row["group"].startswith("peers")] == wanted


def test_a_plot_has_a_bar_for_each_ratio_and_takes_the_page_s_colour(page: ModuleType) -> None:
    those = [
        found("a < b", bar="≥ 4 x", met=False),
        found("no ratio", ratio=None),
        found("c", bar="", met=None),
    ]
    plot = ET.fromstring(page.chart("Title", those))
    assert plot.get("fill") == "currentColor"
    tag = "{http://www.w3.org/2000/svg}"
    assert [text.text for text in plot.iter(f"{tag}text")] == [
        "a < b",
        "2.10 \N{MULTIPLICATION SIGN}",
        "c",
        "2.10 \N{MULTIPLICATION SIGN}",
    ]
    assert [rect.get("fill") for rect in plot.iter(f"{tag}rect")] == [page.MISSED, page.PLAIN]
    assert [mark.text for mark in plot.iter(f"{tag}title")] == ["≥ 4 \N{MULTIPLICATION SIGN}"]


def test_plots_can_be_read_on_a_phone(page: ModuleType) -> None:
    """A column of 342 pixels has text of 11 pixels, and each label fits."""
    for text in page.plots().values():
        plot = ET.fromstring(text)
        width = float(str(plot.get("viewBox")).split()[2])
        assert float(str(plot.get("font-size"))) * 342 / width >= 11
        for label in plot.iter("{http://www.w3.org/2000/svg}text"):
            assert float(str(label.get("x"))) + 7 * len(str(label.text)) <= width


# Scale and handover


def test_growth_is_told_where_one_more_costs_more_than_before() -> None:
    total, each = Cost("a", "memory", kind="total"), Cost("a", "rate", kind="rate")
    linear = [(1, {"a": 11.0}), (10, {"a": 20.0}), (100, {"a": 110.0})]
    assert not list(total.steps("units", linear))
    steep = [*linear, (200, {"a": 500.0})]
    (told,) = total.steps("units", steep)
    assert told == "memory: from 100 to 200 units, one more costs 3.9 times as much as in the step before"
    (told,) = each.steps("units", [(1, {"a": 100.0}), (2, {"a": 90.0}), (4, {"a": 45.0})])
    assert told == "rate: an event costs 2.0 times as much at 4 units as at 2"


def test_a_crowd_joins_and_leaves_in_virtual_time() -> None:
    counted = crowd.gather(5, partitions=10)
    assert counted["join_calls"] > counted["leave_calls"] > 0


def test_scale_says_how_it_grows() -> None:
    done = run("benchmarks", "scale", "sizes", "--most", "500", "--events", "200")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:5]] == ["sizes", "bytes", "50", "500"]


def test_the_handover_of_partitions_is_measured() -> None:
    done = run("benchmarks", "handover", "--rounds", "1", "--partitions", "4", "--expiry", "1")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [line[2] for line in lines] == ["joins", "leaves", "is"]


def test_the_budget_tells_samples_apart_by_their_stacks(tmp_path: Path) -> None:
    ran = "unrolled_run (trio/_core/_run.py:1);"
    stacks = {
        ran + "run (runnel_trio/_worker/_member/_committer.py:1);pack (redis/connection.py:1)": 1,
        "worker_fn (trio/_threads.py:1);_receive (runnel_trio/_broker/_redis/_transport/_blocking_read.py:1);gets (redis:1)": 2,
        ran + "each (contenders/ours.py:1);handler (middleware/_deliver.py:1);<build Order> (<build>:1)": 3,
        ran + "each (contenders/ours.py:1);handler (middleware/_deliver.py:1)": 4,
        ran + "each (contenders/ours.py:1)": 5,
        ran + "get_events (trio/_core/_io_epoll.py:1)": 5,
        "<module> (contenders/ours.py:1);import (importlib:1)": 100,
    }
    profile = tmp_path / "profile"
    profile.write_text("".join(f"{stack} {count}\n" for stack, count in stacks.items()))
    found = {name.split(":")[0]: round(20 * part) for name, part in budget.shares(profile).items()}
    assert found == {
        "commit": 1, "read": 2, "record": 3, "chain": 4, "the user's function": 5, "Trio's loop": 5
    }  # fmt: skip


def test_the_budget_reads_what_perf_counts() -> None:
    report = """# started on Wed Nov 25 15:00:00 2026

1234.56,msec,task-clock,1234567890,100.00,0.900,CPUs utilized
<not supported>,,cycles,0,100.00,,
87,,context-switches:u,1234567890,100.00,70.0,/sec
"""
    assert budget.counted(report) == {"task-clock": 1234.56, "context-switches": 87.0}
