"""What contrib tells systemd and Kubernetes is what the command line has; what it writes can be read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from runnel_trio._cli import cli
from runnel_trio._cli._errors import Exit
from runnel_trio.settings import describe

ROOT = Path(__file__).parents[2]
CONTRIB = ROOT / "contrib"
FILES = sorted(path for path in CONTRIB.rglob("*") if path.is_file())
UNIT = (CONTRIB / "systemd" / "runnel-trio@.service").read_text()
WORKER = (CONTRIB / "kubernetes" / "worker.yaml").read_text()
COMPOSE = ROOT / "src" / "runnel_trio" / "_cli" / "templates" / "compose.yaml.template"
MANIFESTS = [*(CONTRIB / "kubernetes").glob("*.yaml"), COMPOSE]
DEFAULTS = {x.name: x.default for x in describe()}
VARIABLES = {x.variable for x in describe()}


def value(text: str, key: str) -> str:
    (found,) = re.findall(rf"^\s*{re.escape(key)}\s*[=:]\s*(.+)$", text, re.MULTILINE)
    return str(found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_commands_options_variables_and_settings_that_are_named_exist(path: Path) -> None:
    text = path.read_text()
    for command in re.findall(r"(?:bin/|^\s*)runnel-trio ([\w-]+)", text, re.MULTILINE):
        assert command in cli.commands
    options = {option for command in cli.commands.values() for x in command.params for option in x.opts}
    others = re.compile(r"^.*\b(?:systemctl|kubectl)\b.*$", re.MULTILINE)
    for option in re.findall(r"(?<!\S)--[\w-]+", others.sub("", text)):
        assert option in options
    assert set(re.findall(r"RUNNEL_[A-Z_]+", text)) <= VARIABLES
    assert set(re.findall(r"\bdefault_\w+", text)) <= DEFAULTS.keys()


def test_there_is_something_to_compare() -> None:
    text = "".join(path.read_text() for path in FILES)
    for named in ("runnel-trio run", "--redis-url", "RUNNEL_REDIS_URL", "default_lock_expiry"):
        assert named in text


def test_both_run_a_worker() -> None:
    assert value(UNIT, "ExecStart") == "/srv/%i/.venv/bin/runnel-trio run %i:app"
    assert value(WORKER, "command") == '["runnel-trio", "run", "shop:app"]'


def test_both_wait_for_longer_than_events_in_hand_may_take() -> None:
    assert int(value(UNIT, "TimeoutStopSec").removesuffix("s")) > 2 * float(DEFAULTS["default_grace_period"])
    given = re.search(r'RUNNEL_DEFAULT_GRACE_PERIOD\s+value: "(\d+)"', WORKER)
    assert given is not None
    assert int(value(WORKER, "terminationGracePeriodSeconds")) >= int(given[1]) + 10
    assert "probe:" not in WORKER.lower()


def test_systemd_starts_again_what_may_pass_and_nothing_else() -> None:
    hopeless = {int(code) for code in value(UNIT, "RestartPreventExitStatus").split()}
    assert hopeless == {Exit.USAGE, Exit.REFUSED, Exit.CONFIG}
    assert value(UNIT, "KillSignal") == "SIGTERM"


def test_figures_in_comments_are_the_defaults() -> None:
    for text in (UNIT, WORKER):
        for name, said in re.findall(r"(\w*(?:grace_period|partition_count)) \((\d+)", text):
            assert DEFAULTS[name if name in DEFAULTS else f"default_{name}"] == said


def test_passwords_come_from_where_only_few_can_read_them() -> None:
    assert "secretKeyRef" in WORKER.partition("RUNNEL_REDIS_URL")[2][:200]
    assert "EnvironmentFile=" in UNIT
    for text in (UNIT, WORKER):
        lines = [line for line in text.splitlines() if not line.strip().startswith("#")]
        assert "redis://" not in "\n".join(lines)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_yaml_can_be_read(path: Path) -> None:
    yaml: Any = pytest.importorskip("yaml", reason="PyYAML is none of our dependencies")
    (document,) = yaml.safe_load_all(path.read_text())
    assert isinstance(document, dict)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_yaml_is_indented_by_two_and_has_each_key_once(path: Path) -> None:
    above: list[tuple[int, set[str]]] = []
    for line in path.read_text().splitlines():
        found = re.match(r"( *)((?:- )?)([\w./-]+):(?: |$)", line)
        if line.strip().startswith("#") or not found:
            continue
        assert "\t" not in line
        depth = len(found[1]) + len(found[2])
        assert depth % 2 == 0, line
        while above and (above[-1][0] > depth or (found[2] and above[-1][0] == depth)):
            above.pop()
        if not above or above[-1][0] < depth:
            above.append((depth, set()))
        assert found[3] not in above[-1][1], line
        above[-1][1].add(found[3])


def test_the_valkey_of_new_projects_refuses_rather_than_forgets() -> None:
    text = COMPOSE.read_text()
    for words in ("--appendonly yes", "--maxmemory-policy noeviction", "healthcheck:", "valkey:/data"):
        assert words in text
