"""A change log of tickets becomes handoffs, on Apache Kafka, while both instances are killed.

What must come out is asked from the pure functions: each change is mapped by the source, and what
follows from it must be on our topics once, in the order of its ticket.
"""

import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from console.commands.documents import load_documents
from console.commands.source_registry import register_sources
from console.kafka import connect, read_all
from processors.intake.compiled import compile_source
from processors.intake.mapping import map_record
from schemas.flow import Record
from tests.instances import Instances, drawn, prepared
from tests.lanes import wait_for
from tests.outcomes import Outcome, note

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "debezium-tickets"
TICKETS, PARTITIONS = 300, 4
OUR_TOPIC = "handoff.tool-outputs"


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
    admin = AdminClient({"bootstrap.servers": apache})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(20)
    path = tmp_path / "source.yaml"
    path.write_text((EXAMPLE / "source.yaml").read_text().replace("shop.public.tickets", topic))
    loaded = load_documents([str(path)])
    register_sources(cluster, loaded, quiet=True)
    (source,) = loaded.intake_sources
    compiled = compile_source(source)

    instances = Instances(settings, tmp_path, ("integrity", "intake"))
    producer = Producer({"bootstrap.servers": apache, "enable.idempotence": True})
    expected: defaultdict[bytes, list[bytes]] = defaultdict(list)
    offsets = [0] * PARTITIONS
    began = time.time_ns() // 1_000_000
    try:
        for ordinal in (0, 1):
            instances.start(ordinal)
        wait_for(lambda: all("intake reads" in instances.log(n) for n in (0, 1)), 60, "both read")
        for step in range(4):
            for ticket in range(TICKETS):
                key, value = change(ticket, step, began + step)
                partition = ticket % PARTITIONS
                producer.produce(topic, value, key, partition, timestamp=began + step)
                given = Record(topic, partition, offsets[partition], key, value, began + step)
                offsets[partition] += 1
                for output in map_record(compiled, given, began).records:
                    assert output.topic == OUR_TOPIC
                    assert output.key is not None
                    assert output.value is not None
                    expected[output.key].append(output.value)
                if ticket % 100 == 50:
                    assert producer.flush(20) == 0
                    struck = pick.randrange(2)
                    time.sleep(pick.uniform(0, 0.3))
                    instances.kill(struck)
                    instances.start(struck)
        assert producer.flush(20) == 0
        total = sum(map(len, expected.values()))
        assert total > 3 * TICKETS, "the source maps them"

        def found() -> dict[bytes | None, list[bytes | None]]:
            by_key: defaultdict[bytes | None, list[bytes | None]] = defaultdict(list)
            for record in read_all(connect(settings), [OUR_TOPIC]):
                by_key[record.key].append(record.value)
            return by_key

        wait_for(lambda: sum(map(len, found().values())) >= total, 120, "all outputs")
        outputs = found()
        note_outputs(outputs, expected)
        assert outputs == expected

        def sent() -> set[str]:
            packages = read_all(connect(settings), ["handoff.packages"])
            return {json.loads(record.value or b"")["task_id"] for record in packages}

        wait_for(lambda: len(sent()) == TICKETS, 60, "a package for each ticket")
    except BaseException:
        print(f"seed {seed}")
        for ordinal in (0, 1):
            print(f"--- instance {ordinal}\n{instances.log(ordinal)}")
        raise
    finally:
        instances.end()


def note_outputs(
    found: Mapping[bytes | None, list[bytes | None]], expected: Mapping[bytes, list[bytes]]
) -> None:
    """What is lost, twice or in another order, of the outputs of each task."""
    lost = twice = disordered = 0
    for key, values in expected.items():
        times, wanted = Counter(found.get(key, ())), Counter[bytes | None](values)
        lost += (wanted - times).total()
        twice += (times - wanted).total()
        disordered += times == wanted and found.get(key) != values
    note(Outcome(sum(map(len, expected.values())), lost, twice, disordered))
