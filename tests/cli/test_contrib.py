"""What contrib tells systemd and Kubernetes is what the command line has; what it writes can be read."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import urllib.request
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


def test_both_wait_for_longer_than_events_in_hand_may_take() -> None:
    assert int(value(UNIT, "TimeoutStopSec").removesuffix("s")) > 2 * float(DEFAULTS["default_grace_period"])
    given = re.search(r'RUNNEL_DEFAULT_GRACE_PERIOD\s+value: "(\d+)"', WORKER)
    assert given is not None
    assert int(value(WORKER, "terminationGracePeriodSeconds")) >= int(given[1]) + 10
    assert not re.search(r"^ *preStop:", WORKER, re.MULTILINE), "it would take some of that time"


def test_what_kubernetes_starts_answers_its_probes(started: Any, reads: Any) -> None:
    name, *words = json.loads(value(WORKER, "command"))
    assert name == "runnel-trio"
    given = {word.partition("=")[0]: word.partition("=")[2] for word in words}
    assert given["--metrics-host"] == "0.0.0.0"
    assert (
        given["--metrics-port"] == value(WORKER, "containerPort") == value(WORKER, "prometheus.io/port")[1:-1]
    )
    here = [word for word in words if not word.startswith("--metrics-")]
    worker = started(*here, "--embedded", "--metrics-port=0")
    port = reads(worker, r"serving-metrics .*port=(\d+)")[1]
    reads(worker, "running app=shop")
    probes = re.findall(r"(\w+)Probe:\s+httpGet:\s+path: (/\w+)\s+port: metrics$", WORKER, re.MULTILINE)
    assert probes == [("readiness", "/readyz"), ("liveness", "/healthz")]
    for path in [path for _, path in probes] + [value(WORKER, "prometheus.io/path")]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            assert answer.status == 200


def test_a_probe_of_liveness_is_as_patient_as_the_stall_limit() -> None:
    probe = WORKER.partition("livenessProbe:")[2].partition("env:")[0]
    patience = int(value(probe, "periodSeconds")) * int(value(probe, "failureThreshold"))
    assert patience >= float(DEFAULTS["stall_limit"])


def test_systemd_starts_rolls_and_stops_a_supervisor(started: Any, reads: Any) -> None:
    start = value(UNIT, "ExecStart")
    assert start.startswith("/srv/%i/.venv/bin/runnel-trio run %i:app ")
    assert re.search(r"^Environment=WORKERS=\d+$", UNIT, re.MULTILINE)
    words = start.replace("%i", "shop").replace("${WORKERS}", "1").split()[1:]
    run = started(*words, "--embedded")
    reads(run, "running app=shop")
    for key, said in (("ExecReload", "rolled seconds="), ("KillSignal", "supervisor-stopped code=0")):
        (name,) = re.findall(r"(?:SIG|-)([A-Z]+)(?: \$MAINPID)?$", value(UNIT, key))
        run.send_signal(signal.Signals[f"SIG{name}"])
        reads(run, said)
    assert run.wait(60) == 0
    assert value(UNIT, "KillMode") == "mixed", "the signal is for the supervisor alone"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "runnel-trio@shop.service"
    unit.write_text(UNIT.replace("/srv/%i/.venv/bin/runnel-trio", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if unit.name in line] == []


def test_systemd_starts_again_what_may_pass_and_nothing_else() -> None:
    hopeless = {int(code) for code in value(UNIT, "RestartPreventExitStatus").split()}
    assert hopeless == {Exit.USAGE, Exit.REFUSED, Exit.CONFIG}


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
