"""The probe alone: what it concludes from what it saw, and that nothing it meets stops it."""

import logging
import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from confluent_kafka import KafkaError, KafkaException

from processors.contracts.registry import LIVENESS, RegistrySnapshot, build_tables
from processors.integrity.processor import INTEGRITY
from processors.runtime import clients
from processors.runtime.groups import GroupQueryFailed, Groups
from processors.runtime.liveness_probe import LivenessProbe, liveness
from processors.runtime.settings import Settings
from processors.runtime.status import LaneStatus
from schemas import serde
from schemas.documents import Receiver
from schemas.records import Liveness
from tests.lanes import wait_for
from tests.watching import WATCHING

NOW = 1_700_000_000_000
STALE = 25_000


def record(live: bool, checked: int, last: int | None) -> Liveness:
    """A record `checked` and `last` milliseconds before NOW."""
    return Liveness(
        "desk", live, NOW - checked, 1 if live else 0, None, None if last is None else NOW - last
    )


@pytest.mark.parametrize(
    ("previous", "last"),
    [
        (None, 0),  # never looked at: its grace begins now
        (record(False, 5_000, None), 0),
        (record(True, 5_000, 5_000), 5_000),
        (record(False, 5_000, 3_600_000), 3_600_000),
        (record(True, STALE, STALE), STALE),
        (record(True, STALE + 1, STALE + 1), 0),  # nobody looked meanwhile: it counted as live
        (record(False, 86_400_000, 90_000_000), 90_000_000),  # gone before, and still gone
        (record(False, -60_000, -60_000), 0),  # from an instance whose clock is ahead
    ],
)
def test_an_absent_receiver_was_there_last_when_it_counted_as_live(
    previous: Liveness | None, last: int
) -> None:
    found = liveness("desk", previous, 0, 7, NOW, STALE)
    assert not found.live
    assert found.last_live_at == serde.utc(NOW - last)
    assert (found.checked_at, found.members, found.lag) == (serde.utc(NOW), 0, 7)


def test_a_present_receiver_is_there_now() -> None:
    found = liveness("desk", record(False, 5_000, 3_600_000), 2, None, NOW, STALE)
    assert found == Liveness("desk", True, serde.utc(NOW), 2, None, serde.utc(NOW))


def test_integrity_watches_active_receivers_that_name_a_group() -> None:
    def receiver(id_: str, **given: Any) -> Receiver:
        return Receiver.model_validate({"kind": "Receiver", "id": id_, "team": "t", **given})

    tables = RegistrySnapshot(
        [],
        [
            receiver("own", consumer_group="g", queue="own.inbox"),
            receiver("shared", consumer_group="h"),
            receiver("silent"),
            receiver("gone", consumer_group="g", status="retired"),
        ],
    )
    assert INTEGRITY.groups(tables) == {
        "own": ("g", "own.inbox"),
        "shared": ("h", "handoff.packages"),
    }
    assert LIVENESS in INTEGRITY.tables


class Producer:
    """Takes records, or refuses them all."""

    def __init__(self, error: KafkaError | None = None) -> None:
        self.error = error
        self.values: list[bytes] = []
        self._waiting: list[Callable[[], None]] = []

    def produce(self, topic: str, value: bytes, key: bytes, **given: Any) -> None:
        assert (topic, key) == (LIVENESS, b"desk")
        assert ("handoff-schema", b"liveness/1") in given["headers"]
        self.values.append(value)
        self._waiting.append(lambda: given["on_delivery"](self.error, None))

    def flush(self, _: float) -> None:
        for word in self._waiting:
            word()
        self._waiting.clear()


class Table:
    """The table of liveness records, as the runtime's tables show it."""

    current = None

    def __init__(self, value: bytes | None = None) -> None:
        self._value = value

    def value(self, topic: str, key: str) -> bytes | None:
        assert (topic, key) == (LIVENESS, "desk")
        return self._value


class ProbeWorld:
    """A probe on fakes: `members` and `lags` are what Kafka tells, or why it does not."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.members: int | str = 1
        self.lags: dict[tuple[str, str], int] | str = {}
        self.producers = [Producer()]
        self.status = LaneStatus("toy")
        self._patch = patch
        patch.setattr(clients, "plain_producer", lambda *_: self.producers[-1])
        patch.setattr(Groups, "members", self._members)
        patch.setattr(Groups, "lags", self._lags)

    def _members(self, groups: set[str]) -> tuple[dict[str, int], dict[str, str]]:
        if isinstance(self.members, str):
            return {}, dict.fromkeys(groups, self.members)
        return dict.fromkeys(groups, self.members), {}

    def _lags(self, pairs: object) -> dict[tuple[str, str], int]:
        if isinstance(self.lags, str):
            raise GroupQueryFailed(self.lags)
        return self.lags

    def probe(self, table: bytes | None = None) -> LivenessProbe:
        tables: Any = Table(table)
        return LivenessProbe(Settings(probe_interval=0.5), WATCHING, tables, self.status)

    @property
    def published(self) -> list[Liveness]:
        values = [value for each in self.producers for value in each.values]
        return [msgspec.json.decode(value, type=Liveness) for value in values]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> ProbeWorld:
    return ProbeWorld(monkeypatch)


def test_each_look_publishes_also_without_a_change(world: ProbeWorld) -> None:
    world.lags = {("desk", "toy.out"): 12}
    probe = world.probe()
    probe.look()
    probe.look()
    assert [(each.live, each.members, each.lag) for each in world.published] == [(True, 1, 12)] * 2
    assert world.status.probes == {"live": 2}


def test_what_another_instance_saw_is_gone_on_from(world: ProbeWorld) -> None:
    world.members = 0
    before = Liveness("desk", False, serde.utc(NOW), 0, None, serde.utc(NOW - 1))
    probe = world.probe(serde.encode(before))
    probe.look()
    probe.look()
    assert [each.last_live_at for each in world.published] == [serde.utc(NOW - 1)] * 2


@pytest.mark.parametrize("table", [b"\xff", b"[]", b'{"receiver": 1}'])
def test_an_unreadable_record_is_as_none(world: ProbeWorld, table: bytes) -> None:
    world.members = 0
    world.probe(table).look()
    (found,) = world.published
    assert found.last_live_at == found.checked_at


def test_a_group_that_cannot_be_described_publishes_nothing_and_is_named_once(
    world: ProbeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world.members = "not authorized"
    probe = world.probe()
    probe.look()
    probe.look()
    assert (world.published, world.status.probes) == ([], {"failed": 2})
    (said,) = caplog.messages
    assert (
        "the consumer group desk of the receiver desk cannot be described (not authorized)" in said
    )
    world.members = 1
    probe.look()
    assert [each.live for each in world.published] == [True]
    assert caplog.messages[1:] == [f"no longer: {said}"]


def test_an_unknown_lag_hides_no_liveness(world: ProbeWorld) -> None:
    world.lags = "not authorized"
    world.probe().look()
    assert [(each.live, each.lag) for each in world.published] == [(True, None)]


def test_a_record_that_is_not_delivered_costs_the_producer_and_no_more(
    world: ProbeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.producers = [Producer(KafkaError(KafkaError._MSG_TIMED_OUT, "timed out"))]
    probe = world.probe()
    probe.look()
    assert world.status.probes == {"failed": 1}
    assert f"{LIVENESS} does not take records: _MSG_TIMED_OUT: timed out" in caplog.text
    world.producers.append(Producer())
    probe.look()
    assert len(world.producers[1].values) == 1
    assert world.status.probes == {"failed": 1, "live": 1}


def test_a_producer_that_has_failed_for_good_is_replaced(
    world: ProbeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = KafkaException(KafkaError(KafkaError._FATAL, "out of order"))
    broken, sound = Mock(), Producer()
    broken.produce.side_effect = error
    made = iter([broken, sound])
    monkeypatch.setattr(clients, "plain_producer", lambda *_: next(made))
    world.status.phase, world.status.state = "running", {0: (0, 0)}
    probe = world.probe()
    probe.start()
    try:
        wait_for(lambda: world.status.probes["live"], 10, "a record by the second producer")
    finally:
        probe.stop()
    assert world.status.probes["failed"] == 1


def test_it_looks_while_the_lane_runs_on_partition_0_and_survives_every_error(
    world: ProbeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = threading.Semaphore(0)

    def look(_: LivenessProbe) -> None:
        looks.release()
        raise ZeroDivisionError

    monkeypatch.setattr(LivenessProbe, "look", look)
    probe = world.probe()
    world.status.phase = "running"
    world.status.state = {1: (0, 0)}
    probe.start()
    try:
        assert not looks.acquire(timeout=0.7), "another instance has partition 0"
        world.status.state = {0: (0, 0), 1: (0, 0)}
        for _ in range(2):
            assert looks.acquire(timeout=5)
        world.status.phase = "restoring"
        wait_for(lambda: not looks.acquire(timeout=0.7), 5, "an end of looking")
    finally:
        probe.stop()
    assert world.status.probes["failed"] >= 2
    assert not any(thread.name == "probe-toy" for thread in threading.enumerate())


@pytest.mark.parametrize("value", [b"\xff", b'{"receiver": "\xff", "live": true}', b"[]", b"null"])
def test_what_cannot_be_read_of_a_receiver_counts_as_nothing_known(value: bytes) -> None:
    tables = build_tables({LIVENESS: {"marketing": value}}, None)
    assert not tables.silent("marketing", NOW)
