"""Whatever outages intake has: who answered in time is never blamed, and who did not always is.

Drawn worlds of one source, on virtual time. Receivers answer in a tool of theirs; intake brings
that to the core when it runs, and tells how far it has read. The core may crash at any minute.
"""

import json
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.driver import Driver
from processors.integrity.processor import INTEGRITY
from processors.timeline import Timeline
from schemas.flow import Output, Record
from tests.core import DAY_ONE, Registry, commit_into

MINUTE = 60_000
ACCEPT_WITHIN = 30  # minutes
TELLS_EVERY = 3  # minutes
GRACE = 15  # minutes
UNTIL = 260  # minutes
# A deadline that was held back is looked at again after half a minute at the latest.
SOON = MINUTE


class DrawnTask(NamedTuple):
    """When it is handed off, and when its receiver answers (None: never); minutes."""

    begins: int
    answers: int | None


class DrawnWorld(NamedTuple):
    """Tasks, and the times at which intake is away; minutes."""

    tasks: list[DrawnTask]
    outages: list[tuple[int, int]]
    crashes: set[int]


TASKS = st.builds(
    lambda begins, after: DrawnTask(begins, None if after is None else begins + after),
    st.integers(0, 60),
    st.none() | st.integers(1, 2 * ACCEPT_WITHIN),
)
OUTAGES = st.lists(st.tuples(st.integers(0, 100), st.integers(1, 120)), max_size=2)
WORLDS = st.builds(
    DrawnWorld,
    st.lists(TASKS, min_size=1, max_size=4),
    OUTAGES,
    st.sets(st.integers(0, 200), max_size=4),
)


def is_away(world: DrawnWorld, minute: int) -> bool:
    return any(begin <= minute < begin + length for begin, length in world.outages)


class Play:
    """The core on virtual time, a minute after the other."""

    def __init__(self, world: DrawnWorld) -> None:
        self.world = world
        self.registry = Registry(
            {
                "contracts": [{"accept_within": f"PT{ACCEPT_WITHIN}M", "complete_within": "P9D"}],
                "sources": [{"source_grace": f"PT{GRACE}M"}],
            }
        )
        self.store: dict[str, bytes] = {}
        self.published: list[tuple[int, Output]] = []
        self.offset = 0
        self.ids: dict[int, str] = {}
        self.unread: list[tuple[int, int]] = []  # task, when it was answered
        self._start(None)

    def _start(self, now: int | None) -> None:
        """A process of its own: all that it knows is what is committed."""
        self.driver = Driver(INTEGRITY, self.registry.tables())
        self.driver.assign(0, dict(self.store))
        self.clock = Timeline(self.driver, self._settle)
        self.clock.now = now
        if now is not None:
            self._publish(self.clock.exchange(self.driver.tables))

    def _settle(self) -> tuple[Output, ...]:
        commit_into(self.store, self.driver)
        return ()

    def _publish(self, outputs: Any) -> None:
        for output in outputs:
            self.published.append((self.clock.now or 0, output))

    def _read(self, topic: str, key: str, timestamp: int, **body: Any) -> None:
        value = json.dumps({"task_id": key, "workflow": "lead", **body}).encode()
        record = Record(topic, 0, self.offset, key.encode(), value, timestamp)
        self.offset += 1
        assert self.clock.now is not None
        self._publish(self.driver.step(record, self.clock.now))
        self._settle()

    def play(self, until: int) -> None:
        for minute in range(until):
            now = DAY_ONE + minute * MINUTE
            self._publish(self.clock.to(now))
            if minute in self.world.crashes:
                self._start(now)
            for number, task in enumerate(self.world.tasks):
                if task.begins == minute:
                    self._hand_off(number, now)
                if task.answers == minute:
                    self.unread.append((number, now))
            if not is_away(self.world, minute):
                self._intake(minute, now)
            self._publish(self.clock.through(now))

    def _hand_off(self, number: int, now: int) -> None:
        self._read(
            "handoff.tool-outputs",
            f"t{number}",
            now,
            id=f"e{number}",
            stage="qualify",
            tool="crm",
            team="sales",
            occurred_at=now,
            context={},
            handoff={"to": "marketing"},
        )
        package = next(o for _, o in reversed(self.published) if o.topic == "handoff.packages")
        self.ids[number] = json.loads(package.value or b"")["id"]

    def _intake(self, minute: int, now: int) -> None:
        for number, at in self.unread:
            self._read(
                "handoff.acks",
                f"t{number}",
                at,
                id=f"a{number}",
                handoff_id=self.ids[number],
                status="accepted",
                by="Dana",
                occurred_at=at,
            )
        self.unread.clear()
        if minute % TELLS_EVERY == 0:
            time = f"day {minute // 1440 + 1} {minute // 60 % 24:02}:{minute % 60:02}"
            self.registry.register({"read": {"tracker": time}}, now)
            self._publish(self.clock.exchange(self.registry.tables()))

    def told(self, topic: str) -> list[tuple[int, dict[str, Any]]]:
        return [
            (now, json.loads(output.value or b""))
            for now, output in self.published
            if output.topic == topic
        ]


@settings(max_examples=150, deadline=None)
@given(WORLDS)
def test_only_who_did_not_answer_in_time_is_blamed(world: DrawnWorld) -> None:
    played = Play(world)
    played.play(UNTIL)
    violations = played.told("handoff.violations")
    blamed = {
        each["task_id"]: now
        for now, each in violations
        if each["kind"] == "not_accepted" and each["status"] == "opened"
    }
    late = {each["task_id"] for _, each in played.told("handoff.signals") if each["late"]}
    guilty = {
        f"t{number}"
        for number, task in enumerate(world.tasks)
        if task.answers is None or task.answers > task.begins + ACCEPT_WITHIN
    }
    # An answer that was late, and read before it was known to be missing, is told as late.
    assert blamed.keys() | late == guilty
    for number, task in enumerate(world.tasks):
        if f"t{number}" in blamed:
            deadline = task.begins + ACCEPT_WITHIN
            known = next(
                minute
                for minute in range(deadline, UNTIL)
                if minute % TELLS_EVERY == 0 and not is_away(world, minute)
            )
            told = blamed[f"t{number}"]
            assert told >= DAY_ONE + known * MINUTE, "not before the source was read so far"
            assert told <= DAY_ONE + known * MINUTE + SOON, "and soon after"


@settings(max_examples=80, deadline=None)
@given(WORLDS)
def test_a_silent_source_is_said_while_a_deadline_waits_and_never_stays(world: DrawnWorld) -> None:
    played = Play(world)
    played.play(UNTIL)
    open_: dict[str, dict[str, Any]] = {}
    for _, each in played.told("handoff.violations"):
        if each["kind"] == "source_silent":
            assert (each["owner"], each["reason"]) == ("Ana Silva", "tracker")
            if each["status"] == "opened":
                open_[each["id"]] = each
            else:
                del open_[each["id"]]
    assert not open_
    if not world.outages:
        told = [each["kind"] for _, each in played.told("handoff.violations")]
        assert "source_silent" not in told
