"""A processor on the secured broker, with the rights that the documentation asks for, and the
command `handoff` as a user whose rights a test chooses."""

import itertools
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner, Result
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from console.commands.documents import load_documents
from console.commands.source_registry import register_sources
from console.kafka import connect, read_table
from console.main import main
from schemas.serde import utc
from tests.instances import GUEST, Instances, prepared
from tests.lanes import wait_for
from tests.rights_documented import Names, documented
from tests.secured import SecuredKafka, environment
from topics.rights import Right

# It stands for all secrets: wherever it is found, one has leaked.
PASSWORD: Final = "Canary-of-a-p4ssword"
DOCUMENTS: Final = """
kind: HandoffContract
id: bug-to-engineering
version: 1
owner: {name: Ana Silva, contact: ana@example.com}
action: Find the cause and say which release fixes it.
workflow: support-ticket
from: {team: support, stage: answer}
to: {receiver: engineering, stage: fix}
fields:
  - {name: error_code, type: string}
  - {name: steps, type: string}
---
kind: Receiver
id: engineering
team: engineering
owners: [{name: Priya Nair, contact: priya@example.com}]
queue: QUEUE
consumer_group: GROUP
"""
SOURCE: Final = """
kind: Source
id: tracker
owner: {name: Ana Silva, contact: ana@example.com}
topic: TOPIC
decode: json
defaults: {task: value.id, workflow: {value: bug}, tool: {value: tracker}, occurred_at: value.at}
emit: [{stage: {value: triage}, context: {summary: value.summary}}]
"""


class Stage:
    """Topics, documents, and all processors, which run as the user `processor`."""

    def __init__(self, broker: SecuredKafka, prefix: str, directory: Path) -> None:
        self.broker, self.prefix, self.directory = broker, prefix, directory
        application = prefix.rstrip(".")
        self.names = Names(prefix, application, f"{prefix}queue", f"{application}-readers")
        self.documents = directory / "documents.yaml"
        text = DOCUMENTS.replace("QUEUE", self.names.queue).replace("GROUP", self.names.group)
        self.settings, self.cluster, _ = prepared(broker.bootstrap_servers, prefix, directory, text)
        foreign = self.names.source
        broker.admin.create_topics([NewTopic(self.names.source, 1, 1)])[self.names.source].result(
            20
        )
        self.source = directory / "source.yaml"
        self.source.write_text(SOURCE.replace("TOPIC", foreign))
        register_sources(self.cluster, load_documents([str(self.source)]), quiet=True)
        self.user, self.processor = f"{application}-person", f"{application}-processor"
        for user in (self.user, self.processor):
            broker.add_user(user, PASSWORD)
        self.needed = {
            *documented("run --processor integrity", self.names),
            *documented("run --processor insights", self.names),
            *documented("run --processor intake", self.names),
        }
        self.instances = Instances(
            self.settings,
            directory,
            ("integrity", "insights", "intake"),
            HANDOFF_LOG_LEVEL="DEBUG",
            HANDOFF_KAFKA__DEBUG="conf",
            HANDOFF_PROBE_INTERVAL="0.5",
            **environment(broker.by_password(self.processor, PASSWORD)),
        )
        self._numbers = itertools.count(1)

    # --- the processor ---------------------------------------------------------------------------

    def start(self) -> None:
        """Run it with exactly the documented rights."""
        self.grant(self.processor, self.needed)
        self.instances.start(GUEST)
        wait_for(lambda: self.log.count("runs on partitions") >= 2, 40, "both run")
        wait_for(lambda: "intake reads" in self.log, 40, "intake reads")

    @property
    def log(self) -> str:
        return self.instances.log(GUEST)

    def logs(self, line: str, since: int | None = None) -> None:
        """Wait for a line that is logged from now on, or was since the log was so long."""
        begin = len(self.log) if since is None else since
        wait_for(lambda: line in self.log[begin:], 30, line)

    def page(self, path: str) -> str:
        """One of its web pages."""
        found = re.search(r"web pages on (http://\S+?)/healthz", self.log)
        assert found is not None
        with urllib.request.urlopen(found[1] + path, timeout=5) as page:
            text: str = page.read().decode()
        return text

    def ready(self) -> dict[str, bool]:
        """Which processors say that they are ready."""
        found = re.findall(r'^handoff_ready{processor="(\w+)"} (\S+)$', self.page("/metrics"), re.M)
        return {name: float(value) == 1 for name, value in found}

    def grant(self, user: str, rights: set[Right]) -> None:
        """All of them; a transactional id is the beginning of many."""
        ids = {right for right in rights if right.kind == "transactional id"}
        self.broker.grant(user, *(rights - ids))
        self.broker.grant(user, *ids, prefixed=True)

    @contextmanager
    def without(self, user: str, right: Right) -> Iterator[None]:
        """While a right that was granted by name is missing."""
        self.broker.revoke(user, right)
        try:
            yield
        finally:
            self.broker.grant(user, right)

    # --- the command -----------------------------------------------------------------------------

    def allow(self, who: str) -> list[Right]:
        """Give the user of the command exactly the documented rights of a row; what they are."""
        rights = documented(who, self.names)
        self.broker.revoke(self.user)
        self.grant(self.user, set(rights))
        return rights

    def __call__(self, *arguments: str, lines: str | None = None, **more: str) -> Result:
        """Run the command as the user; `more` are further environment variables."""
        by = environment(self.broker.by_password(self.user, PASSWORD))
        own = {
            "HANDOFF_TOPIC_PREFIX": self.prefix,
            "HANDOFF_APPLICATION_ID": self.names.application,
            "HANDOFF_BY": "Ana Silva",
        }
        result = CliRunner(env={**by, **own, **more}).invoke(main, arguments, input=lines)
        assert PASSWORD not in result.output
        return result

    # --- what there is ---------------------------------------------------------------------------

    def output(self, task: str, handed_to: str | None = None) -> str:
        """A tool output as a line."""
        found: dict[str, Any] = {
            "id": f"e{next(self._numbers)}",
            "task_id": task,
            "workflow": "support-ticket",
            "stage": "answer",
            "tool": "helpdesk-bot",
            "team": "support",
            "occurred_at": utc(time.time_ns() // 1_000_000).isoformat(),
            "context": {"error_code": "E-4012", "steps": "Rename a folder while it syncs."},
        }
        if handed_to is not None:
            found["handoff"] = {"to": handed_to}
        return json.dumps(found)

    def play(self, *receivers: str) -> None:
        """A tool with its documented rights writes a handoff to each of these receivers, and one
        record that nobody understands."""
        tool = self.names.application + "-tool"
        self.broker.add_user(tool, PASSWORD)
        self.broker.grant(tool, *documented("a tool", self.names))
        by = self.broker.by_password(tool, PASSWORD)
        producer = Producer({**by, "partitioner": "murmur2_random"})
        topic = self.names.topic("tool-outputs")
        for receiver in receivers:
            task = f"T-{next(self._numbers)}"
            producer.produce(topic, self.output(task, receiver), task)
        producer.produce(topic, b"{}", b"T-0")
        assert producer.flush(20) == 0

    def held(self) -> list[str]:
        """The ids of the handoffs that are held."""
        return sorted(self.published("handoff.held"))

    def sent(self) -> dict[str, Any]:
        """A package that was sent."""
        packages = self.published("handoff.packages").values()
        return next(each for each in packages if each["disposition"] == "sent")

    def published(self, topic: str) -> dict[str, Any]:
        """What a topic holds, by key; a person who may see everything looks."""
        table = read_table(connect(self.settings), topic)
        return {key: json.loads(value) for key, value in table.items()}
