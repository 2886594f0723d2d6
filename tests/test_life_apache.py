"""The life of handoffs on Apache Kafka, while instances die, freeze, come and go.

Acks, amendments and late captures flow all the time, so that each blow meets some of them on their
way; the ledger then looks for what was lost, and for what was done twice. `make chaos SEED=n`
strikes as the seed says, and lets the players say what they said.
"""

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Message, Producer

from console.kafka import Cluster, TopicReader, read_all
from tests.instances import (
    GUEST,
    Instances,
    Strike,
    drawn,
    judged,
    prepared,
    settled,
    telling,
    written_at_all,
)
from tests.lanes import wait_for
from tests.life import HEARD, SPOKEN, Players, Saying
from tests.life_ledger import TOPICS, audit
from tests.life_tales import DOCUMENTS, OUTPUTS
from tests.outcomes import Outcome, note
from topics.admin import Admin

TASKS = 780
SECONDS = 30.0  # in which they begin
HUSH = 0.8  # seconds before a blow nobody speaks, and then, shortly before it, all at once, with
WORK = 600  # so many handoffs beside, that it falls into a transaction
BLOWS = ("kill", "freeze", "stop")
TRIES = 25  # to strike within a transaction; two in five do
BURSTS = 5  # of so much work that transactions follow each other
PER_TASK = 40  # handoffs of a task; after 64 it forgets the first ones, and the ledger does not
SETTLING = 2.0  # seconds in which one that is not frozen commits what it has written


def plan(seed: int) -> list[Strike]:
    """Seven blows, each to one that is at work: a killed one has come back by the next, and while
    one is frozen past its session, and the guest is dead for as long, another works on. The last
    one falls into a transaction, which on a fast machine none of the others need do.
    """
    pick = random.Random(seed)

    def about(moment: float) -> float:
        return moment + pick.uniform(-0.8, 0.8)

    first, frozen, again, last = about(3), about(16), about(21), about(32)
    pause = about(12.5)
    strikes = [
        Strike(first, 0, "kill"),
        Strike(first + pick.choice((0, 1)), 0, "start"),
        Strike(about(7), GUEST, "start"),
        Strike(pause, 1, "freeze"),
        Strike(pause + pick.uniform(0.5, 2), 1, "thaw"),
        Strike(frozen, 1, "freeze"),
        Strike(about(17.5), GUEST, "kill"),
        Strike(again, 0, "kill"),
        Strike(again + pick.choice((0, 1)), 0, "start"),
        Strike(frozen + pick.uniform(11, 12.5), 1, "thaw"),
        Strike(about(29), GUEST, "start"),
        Strike(last, 1, "kill"),
        Strike(last + pick.choice((0, 1)), 1, "start"),
        Strike(about(35), GUEST, "stop"),
        Strike(about(39), 0, "interrupt"),
    ]
    return sorted(strikes)


class LifeStage:
    """Where the players speak and hear: what they say is produced, what is published is read."""

    def __init__(self, cluster: Cluster, players: Players) -> None:
        self.players = players
        self.said = 0
        self.failed: list[str] = []
        self._bursts = 0
        self._hushed = False
        self._cluster = cluster
        self._reader = TopicReader(cluster, HEARD, from_beginning=True)
        self._producer = Producer(
            {
                "bootstrap.servers": cluster.settings.kafka_bootstrap_servers,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 1,
            }
        )

    def turn(self, hush: bool) -> None:
        """Hear what is there, and say what is to be said, unless there is to be a `hush`."""
        record = self._reader.poll(0.02)
        while record is not None:
            self.players.hear(record, now())
            record = self._reader.poll(0)
        if not hush:
            for saying in self.players.say(now()):
                self._send(*saying)
            if self._hushed:
                for number in range(WORK):
                    self._send(*work(number, self._bursts // PER_TASK, self.said))
                self._bursts += 1
        self._hushed = hush
        self._producer.poll(0)

    def _send(self, topic: str, key: bytes, value: bytes) -> None:
        self.said += 1
        self._producer.produce(self._cluster.name(topic), value, key, on_delivery=self._taken)

    def close(self) -> None:
        """All that was said is there."""
        assert self._producer.flush(30) == 0
        self._reader.close()

    def _taken(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self.failed.append(error.str())


def now() -> int:
    return time.time_ns() // 1_000_000


def work(number: int, era: int, event: int) -> Saying:
    """A handoff that no contract knows, and that takes the place of the last one of its `era`."""
    task = f"work-{number}-{era}"
    body = {
        "id": f"work-{event}",
        "task_id": task,
        "workflow": "survey",
        "stage": "measure",
        "tool": "gauge",
        "occurred_at": now(),
        "context": {"level": event},
        "handoff": {"to": "settlers"},
    }
    return Saying(OUTPUTS, task.encode(), json.dumps(body).encode())


def interrupt(
    instances: Instances,
    ordinal: int,
    stage: LifeStage,
    is_settled: Callable[[], bool],
) -> None:
    """Kill an instance within a transaction, and start it: it is frozen while all speak at once,
    and goes on where it had committed what it had written, until once it had not.
    """
    for _ in range(TRIES):
        hush = time.monotonic() + HUSH
        while time.monotonic() < hush:
            stage.turn(hush=True)
        for _ in range(BURSTS):
            stage.turn(hush=True)
            stage.turn(hush=False)
        instances.strike(Strike(0.0, ordinal, "freeze"))
        # The other one settles soon: nobody speaks.
        until = time.monotonic() + SETTLING
        while not (done := is_settled()) and time.monotonic() < until:
            time.sleep(0.05)
        if not done:
            instances.strike(Strike(0.0, ordinal, "kill"))
            instances.strike(Strike(0.0, ordinal, "start"))
            return
        instances.strike(Strike(0.0, ordinal, "thaw"))
    raise AssertionError(f"it had committed all that it had written, {TRIES} times")


@pytest.mark.fault("instances killed, frozen and stopped; acks, late captures, timers")
@pytest.mark.slow
def test_nothing_in_the_life_of_a_handoff_is_lost_or_done_twice(
    apache: str, prefix: str, tmp_path: Path
) -> None:
    seed = drawn()
    queue = f"{prefix}queue.settlers"
    yaml = DOCUMENTS.replace("QUEUE", queue)
    settings, cluster, _ = prepared(apache, prefix, tmp_path, yaml)
    admin = Admin({"bootstrap.servers": apache})
    topics = [*TOPICS, queue]

    def is_settled() -> bool:
        return settled(admin, cluster, topics)

    strikes = plan(seed)
    pick = random.Random(seed + 1)
    blows = [(s.at - HUSH, s.at - pick.uniform(0.03, 0.3)) for s in strikes if s.what in BLOWS]
    instances = Instances(settings, tmp_path)
    with telling(seed, strikes, instances):
        instances.start(0)
        instances.start(1)
        wait_for(instances.all_run, 60, "both instances run")
        began, left = time.monotonic(), list(strikes)
        stage = LifeStage(cluster, Players(seed, TASKS, now(), SECONDS))
        players = stage.players
        while left or not players.done:
            passed = time.monotonic() - began
            while left and left[0].at <= passed:
                strike = left.pop(0)
                if strike.what == "interrupt":
                    interrupt(instances, strike.instance, stage, is_settled)
                else:
                    instances.strike(strike)
            stage.turn(hush=any(since < passed < until for since, until in blows))
            assert passed < 150, f"in vain they wait for: {players.waiting()[:20]}"
        stage.close()
        done = now()
        assert not stage.failed
        said = stage.said
        wait_for(lambda: judged(admin, settings) == said, 60, "all that was said is judged")
        wait_for(is_settled, 30, "no transaction open")
        guest, *others = instances.stop()
        # On a slow machine the guest is asked to leave before it has begun to listen.
        assert guest in (0, -signal.SIGTERM), f"the guest's exit status: {guest}"
        assert others == [0, 0], f"exit statuses: {others}"
        records = list(read_all(cluster, topics))
        wrong = audit(records, done)
        note(Outcome(said, lost=len(wrong)))
        assert not wrong, f"{len(wrong)} things are wrong, the first:\n" + "\n".join(wrong[:20])
        published = [name for name in topics if name not in SPOKEN]
        committed = sum(record.topic in published for record in records)
        aborted = written_at_all(settings, cluster, published) - committed
        print(f"{said:,} said in {passed:.0f} s, {committed:,} published, {aborted:,} aborted")
        assert aborted > 0, "no blow fell into a transaction: this run proves nothing"
