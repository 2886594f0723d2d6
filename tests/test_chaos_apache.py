"""Exactly once, while processes die and freeze: two instances, real Kafka, every record compared.

`make chaos SEED=n` strikes as the seed says; without one, each run draws its own and names it when
it fails. The traffic and the moments of the strikes are the seed's, the rest is the machine's.
"""

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos import DOCUMENTS, differences, expected, traffic
from tests.instances import (
    Instances,
    Strike,
    drawn,
    feeding,
    judged,
    prepared,
    read,
    settled,
    telling,
    written_at_all,
)
from tests.lanes import wait_for
from topics.admin import Admin

RECORDS = 50_000
INSTANCES = 2
SESSION_SECONDS = 10.0  # a member that is frozen longer loses its partitions to the other
KILLS, SHORT_FREEZES, LONG_FREEZES = 4, 2, 1  # for each instance
TOPICS = [
    f"handoff.{name}" for name in ("packages", "violations", "signals", "held", "dead-letters")
]


def plan(seed: int) -> list[Strike]:
    """Each instance is struck on its own, so that one may be frozen while the other dies."""
    pick = random.Random(seed)
    strikes: list[Strike] = []
    for instance in range(INSTANCES):
        at = 0.0
        faults = ["kill"] * KILLS + ["short"] * SHORT_FREEZES + ["long"] * LONG_FREEZES
        pick.shuffle(faults)
        for fault in faults:
            at += pick.uniform(1.5, 7.0)
            if fault == "kill":
                strikes.append(Strike(at, instance, "kill"))
                at += pick.choice((0.0, 0.5, 3.0))
                strikes.append(Strike(at, instance, "start"))
            else:
                strikes.append(Strike(at, instance, "freeze"))
                past = pick.uniform(SESSION_SECONDS + 2, 15)
                at += past if fault == "long" else pick.uniform(1, 5)
                strikes.append(Strike(at, instance, "thaw"))
    return sorted(strikes)


def schedule(strikes: list[Strike], seed: int) -> list[tuple[float, int]]:
    """When how many records are sent: half of them evenly, and half in a burst just before each
    blow, so that it falls into an open transaction."""
    pick = random.Random(seed + 1)
    blows = [strike.at for strike in strikes if strike.what in ("kill", "freeze")]
    steady, burst = 0.02 * RECORDS / 2 / (strikes[-1].at + 3), RECORDS // 2 // len(blows)
    sent = [(0.02 * tick, steady) for tick in range(int(RECORDS / 2 / steady))]
    sent += [(at - pick.uniform(0.02, 0.25), burst) for at in blows]
    total = 0.0
    return [(at, int(total := total + number)) for at, number in sorted(sent)]


@pytest.mark.fault("instances killed, frozen and stopped")
@pytest.mark.slow
def test_every_record_exactly_once_while_instances_die_and_freeze(
    apache: str, prefix: str, tmp_path: Path
) -> None:
    seed = drawn()
    queue = f"{prefix}queue.warehouse"
    yaml = DOCUMENTS.replace("QUEUE", queue)
    settings, cluster, documents = prepared(apache, prefix, tmp_path, yaml)
    admin = Admin({"bootstrap.servers": apache})

    now = time.time_ns() // 1_000_000
    inputs = traffic(seed, RECORDS, settings.partitions, now - RECORDS)
    must = expected(inputs, documents, settings.partitions, now)
    topics = [*TOPICS, queue]
    assert Counter(topic for topic, _ in must).keys() == set(topics), "the traffic reaches all"

    strikes = plan(seed)
    instances = Instances(settings, tmp_path)
    with telling(seed, strikes, instances):
        for ordinal in range(INSTANCES):
            instances.start(ordinal)
        wait_for(instances.all_run, 60, "both instances run")
        with feeding(settings, inputs, schedule(strikes, seed)) as failed:
            began = time.monotonic()
            for strike in strikes:
                time.sleep(max(0.0, began + strike.at - time.monotonic()))
                instances.strike(strike)
        assert not failed
        wait_for(lambda: judged(admin, settings) == RECORDS, 120, "all inputs judged")
        wait_for(lambda: settled(admin, cluster, topics), 30, "no transaction open")
        assert instances.stop() == [0] * INSTANCES
        found = read(cluster, topics)
        wrong = differences(must, found)
        assert not wrong, f"{len(wrong):,} differences, the first:\n" + "\n".join(wrong[:10])
        written = sum(map(len, found.values()))
        # What is written is not committed for some milliseconds only: in some runs no blow falls
        # between. In tests/test_life_apache.py one does in each run.
        aborted = written_at_all(settings, cluster, topics) - written
        print(f"{written:,} published, {aborted:,} aborted")
