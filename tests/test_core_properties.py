"""What holds for any input in any order (Hypothesis makes the inputs up).

The world is small, so that names, ids and times collide often. Values are recognisable: no scalar
of theirs stands in any name, so that one that leaks into a violation is seen.
"""

import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any, Final

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.driver import Driver
from processors.integrity import stored
from processors.integrity.digests import MAX_NAMES, NAME_BYTES
from processors.integrity.events import total_weight
from processors.integrity.limits import DEFAULT_LIMITS
from processors.integrity.processor import INTEGRITY
from processors.integrity.state import MAX_EVENTS, Task
from processors.integrity.stored_timers import decode_timers
from schemas import documents, serde
from schemas.documents import HandoffContract
from schemas.feed import EdgePart, PatternPart, subject
from schemas.flow import InputEvent, Output, Record, Refused
from schemas.published import PUBLISHED
from schemas.records import Package, Violation
from tests.core import Feeding, first_revision
from tests.fed import closes, fed, same, told
from tests.properties import examples
from tests.states import captures, states_of, tasks_of

TOPIC: Final = "handoff.tool-outputs"
START: Final = 1_772_409_600_000
MINUTE: Final = 60_000
# Not among the hexadecimal digits of an id, where such a number may stand by chance.
VALUE: Final = re.compile(rb"zq\d|(?<![0-9a-f])7777\d(?![0-9a-f])")

PERSON: Final = {"name": "Ilse Kramer", "contact": "ilse@example.com"}
CONTRACT: Final[dict[str, Any]] = {
    "kind": "HandoffContract",
    "version": 1,
    "owner": PERSON,
    "action": "Take it on.",
    "workflow": "w",
    "accept_within": "PT4H",
}
CONTRACTS: Final = [
    CONTRACT
    | {
        "id": "one",
        "from": {"stage": "s1"},
        "to": {"receiver": "r1", "stage": "s2"},
        "fields": [
            {"name": "a", "type": "string", "weight": 2, "classification": "pii"},
            {"name": "renamed", "from": ["b", "c.x"], "classification": "pii"},
            {"name": "n", "from": ["n", "c.n"], "type": "integer"},
            {"name": "term", "from": ["t"], "translate": {"zq1": "zq2", "77771": 77772}},
            {"name": "deep", "from": "c.d.x", "required": False},
        ],
        "repeat": {
            "by": ["context.a", "context.c.x"],
            "threshold": 2,
            "within": "P1D",
            "receiver": "r1",
        },
    },
    CONTRACT
    | {
        "id": "two",
        "from": {"stage": "*"},
        "to": {"receiver": "r2"},
        "extra": "strip",
        "hold_on": ["any"],
        "fields": [
            {"name": "renamed", "rebuild": {"pick": "unambiguous"}},
            {"name": "term", "schema": {"type": "string"}, "rebuild": {"max_age": "PT20M"}},
            {"name": "a", "from": ["a", "c.a", "d.x"], "weight": 0.5, "rebuild": False},
            {"name": "b", "required": False, "type": ["object", "array"]},
        ],
    },
    CONTRACT | {"id": "three", "from": {"stage": ["s1", "s2"]}, "to": {"receiver": "gone"}},
]
RECEIVERS: Final = [
    {"kind": "Receiver", "id": "r1", "team": "t1", "owners": [PERSON], "queue": "q.r1"},
    {"kind": "Receiver", "id": "r2", "team": "t2", "owners": [PERSON | {"until": "2026-03-01"}]},
]


def topics() -> dict[str, dict[str, bytes]]:
    """The world as it lies on its topics."""
    found: dict[str, dict[str, bytes]] = defaultdict(dict)
    for name, given_ in (("handoff.contracts", CONTRACTS), ("handoff.receivers", RECEIVERS)):
        for data in given_:
            document = documents.parse(data)
            found[name][documents.key(document)] = documents.to_json(document)
    return found


TABLES: Final = INTEGRITY.build_tables(topics(), None)
BY_ID: Final = {
    document.id: document
    for document in map(documents.parse, CONTRACTS)
    if isinstance(document, HandoffContract)
}

# --- inputs -------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "c", "n", "t", "d", "d.x", "c.x", "renamed", "term", "more"])
words = st.integers(1, 4).map(lambda n: f"zq{n}")
scalars = st.one_of(
    words,
    words.map(lambda word: f"said {word} twice"),
    st.integers(77770, 77773),
    st.sampled_from([77771.0, 77771.5, None, "", " ", True]),
)
members = st.sampled_from(["x", "n", "d", "a", "7"])
contents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(members, inner, max_size=3),
    max_leaves=4,
)
contexts = st.dictionaries(names, contents, max_size=5)
requests = st.fixed_dictionaries(
    {"to": st.sampled_from(["r1", "r2", "gone", "nobody"])},
    optional={
        "contract": st.sampled_from(["one", "two", "unheard"]),
        "part": st.sampled_from(["p1", "p2"]),
        "note": st.just("a note"),
    },
)
bodies = st.fixed_dictionaries(
    {
        "id": st.integers(0, 30).map(str),
        "task_id": st.sampled_from(["t1", "t2"]),
        "workflow": st.sampled_from(["w", "w", "w", "other/w"]),
        "stage": st.sampled_from(["s1", "s2", "s3"]),
        "tool": st.sampled_from(["one", "two"]),
        "occurred_at": st.integers(0, 60).map(lambda minute: START + minute * MINUTE),
        "context": contexts,
    },
    optional={
        "retracted": st.lists(names, max_size=2),
        "handoff": requests | st.lists(requests, max_size=3),
        "team": st.just("team"),
    },
)
# What may stand for any member. No values of a context: as a stage or a time they are told to all.
misfits = st.sampled_from([None, True, "", " ", 7, 1.5, "word", [], ["word"], {}, {"x": None}])
HEADERS: Final = [("handoff-backfill", b"1"), ("traceparent", b"00-1-2-01"), ("x", b"\xff")]


@st.composite
def understood(draw: st.DrawFn) -> Record:
    """A record that is a tool output."""
    body: dict[str, Any] = draw(bodies)
    spaced = draw(st.sampled_from([None, 1]))
    value = json.dumps(body, indent=spaced).encode()
    timestamp = START + draw(st.sampled_from([0, 30, 60, -1500, 4000])) * MINUTE
    headers = draw(st.lists(st.sampled_from(HEADERS), max_size=2))
    return Record(TOPIC, 0, 0, body["task_id"].encode(), value, timestamp, headers)


@st.composite
def anything(draw: st.DrawFn) -> Record:
    """A record that may be anything."""
    record = draw(understood())
    value = record.value or b""
    cut = draw(st.integers(0, len(value)))
    body = json.loads(value)
    body[draw(st.sampled_from(sorted(body)))] = draw(misfits)
    return draw(
        st.sampled_from(
            [
                msgspec.structs.replace(record, key=None),
                msgspec.structs.replace(record, key=b"zq1\xff"),
                msgspec.structs.replace(record, value=None),
                msgspec.structs.replace(record, value=value[:cut]),
                msgspec.structs.replace(record, value=draw(st.binary(max_size=40))),
                msgspec.structs.replace(record, value=json.dumps(draw(contents)).encode()),
                msgspec.structs.replace(record, value=json.dumps(body).encode()),
            ]
        )
    )


def numbered(records: list[Record]) -> list[Record]:
    return [msgspec.structs.replace(r, offset=offset) for offset, r in enumerate(records)]


histories = st.lists(understood(), max_size=14).map(numbered)
wild = st.lists(understood() | anything(), max_size=12).map(numbered)


def driver() -> Feeding:
    made = Feeding(TABLES)
    made.assign(0, {})
    return made


def now(record: Record) -> int:
    return max(record.timestamp, START) + 2 * MINUTE


def commit(of: Driver[Task]) -> None:
    of.merge(list(of.changelog()))


def run(records: list[Record]) -> tuple[list[list[Output]], Feeding]:
    """The outputs of each record, committed one by one."""
    running = driver()
    published = []
    for record in records:
        published.append(running.step(record, now(record)))
        commit(running)
    return published, running


def plain(outputs: list[Output]) -> list[tuple[Any, ...]]:
    return [(o.topic, o.key, o.value, o.headers) for o in outputs]


# --- what holds ---------------------------------------------------------------------------------


@settings(examples, max_examples=100)
@given(wild)
def test_nothing_raises_and_every_input_is_accounted_for(records: list[Record]) -> None:
    published, running = run(records)
    counted: Counter[str] = Counter()
    for (name, topic, _), number in running.counts.items():
        assert topic == TOPIC
        counted[name] += number
    ends = ("applied", "duplicates", "refused", "dead_letters")
    assert sum(counted[end] for end in ends) == len(records)
    letters = 0
    for record, outputs in zip(records, published, strict=True):
        for output in outputs:
            if output.topic != "handoff.dead-letters":
                continue
            letters += 1
            assert outputs == [output]
            assert (output.key, output.value) == (record.key, record.value)
            assert output.headers[: len(record.headers)] == record.headers
            letter = serde.read_dead_letter(
                Record(output.topic, 0, 0, output.key, output.value, 0, output.headers)
            )
            assert (letter.topic, letter.partition, letter.offset) == (TOPIC, 0, record.offset)
            assert "our defect" not in letter.message, letter.stacktrace
    assert counted["dead_letters"] == letters
    begun = sum(first_revision(output) for outputs in published for output in outputs)
    tasks = tasks_of(running)
    still_open = sum(len(task.open) for task in tasks)
    assert counted["handoffs_begun"] == begun == still_open + counted["handoffs_closed"]


@settings(examples, max_examples=60)
@given(wild, st.lists(st.integers(1, 4), min_size=12, max_size=12))
def test_commits_and_aborts_are_nobodys_business(records: list[Record], sizes: list[int]) -> None:
    """One transaction a record, or several, each aborted once and repeated: the same bytes."""
    published, running = run(records)
    again = driver()
    repeated: list[list[Output]] = []
    rest = list(records)
    for size in sizes:
        chunk, rest = rest[:size], rest[size:]
        lost = [again.step(record, now(record)) for record in chunk]
        again.drop()
        kept = [again.step(record, now(record)) for record in chunk]
        assert list(map(plain, lost)) == list(map(plain, kept))
        commit(again)
        repeated += kept
    assert list(map(plain, repeated)) == list(map(plain, published))
    assert states_of(again) == states_of(running)
    assert again.counts == running.counts


@settings(examples, max_examples=60)
@given(histories)
def test_advance_never_changes_what_it_was_given(records: list[Record]) -> None:
    tasks: dict[str, Task] = {}
    for record in records:
        arrival: InputEvent = INTEGRITY.parse(record, now(record))
        key = INTEGRITY.state_key(arrival)
        before = tasks.get(key)
        encoded = None if before is None else INTEGRITY.encode(before)
        input_ = msgspec.json.encode(arrival)
        try:
            after, _ = INTEGRITY.advance(before, arrival, TABLES, now(record))
        except Refused:
            after = before
        assert encoded == (None if before is None else INTEGRITY.encode(before))
        assert msgspec.json.encode(arrival) == input_
        if after is not None:
            plain_ = msgspec.structs.replace(after, searched={}, secrets=None, named=None)
            wakes = INTEGRITY.due(after), INTEGRITY.watched(after)
            assert INTEGRITY.decode(INTEGRITY.encode(after), []) == plain_
            timers = decode_timers(INTEGRITY.encode(after))
            assert (INTEGRITY.due(timers), INTEGRITY.watched(timers)) == wakes
            if before is not None:
                change = stored.encode_change(before, after)
                assert INTEGRITY.decode(INTEGRITY.encode(before), [change]) == plain_
                timers = decode_timers(INTEGRITY.encode(before), [change])
                assert (INTEGRITY.due(timers), INTEGRITY.watched(timers)) == wakes
            tasks[key] = after
            limits_hold(after)


def limits_hold(task: Task) -> None:
    assert task.size >= total_weight(task.events)
    assert len(captures(task)) <= DEFAULT_LIMITS.fields
    assert len(task.open) <= DEFAULT_LIMITS.open_handoffs
    assert len(task.heard) <= MAX_EVENTS * 8
    assert len(task.lost) <= (MAX_NAMES + 1) * NAME_BYTES


@settings(examples, max_examples=120)
@given(histories)
def test_what_is_published_is_whole_and_agrees_with_itself(records: list[Record]) -> None:
    published, _ = run(records)
    known: set[str] = set()
    for record, outputs in zip(records, published, strict=True):
        packages: dict[str, Package] = {}
        violations: dict[str, list[Violation]] = defaultdict(list)
        order = []
        for output in outputs:
            if output.topic == "handoff.dead-letters" or output.value is None:
                continue
            name = dict(output.headers)["handoff-schema"].decode().removesuffix("/1")
            parsed: Any = msgspec.json.decode(output.value, type=PUBLISHED[name])
            assert msgspec.json.encode(parsed) == output.value
            assert parsed.task_id.encode() == record.key
            order.append(["package", "violation", "signal"].index(name))
            if isinstance(parsed, Package):
                if parsed.revision == 1:
                    packages[parsed.id] = parsed
            else:
                assert not VALUE.search(output.value), "a value of the context leaked"
            if isinstance(parsed, Violation) and parsed.status == "opened":
                violations[parsed.handoff_id or ""].append(parsed)
        assert order == sorted(order)
        for package in packages.values():
            found = violations.pop(package.id, [])
            assert package.violations == [violation.id for violation in found]
            assert len(set(package.violations)) == len(found)
            package_is_whole(package, found, json_members(record))
        assert violations.keys() <= known, "a violation of no handoff"
        known |= packages.keys()


def json_members(record: Record) -> dict[str, bytes]:
    body = msgspec.json.decode(record.value or b"", type=dict[str, msgspec.Raw])
    context = msgspec.json.decode(body["context"], type=dict[str, msgspec.Raw])
    return {name: bytes(raw) for name, raw in context.items()}


def package_is_whole(package: Package, found: list[Violation], sent: dict[str, bytes]) -> None:
    assert package.context.keys() == package.provenance.keys()
    held = any(violation.disposition == "held" for violation in found)
    assert held <= (package.disposition == "held")
    for name, provenance in package.provenance.items():
        if provenance.how == "extra":
            assert bytes(package.context[name]) == sent[name], "spelled as it was sent"
        assert provenance.candidates >= 1
    if package.contract is None:
        assert (package.fidelity, package.completeness, package.missing) == (None, None, [])
        return
    fields = BY_ID[package.contract].fields
    assert package.missing == [f.name for f in fields if f.name not in package.context]
    broken = {violation.field for violation in found}
    required = arrived = complete = 0.0
    for field in fields:
        how = package.provenance[field.name].how if field.name in package.context else None
        assert how != "extra", "a declared name wins over an extra"
        if not field.required:
            continue
        required += field.weight
        if how in ("arrived", "translated"):
            assert field.name not in broken
            arrived += field.weight
            complete += field.weight
        else:
            assert field.name in broken, "a loss that nobody is told of"
            complete += field.weight if how == "rebuilt" else 0
    assert package.fidelity == (arrived / required if required else 1.0)
    assert package.completeness == (complete / required if required else 1.0)


@settings(examples, max_examples=60)
@given(wild)
def test_no_value_leaves_by_the_headers(records: list[Record]) -> None:
    published, _ = run(records)
    for record, outputs in zip(records, published, strict=True):
        for output in outputs:
            own = [header for header in output.headers if header not in record.headers]
            assert not any(VALUE.search(content) for _, content in own)


@settings(examples, max_examples=100)
@given(wild, st.lists(st.integers(1, 4), min_size=12, max_size=12))
def test_what_insights_is_told_is_what_was_published(
    records: list[Record], sizes: list[int]
) -> None:
    """However the records are cut into transactions: the handoffs that began, the moves between
    stages, the violations that people are to hear of, and no value."""
    published, one_by_one = run(records)
    at_once, sums, rest = driver(), [], list(records)
    for size in sizes:
        chunk, rest = rest[:size], rest[size:]
        for record in chunk:
            at_once.step(record, now(record))
        sums += at_once.sums()
        commit(at_once)
    assert not any(VALUE.search((o.key or b"") + (o.value or b"")) for o in sums)
    parts = fed(sums)
    assert same(told(parts), told(fed(one_by_one.published)))
    closes(parts, tasks_of(at_once))
    begun: Counter[str] = Counter()
    opened = 0
    for output in (output for outputs in published for output in outputs):
        if first_revision(output):
            package = msgspec.json.decode(output.value or b"", type=Package)
            begun[
                subject("handoff", package.workflow, package.from_.stage, package.to.receiver)
            ] += 1
        elif output.topic == "handoff.violations":
            violation = msgspec.json.decode(output.value or b"", type=Violation)
            if violation.status == "opened" and violation.severity != "info":
                opened += violation.workflow == "w"  # the other one has no contract
    edges = {s: p for s, p in parts.items() if isinstance(p, EdgePart) and p.kind == "handoff"}
    counted = {s: part.counts["moves"] for s, part in edges.items()}
    assert counted == begun
    patterns = [p for p in parts.values() if isinstance(p, PatternPart) and p.kind != "repeat"]
    assert sum(sum(part.minutes.values()) for part in patterns) == opened


shapes = st.one_of(
    st.tuples(st.just("capture"), st.sampled_from(["b"]), words),
    st.tuples(
        st.just("capture"), st.just("c"), st.dictionaries(st.sampled_from("xn"), words, min_size=1)
    ),
    st.tuples(st.just("retract"), st.sampled_from(["b", "c"]), st.none()),
)


@settings(examples, max_examples=150)
@given(st.lists(shapes, max_size=6), st.randoms(use_true_random=False))
def test_what_is_known_does_not_depend_on_the_order_of_arrival(
    events: list[tuple[str, str, Any]], random: Any
) -> None:
    """Event time decides: the same captures and retractions, shuffled, rebuild the same values."""
    last = {"to": "r1", "contract": "one"}
    in_order = []
    for number, (what, name, content) in enumerate(events):
        given_ = {"retracted": [name]} if what == "retract" else {"context": {name: content}}
        in_order.append(event(number, given_))
    shuffled = list(in_order)
    random.shuffle(shuffled)
    known = []
    for records in (in_order, shuffled):
        published, _ = run(numbered([*records, event(50, {"handoff": last})]))
        package = msgspec.json.decode(published[-1][0].value or b"", type=Package)
        origins = {name: (p.how, p.event_id) for name, p in package.provenance.items()}
        known.append((package.context, package.missing, origins))
    assert known[0] == known[1]


def event(number: int, given_: dict[str, Any]) -> Record:
    body = {
        "id": f"e{number}",
        "task_id": "t1",
        "workflow": "w",
        "stage": "s1",
        "tool": "one",
        "occurred_at": START + number * MINUTE,
    }
    return Record(TOPIC, 0, 0, b"t1", json.dumps(body | given_).encode(), START + 60 * MINUTE)


def test_a_defect_of_the_core_costs_one_record_and_names_no_value() -> None:
    """An exception in `advance` is a dead letter with its trace, and nothing of it is taken."""
    secret = f"zq{1}"

    def fails(*arguments: Any) -> Any:
        raise ValueError("could not read " + secret)

    broken = Driver(replace(INTEGRITY, advance=fails), TABLES)
    broken.assign(0, {})
    (letter,) = broken.step(event(1, {"context": {"a": "zq1"}}), START)
    headers = dict(letter.headers)
    assert headers["__streams.errors.exception"] == b"ValueError"
    assert b"fails" in headers["__streams.errors.stacktrace"]
    assert not any(VALUE.search(content) for content in headers.values())
    assert not broken.partitions[0].overlay
