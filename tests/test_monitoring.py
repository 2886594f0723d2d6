"""`deploy/monitoring`: rules that Prometheus' own tool checks, a dashboard, and a runbook; all of
them name only what a running process shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from alerts.delivery import SinkFigures
from alerts.heartbeat import Heartbeat
from alerts.status import AlertStatus
from processors.runtime.metrics import page, registry
from processors.runtime.settings import Settings
from processors.runtime.status import LaneStatus
from tests.commands import HandoffCommand
from tests.conftest import cannot_run
from tests.instances import Instances
from tests.receiving import until

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "deploy/monitoring"
PROCESSORS = ("integrity", "insights", "intake")
# What Prometheus itself adds to what it scrapes.
SCRAPED = {"instance", "job", "le"}


def rules() -> list[dict[str, Any]]:
    loaded = YAML(typ="safe").load((FOLDER / "rules.yaml").read_text())
    found: list[dict[str, Any]] = [rule for group in loaded["groups"] for rule in group["rules"]]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression, and where it stands."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def alerts_page() -> str:
    figures = {"chat": SinkFigures(1, 2.0, True, {"failed": 3}, "503")}
    status = AlertStatus()
    status.figures = lambda: figures
    status.left_open["pager"] = 1
    status.heartbeat = Heartbeat(lambda: None, None, [], 60)
    made = CollectorRegistry()
    made.register(status)
    return page(made)


def full_status(processor: str) -> LaneStatus:
    """A lane of which all figures are known."""
    status = LaneStatus(processor)
    for outcome in ("applied", "dead_letters"):
        status.counts[outcome, "topic", ""] = 1
    status.counts["handoffs_begun", "topic", "sent"] = 1
    status.outputs["topic"] = 1
    status.lag["topic", 0] = 1
    status.state[0] = (1, 1)
    status.sources["source", "dead_letters", "reason"] = 1
    status.read_to["source", "topic"] = 1
    status.problems["topic"] = "it does not exist"
    status.observe_batch(0.1)
    status.observe_commit(0.1)
    status.observe_lateness(0.1)
    return status


def labels_of(text: str) -> dict[str, set[str]]:
    """The labels of each sample by its name."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def families_of(text: str) -> set[str]:
    """The names that samples of the families of a page have, whether there are any or not."""
    found = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        endings = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        found |= {name + ending for ending in endings}
    return found


def named(expression: str) -> set[str]:
    return set(re.findall(r"\bhandoff_[a-z_]+", expression))


@pytest.mark.parametrize(
    "command", [["check", "rules", "rules.yaml"], ["test", "rules", "rules-test.yaml"]]
)
@pytest.mark.alertmanager
def test_prometheus_own_tool_finds_the_rules_right(command: list[str]) -> None:
    if shutil.which("promtool") is None:
        cannot_run("alertmanager", "promtool is not installed")
    ran = subprocess.run(
        ["promtool", *command], cwd=FOLDER, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "SUCCESS" in ran.stdout


def test_each_rule_is_seen_to_fire_and_not_to_fire() -> None:
    tests = YAML(typ="safe").load((FOLDER / "rules-test.yaml").read_text())["tests"]
    seen: dict[str, set[bool]] = {}
    for test in tests:
        for each in test["promql_expr_test"]:
            (alert,) = re.findall(r'alertname="(\w+)"', each["expr"])
            seen.setdefault(alert, set()).add(bool(each["exp_samples"]))
    assert seen == {rule["alert"]: {True, False} for rule in rules()}


def test_each_rule_has_an_entry_in_the_runbook_and_no_entry_is_left_over() -> None:
    text = (ROOT / "docs/runbook.md").read_text()
    parts = re.split(r"^## (\w+)$", text, flags=re.MULTILINE)
    entries = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(entries) == [rule["alert"] for rule in rules()]
    for rule in rules():
        anchor = rule["annotations"]["runbook"]
        assert anchor == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("error", "warning")
        entry = entries[rule["alert"]]
        assert re.findall(r"^\*\*(\w+)\.\*\*", entry, re.MULTILINE) == ["Means", "Look", "Do"]


def test_every_metric_is_shown_by_a_process_that_runs(
    handoff: HandoffCommand, tmp_path: Path
) -> None:
    instances = Instances(Settings(), tmp_path, PROCESSORS)
    instances.start(0)
    try:
        until(lambda: "web pages on" in instances.log(0), "it has web pages", limit=60)
        (address,) = re.findall(r"web pages on (http://[^/]+)/healthz", instances.log(0))
        text = until(lambda: metrics_page(address), "it shows metrics")
    finally:
        instances.end()
    shown = families_of(text) | families_of(alerts_page())
    missing = {where: named(each) - shown for where, each in expressions()}
    assert {where: names for where, names in missing.items() if names} == {}


def metrics_page(address: str) -> str:
    try:
        with urllib.request.urlopen(address + "/metrics", timeout=5) as answer:
            found: str = answer.read().decode()
            return found
    except OSError:
        return ""


def test_every_label_that_is_asked_for_is_one_of_its_metric() -> None:
    known = labels_of(page(registry([full_status("integrity")]))) | labels_of(alerts_page())
    wrong = []
    for where, expression in expressions():
        names = named(expression)
        everywhere = set.union(*(known[name] for name in names)) | SCRAPED
        for by in re.findall(r"by \(([^)]*)\)", expression):
            wrong += [(where, label) for label in by.split(", ") if label not in everywhere]
        for name, inside in re.findall(r"(handoff_[a-z_]+)\{([^}]*)\}", expression):
            asked = set(re.findall(r"(\w+)=", inside))
            wrong += [(where, label) for label in asked - known[name]]
    assert wrong == []


def test_a_sinks_outcomes_are_there_from_the_start() -> None:
    """Prometheus sees no increase where a series begins."""
    lines = alerts_page().splitlines()
    assert 'handoff_alert_messages_total{outcome="refused",sink="chat"} 0.0' in lines
    assert 'handoff_alert_messages_total{outcome="failed",sink="chat"} 3.0' in lines
    assert 'handoff_alert_sink_up{sink="chat"} 0.0' in lines


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    board = json.loads((FOLDER / "dashboard.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
