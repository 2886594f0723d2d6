"""What holds of the life of handoffs, whatever comes in whatever order (Hypothesis makes it up).

Beside tool outputs come acks and amendments, for handoffs that are there and for others; the clock
moves on, and receivers, owners, liveness and contracts change. The world is that of the other
properties, with contracts that promise more.
"""

import json
from collections import Counter, defaultdict
from typing import Any, Final, NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.contracts.registry import build_tables
from processors.driver import Driver
from processors.integrity.processor import INTEGRITY
from processors.integrity.state import Task
from processors.timeline import Timeline
from schemas import documents
from schemas.flow import Output, Record
from schemas.records import Package, Signal, Violation
from tests.core import first_revision
from tests.properties import examples
from tests.states import check_timers, states
from tests.test_core_properties import (
    CONTRACT,
    MINUTE,
    PERSON,
    START,
    TOPIC,
    VALUE,
    contents,
    names,
    plain,
    scalars,
    understood,
    words,
)

ONE: Final = CONTRACT | {
    "id": "one",
    "from": {"stage": "s1"},
    "to": {"receiver": "r1", "stage": "s2"},
    "complete_within": "PT6H",
    "release_within": "PT2H",
    "hold_on": ["never_captured", "rule_failed", "receiver_silent", "receiver_missing"],
    "fields": [
        {"name": "a", "type": "string", "weight": 2},
        {"name": "renamed", "from": ["b", "c.x"], "rebuild": False},
        {"name": "n", "from": ["n", "c.n"], "type": "integer", "required": False},
    ],
    "rules": [{"name": "r", "expr": "context.n > 77770", "message": "m", "severity": "warning"}],
}
TWO: Final = ONE | {"version": 2, "hold_on": ["any"], "to": {"receiver": "r3", "stage": "s2"}}
AUTO: Final = CONTRACT | {
    "id": "auto",
    "from": {"stage": ["s1", "s2"]},
    "to": {"receiver": "r2", "stage": "s3"},
    "when": "context.n > 77771 || context.t == 'zq1'",
    "accept": {"tools": ["two"]},
    "fields": [{"name": "term", "from": "t", "translate": {"zq1": "zq2"}}, {"name": "n"}],
}
BACK: Final = CONTRACT | {
    "id": "back",
    "from": {"stage": "s2"},
    "to": {"receiver": "r1", "stage": "s1"},
    "fields": [{"name": "a"}, {"name": "d", "schema": {"type": "object"}}],
}
ANY: Final = CONTRACT | {
    "id": "any",
    "from": {"stage": "*"},
    "to": {"receiver": "gone"},
    "extra": "strip",
    "release_within": "PT1H",
    "fields": [{"name": "renamed", "from": "b", "rebuild": {"pick": "unambiguous"}}],
}
TRIAL: Final = BACK | {
    "version": 2,
    "status": "trial",
    "hold_on": ["any"],
    "fields": [{"name": "t"}],
}
R1: Final = {"kind": "Receiver", "id": "r1", "team": "t1", "owners": [PERSON], "queue": "q.r1"}
R2: Final = R1 | {"id": "r2", "owners": [PERSON | {"until": "2026-03-02"}, PERSON | {"name": "B"}]}
R3: Final = R1 | {"id": "r3", "owners": [PERSON | {"until": "2026-03-01"}]}
SILENT: Final = {"receiver": "r1", "live": False, "last_live_at": START - 60 * MINUTE}
THREE: Final = ANY | {"version": 3, "to": {"receiver": "r2"}}
# A registered version stays for good: only its status changes.
DRAFTS: Final = [TWO | {"status": "draft"}, THREE | {"status": "draft"}]
CONTRACTS: Final[list[dict[str, Any]]] = [ONE, AUTO, BACK, ANY, TRIAL, *DRAFTS]
BEGINNING: Final[list[dict[str, Any]]] = [*CONTRACTS, R1, R2, R3]
WORLDS: Final[list[list[dict[str, Any]]]] = [
    BEGINNING,
    [*BEGINNING, TWO],
    [*BEGINNING, R1 | {"status": "retired"}, R3 | {"owners": [PERSON]}],
    [*BEGINNING, R1 | {"id": "gone"}],
    [*BEGINNING, SILENT],
    [*CONTRACTS, TWO, AUTO | {"status": "retired"}, BACK | {"status": "retired"}, THREE, R1, R2],
]


def tables(world: list[dict[str, Any]]) -> Any:
    topics: dict[str, dict[str, bytes]] = {name: {} for name in INTEGRITY.tables}
    for data in world:
        if "live" in data:
            record = json.dumps(data | {"checked_at": START}).encode()
            topics["handoff.receiver-liveness"][data["receiver"]] = record
            continue
        document = documents.parse(data)
        topic = "contracts" if data["kind"] == "HandoffContract" else "receivers"
        topics[f"handoff.{topic}"][documents.key(document)] = documents.to_json(document)
    return build_tables(topics, None, stale_ms=1 << 60)


TABLES: Final = [tables(world) for world in WORLDS]


# --- what happens -------------------------------------------------------------------------------


MONTH: Final = 30 * 1440  # minutes


class AnyReply(NamedTuple):
    """An ack or an amendment of the nth handoff that began (from the last), or of none."""

    which: int
    topic: str
    body: dict[str, Any]
    astray: bool  # sent for the other task


class Moved(NamedTuple):
    """The clock moves on."""

    minutes: int


class ChangedTables(NamedTuple):
    """The tables are others from now on."""

    world: int


ids = st.integers(0, 30).map(str)
reasons = st.sampled_from(["because zq4", "zq4", " ", None])
acks = st.fixed_dictionaries(
    {"id": ids, "status": st.sampled_from(["accepted", "completed", "rejected"]), "reason": reasons}
)
numbers = st.integers(77770, 77773)
# What contracts ask for comes often, so that handoffs are sent, accepted and completed.
usual = st.fixed_dictionaries(
    {}, optional={"a": words, "b": words, "n": numbers, "t": words, "c": contents}
)
amendments = st.fixed_dictionaries(
    {
        "id": ids,
        "action": st.sampled_from(["set", "set", "release", "release", "discard", "shred"]),
        "reason": reasons,
        "fields": usual | st.dictionaries(names, scalars | contents, max_size=2),
    }
)
outputs_ = st.fixed_dictionaries(
    {
        "id": st.integers(0, 99).map(str),
        "task_id": st.sampled_from(["t1", "t1", "t1", "t2"]),
        "workflow": st.just("w"),
        "stage": st.sampled_from(["s1", "s2", "s3"]),
        "tool": st.sampled_from(["one", "two"]),
        "context": usual,
    },
    optional={
        "retracted": st.lists(st.sampled_from(["a", "b"]), max_size=1),
        "handoff": st.fixed_dictionaries(
            {"to": st.sampled_from(["r1", "r1", "r1", "r2", "gone"])},
            optional={"part": st.just("p1")},
        ),
    },
)
which = st.sampled_from([0, 0, 0, 0, 1, 1, 2, -1])
astray = st.sampled_from([False] * 9 + [True])
said = st.one_of(
    st.builds(AnyReply, which, st.just("handoff.acks"), acks, astray),
    st.builds(AnyReply, which, st.just("handoff.amendments"), amendments, astray),
)
events = st.one_of(
    outputs_,
    outputs_,
    outputs_,
    understood(),
    said,
    said,
    st.builds(Moved, st.sampled_from([1, 30, 130, 250, 400, MONTH + 1440])),
    st.builds(ChangedTables, st.integers(0, len(WORLDS) - 1)),
)
lives = st.lists(events, min_size=4, max_size=20)


class LifeWorld:
    """A core that lives through events, at a clock of a minute an event."""

    def __init__(self, restarts: bool = False) -> None:
        self.restarts = restarts
        self.store: dict[str, bytes] = {}
        self.table = TABLES[0]
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.now = START
        self.begun: list[tuple[str, str]] = []
        self.offset = 0
        self.month = 0  # an event of a task that was forgotten is another one
        self.records = 0
        self.start()

    def start(self) -> None:
        self.driver: Driver[Task] = Driver(INTEGRITY, self.table, self.counts)
        self.driver.assign(0, self.store)
        self.clock = Timeline(self.driver, self.settle)
        self.clock.now = self.now
        found = list(self.clock.exchange(self.table))
        assert not found, "all was said of these tables before"

    def settle(self) -> tuple[Output, ...]:
        self.driver.merge(list(self.driver.changelog()))
        return ()

    def live(self, event: Any) -> list[Output]:
        """All that is published until the event is over."""
        if self.restarts:
            self.start()
        self.now += MINUTE
        outputs = list(self.clock.to(self.now))
        if isinstance(event, Moved):
            self.now += event.minutes * MINUTE
            self.month += event.minutes > MONTH
            outputs += self.clock.through(self.now)
        elif isinstance(event, ChangedTables):
            self.table = TABLES[event.world]
            outputs += self.clock.exchange(self.table)
        else:
            outputs += self.driver.step(self.record(event), self.now)
            self.records += 1
        self.settle()
        for output in outputs:
            if first_revision(output):
                package = json.loads(output.value or b"")
                self.begun.append((package["id"], package["task_id"]))
        return outputs

    def record(self, event: Record | AnyReply | dict[str, Any]) -> Record:
        self.offset += 1
        if isinstance(event, dict):
            id_ = f"{event['id']}.{self.month}"
            value = json.dumps(event | {"id": id_, "occurred_at": self.now}).encode()
            return Record(TOPIC, 0, self.offset, event["task_id"].encode(), value, self.now)
        if isinstance(event, Record):
            shift = event.timestamp - START  # some clocks are ahead, some records are replays
            timestamp = self.now if abs(shift) < 100 * MINUTE else self.now + shift
            output = json.loads(event.value or b"")
            value = json.dumps(output | {"id": f"{output['id']}.{self.month}"}).encode()
            return msgspec.structs.replace(
                event, value=value, offset=self.offset, timestamp=timestamp
            )
        handoff, task = "h-unheard", "t1"
        if self.begun and event.which >= 0:
            handoff, task = self.begun[-1 - event.which % len(self.begun)]
        if event.astray:
            task = {"t1": "t2", "t2": "t1"}[task]
        body = {"workflow": "w", "task_id": task, "handoff_id": handoff, "by": "Dana"}
        id_ = f"{event.body['id']}.{self.month}"
        body |= event.body | {"id": id_, "occurred_at": self.now - MINUTE}
        value = json.dumps(body).encode()
        return Record(event.topic, 0, self.offset, task.encode(), value, self.now)

    def tasks(self) -> list[Task]:
        return list(states(self.store).values())


def lived(life: list[Any], restarts: bool = False) -> tuple[list[list[Output]], LifeWorld]:
    world = LifeWorld(restarts)
    return [world.live(event) for event in life], world


def published(steps: list[list[Output]], topic: str, type_: Any) -> list[Any]:
    return [
        msgspec.json.decode(output.value, type=type_)
        for outputs in steps
        for output in outputs
        if output.topic == topic and output.value is not None
    ]


# --- what holds ---------------------------------------------------------------------------------


@settings(examples, max_examples=80)
@given(lives)
def test_nothing_fails_and_every_input_and_handoff_is_accounted_for(life: list[Any]) -> None:
    steps, world = lived(life)
    counted: Counter[str] = Counter()
    for (name, _, _), number in world.counts.items():
        counted[name] += number
    assert counted["failed_wakes"] == 0
    ends = ("applied", "duplicates", "refused", "dead_letters")
    assert sum(counted[end] for end in ends) == world.records
    still_open = sum(len(task.open) for task in world.tasks())
    assert counted["handoffs_begun"] == len(world.begun) == still_open + counted["handoffs_closed"]
    for outputs in steps:
        for output in outputs:
            headers = dict(output.headers)
            assert headers.get("__streams.errors.stacktrace", b"") == b"", headers


@settings(examples, max_examples=40)
@given(lives)
def test_a_task_is_read_for_its_timers_alone(life: list[Any]) -> None:
    world = LifeWorld()
    for event in life:
        world.live(event)
        check_timers(world.driver)


@settings(examples, max_examples=80)
@given(lives)
def test_no_value_is_told_beside_the_packages(life: list[Any]) -> None:
    for outputs in lived(life)[0]:
        for output in outputs:
            if output.topic in ("handoff.violations", "handoff.signals"):
                assert not VALUE.search(output.value or b""), output.value
            for name, content in output.headers:
                assert not VALUE.search(content or b""), name


@settings(examples, max_examples=120)
@given(lives)
def test_a_violation_is_open_or_resolved_once(life: list[Any]) -> None:
    steps, world = lived(life)
    still_open: dict[str, int] = {}
    episodes: Counter[str] = Counter()
    for record in published(steps, "handoff.violations", Violation):
        if record.kind == "unknown_handoff":
            assert (record.status, record.resolution) == ("opened", None)
        elif record.status == "opened":
            assert record.id not in still_open, "opened twice"
            episodes[record.id] += 1
            assert record.episode == episodes[record.id]
            still_open[record.id] = record.episode
        else:
            assert still_open.pop(record.id) == record.episode, "resolved, and not open"
            assert record.resolution
    known: dict[str, int] = {}
    for task in world.tasks():
        rejected = [closed.rejected for closed in task.closed if closed.rejected is not None]
        for handoff in (*task.open, *rejected):
            known |= {v.id(handoff): v.episode for v in handoff.violations}
    assert known == still_open


@settings(examples, max_examples=120)
@given(lives)
def test_a_held_package_is_never_at_a_receiver(life: list[Any]) -> None:
    """The held topic, compacted, holds what is held; the revisions of a handoff have no gaps."""
    steps, world = lived(life)
    held: dict[str, int] = {}
    revisions: Counter[str] = Counter()
    promised: dict[str, Package] = {}
    for output in (output for outputs in steps for output in outputs):
        if output.topic == "handoff.held" and output.value is None:
            assert held.pop((output.key or b"").decode()), "taken off, and was not there"
        elif output.topic in ("handoff.held", "handoff.packages", "q.r1"):
            package = msgspec.json.decode(output.value or b"", type=Package)
            if output.topic == "q.r1":
                assert revisions[package.id] == package.revision
                continue
            revisions[package.id] += 1
            assert package.revision == revisions[package.id]
            assert package.disposition == ("held" if output.topic == "handoff.held" else "sent")
            if package.disposition == "held":
                assert package.id not in promised, "held after it was sent"
                assert (package.sent_at, package.accept_by, package.complete_by) == (None,) * 3
                held[package.id] = package.revision
                continue
            assert package.id not in held, "sent, and still on the held topic"
            before = promised.setdefault(package.id, package)
            assert before.fidelity == package.fidelity, "nobody sends again what he sent"
            assert (before.completeness or 0) <= (package.completeness or 0) + 1e-9
            assert (before.accept_by, before.complete_by) == (
                package.accept_by,
                package.complete_by,
            )
            assert before.contract_version == package.contract_version
    open_ = {handoff.id: handoff for task in world.tasks() for handoff in task.open}
    assert held == {id_: h.revision for id_, h in open_.items() if h.state == "held"}
    slots = [(task.task_id, task.workflow, h.slot) for task in world.tasks() for h in task.open]
    assert len(set(slots)) == len(slots), "two open in one slot"


ENDS: Final = {"completed", "returned", "rejected", "superseded", "discarded", "expired"}


@settings(examples, max_examples=80)
@given(lives)
def test_a_signal_is_told_once_and_nothing_after_the_end(life: list[Any]) -> None:
    steps, _ = lived(life)
    told: dict[str, list[str]] = defaultdict(list)
    ids_ = set()
    for signal in published(steps, "handoff.signals", Signal):
        assert signal.id not in ids_
        ids_.add(signal.id)
        told[signal.handoff_id].append(signal.kind)
    for kinds in told.values():
        assert kinds[0] in ("sent", "held")
        assert not ENDS & set(kinds[:-1]), kinds
        for once in ("sent", "held", "released", "accepted", *ENDS):
            assert kinds.count(once) <= 1, kinds
        assert kinds.count("released") <= kinds.count("held")
        assert kinds.count("stalled") <= 3


@settings(examples, max_examples=60)
@given(lives)
def test_a_restart_before_every_event_is_nobodys_business(life: list[Any]) -> None:
    """State from the changelog only, and a sweep of everything: the same bytes are published."""
    steps, _ = lived(life)
    again, _ = lived(life, restarts=True)
    assert [plain(outputs) for outputs in steps] == [plain(outputs) for outputs in again]
