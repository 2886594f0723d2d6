"""The ledger of the life of handoffs: it finds nothing in what the pure core does, and it does find
what a processor could lose, double or mix up."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace

from processors.contracts.registry import CONTRACTS, RECEIVERS
from processors.driver import Driver
from processors.integrity.processor import INTEGRITY
from processors.partitioning import partition_of
from processors.timeline import Timeline
from schemas.documents import key, to_json
from schemas.flow import Output, Record
from schemas.loading import Documents, load
from tests.life import HEARD, HELD, PACKAGES, SIGNALS, SPOKEN, Players
from tests.life_ledger import CHANGELOG, DEAD_LETTERS, VIOLATIONS, audit
from tests.life_tales import ACKS, AMENDMENTS, ARCHIVE, DOCUMENTS, OUTPUTS

BEGAN = 1_772_409_600_000
PARTITIONS = 3
QUEUE = "queue.settlers"


class LedgerWorld:
    """The players and the pure core, on a clock that is only a number; all records are kept."""

    def __init__(self, seed: int, tasks: int, documents: Documents) -> None:
        self.players = Players(seed, tasks, BEGAN, 20)
        self.records: list[Record] = []
        self._offsets: Counter[tuple[str, int]] = Counter()
        self._driver = Driver(INTEGRITY, _tables(documents))
        for number in range(PARTITIONS):
            self._driver.assign(number, {})
        self._clock = Timeline(self._driver, self._settle)

    def play(self) -> int:
        """Until all is said; the time then, epoch ms."""
        now = BEGAN
        while not self.players.done:
            now += 25
            self._publish(self._clock.to(now), now)
            for saying in self.players.say(now):
                record = self._kept(saying.topic, saying.key, saying.value, now)
                self._publish(self._driver.step(record, now), now)
                self._publish(self._settle(), now)
            assert now < BEGAN + 300_000, self.players.waiting()
        self._publish(self._clock.to(now + 60_000), now)
        return now + 60_000

    def _settle(self) -> list[Output]:
        changes = list(self._driver.changelog())
        self._driver.merge(changes)
        for number, name, encoded in changes:
            self._kept(CHANGELOG, name.encode(), encoded, 0, number)
        return []

    def _publish(self, outputs: Iterable[Output], now: int) -> None:
        for output in outputs:
            self._kept(output.topic, output.key, output.value, now)
            if output.topic in HEARD:
                self.players.hear(output, now)

    def _kept(
        self, topic: str, name: bytes | None, value: bytes | None, now: int, number: int = -1
    ) -> Record:
        number = partition_of(name or b"", PARTITIONS) if number < 0 else number
        offset = self._offsets[topic, number]
        self._offsets[topic, number] += 1
        record = Record(topic, number, offset, name, value, now)
        self.records.append(record)
        return record


def _tables(documents: Documents) -> object:
    return INTEGRITY.build_tables(
        {
            CONTRACTS: {key(each): to_json(each) for each in documents.contracts},
            RECEIVERS: {key(each): to_json(each) for each in documents.receivers},
        },
        None,
    )


Story = tuple[list[Record], int]


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    path: Path = tmp_path_factory.mktemp("life") / "documents.yaml"
    path.write_text(DOCUMENTS.replace("QUEUE", QUEUE))
    return load([path])


@pytest.fixture(scope="module")
def story(documents: Documents) -> Story:
    """Records in which nothing is wrong, and the time at their end."""
    world = LedgerWorld(7, 52, documents)
    now = world.play()
    return world.records, now


@pytest.mark.parametrize("seed", range(5))
def test_the_core_loses_nothing_and_does_nothing_twice(seed: int, documents: Documents) -> None:
    world = LedgerWorld(seed, 260, documents)
    now = world.play()
    assert audit(world.records, now) == []
    kinds = Counter(json.loads(r.value or b"")["kind"] for r in world.records if r.topic == SIGNALS)
    assert kinds.keys() == {
        *("sent", "held", "released", "accepted", "completed", "rejected", "stalled"),
        *("superseded", "discarded"),
    }


SAID = {"workflow": "claim", "occurred_at": BEGAN + 40_000, "id": "forged", "reason": "forged"}


def test_every_record_that_is_lost_or_comes_twice_is_found(story: Story) -> None:
    records, now = story
    states = [record for record in records if record.topic == CHANGELOG]
    last = {record.key: record for record in states}.values()
    published = [record for record in records if record.topic not in (*SPOKEN, CHANGELOG)]
    assert {record.topic for record in published} == {
        *(PACKAGES, HELD, SIGNALS, VIOLATIONS, DEAD_LETTERS, QUEUE)
    }
    for record in (*published[::3], *list(last)[::3]):
        assert audit([each for each in records if each is not record], now), f"lost: {record}"
    for record in published[::3]:
        assert audit([*records, record], now), f"twice: {record}"


def test_it_says_what_is_wrong(story: Story) -> None:
    records, now = story

    def first(topic: str, **members: object) -> Record:
        """The first record of a topic with these members."""
        for record in records:
            value = json.loads(record.value or b"{}") if record.topic == topic else {}
            if value and members.items() <= value.items():
                return record
        raise AssertionError(f"{topic} has nothing like {members}")

    def rules(*more: Record, without: Record | None = None) -> set[str]:
        forged = [*(record for record in records if record is not without), *more]
        return {sentence.split(":")[0] for sentence in audit(forged, now)}

    def said(topic: str, package: Record, **members: object) -> Record:
        """Something that a player says of a handoff in the end, and that nobody answers."""
        of = json.loads(package.value or b"")
        body = SAID | {"task_id": of["task_id"], "handoff_id": of["id"]} | members
        stamp = BEGAN + 40_000
        return Record(
            topic, package.partition, 10**6, package.key, json.dumps(body).encode(), stamp
        )

    stalled = first(SIGNALS, kind="stalled")
    sent, held = first(PACKAGES, revision=1), first(HELD, revision=1)
    output = {"stage": "check", "tool": "forger", "context": {}, "handoff": {"to": "settlers"}}
    of = b"claim/" + (stalled.key or b"") + b"#"
    aging = [r for r in records if r.topic == CHANGELOG and (r.key or b"").startswith(of)]
    assert rules() == set()
    assert "revision" in rules(without=first(PACKAGES, revision=2))
    assert "signal" in rules(stalled)
    assert "stall" in rules(without=stalled)
    assert "violation" in rules(without=first(VIOLATIONS, status="resolved"))
    assert "held" in rules(without=next(r for r in records if r.topic == HELD and not r.value))
    assert "queue" in rules(without=next(r for r in records if r.topic == QUEUE))
    assert "begun" in rules(said(OUTPUTS, sent, **output))
    assert "late" in rules(said(OUTPUTS, sent, **(output | {"stage": ARCHIVE, "handoff": None})))
    assert "ack" in rules(said(ACKS, sent, status="completed", by="forger", handoff_id="h-nobody"))
    assert "amendment" in rules(said(AMENDMENTS, held, action="discard", by="forger"))
    assert "state" in rules(aging[0])
    punctual = first(SIGNALS, kind="accepted", late=False)
    tardy = (punctual.value or b"").replace(b'"late":false', b'"late":true')
    assert "late" in rules(replace(punctual, value=tardy), without=punctual)
