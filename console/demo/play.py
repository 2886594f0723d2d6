"""`handoff demo`: three stories of broken handoffs, told through the real thing.

An embedded broker, the topics, the registered documents and `handoff run` in a process of its own;
what is shown was read back from Kafka, committed. At the end one alert of it, raised and resolved.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.resources import as_file, files
from pathlib import Path

from console import render
from console.brokers import EmbeddedBroker, dying_with_us
from console.commands.documents import (
    load_documents,
    register_contracts,
    register_receivers,
)
from console.commands.topics import make_topics
from console.demo.alerting import DemoAlerts
from console.demo.stage import DemoStage
from console.demo.stories import STORIES
from console.folder import temporary
from console.kafka import Cluster, connect
from processors.runtime.ending import Ending
from processors.runtime.settings import Settings


def play(ending: Ending, keep: Callable[[Settings], None] | None = None) -> None:
    """Play all stories to the terminal, then call `keep` while all of it still runs. Raises
    `CommandError`, `BrokerError`, `TopicError`, and `Ended` soon after `ending` is asked."""
    terminal = render.console()
    began = time.monotonic()
    terminal.print("Starting an embedded broker, the topics and the processor ...", style="dim")
    with ExitStack() as stack:
        directory = stack.enter_context(temporary("handoff-demo"))
        broker = EmbeddedBroker(directory / "broker", meanwhile=ending.check)
        stack.enter_context(broker)
        cluster = _prepared(broker.bootstrap_servers, ending)
        processor = stack.enter_context(_Processor(directory, broker.bootstrap_servers))
        stage = DemoStage(terminal, cluster, processor, ending)
        stack.callback(stage.close)
        alerts = DemoAlerts(cluster, directory, ending)
        stack.callback(alerts.close)
        for story in STORIES:
            stage.play(story)
        alerts.show(terminal)
        stage.summarise(time.monotonic() - began)
        if keep is not None:
            keep(_settings(broker.bootstrap_servers))


def _prepared(servers: str, ending: Ending) -> Cluster:
    """A cluster with the topics and the documents of all stories, whatever the environment says."""
    settings = _settings(servers)
    make_topics(connect(settings))
    ending.check()
    with as_file(files(__package__)) as folder:
        found = load_documents(str(folder / f"{story.name}.yaml") for story in STORIES)
    ending.check()
    register_receivers(connect(settings), found, quiet=True)
    make_topics(connect(settings))  # the receivers' queues
    ending.check()
    register_contracts(connect(settings), found, quiet=True)
    return connect(settings)


def _settings(servers: str) -> Settings:
    """The settings of the demo, whatever the environment says."""
    return Settings.model_construct(kafka_bootstrap_servers=servers)


class _Processor:
    """`handoff run` in a process of its own, which ends with this one."""

    def __init__(self, directory: Path, servers: str) -> None:
        self._directory = directory
        self._log = directory / "processor.log"
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith("HANDOFF_")
        }
        self._environment = clean | {
            "HANDOFF_KAFKA_BOOTSTRAP_SERVERS": servers,
            "HANDOFF_ORDINAL": "0",
            "HANDOFF_WEB_PORT": "0",
        }

    def __enter__(self) -> "_Processor":
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                dying_with_us([sys.executable, "-m", "console", "run"]),
                cwd=self._directory,  # no handoff.toml of the user's lies there
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ended(self) -> bool:
        """Whether it has ended, which it should not."""
        return self._process.poll() is not None

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-5:])
