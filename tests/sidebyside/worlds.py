"""What both checkouts are given: worlds that are drawn, told, measured or recorded elsewhere.

Each kind is a function that gives its worlds one by one. A world is plain steps, so it can be
shrunken. What is drawn while it is played (an answer names a handoff that was published) is played
by the checkout that this file lies in.
"""

import dataclasses
import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any, Final

from msgspec.structs import replace
from ruamel.yaml import YAML

from bench import workload
from console.importers.importing import Import, Options
from processors.integrity.limits import Limits
from processors.integrity.processor import integrity
from processors.partitioning import partition_of
from schemas.flow import Output, Record
from tests import chaos, core, insights_core, life, life_tales
from tests.sidebyside.fuzz import Wild, WildTraffic
from tests.sidebyside.player import Changed, Ending, Given, Played, Read
from tests.simulated.machine import Machine
from tests.simulated.story import (
    PARTITIONS,
    START,
    StoryRegistry,
    StoryStep,
    TablesChange,
    entry,
    silence,
)
from tests.simulation import draw

ROOT: Final = Path(__file__).resolve().parents[2]
SHARED: Final = ROOT.parent / "shared" / "data"
AIRLINE: Final = ROOT / "examples" / "airline" / "contracts.yaml"
BENCHMARK: Final = ROOT / "bench" / "documents.yaml"
CORE: Final = integrity(Limits())
OUTPUTS: Final = "handoff.tool-outputs"
MOVES: Final = 20  # of the most frequent ones each gets a contract
# Of the limits those by which a task is cut; times stay as a world has them.
CUTS: Final = ("fields", "value_bytes", "state_bytes", "open_handoffs")
LIMITS: Final[dict[str, dict[str, int]]] = {
    "drawn": {},
    "default": {name: getattr(Limits(), name) for name in CUTS},
    "tiny": dict(zip(CUTS, (4, 12, 1500, 2), strict=True)),
}


@dataclass(frozen=True)
class PlayedWorld:
    """What happens, and what follows on each step (by number) where anything does. `note` says what
    the checkout at hand had to say while the world was drawn."""

    name: str
    limits: Limits
    steps: tuple[StoryStep, ...]
    endings: Mapping[int, Ending] = field(default_factory=dict)
    insights: Mapping[str, int | None] = field(default_factory=dict)
    note: str = ""

    def keeping(self, steps: Iterable[StoryStep]) -> "PlayedWorld":
        """The world with these steps only."""
        return dataclasses.replace(self, steps=tuple(steps))

    def committed(self) -> "PlayedWorld":
        """The world with a commit after each step, and nothing else."""
        return dataclasses.replace(self, endings={step.number: "commit" for step in self.steps})

    def played(self) -> Played:
        """As a player takes it."""
        limits = {name: getattr(self.limits, name) for name in self.limits.__struct_fields__}
        steps = [
            Given(step.number, step.at, _what(step), self.endings.get(step.number, ""))
            for step in self.steps
        ]
        return Played(PARTITIONS, limits, dict(self.insights), steps)


def _what(step: StoryStep) -> Read | Changed | None:
    match step.what:
        case Record(topic, partition, offset, key, value, timestamp, headers):
            return Read(topic, partition, offset, key, value, timestamp, headers)
        case TablesChange(entries, existing):
            return Changed(list(entries), None if existing is None else sorted(existing))
    return None


def _ended(random: Random, steps: tuple[StoryStep, ...]) -> dict[int, Ending]:
    """Transactions of a step or of many; a few restarts and aborts."""
    commits = random.choice((1.0, 0.6, 0.2, 0.05))
    restarts = min(0.05, 6 / len(steps))
    found: dict[int, Ending] = {}
    for step in steps:
        chance = random.random()
        if chance < restarts:
            found[step.number] = "restart"
        elif chance < restarts + 0.02 and isinstance(step.what, Record):
            found[step.number] = "abort"
        elif random.random() < commits:
            found[step.number] = "commit"
    return found


def _world(
    name: str, limits: Limits, steps: list[StoryStep], seed: int = 1, note: str = ""
) -> PlayedWorld:
    whole = (*steps, *silence(steps))
    return PlayedWorld(name, limits, whole, _ended(Random(seed), whole), note=note)


# --- drawn ----------------------------------------------------------------------------------------


def simulated(seeds: range) -> Iterator[PlayedWorld]:
    """The worlds of the simulation."""
    for seed in seeds:
        drawn = draw(seed)
        note = "" if drawn.broken is None else str(drawn.broken)
        yield _world(
            f"simulated {seed}", drawn.story.limits, list(drawn.story.steps), seed, note=note
        )


def fuzzed(seeds: range) -> Iterator[PlayedWorld]:
    """Worlds of odd values, of long tasks, of many handoffs."""
    for seed in seeds:
        drawn = draw(seed, worlds=Wild, traffic=WildTraffic)
        note = "" if drawn.broken is None else str(drawn.broken)
        yield _world(f"fuzzed {seed}", drawn.story.limits, list(drawn.story.steps), seed, note=note)


# --- told -----------------------------------------------------------------------------------------


class _Scribe:
    """Writes steps down and plays them at once."""

    def __init__(self) -> None:
        self.steps: list[StoryStep] = []
        self._number = 0
        self._machine = Machine(CORE, StoryRegistry(CORE))

    def take(self, at: int, what: Record | TablesChange | None) -> list[Output]:
        """One more step; what follows from it."""
        self._number += 1
        key = what.key if isinstance(what, Record) else None
        step = StoryStep(self._number, at, what, (key or b"").decode(errors="replace"))
        before = len(self._machine.published)
        self._machine.play([step])
        outputs = [each.output for each in self._machine.published[before:]]
        if what is not None or outputs:
            self.steps.append(step)
        return outputs


def scenarios() -> Iterator[PlayedWorld]:
    """All stories in `tests/scenarios` and `tests/insights`."""
    for path in sorted((ROOT / "tests" / "scenarios").glob("*.yaml")):
        yield _world(f"scenario {path.stem}", Limits(), _told(_loaded(path)))
    for path in sorted((ROOT / "tests" / "insights").glob("*.yaml")):
        yield _told_to_insights(path.stem, _loaded(path))


def _loaded(path: Path) -> core.Story:
    story: core.Story = YAML(typ="safe", pure=True).load(path.read_text())
    return story


def _registered(registry: core.Registry, known: dict[tuple[str, str], bytes]) -> TablesChange:
    """What a registry holds by now and is not known yet."""
    fresh = [
        (topic, key, value)
        for topic, table in registry.topics.items()
        for key, value in table.items()
        if known.get((topic, key)) != value
    ]
    known.update({(topic, key): value for topic, key, value in fresh})
    existing = None if registry.existing is None else frozenset(registry.existing)
    return TablesChange(tuple(fresh), existing)


def _moment(given: core.Story) -> int:
    time: str = given.get("now") or given.get("at") or "09:00"
    return core.ms(time)


def _told(story: core.Story) -> list[StoryStep]:
    scribe, registry, inputs = _Scribe(), core.Registry(story), core.Inputs()
    known: dict[tuple[str, str], bytes] = {}
    outputs = scribe.take(_moment(story["inputs"][0]), _registered(registry, known))
    for given in story["inputs"]:
        if core.is_record(given):
            record, now = inputs.record(given, outputs)
            outputs += scribe.take(now, record)
        elif given.keys() == {"at"}:
            outputs += scribe.take(_moment(given), None)
        else:
            registry.register(given, _moment(given))
            outputs += scribe.take(_moment(given), _registered(registry, known))
    return scribe.steps


def _told_to_insights(name: str, story: core.Story) -> PlayedWorld:
    registry = core.Registry(story)
    known: dict[tuple[str, str], bytes] = {}
    steps = [StoryStep(1, _moment(story["inputs"][0]), _registered(registry, known))]
    for number, given in enumerate(story["inputs"], start=2):
        at = _moment(given)
        if given.keys() == {"at"}:
            steps.append(StoryStep(number, at, None))
        elif given.keys().isdisjoint(core.REGISTERED):
            record, now = insights_core.record(given, number)
            steps.append(StoryStep(number, now, record))
        else:
            registry.register(given, at)
            steps.append(StoryStep(number, at, _registered(registry, known)))
    told = _world(f"insights scenario {name}", Limits(), steps)
    return PlayedWorld(told.name, told.limits, told.steps, told.endings, story.get("limits", {}))


def lives(seeds: range, tasks: int = 52) -> Iterator[PlayedWorld]:
    """The players of the life tests, who go by what is published."""
    for seed in seeds:
        scribe, offsets = _Scribe(), Counter[tuple[str, int]]()
        players = life.Players(seed, tasks, START, 20)
        scribe.take(START, documents_of(life_tales.DOCUMENTS))
        now = START
        while not players.done and now < START + 300_000:
            now += 25
            heard = scribe.take(now, None)
            for saying in players.say(now):
                record = _record(offsets, saying.topic, saying.key, saying.value, now)
                heard += scribe.take(now, record)
            for output in heard:
                if output.topic in life.HEARD:
                    players.hear(output, now)
        yield _world(f"life {seed}", Limits(), scribe.steps, seed)


def documents_of(text: str) -> TablesChange:
    """The contracts and receivers of a YAML text."""
    return _change(YAML(typ="safe", pure=True).load_all(text))


def _change(documents: Iterable[dict[str, Any]]) -> TablesChange:
    return TablesChange(tuple(map(entry, documents)))


def _record(
    offsets: Counter[tuple[str, int]],
    topic: str,
    key: bytes | None,
    value: bytes | None,
    now: int,
    partition: int | None = None,
) -> Record:
    if partition is None:
        partition = partition_of(key or b"", PARTITIONS)
    offset = offsets[topic, partition]
    offsets[topic, partition] += 1
    return Record(topic, partition, offset, key, value, now)


# --- measured -------------------------------------------------------------------------------------


def benchmark(events: int) -> Iterator[PlayedWorld]:
    """The benchmark's claims."""
    made = workload.make(events, START, in_flight=min(workload.IN_FLIGHT, events // 8))
    steps, offsets = [StoryStep(1, START, documents_of(BENCHMARK.read_text()))], Counter[Any]()
    for number, (key, value) in enumerate(made.records, start=2):
        at = START + number
        steps.append(StoryStep(number, at, _record(offsets, OUTPUTS, key, value, at), key.decode()))
    yield _world("benchmark", Limits(), steps)


def under_chaos(seeds: range, events: int) -> Iterator[PlayedWorld]:
    """The traffic of the exactly-once proof."""
    for seed in seeds:
        steps = [StoryStep(1, START, documents_of(chaos.DOCUMENTS))]
        offsets = Counter[Any]()
        inputs = chaos.traffic(seed, events, PARTITIONS, START)
        for number, (partition, key, value) in enumerate(inputs, start=2):
            at = START + number
            record = _record(offsets, chaos.INPUT, key, value, at, partition)
            steps.append(StoryStep(number, at, record, (key or b"").decode(errors="replace")))
        yield _world(f"chaos {seed}", Limits(), steps, seed)


# --- recorded -------------------------------------------------------------------------------------


def recorded(paths: list[Path]) -> Iterator[PlayedWorld]:
    """Files of tool outputs, one JSON object a line, or of chat transcripts, plain or gzip: under
    the airline's contracts, and under one contract for each of their most frequent moves."""
    airline = documents_of(AIRLINE.read_text())
    for path in paths:
        lines = list(_lines(path))
        yield _recorded(f"{path.name} under the airline's contracts", lines, airline)
        moves = _contracts_of_moves(lines)
        if moves.entries:
            yield _recorded(f"{path.name} under a contract a move", lines, moves)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The tool outputs of a file."""
    if path.suffixes[-2:] in ([".jsonl", ".gz"], [".jsonl"]) or path.suffix == ".jsonl":
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield from (json.loads(line) for line in stream if line.strip())
        return
    found = Import(Options(format="openai-chat"))
    yield from (json.loads(line) for line in found.lines([str(path)]))
    if found.bad:
        raise SystemExit(found.first_bad[0])


def _recorded(name: str, lines: list[dict[str, Any]], found: TablesChange) -> PlayedWorld:
    now = min(_when(line) for line in lines)
    steps, offsets = [StoryStep(1, now, found)], Counter[Any]()
    for number, line in enumerate(lines, start=2):
        now = max(now, _when(line))
        task = line["task_id"]
        value = json.dumps(line, ensure_ascii=False).encode()
        record = _record(offsets, OUTPUTS, task.encode(), value, now)
        steps.append(StoryStep(number, now, record, task))
    return _world(name, Limits(), steps)


def _when(line: dict[str, Any]) -> int:
    at = line["occurred_at"]
    return at if isinstance(at, int) else int(datetime.fromisoformat(at).timestamp() * 1000)


def _contracts_of_moves(lines: list[dict[str, Any]]) -> TablesChange:
    """A contract for each of the most frequent moves, that asks for what stood at both stages."""
    last: dict[str, str] = {}
    moves: Counter[tuple[str, str, str]] = Counter()
    names: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        before, stage = last.get(line["task_id"]), line["stage"]
        if before not in (None, stage):
            moves[line["workflow"], str(before), stage] += 1
        last[line["task_id"]] = stage
        names[stage].update(list(line["context"]))
    contracts, receivers = [], {}
    for number, ((workflow, source, target), _) in enumerate(moves.most_common(MOVES)):
        receiver = f"r{number}"
        asked = [name for name, _ in (names[source] + names[target]).most_common(6)]
        made = {
            "kind": "HandoffContract",
            "id": f"move{number}",
            "version": 1,
            "owner": {"name": "Ilse Kramer", "contact": "ilse@example.com"},
            "action": "Go on with it.",
            "workflow": workflow,
            "from": {"stage": source},
            "to": {"receiver": receiver, "stage": target},
            "fields": [{"name": name, "required": at < 4} for at, name in enumerate(asked)],
            "accept_within": "PT4H",
            "complete_within": ("P2D", None)[number % 2],
        }
        contracts.append({name: value for name, value in made.items() if value is not None})
        receivers[receiver] = {
            "kind": "Receiver",
            "id": receiver,
            "team": receiver,
            "owners": [{"name": "Dana Reyes", "contact": "dana@example.com"}],
            "queue": f"q.{receiver}",
        }
    return _change([*contracts, *receivers.values()])


def within(world: PlayedWorld, limits: str) -> PlayedWorld:
    """The world under other limits: those of `LIMITS`."""
    return dataclasses.replace(world, limits=replace(world.limits, **LIMITS[limits]))
