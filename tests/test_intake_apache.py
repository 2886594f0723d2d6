"""Sources on Apache Kafka, while both instances are killed: a change log of tickets that becomes
handoffs, and those of all examples beside each other.

What must come out is asked from the pure functions: each record is mapped by its source, and what
follows from it must be on our topics once, in the order of its task.
"""

import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic
from msgspec.structs import replace

from console.commands.documents import load_documents
from console.commands.source_registry import register_sources
from console.kafka import connect, read_all
from console.samples import Samples
from console.source_trial import Trial
from processors.intake.compiled import compile_source
from processors.intake.mapping import map_record
from processors.runtime.settings import Settings
from schemas.flow import Record
from schemas.loading import Documents, load_text
from tests.instances import Instances, drawn, prepared
from tests.lanes import wait_for
from tests.outcomes import Outcome, note
from topics.admin import Admin

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
EXAMPLE = EXAMPLES / "debezium-tickets"
TICKETS, PARTITIONS = 300, 4
OUR_TOPIC = "handoff.tool-outputs"
SPANS = """
kind: Source
id: agents
owner: {name: Ana Silva, contact: ana@example.com}
topic: agents.spans
decode: {agents-sdk: {quiet: PT15S}}
override: {workflow: {value: repairs}}
"""
# The recorded records of an example, and the sources that read them.
STORIES = {
    "pagerduty/webhooks.jsonl": ("pagerduty/source.yaml", "pagerduty-alerts/source.yaml"),
    "debezium-tickets/changes.jsonl": ("debezium-tickets/source.yaml",),
    "tickets-to-issues/tickets.jsonl": ("tickets-to-issues/tickets.yaml",),
    "tickets-to-issues/issues.jsonl": ("tickets-to-issues/issues.yaml",),
    "agents/agents-sdk.jsonl": (),
}
ROUNDS = 40

# By our topic and the key.
Outputs = defaultdict[tuple[str, bytes | None], list[bytes | None]]


def change(ticket: int, step: int, at: int) -> tuple[bytes, bytes]:
    """The changes of a ticket: opened, written to, given to another team, taken up there."""
    owners = ["Front desk", "Front desk", "Returns team", "Returns team"]

    def row(number: int) -> dict[str, Any]:
        return {
            "id": ticket,
            "owner": owners[number],
            "body": f"The lamp {ticket} flickers.",
            "refund": 10 * ticket,
            "order_number": f"L-{ticket}",
            "note": number,
        }

    event = {
        "before": row(step - 1) if step else None,
        "after": row(step),
        "source": {"ts_ms": at, "lsn": ticket * 10 + step, "snapshot": "false"},
        "op": "u" if step else "c",
        "ts_ms": at,
    }
    return json.dumps({"id": ticket}).encode(), json.dumps(event).encode()


@pytest.mark.fault("instances that read a change log killed")
@pytest.mark.slow
def test_a_change_log_becomes_handoffs_once_while_instances_die(
    apache: str, prefix: str, tmp_path: Path
) -> None:
    seed = drawn()
    pick = random.Random(seed)
    topic = f"{prefix}tickets"
    text = (EXAMPLE / "contracts.yaml").read_text()
    settings, cluster, _ = prepared(apache, prefix, tmp_path, text)
    admin = Admin({"bootstrap.servers": apache})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(20)
    path = tmp_path / "source.yaml"
    path.write_text((EXAMPLE / "source.yaml").read_text().replace("shop.public.tickets", topic))
    loaded = load_documents([str(path)])
    register_sources(cluster, loaded, quiet=True)
    (source,) = loaded.intake_sources
    compiled = compile_source(source)

    instances = Instances(settings, tmp_path, ("integrity", "intake"))
    producer = Producer({"bootstrap.servers": apache, "enable.idempotence": True})
    expected: Outputs = defaultdict(list)
    offsets = [0] * PARTITIONS
    began = time.time_ns() // 1_000_000
    with both(instances, seed):
        for step in range(4):
            for ticket in range(TICKETS):
                key, value = change(ticket, step, began + step)
                partition = ticket % PARTITIONS
                producer.produce(topic, value, key, partition, timestamp=began + step)
                given = Record(topic, partition, offsets[partition], key, value, began + step)
                offsets[partition] += 1
                for output in map_record(compiled, given, began).records:
                    assert output.topic == OUR_TOPIC
                    expected[output.topic, output.key].append(output.value)
                if ticket % 100 == 50:
                    assert producer.flush(20) == 0
                    strike(instances, pick)
        assert producer.flush(20) == 0
        total = sum(map(len, expected.values()))
        assert total > 3 * TICKETS, "the source maps them"

        check(settings, expected)

        def sent() -> set[str]:
            packages = read_all(connect(settings), ["handoff.packages"])
            return {json.loads(record.value or b"")["task_id"] for record in packages}

        wait_for(lambda: len(sent()) == TICKETS, 60, "a package for each ticket")


@contextmanager
def both(instances: Instances, seed: int) -> Iterator[None]:
    """Two that read; what went wrong is printed with what they logged."""
    try:
        for ordinal in (0, 1):
            instances.start(ordinal)
        wait_for(lambda: all("intake reads" in instances.log(n) for n in (0, 1)), 60, "both read")
        yield
    except BaseException:
        print(f"seed {seed}")
        for ordinal in (0, 1):
            print(f"--- instance {ordinal}\n{instances.log(ordinal)}")
        raise
    finally:
        instances.end()


def strike(instances: Instances, pick: random.Random) -> None:
    """Kill one of the two at any moment, and start it again."""
    struck = pick.randrange(2)
    time.sleep(pick.uniform(0, 0.3))
    instances.kill(struck)
    instances.start(struck)


def check(settings: Settings, expected: Outputs) -> None:
    """Wait for as many outputs as are expected; then each is there once, and those of a task are in
    their order."""
    topics = sorted({topic for topic, _ in expected})
    total = sum(map(len, expected.values()))

    def found() -> Outputs:
        by_key: Outputs = defaultdict(list)
        for record in read_all(connect(settings), topics):
            by_key[record.topic, record.key].append(record.value)
        return by_key

    wait_for(lambda: sum(map(len, found().values())) >= total, 120, "all outputs")
    outputs = found()
    lost = twice = disordered = 0
    for key, values in expected.items():
        times, wanted = Counter(outputs[key]), Counter(values)
        lost += (wanted - times).total()
        twice += (times - wanted).total()
        disordered += times == wanted and outputs[key] != values
    note(Outcome(total, lost, twice, disordered))
    assert outputs == expected


class SourcesStory(NamedTuple):
    """Records as they are to be sent, and what must come of them: (our topic, key, value)."""

    records: list[Record]
    sources: Documents
    outputs: list[tuple[str, bytes | None, bytes | None]]


def told(prefix: str) -> list[SourcesStory]:
    """The recorded records of the examples, each ROUNDS times, on a topic of one partition."""
    found, now = [], time.time_ns() // 1_000_000
    for name, paths in STORIES.items():
        texts = [(EXAMPLES / path).read_text() for path in paths] or [SPANS]
        text = "\n---\n".join(texts).replace("\ntopic: ", f"\ntopic: {prefix}")
        sources = load_text(text, name)
        (topic,) = {topic for source in sources.intake_sources for topic in source.topic}
        samples = [each for _, each in Samples(str(EXAMPLES / name), None, 0).read(topic, now)]
        records = [
            replace(each, offset=number * len(samples) + each.offset, value=again(each, number))
            for number in range(ROUNDS)
            for each in samples
        ]
        records = [replace(each, topic=topic, timestamp=now) for each in records]
        outputs = []
        for source in sources.intake_sources:
            trial = Trial(compile_source(source))
            tried = [*trial.run(enumerate(records), now), *trial.finish()]
            outputs += [(o.topic, o.key, o.value) for each in tried for o in each.mapped.records]
        assert len(outputs) >= ROUNDS
        found.append(SourcesStory(records, sources, outputs))
    return found


def again(record: Record, number: int) -> bytes:
    """A record's value. A trace and its conversation are others each time."""
    return (
        (record.value or b"")
        .replace(b"5c1e0f6a", f"{number:08x}".encode())
        .replace(b"chat-4471", f"chat-{number}".encode())
    )


@pytest.mark.fault("instances that read the sources of all examples killed")
@pytest.mark.slow
def test_the_sources_of_all_examples_once_while_instances_die(
    apache: str, prefix: str, tmp_path: Path
) -> None:
    seed = drawn()
    pick = random.Random(seed)
    settings, cluster, _ = prepared(
        apache, prefix, tmp_path, (EXAMPLE / "contracts.yaml").read_text()
    )
    stories = told(prefix)
    topics = [each.records[0].topic for each in stories]
    admin = Admin({"bootstrap.servers": apache})
    for future in admin.create_topics([NewTopic(topic, 1, 1) for topic in topics]).values():
        future.result(20)
    for each in stories:
        register_sources(cluster, each.sources, quiet=True)
    expected: Outputs = defaultdict(list)
    for each in stories:
        for topic, key, value in each.outputs:
            expected[topic, key].append(value)

    instances = Instances(settings, tmp_path, ("intake", "traces"))
    producer = Producer({"bootstrap.servers": apache, "enable.idempotence": True})
    with both(instances, seed):
        for number in range(ROUNDS):
            for story in stories:
                size = len(story.records) // ROUNDS
                for record in story.records[number * size : (number + 1) * size]:
                    producer.produce(
                        record.topic, record.value, record.key, 0, timestamp=record.timestamp
                    )
            if number % 5 == 4:
                assert producer.flush(20) == 0
                strike(instances, pick)
        assert producer.flush(20) == 0

        check(settings, expected)
        assert instances.stop() == [0, 0]
