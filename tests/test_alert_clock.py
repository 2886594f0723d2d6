"""A clock that is set back holds up no alert: what it has not reached yet was told before that."""

from datetime import datetime, timedelta

from processors.alerts.events import Tick, VersionInForce, of_record
from tests.alerts_core import ONE_WEBHOOK, START, AlertPlayer, pattern

SECOND = timedelta(seconds=1)
BACK = START - timedelta(hours=6)


def told(made: AlertPlayer, number: int, now: datetime) -> None:
    fingerprint = f"contract/c{number}/rejected"
    found = pattern(fingerprint, now, workflow=f"w{number}")
    made.take(of_record(fingerprint, found, now), now)


def test_what_was_told_before_holds_nothing_up() -> None:
    made = AlertPlayer()
    for number in range(15):
        told(made, number, START)
    for seconds in (0, 31):
        made.take(Tick(), START + seconds * SECOND)
    for number in range(15, 30):  # a storm: its summary is told at once
        told(made, number, START + 32 * SECOND)
    for seconds in (32, 63):
        made.take(Tick(), START + seconds * SECOND)
    assert len(made.sent) == 16
    told(made, 30, BACK)
    for seconds in (0, 31):
        made.take(Tick(), BACK + seconds * SECOND)
    assert len(made.sent) == 17
    for number in range(31, 60):
        told(made, number, BACK + 32 * SECOND)
    for seconds in (32, 63):
        made.take(Tick(), BACK + seconds * SECOND)
    assert made.sent[-1].notification.title.startswith("29 causes within a minute")


def test_what_waited_before_is_told() -> None:
    made = AlertPlayer()
    told(made, 1, START)
    made.take(Tick(), START)
    made.take(Tick(), BACK)
    made.take(Tick(), BACK + 31 * SECOND)
    assert [send.notification.action for send in made.sent] == ["trigger"]


def test_what_is_open_is_brought_up_to_date() -> None:
    made = AlertPlayer()
    told(made, 1, START)
    for seconds in (0, 31):
        made.take(Tick(), START + seconds * SECOND)
    found = pattern("contract/c1/rejected", BACK, workflow="w1", first_seen=START, count=2)
    made.take(of_record(found.fingerprint, found, BACK), BACK)
    made.take(Tick(), BACK)
    assert [send.notification.action for send in made.sent] == ["trigger", "update"]


def test_a_digest_that_began_in_the_future_is_told_at_the_next_hour_of_digests() -> None:
    made = AlertPlayer(ONE_WEBHOOK | {"digest": {"sink": "hook", "at": "12:00"}})
    made.take(VersionInForce("c1", 1, START), START)
    told(made, 1, START + timedelta(days=3))
    made.take(Tick(), START + timedelta(days=3))
    made.take(Tick(), START)
    made.take(Tick(), START + timedelta(hours=1, minutes=59))
    assert not made.sent
    made.take(Tick(), START + timedelta(hours=2))
    assert [send.notification.action for send in made.sent] == ["trigger"]
