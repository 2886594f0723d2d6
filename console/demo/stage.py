"""Plays the scenes of a story: sends what the story sends, and shows what comes of it.

Only what was read back from Kafka, committed, is shown; nothing is computed here.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.resources import as_file, files
from typing import Protocol

import msgspec
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from console import render
from console.commands.documents import (
    read_documents,
    register_receivers,
    shown_by,
)
from console.demo.stories import (
    STORIES,
    Appointment,
    Crowd,
    DemoStory,
    ReceiverReply,
    Repair,
    Scene,
    Silence,
    Tools,
)
from console.errors import FOUND_PROBLEMS, CommandError
from console.kafka import Cluster, TopicReader, Writer, connect
from console.lines import TOOL_OUTPUTS, Line, read_lines
from processors.contracts.registry import RECEIVERS
from processors.runtime.ending import Ending
from schemas.documents import Receiver, ReceiverOwner
from schemas.flow import Record
from schemas.loading import Documents
from schemas.records import (
    Ack,
    Amendment,
    Package,
    Pattern,
    Signal,
    SignalKind,
    ToolOutput,
    Violation,
)

PATIENCE = 90.0  # seconds for one scene on a slow machine, the start of the processor among them
_TOPICS = (
    "handoff.packages",
    "handoff.held",
    "handoff.violations",
    "handoff.signals",
    "handoff.patterns",
)


class ProcessorProcess(Protocol):
    """The process that judges."""

    def ended(self) -> bool:
        """Whether it has ended, which it should not."""

    def last_words(self) -> str:
        """The end of its log."""


@dataclass
class HandoffOutcome:
    """What has become of one handoff so far. `fresh` is what was not shown yet, as it came."""

    package: Package | None = None
    violations: dict[str, Violation] = field(default_factory=dict)
    signals: dict[SignalKind, Signal] = field(default_factory=dict)
    fresh: list[Violation | Signal] = field(default_factory=list)

    def whole(self) -> bool:
        """Whether all that belongs to its package was read."""
        return (
            self.package is not None
            and bool(self.signals)
            and self.violations.keys() >= set(self.package.violations)
        )

    def has(self, kind: str, status: str) -> bool:
        """Whether a violation of a kind is opened, or resolved, by now."""
        return any(v.kind == kind and v.status == status for v in self.violations.values())

    def all_resolved(self) -> bool:
        """Whether no violation is open."""
        return all(violation.status == "resolved" for violation in self.violations.values())


class DemoStage:
    """Plays stories one after the other, on one cluster. Raises `Ended` soon after `ending` is
    asked."""

    def __init__(
        self, terminal: Console, cluster: Cluster, processor: ProcessorProcess, ending: Ending
    ) -> None:
        self._terminal = terminal
        self._processor = processor
        self._ending = ending
        self._cluster = cluster
        self._writer = Writer(cluster)
        self._reader = TopicReader(cluster, _TOPICS, from_beginning=True)
        self._contracts = shown_by(cluster)
        self._outcomes: dict[str, HandoffOutcome] = {}  # by handoff id
        self._handoffs: dict[str, dict[str, HandoffOutcome]] = {}  # by story, by event id
        self._patterns: dict[str, Pattern] = {}  # by id, as they are now

    def play(self, story: DemoStory) -> None:
        """One story, from its first output to its last word."""
        self._terminal.print()
        self._terminal.print(Rule(Text(story.title, "bold"), align="left"))
        self._terminal.print(Text(story.before))
        begun = self._handoffs[story.name] = {}
        for scene in story.scenes:
            self._scene(scene, begun)
        self._terminal.print()
        self._terminal.print(Text(story.after, "italic"))

    def _scene(self, scene: Scene, begun: dict[str, HandoffOutcome]) -> None:
        self._ending.check()
        match scene:
            case Tools():
                self._tools(scene, begun)
            case Crowd():
                self._crowd(scene)
            case Silence():
                self._silence(scene, begun[scene.handoff])
            case ReceiverReply():
                self._answer(scene, begun[scene.handoff])
            case Repair():
                self._repair(scene, begun[scene.handoff])
            case Appointment():
                self._appoint(scene, begun)

    # --- scenes -------------------------------------------------------------------------------

    def _tools(self, scene: Tools, begun: dict[str, HandoffOutcome]) -> None:
        for line, output in _outputs(scene.file):
            self._writer.write(TOOL_OUTPUTS, output.task_id.encode(), line, [], output.id)
            if output.handoff is None and output.id not in scene.implicit:
                continue
            self._writer.flush()
            outcome = begun[output.id] = self._begun_by(output.id)
            told = scene.told.get(output.id)
            if told is None:
                package = _package(outcome)
                kinds = ", ".join(dict.fromkeys(v.kind for v in outcome.violations.values()))
                again = f"{output.task_id}: the same again, {package.disposition} ({kinds})"
                self._terminal.print(Text(again, "dim"))
                outcome.fresh.clear()
            else:
                self._say(told)
                self._show(outcome, package=True)

    def _crowd(self, scene: Crowd) -> None:
        self._say(scene.told)
        for line, output in _outputs(scene.file):
            self._writer.write(TOOL_OUTPUTS, output.task_id.encode(), line, [], output.id)
        self._writer.flush()

        def repeated() -> list[Pattern]:
            # It is told again when its count has doubled, so the last word may be of half of them.
            return [
                each
                for each in self._patterns.values()
                if each.kind == "repeat" and 2 * each.count > scene.repeats
            ]

        def is_whole() -> bool:
            return bool(repeated()) and set(scene.causes) <= set(self._open_causes())

        self._until(is_whole, scene.file)
        for each in repeated():
            self._terminal.print(render.pattern(each, self._contracts))

    def _open_causes(self) -> list[str]:
        """The kinds of the patterns that are open. On a slow machine there are more: what is mended
        within the ten seconds of `settle` opens none."""
        return [each.kind for each in self._patterns.values() if each.status != "closed"]

    def _silence(self, scene: Silence, outcome: HandoffOutcome) -> None:
        self._say(scene.told)
        self._until(
            lambda: "stalled" in outcome.signals and outcome.has("not_accepted", "opened"),
            scene.handoff,
        )
        self._show(outcome)

    def _answer(self, scene: ReceiverReply, outcome: HandoffOutcome) -> None:
        self._say(scene.told)
        self._write("handoff.acks", _ack(scene, _package(outcome)))
        # What is completed keeps no violation; what was late has one that ends now.
        self._until(
            lambda: (
                scene.status in outcome.signals
                and (scene.status != "completed" or outcome.all_resolved())
                and (not scene.late or outcome.has("not_accepted", "resolved"))
            ),
            scene.handoff,
        )
        self._show(outcome, brief=scene.status == "completed")

    def _repair(self, scene: Repair, outcome: HandoffOutcome) -> None:
        self._say(scene.told)
        before = _package(outcome)
        self._write("handoff.amendments", _amendment(scene, before))

        def done() -> bool:
            if scene.action == "discard":
                return "discarded" in outcome.signals and outcome.all_resolved()
            if _package(outcome).revision == before.revision:
                return False
            if scene.action == "release":
                return "released" in outcome.signals
            left = [v for v in outcome.violations.values() if v.field in scene.fields]
            return all(violation.status == "resolved" for violation in left)

        self._until(done, scene.handoff)
        self._show(outcome, package=scene.action != "discard", brief=scene.action == "discard")

    def _appoint(self, scene: Appointment, begun: dict[str, HandoffOutcome]) -> None:
        """Register a receiver again, with one person as its owner."""
        self._say(scene.told)
        found = read_documents(connect(self._cluster.settings), RECEIVERS)[scene.receiver]
        assert isinstance(found, Receiver)
        owner = ReceiverOwner(name=scene.name, contact=scene.contact)
        changed = found.model_copy(update={"owners": (owner,)})
        cluster = connect(self._cluster.settings)
        register_receivers(cluster, Documents((), (changed,)), quiet=True)
        kinds: dict[str, SignalKind] = dict.fromkeys(scene.reassigned, "reassigned")
        kinds |= dict.fromkeys(scene.released, "released")
        shown: set[SignalKind] = set()
        for event_id, kind in kinds.items():
            outcome = begun[event_id]
            self._until(partial(_owned, outcome, kind), event_id)
            if kind in shown:
                again = f"{_package(outcome).task_id}: the same, {kind}"
                self._terminal.print(Text(again, "dim"))
            else:
                self._show(outcome, brief=True)
            shown.add(kind)

    # --- reading and showing ------------------------------------------------------------------

    def _say(self, told: str) -> None:
        self._terminal.print()
        self._terminal.print(Text(told))

    def _begun_by(self, event_id: str) -> HandoffOutcome:
        """The handoff that an event began, once all of it was read."""

        def found() -> HandoffOutcome | None:
            for outcome in self._outcomes.values():
                package = outcome.package
                if package is not None and package.event_id == event_id and outcome.whole():
                    return outcome
            return None

        self._until(lambda: found() is not None, event_id)
        outcome = found()
        assert outcome is not None
        return outcome

    def _until(self, condition: Callable[[], bool], event_id: str) -> None:
        limit = time.monotonic() + PATIENCE
        while not condition():
            self._ending.check()
            record = self._reader.poll(0.1)
            if record is not None:
                self._take(record)
            elif self._processor.ended() or time.monotonic() > limit:
                raise CommandError(
                    f"the processor did not answer to {event_id}; its last words:\n"
                    f"{self._processor.last_words()}",
                    FOUND_PROBLEMS,
                )

    def _take(self, record: Record) -> None:
        """Keep a record with the handoff that it is about; a tombstone says nothing new."""
        if record.value is None:
            return
        if record.topic == "handoff.violations":
            violation = msgspec.json.decode(record.value, type=Violation)
            if violation.handoff_id is not None:
                outcome = self._outcomes.setdefault(violation.handoff_id, HandoffOutcome())
                outcome.violations[violation.id] = violation
                outcome.fresh.append(violation)
        elif record.topic == "handoff.patterns":
            pattern = msgspec.json.decode(record.value, type=Pattern)
            self._patterns[pattern.id] = pattern
        elif record.topic == "handoff.signals":
            signal = msgspec.json.decode(record.value, type=Signal)
            outcome = self._outcomes.setdefault(signal.handoff_id, HandoffOutcome())
            outcome.signals[signal.kind] = signal
            outcome.fresh.append(signal)
        else:
            package = msgspec.json.decode(record.value, type=Package)
            outcome = self._outcomes.setdefault(package.id, HandoffOutcome())
            if outcome.package is None or outcome.package.revision < package.revision:
                outcome.package = package

    def _show(self, outcome: HandoffOutcome, *, package: bool = False, brief: bool = False) -> None:
        """What came since the last time: the package if wanted, violations, then signals.

        `brief` counts the violations that were resolved.
        """
        if package:
            self._terminal.print(render.package(_package(outcome), self._contracts))
        violations = [each for each in outcome.fresh if isinstance(each, Violation)]
        for violation in () if brief else violations:
            self._terminal.print(render.violation(violation, brief=True))
        for signal in outcome.fresh:
            if isinstance(signal, Signal):
                self._terminal.print(render.signal(signal))
        if brief and violations:
            word = "violation" if len(violations) == 1 else "violations"
            self._terminal.print(Text(f"           {len(violations)} {word} resolved", "dim"))
        outcome.fresh.clear()

    def _write(self, topic: str, record: Ack | Amendment) -> None:
        value = msgspec.json.encode(record)
        self._writer.write(topic, record.task_id.encode(), value, [], record.id)
        self._writer.flush()

    # --- the end ------------------------------------------------------------------------------

    def summarise(self, seconds: float) -> None:
        """One row a story."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("handoffs from")
        for heading in ("begun", "held", "arrived", "receiver gets", "violations", "resolved"):
            table.add_column(heading, justify="right")
        for story in STORIES:
            outcomes = list(self._handoffs[story.name].values())
            packages = [_package(each) for each in outcomes]
            violations = [v for each in outcomes for v in each.violations.values()]
            table.add_row(
                story.title.partition(":")[0],
                str(len(packages)),
                str(sum("held" in each.signals for each in outcomes)),
                _mean([each.fidelity for each in packages]),
                _mean([each.completeness for each in packages]),
                str(len(violations)),
                str(sum(each.status == "resolved" for each in violations)),
            )
        self._terminal.print()
        self._terminal.print(Rule(Text("What was seen", "bold"), align="left"))
        self._terminal.print(table)
        opened = sum(len(outcome.violations) for outcome in self._outcomes.values())
        crowds = [scene for story in STORIES for scene in story.scenes if isinstance(scene, Crowd)]
        if crowds:
            left = sum(scene.handoffs for scene in crowds)
            self._terminal.print(Text(f"without the {left} of the crowd", "dim"))
        self._terminal.print()
        self._terminal.print(
            f"{opened} violations are in the ledger; who is on call reads "
            f"{len(self._open_causes())} entries, one for each cause. What is mended within ten "
            "seconds makes no entry; on a slow machine less is mended in time, and there are more."
        )
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


def _package(outcome: HandoffOutcome) -> Package:
    assert outcome.package is not None, "a scene follows the handoff that it is about"
    return outcome.package


def _owned(outcome: HandoffOutcome, kind: SignalKind) -> bool:
    """Whether a handoff that lacked an owner has one now, and its sender was told."""
    return (
        kind in outcome.signals
        and outcome.has("owner_missing", "resolved")
        and _package(outcome).to.owner is not None
    )


def _ack(scene: ReceiverReply, package: Package) -> Ack:
    return Ack(
        f"{scene.status}-{scene.handoff}",
        package.workflow,
        package.task_id,
        handoff_id=package.id,
        status=scene.status,
        by=scene.by,
        occurred_at=datetime.now(UTC),
    )


def _amendment(scene: Repair, package: Package) -> Amendment:
    return Amendment(
        f"{scene.action}-{scene.handoff}",
        package.workflow,
        package.task_id,
        handoff_id=package.id,
        action=scene.action,
        by=scene.by,
        occurred_at=datetime.now(UTC),
        fields={name: msgspec.Raw(value.encode()) for name, value in scene.fields.items()},
        reason=scene.reason,
    )


def _outputs(name: str) -> Iterator[tuple[bytes, ToolOutput]]:
    """The outputs of a file, moved in time so that the last one is now."""
    with as_file(files(__package__) / name) as path:
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


def _mean(shares: list[float | None]) -> str:
    known = [share for share in shares if share is not None]
    return render.percent(sum(known) / len(known) if known else None)
