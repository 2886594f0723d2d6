"""The map of who hands to whom, while processes die: every move counted once, real Kafka.

The moves are told from the inputs by a few lines here that know nothing of the cores.
"""

import gzip
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer

from console.commands.topics import make_topics
from console.kafka import connect, read_table
from processors.runtime.settings import Settings
from schemas.serde import epoch_ms
from tests.instances import Instances, Strike, judged
from tests.lanes import wait_for
from tests.outcomes import note_counts
from topics.admin import Admin
from topics.catalogue import physical

EDGES = "handoff.edges"
FIGURES = "handoff.figures"
HOUR_MS = 3_600_000
INSTANCES = 2
CHUNKS = 12
STRIKES = {2: 0, 4: 1, 6: 0, 8: 1, 10: 0}  # after which chunk which instance dies


class Told(NamedTuple):
    """What a map must say: by (workflow, from, to) the moves, the tasks that made one, and the
    moves by hour (epoch hours)."""

    moves: Counter[tuple[str, str, str]]
    tasks: dict[tuple[str, str, str], set[str]]
    hours: Counter[tuple[tuple[str, str, str], int]]


def told(outputs: list[dict[str, Any]]) -> Told:
    found = Told(Counter(), defaultdict(set), Counter())
    at: dict[str, str] = {}
    for output in outputs:
        task, stage = output["task_id"], output["stage"]
        before = at.get(task)
        if before is not None and before != stage:
            edge = (output["workflow"], before, stage)
            found.moves[edge] += 1
            found.tasks[edge].add(task)
            if isinstance(output["occurred_at"], int):
                found.hours[edge, output["occurred_at"] // HOUR_MS] += 1
        at[task] = stage
    return found


def invented(seed: int) -> Iterator[dict[str, Any]]:
    """Tasks that wander through the stages of two workflows, many under way at once, for the last
    five hours."""
    pick = random.Random(seed)
    begin = int(time.time() * 1000) - 5 * HOUR_MS
    for number in range(12_000):
        task = pick.randrange(2_000)
        yield {
            "id": f"out-{number}",
            "task_id": f"task-{task}",
            "workflow": f"flow-{task % 2}",
            "stage": pick.choice(["draft", "check", "sign", "send / archive"]),
            "tool": "desk",
            "occurred_at": begin + number * 1_500,
            "context": {"number": number, "of": "invented"},
        }


def permits(shared: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(shared / "data" / "permit-outputs.jsonl.gz") as file:
        for line in file:
            yield json.loads(line)


def send(producer: Producer, topic: str, outputs: list[dict[str, Any]]) -> None:
    for output in outputs:
        producer.produce(
            topic,
            json.dumps(output).encode(),
            output["task_id"].encode(),
            headers=[("handoff-backfill", b"1")],
        )
    assert producer.flush(30) == 0


def mapped(
    apache: str,
    prefix: str,
    directory: Path,
    outputs: list[dict[str, Any]],
    with_hours: bool = False,
) -> None:
    """Send the outputs through both processors while instances die, and compare the map, and the
    figures of its hours."""
    settings = Settings(
        kafka_bootstrap_servers=apache, topic_prefix=prefix, application_id=prefix.rstrip(".")
    )
    make_topics(connect(settings))
    admin = Admin({"bootstrap.servers": apache})
    producer = Producer(
        {
            "bootstrap.servers": apache,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
        }
    )
    topic = physical("handoff.tool-outputs", prefix)
    size = -(-len(outputs) // CHUNKS)
    instances = Instances(
        settings,
        directory,
        processors=("integrity", "insights"),
        HANDOFF_EDGE_INTERVAL_MS="500",
    )
    try:
        for ordinal in range(INSTANCES):
            instances.start(ordinal)
        wait_for(instances.all_run, 60, "both instances")
        for number in range(CHUNKS):
            send(producer, topic, outputs[number * size : (number + 1) * size])
            struck = STRIKES.get(number)
            if struck is not None:
                assert judged(admin, settings) < (number + 1) * size, "the blow came too late"
                instances.strike(Strike(0.0, struck, "kill"))
                instances.strike(Strike(0.0, struck, "start"))
        wait_for(
            lambda: judged(admin, settings) >= len(outputs),
            120,
            "\n".join(map(instances.log, range(INSTANCES))),
        )
        expected = told(outputs)

        def found() -> dict[tuple[str, str, str], tuple[int, int]]:
            edges = [json.loads(value) for value in read_table(connect(settings), EDGES).values()]
            return {
                (edge["workflow"], edge["from"], edge["to"]): (edge["moves"], edge["tasks"])
                for edge in edges
            }

        wanted = {edge: (n, len(expected.tasks[edge])) for edge, n in expected.moves.items()}
        wait_for(lambda: found() == wanted, 60, f"the map is\n{found()}\nand not\n{wanted}")
        if with_hours:

            def hours() -> Counter[tuple[tuple[str, str, str], int]]:
                read = map(json.loads, read_table(connect(settings), FIGURES).values())
                return Counter(
                    {
                        (
                            (each["workflow"], each["from"], each["to"]),
                            epoch_ms(datetime.fromisoformat(each["since"])) // HOUR_MS,
                        ): each["counts"]["moves"]
                        for each in read
                    }
                )

            wait_for(lambda: hours() == expected.hours, 60, f"the figures are\n{hours()}")
        moves = Counter({edge: n for edge, (n, _) in found().items()})
        note_counts(moves, expected.moves)
    finally:
        instances.end()


@pytest.mark.fault("insights instances killed")
@pytest.mark.slow
def test_every_move_is_counted_once_while_instances_die(
    apache: str, prefix: str, tmp_path: Path
) -> None:
    mapped(apache, prefix, tmp_path, list(invented(seed=1)), with_hours=True)


@pytest.mark.slow
def test_the_permit_log_has_43_edges_and_5440_moves_whatever_dies(
    apache: str, prefix: str, tmp_path: Path, shared: Path
) -> None:
    outputs = list(permits(shared))
    expected = told(outputs)
    assert (len(expected.moves), expected.moves.total()) == (43, 5440)
    mapped(apache, prefix, tmp_path, outputs)
