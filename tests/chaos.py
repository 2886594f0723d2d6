"""Traffic for the exactly-once proof, and the records that must come of it.

The traffic is drawn from a seed: tasks of four workflows under way at once, whose handoffs lose
fields, are sent again, fan out, name nobody; events that come twice; records that are none. What
must come of it is asked from the pure core, fed with the same records at the same offsets.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from processors.contracts.registry import CONTRACTS, RECEIVERS
from processors.driver import Driver
from processors.integrity.processor import INTEGRITY
from processors.partitioning import partition_of
from schemas.documents import key, to_json
from schemas.flow import Headers, Output, Record
from schemas.loading import Documents
from tests.outcomes import Outcome, note

INPUT = "handoff.tool-outputs"
IN_FLIGHT = 400
# The processor's own clock, and what is counted from it.
PROCESSING_TIMES = {"sent_at", "detected_at", "resolved_at", "at", "accept_by", "complete_by"}
# It quotes line numbers of frames above the driver, which are not the same in a lane.
_STACK_TRACE = "__streams.errors.stacktrace"

DOCUMENTS = """\
kind: HandoffContract
id: order-to-warehouse
version: 1
owner: {name: Ines Prado, contact: ines@handel.example}
action: Pick and pack the order.
workflow: order
from: {team: sales, stage: confirm}
to: {receiver: warehouse, stage: pick}
fields:
  - {name: address, type: string, classification: pii}
  - {name: items, from: [items, cart.lines], type: array, weight: 3}
  - {name: customs, type: object, rebuild: {pick: unambiguous}}
  - {name: priority, translate: {express: urgent, standard: normal}}
  - {name: gift, type: boolean, required: false}
accept_within: PT4H
complete_within: P2D
---
kind: HandoffContract
id: ticket-to-engineering
version: 1
owner: {name: Tomas Berg, contact: tomas@handel.example}
action: Find the cause.
workflow: ticket
from: {team: support, stage: triage}
to: {receiver: engineering, stage: analyse}
hold_on: [context_dropped, never_captured]
fields:
  - {name: trace, type: string, rebuild: false}
  - {name: product, type: string}
  - {name: severity, type: integer}
---
kind: HandoffContract
id: lead-to-desk
version: 1
owner: {name: Ruth Amsel, contact: ruth@handel.example}
action: Call the lead.
workflow: lead
from: {team: marketing, stage: score}
to: {receiver: desk, stage: call}
fields:
  - {name: phone, type: string, classification: pii}
  - {name: talk, from: [talk, chat.text], type: string}
---
kind: Receiver
id: warehouse
team: logistics
owners: [{name: Kofi Mensah, contact: kofi@handel.example}]
queue: QUEUE
---
kind: Receiver
id: engineering
team: platform
owners: [{name: Lena Kraus, contact: lena@handel.example}]
---
kind: Receiver
id: desk
team: inside-sales
owners: [{name: Gone Long, contact: gone@handel.example, until: 2021-01-31}]
"""


class Input(NamedTuple):
    """One record to send, in order, to the partition where it belongs."""

    partition: int
    key: bytes | None
    value: bytes | None


class Published(NamedTuple):
    """An output as it is compared: without processing times and stack traces."""

    value: str | None
    headers: tuple[tuple[str, bytes], ...]


Story = dict[tuple[str, bytes | None], list[Published]]  # by (topic, key), in order


def traffic(seed: int, count: int, partitions: int, began: int) -> list[Input]:
    """`count` records, the first at `began` (epoch ms), one a millisecond."""
    pick = random.Random(seed)
    under_way: list[Iterator[dict[str, Any]]] = []
    inputs: list[Input] = []
    sent: list[Input] = []  # that may come again
    tasks = 0

    def partition(key: bytes | None) -> int:
        return pick.randrange(partitions) if key is None else partition_of(key, partitions)

    while len(inputs) < count:
        while len(under_way) < IN_FLIGHT:
            under_way.append(_task(tasks, pick))
            tasks += 1
        if pick.random() < 0.003:
            poison_key, value = _poison(pick)
            inputs.append(Input(partition(poison_key), poison_key, value))
        elif pick.random() < 0.02 and sent:
            inputs.append(pick.choice(sent[-2_000:]))
        else:
            place = pick.randrange(len(under_way))
            output = next(under_way[place], None)
            if output is None:
                under_way[place] = under_way[-1]
                under_way.pop()
                continue
            output |= {"id": f"e{len(inputs)}", "occurred_at": began + len(inputs)}
            name = output["task_id"].encode()
            inputs.append(Input(partition(name), name, json.dumps(output).encode()))
            sent.append(inputs[-1])
    return inputs


def _task(number: int, pick: random.Random) -> Iterator[dict[str, Any]]:
    workflow = pick.choices(("order", "ticket", "lead", "stray"), weights=(5, 3, 2, 1))[0]
    task = {"task_id": f"{workflow}-{number}", "workflow": workflow}
    made = {"order": _order, "ticket": _ticket, "lead": _lead, "stray": _stray}[workflow]
    for stage, tool, context, *more in made(pick):
        members = {} if not more else {"handoff": more[0]}
        team = {"order": "sales", "ticket": "support", "lead": "marketing"}.get(workflow)
        retracted = ["customs"] if tool == "crm" and not more and pick.random() < 0.05 else []
        yield (
            task
            | members
            | {
                "stage": stage,
                "tool": tool,
                "team": team,
                "context": context,
                "retracted": retracted,
            }
        )


def _order(pick: random.Random) -> Iterator[tuple[Any, ...]]:
    address = {"address": f"Lane {pick.randrange(999)}, Port Nord"}
    customs = {"customs": {"code": pick.randrange(10**6), "origin": pick.choice(("PT", "SE"))}}
    items = [{"sku": pick.randrange(10**4), "count": pick.randrange(1, 9)} for _ in range(3)]
    yield "browse", "shop", address | customs
    if pick.random() < 0.3:
        yield "browse", "shop", {"customs": customs["customs"] | {"code": 7}}
    yield "confirm", "crm", {"cart": {"lines": items, "coupon": None}}
    whole = address | customs | {"items": items, "priority": pick.choice(("express", "soon"))}
    for name in pick.sample(sorted(whole), pick.choice((0, 0, 1, 2))):
        del whole[name]
    if pick.random() < 0.2 and "address" not in whole:
        whole["remark"] = f"to {address['address']}, please"
    to = {"to": "warehouse", "note": "as ever"}
    parts = [to | {"part": "first"}, to | {"part": "rest"}, {"to": "nobody"}]
    yield "confirm", "crm", whole, parts if pick.random() < 0.1 else to
    if pick.random() < 0.15:  # the same slot again
        yield "confirm", "crm", whole | address, to


def _ticket(pick: random.Random) -> Iterator[tuple[Any, ...]]:
    trace = {"trace": f"at line {pick.randrange(10**6)}"}
    yield "report", "form", {"product": "pump", "severity": pick.randrange(1, 5)}
    if pick.random() < 0.8:
        yield "triage", "desk", trace | {"words": "it stops " * pick.randrange(1, 9)}
    wrong = {"severity": "high"} if pick.random() < 0.1 else {}
    carries = trace if pick.random() < 0.5 else {}
    yield "triage", "desk", carries | wrong, {"to": "engineering"}
    if pick.random() < 0.3:  # repaired by hand: what was held is superseded
        yield "triage", "desk", trace, {"to": "engineering"}


def _lead(pick: random.Random) -> Iterator[tuple[Any, ...]]:
    yield "visit", "web", {"phone": f"+49 30 {pick.randrange(10**6)}", "pages": [1, 2.0, 3e2]}
    yield "score", "chat", {"chat": {"text": "how much is it?", "stars": None}}
    yield "score", "scorer", {"score": pick.randrange(100)}, {"to": "desk"}


def _stray(pick: random.Random) -> Iterator[tuple[Any, ...]]:
    yield "any", "tool", {"big": 12345678901234567890, "text": '\u00fc \u2028 \\ "'}
    to = pick.choice(("warehouse", "nobody"))
    yield "any", "tool", {"left": pick.random()}, {"to": to, "contract": "no-such"}


def _poison(pick: random.Random) -> tuple[bytes | None, bytes | None]:
    """A record that cannot be understood, of one kind or another."""
    name = f"poison-{pick.randrange(10**6)}".encode()
    whole = b'{"id":"p","task_id":"%s","workflow":"w","stage":"s","tool":"t",'
    whole += b'"occurred_at":1795000000000}'
    return pick.choice(
        (
            (name, b"\x00\xff" + pick.randbytes(20)),
            (name, b'{"id": "p", "task_id": 5}'),
            (name, whole % b"another"),
            (None, whole % name),
            (name, None),
        )
    )


def expected(inputs: list[Input], documents: Documents, partitions: int, now: int) -> Story:
    """What the pure core publishes for these inputs on topics that were empty."""
    tables: dict[str, dict[str, bytes]] = {
        CONTRACTS: {key(each): to_json(each) for each in documents.contracts},
        RECEIVERS: {key(each): to_json(each) for each in documents.receivers},
    }
    driver = Driver(INTEGRITY, INTEGRITY.build_tables(tables, None))
    for number in range(partitions):
        driver.assign(number, {})
    offsets: Counter[int] = Counter()
    story: Story = defaultdict(list)
    for partition, name, value in inputs:
        record = Record(INPUT, partition, offsets[partition], name, value, now)
        offsets[partition] += 1
        for output in driver.step(record, now):
            add(story, output)
        driver.merge(list(driver.changelog()))
    return story


def add(story: Story, output: Output | Record) -> None:
    """Note one output under its topic and key."""
    published = Published(_timeless(output.topic, output.value), _kept(output.headers))
    story[output.topic, output.key].append(published)


def _timeless(topic: str, value: bytes | None) -> str | None:
    if value is None or topic == "handoff.dead-letters":
        return None if value is None else value.hex()
    members = json.loads(value, parse_float=str)  # numbers as they are spelled
    return json.dumps({k: v for k, v in members.items() if k not in PROCESSING_TIMES})


def _kept(headers: Headers) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, content) for name, content in headers if name != _STACK_TRACE)


def differences(expected: Mapping[Any, list[Published]], found: Story) -> list[str]:
    """What was lost, came too often, or in another order; a sentence each."""
    said: list[str] = []
    missing = extra = disordered = 0
    for place in sorted({*expected, *found}, key=repr):
        must, is_ = expected.get(place, []), found.get(place, [])
        if place[1] is None:  # without a key they lie on any partition, and have no order
            must, is_ = sorted(must, key=repr), sorted(is_, key=repr)
        if must == is_:
            continue
        lost, more = Counter(must) - Counter(is_), Counter(is_) - Counter(must)
        said += [f"{place}: lost {_short(each)}" for each in lost.elements()]
        said += [f"{place}: too many {_short(each)}" for each in more.elements()]
        missing, extra = missing + lost.total(), extra + more.total()
        if not lost and not more:
            disordered += 1
            said.append(f"{place}: {len(must)} records in another order")
    note(Outcome(sum(map(len, expected.values())), missing, extra, disordered))
    return said


def _short(published: Published) -> str:
    value = published.value
    return "a tombstone" if value is None else value[:300]
