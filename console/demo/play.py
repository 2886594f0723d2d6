"""`handoff demo`: three stories of broken handoffs, told through the real thing.

An embedded broker, the topics, the registered documents and `handoff run` in a process of its own;
what is shown was read back from Kafka, committed.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from console import render
from console.brokers import EmbeddedBroker, dying_with_us
from console.commands.documents import (
    load_documents,
    register_contracts,
    register_receivers,
    registered_contracts,
)
from console.commands.topics import make_topics
from console.errors import FOUND_PROBLEMS, CommandError
from console.kafka import Cluster, Reader, Writer, connect
from console.lines import TOOL_OUTPUTS, Line, read_lines
from processors.runtime.settings import Settings
from schemas.flow import Record
from schemas.records import Package, Signal, ToolOutput, Violation

PATIENCE = 30.0  # seconds for one handoff, the processor's own start among them
_TOPICS = ("handoff.packages", "handoff.held", "handoff.violations", "handoff.signals")


@dataclass(frozen=True)
class Story:
    """One zone: its documents and outputs are `<name>.yaml` and `<name>.jsonl` beside this file.

    `told` says a sentence before the handoff of an event; a handoff without one is shown in a line.
    """

    name: str
    title: str
    before: str
    told: dict[str, str]
    after: str


STORIES = (
    Story(
        "sales",
        "Sales to marketing: the conversation stays behind",
        "A call told sales what a lead fears, when it decides and what it can spend. What reaches "
        "marketing is what the CRM copies: a name, an e-mail, and a line of prose.",
        {
            "crm-1": "Name and e-mail arrive. The conversation and the objections do not; the date "
            "of the decision stands only in the words of the summary.",
            "crm-2": "Two budgets were named in this call. Which one holds? The contract allows no "
            "guess, so the field stays open and its owner is told.",
            "crm-3": "And this is how it looks when nothing is lost.",
        },
        "Dropped fields came back from the same task's earlier outputs, each with its origin.",
    ),
    Story(
        "operations",
        "Operations to support: other words, other shapes",
        "Operations numbers its customers and speaks of SEV1; support files them by C-4411 and "
        "knows urgent, high and normal. And support looks into its queue twice a day.",
        {
            "ops-771": "Nothing is missing here, and yet support cannot file it: a number where it "
            "keeps text, and a priority that it does not have.",
            "ops-772": "The same tool with the agreed words: P1 becomes urgent on the way.",
        },
        "The deadline is 12 hours because support looks every 12: `handoff contracts lint` refuses "
        "a contract that promises an answer before anyone has looked.",
    ),
    Story(
        "support",
        "Support to engineering: the same failure, and nobody there",
        "Five customers, one failure. Each ticket is escalated in prose to a queue whose last "
        "owner left long ago.",
        {
            "esc-310": "The error code stands in the text, the steps nowhere; the task knows both. "
            "But nobody answers for this queue: the package is held, not lost.",
            "esc-315": "Somebody tries another address, and it does not exist.",
        },
        "Nothing went to a queue that nobody reads, and each sender was told so at once.",
    ),
)


@dataclass
class Outcome:
    """What became of one handoff."""

    package: Package | None = None
    violations: dict[str, Violation] = field(default_factory=dict)
    signal: Signal | None = None

    def whole(self) -> bool:
        """Whether all that belongs to it was read."""
        return (
            self.package is not None
            and self.signal is not None
            and self.violations.keys() >= set(self.package.violations)
        )


def play() -> None:
    """Play all stories to the terminal. Raises `CommandError`, `BrokerError`, `TopicError`."""
    terminal = render.console()
    began = time.monotonic()
    terminal.print("Starting an embedded broker, the topics and the processor ...", style="dim")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="handoff-demo-")))
        broker = stack.enter_context(EmbeddedBroker(directory / "broker"))
        cluster = _prepared(broker.bootstrap_servers)
        processor = stack.enter_context(_Processor(directory, broker.bootstrap_servers))
        stage = _Stage(terminal, cluster, processor)
        stack.callback(stage.close)
        for story in STORIES:
            stage.play(story)
        stage.summarise(time.monotonic() - began)


def _prepared(servers: str) -> Cluster:
    """A cluster with the topics and the documents of all stories, whatever the environment says."""
    settings = Settings.model_construct(kafka_bootstrap_servers=servers)
    make_topics(connect(settings))
    with as_file(files(__package__)) as folder:
        found = load_documents(str(folder / f"{story.name}.yaml") for story in STORIES)
    register_receivers(connect(settings), found, quiet=True)
    make_topics(connect(settings))  # the receivers' queues
    register_contracts(connect(settings), found, quiet=True)
    return connect(settings)


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
                dying_with_us([sys.executable, "-m", "console.main", "run"]),
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


class _Stage:
    """Sends the outputs of a story and shows what comes of them."""

    def __init__(self, terminal: Console, cluster: Cluster, processor: _Processor) -> None:
        self._terminal = terminal
        self._processor = processor
        self._writer = Writer(cluster)
        self._reader = Reader(cluster, _TOPICS, from_beginning=True)
        self._contracts = render.Contracts(registered_contracts(cluster))
        self._outcomes: dict[str, dict[str, Outcome]] = {}

    def play(self, story: Story) -> None:
        """One story, from its first output to its last handoff."""
        self._terminal.print()
        self._terminal.print(Rule(Text(story.title, "bold"), align="left"))
        self._terminal.print(Text(story.before))
        outcomes = self._outcomes[story.name] = {}
        for line, output in _outputs(story.name):
            self._writer.write(TOOL_OUTPUTS, output.task_id.encode(), line, [], output.id)
            if output.handoff is not None:
                self._writer.flush()
                outcomes[output.id] = self._outcome(output.id)
                self._show(output, outcomes[output.id], story.told.get(output.id))
        self._terminal.print()
        self._terminal.print(Text(story.after, "italic"))

    def _outcome(self, event_id: str) -> Outcome:
        outcome = Outcome()
        limit = time.monotonic() + PATIENCE
        while not outcome.whole():
            record = self._reader.poll(0.1)
            if record is not None:
                _take(outcome, record, event_id)
            elif self._processor.ended() or time.monotonic() > limit:
                raise CommandError(
                    f"the processor did not answer to {event_id}; its last words:\n"
                    f"{self._processor.last_words()}",
                    FOUND_PROBLEMS,
                )
        return outcome

    def _show(self, output: ToolOutput, outcome: Outcome, told: str | None) -> None:
        assert outcome.package is not None
        assert outcome.signal is not None
        if told is None:
            counts = Counter(each.kind for each in outcome.violations.values())
            kinds = ", ".join(f"{kind} {number}" for kind, number in counts.items())
            again = f"{output.task_id}: the same again, {outcome.package.disposition} ({kinds})"
            self._terminal.print(Text(again, "dim"))
            return
        self._terminal.print()
        self._terminal.print(Text(told))
        self._terminal.print(render.package(outcome.package, self._contracts))
        for violation in outcome.violations.values():
            self._terminal.print(render.violation(violation, brief=True))
        self._terminal.print(render.signal(outcome.signal))

    def summarise(self, seconds: float) -> None:
        """One row a story."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("handoffs from")
        for heading in (
            "sent",
            "held",
            "from the sender",
            "the receiver gets",
            "violations",
        ):
            table.add_column(heading, justify="right")
        for story in STORIES:
            outcomes = list(self._outcomes[story.name].values())
            packages = [each.package for each in outcomes if each.package is not None]
            held = sum(each.disposition == "held" for each in packages)
            table.add_row(
                story.title.partition(":")[0],
                str(len(packages) - held),
                str(held),
                _mean([each.fidelity for each in packages]),
                _mean([each.completeness for each in packages]),
                str(sum(len(each.violations) for each in outcomes)),
            )
        self._terminal.print()
        self._terminal.print(Rule(Text("What was seen", "bold"), align="left"))
        self._terminal.print(table)
        self._terminal.print()
        self._terminal.print(
            Text(
                f"Every record above went through Kafka, exactly once, in {seconds:.0f} seconds. "
                "Your own: `handoff up --contracts PATH`, then `handoff send FILE.jsonl`.",
                "dim",
            )
        )

    def close(self) -> None:
        """Give the connections back."""
        self._writer.flush()
        self._reader.close()


def _outputs(name: str) -> Iterator[tuple[bytes, ToolOutput]]:
    """A story's outputs, moved in time so that the last one is now."""
    with as_file(files(__package__) / f"{name}.jsonl") as path:
        lines = list(read_lines(str(path)))
    last = max(line.occurred_at or 0 for line in lines)
    now = datetime.now(UTC).replace(microsecond=0)
    for line in lines:
        yield _moved(line, now - timedelta(milliseconds=last - (line.occurred_at or 0)))


def _moved(line: Line, when: datetime) -> tuple[bytes, ToolOutput]:
    members = msgspec.json.decode(line.value, type=dict[str, msgspec.Raw])
    members["occurred_at"] = msgspec.Raw(msgspec.json.encode(when))
    value = msgspec.json.encode(members)
    return value, msgspec.json.decode(value, type=ToolOutput)


def _take(outcome: Outcome, record: Record, event_id: str) -> None:
    """Keep a record that belongs to the handoff of `event_id`; the demo sends one at a time."""
    assert record.value is not None
    if record.topic == "handoff.violations":
        violation = msgspec.json.decode(record.value, type=Violation)
        if violation.event_id == event_id:
            outcome.violations[violation.id] = violation
    elif record.topic == "handoff.signals":
        outcome.signal = msgspec.json.decode(record.value, type=Signal)
    else:
        outcome.package = msgspec.json.decode(record.value, type=Package)


def _mean(shares: list[float | None]) -> str:
    known = [share for share in shares if share is not None]
    return render.percent(sum(known) / len(known) if known else None)
