"""The console in a real browser on a broker: without a processor, and without the broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from console.brokers import EmbeddedBroker
from processors.runtime.settings import load_settings
from tests.browser.chromium import ChromiumWindow
from tests.commands import HandoffCommand
from tests.test_console_running import COMMAND
from web.serving import address, listen, serving

SECONDS = 40.0  # for a processor to start, or a broker to be missed
DOCUMENTS = """
kind: Receiver
id: nurture
team: farmers
owners: [{name: Dana Reyes, contact: dana@example.com}]
---
kind: HandoffContract
id: lead
version: 1
owner: {name: Ana Silva, contact: ana@example.com}
action: Call them.
workflow: sales
from: {team: hunters, stage: qualify}
to: {receiver: nurture, stage: nurture}
hold_on: [never_captured]
fields:
  - {name: email, rebuild: false}
"""


def lead(number: int) -> str:
    """An output that hands a lead on without its e-mail address."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    said = {
        "id": f"e-{number}", "task_id": f"lead-{number}", "workflow": "sales", "stage": "qualify",
        "tool": "crm", "occurred_at": at, "context": {"budget": 7}, "handoff": {"to": "nurture"},
    }  # fmt: skip
    return json.dumps(said) + "\n"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker of this test alone, as it is stopped for a while."""
    with EmbeddedBroker(tmp_path / "broker") as made:
        yield made


@pytest.fixture
def handoff(
    broker: EmbeddedBroker, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> HandoffCommand:
    """The command on that broker, with the contract registered."""
    monkeypatch.chdir(tmp_path)
    command = HandoffCommand(broker.bootstrap_servers, prefix)
    for name, value in command.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "documents.yaml").write_text(DOCUMENTS)
    for words in ("topics apply", "receivers apply documents.yaml",
                  "contracts apply documents.yaml"):  # fmt: skip
        found = command(*words.split())
        assert found.exit_code == 0, found.output
    return command


@pytest.fixture
def url(handoff: HandoffCommand) -> Iterator[str]:
    """The console on that broker."""
    settings = load_settings()
    listening = listen("127.0.0.1", 0)
    with serving(settings, listening):
        yield address(settings, listening)


@contextmanager
def processor(folder: Path) -> Iterator[None]:
    """`handoff run`, until the block ends."""
    with (folder / "run.log").open("ab") as log:
        process = subprocess.Popen(
            [*COMMAND, "run"],
            env=os.environ | {"HANDOFF_WEB_PORT": "0", "TMPDIR": str(folder)},
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def until(window: ChromiumWindow, true: Callable[[], object], what: str) -> None:
    window.until(true, what, SECONDS)


def hold_one(window: ChromiumWindow, url: str, handoff: HandoffCommand, folder: Path) -> None:
    """Let a processor hold a handoff, and end it when the page shows that."""
    with processor(folder):
        assert handoff("send", "-", lines=lead(1)).exit_code == 0
        window.open(f"{url}/held")
        until(
            window,
            lambda: window.count("button.fresh-rows") or window.count("tbody tr"),
            "what is held",
        )


def test_what_is_asked_while_no_processor_runs_is_answered_when_one_does(
    window: ChromiumWindow, url: str, handoff: HandoffCommand, tmp_path: Path
) -> None:
    hold_one(window, url, handoff, tmp_path)
    window.open(f"{url}/held")
    window.click("main tbody a")
    window.type("#why-release", "They know them.")
    window.click("button", "Release it")
    window.until_text("Requested. The processor has not answered yet", "#held-state")
    window.until_text("not answered yet. A processor that runs answers within", "#held-state")
    waiting = window.find("#held-state time[data-ago]")
    window.until(lambda: waiting.text not in ("", "0 s"), "how long it waits")
    assert "handoff doctor" in window.text("#held-state")
    with processor(tmp_path):
        window.until_text("It is held no more: its state is sent", "#held-state", SECONDS)
    assert "Answered:" in window.text("#held-state")


def test_a_broker_that_goes_away_is_told_and_so_is_its_return(
    window: ChromiumWindow, url: str, handoff: HandoffCommand, broker: EmbeddedBroker,
    tmp_path: Path,
) -> None:  # fmt: skip
    assert broker.pid is not None
    hold_one(window, url, handoff, tmp_path)
    window.open(f"{url}/held")
    window.until_text("Live.", "#live")
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        window.until_text("does not answer", "#fresh", SECONDS)
        assert "As of" in window.text("#fresh")
        assert "all that was on the topics" not in window.text("#fresh")
        assert "lead-1" in window.text("table[data-rows=held]")  # lists are still there
        window.open(f"{url}/task?id=lead-1")
        window.until_text("Not now", "main")
        assert "broker" in window.text("main")
        window.open(f"{url}/held")
        window.until_text("Live.", "#live")
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    window.until_text("with all that was on the topics", "#fresh", SECONDS)
    assert "does not answer" not in window.text("#fresh")
    with processor(tmp_path):
        assert handoff("send", "-", lines=lead(2)).exit_code == 0
        window.until_text("1 new: show", "main", SECONDS)
