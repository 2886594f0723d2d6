"""A route that asks for each held handoff, with the processors that hold and release them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.active import AlertSetup
from alerts.service import AlertService
from console.kafka import connect
from processors.alerts.limits import AlertLimits
from processors.runtime.settings import Settings, load_settings
from schemas.routes import AlertRoutes
from tests.commands import HandoffCommand
from tests.lanes import wait_for
from tests.test_alerts_service import QUICK, Recorder, well
from tests.test_console_running import up

pytestmark = pytest.mark.embedded

DOCUMENTS = """
kind: HandoffContract
id: lead
version: 1
owner: {name: Ana Silva, contact: ana@example.com}
action: Do it.
workflow: lead
from: {team: sales, stage: qualify}
to: {receiver: nurture, stage: nurture}
hold_on: [never_captured]
release_within: PT3S
fields:
  - {name: budget, type: string}
---
kind: Receiver
id: nurture
team: marketing
owners: [{name: Dana Reyes, contact: dana@example.com}]
queue: handoff.queue.nurture
"""
ROUTES = AlertRoutes.model_validate(
    {
        "kind": "AlertRoutes",
        "sinks": {"chat": {"slack": {"token": {"env": "T"}, "channel": "c"}}},
        "routes": [
            {
                "name": "held",
                "match": {"kind": ["held", "held_too_long"]},
                "sink": "chat",
                "held": True,
                "held_too_long": True,
                "group_by": ["kind", "receiver"],
            }
        ],
    }
)


class HeldBench:
    """The processors, what people say, and alerts beside them."""

    def __init__(self, settings: Settings, command: HandoffCommand) -> None:
        self.handoff = command
        self.sink = Recorder("chat", well)
        self._settings = settings
        self._service: AlertService | None = None
        self._number = 0

    def start(self) -> None:
        limits = AlertLimits(group_wait=timedelta(seconds=0.5))
        self._service = AlertService(
            AlertSetup(
                settings=self._settings,
                routes=ROUTES,
                make_sinks=lambda: [self.sink],
                limits=limits,
                pacing=QUICK,
            )
        )
        self._service.start()

    def stop(self) -> None:
        if self._service is not None:
            assert self._service.stop(30)

    def hold(self, task: str) -> str:
        """Have a handoff of the task held; its id."""
        self._number += 1
        output = {
            "id": f"e{self._number}",
            "task_id": task,
            "workflow": "lead",
            "stage": "qualify",
            "tool": "crm",
            "team": "sales",
            "occurred_at": datetime.now(UTC).isoformat(),
            "context": {"name": "x"},
            "handoff": {"to": "nurture"},
        }
        assert self.handoff("send", "-", lines=json.dumps(output)).exit_code == 0
        wait_for(self.held, 30, "it is held")
        return self.held()[0]

    def held(self) -> list[str]:
        found = json.loads(self.handoff("held", "list", "--output", "json").stdout)
        return [each["id"] for each in found]

    def told(self, task: str) -> list[tuple[str, str]]:
        """The kind and action of all that was said of a task."""
        first = [note for note in self.sink.taken if ("for example", task) in note.facts]
        keys = {note.key for note in first}
        return [(n.labels["kind"], n.action) for n in self.sink.taken if n.key in keys]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldBench]:
    (tmp_path / "documents.yaml").write_text(DOCUMENTS)
    (tmp_path / "none.toml").write_text("")
    with up(tmp_path, "--contracts", "documents.yaml") as (_, servers):
        command = HandoffCommand(servers, "handoff.")
        command.environment |= {
            "HANDOFF_APPLICATION_ID": "handoff",
            "HANDOFF_CONFIG": str(tmp_path / "none.toml"),
        }
        for name, value in command.environment.items():
            monkeypatch.setenv(name, value)
        settings = load_settings()
        connect(settings)
        made = HeldBench(settings, command)
        yield made
        made.stop()


def test_each_held_handoff_is_told_and_ends_when_it_is_released(stage: HeldBench) -> None:
    stage.start()
    released = stage.hold("lead-1")
    began = time.monotonic()
    told, late = ("held", "trigger"), ("held_too_long", "trigger")
    wait_for(lambda: told in stage.told("lead-1"), 30, "it is told")
    note = stage.sink.taken[0]
    assert note.title == "A handoff to nurture is held (contract lead, workflow lead)"
    assert ("to act", "Dana Reyes (dana@example.com)") in note.facts
    assert note.command == "handoff held list --receiver nurture"
    wait_for(lambda: late in stage.told("lead-1"), 30, "nobody released it, and that is told")
    assert time.monotonic() - began > 2
    assert stage.handoff("release", released, "--reason", "asked", "--wait", "30").exit_code == 0
    wait_for(lambda: len(stage.told("lead-1")) == 4, 30, "both are over")
    assert sorted(stage.told("lead-1")) == [
        ("held", "resolve"),
        told,
        ("held_too_long", "resolve"),
        late,
    ]


def test_what_is_released_while_nobody_tells_alerts_is_over_when_one_does(stage: HeldBench) -> None:
    stage.start()
    stage.hold("lead-2")
    wait_for(lambda: len(stage.told("lead-2")) == 2, 30, "it is told, and that it is too long")
    stage.stop()
    for each in stage.held():
        assert stage.handoff("discard", each, "--reason", "over", "--wait", "30").exit_code == 0
    stage.start()
    wait_for(lambda: len(stage.told("lead-2")) == 4, 30, "both are over")
    assert {action for _, action in stage.told("lead-2")[2:]} == {"resolve"}
