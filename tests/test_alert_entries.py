"""What alerts do where an entry of theirs is lost, or is of a newer version."""

import json
from datetime import timedelta

import msgspec
import pytest

from console.commands.alerts import _row
from processors.alerts.book import Book
from processors.alerts.decide import firing
from processors.alerts.events import PersonSaid, RoutesRead, Tick, of_record
from schemas.alerts import AlertAction, AlertEntry
from tests.alerts_core import ONE_WEBHOOK, START, AlertPlayer, pattern, routing

FIRST, SECOND = "contract/a/rejected", "contract/b/rejected"
MINUTE = timedelta(minutes=1)


def player() -> AlertPlayer:
    """One alert of two causes, told."""
    made = AlertPlayer()
    for fingerprint in (FIRST, SECOND):
        made.take(of_record(fingerprint, pattern(fingerprint, START), START), START)
    made.take(Tick(), START)
    made.take(Tick(), START + MINUTE)
    assert [send.notification.action for send in made.sent] == ["trigger"]
    return made


def read_back(made: AlertPlayer) -> None:
    decode = msgspec.json.Decoder(AlertEntry).decode
    made.book = Book([decode(value) for value in made.topic.values()])


def told(made: AlertPlayer, minutes: int, fingerprint: str, **given: object) -> None:
    now = START + minutes * MINUTE
    found = pattern(fingerprint, now, first_seen=START, **given)
    made.take(of_record(fingerprint, found, now), now)
    made.take(Tick(), now + MINUTE / 2)
    made.take(Tick(), now + 2 * MINUTE)


@pytest.mark.parametrize("lost", ["cause/", "alert/", "sink/"])
def test_an_entry_that_is_lost_stops_no_other_alert(lost: str) -> None:
    made = player()
    for key in [key for key in made.topic if key.startswith(lost)]:
        del made.topic[key]
    read_back(made)
    for sink in made.routing.kinds:
        firing(made.book, made.routing, sink, START + MINUTE)
    told(made, 10, FIRST, count=50)
    told(made, 20, SECOND, count=50)
    assert {cause.reason for cause in made.book.causes.values()} <= {"opened", "grown_tenfold"}
    assert all(cause.alert in made.book.alerts for cause in made.book.causes.values())
    said = "; ".join(send.notification.title for send in made.sent[1:])
    assert "contract a" in said or "2 causes" in said
    told(made, 30, FIRST, status="closed")
    told(made, 40, SECOND, status="closed")
    assert not made.book.causes
    for key in list(made.book.alerts):  # of which nobody knows any more what they told
        said_so = AlertAction("1", key, "resolve", "Ana", START)
        made.take(PersonSaid(said_so), START + 50 * MINUTE)
    made.take(Tick(), START + 60 * MINUTE)
    assert [send.notification.action for send in made.sent].count("resolve") >= 1
    made.take(Tick(), START + 61 * MINUTE)
    assert not made.book.alerts


def test_a_reason_of_a_newer_version_stops_nothing() -> None:
    made = player()
    (key,) = [key for key in made.topic if key.startswith("alert/")]
    entry = json.loads(made.topic[key])
    made.topic[key] = json.dumps(entry | {"reason": "of_tomorrow"}).encode()
    read_back(made)
    assert firing(made.book, made.routing, "hook", START + MINUTE)
    told(made, 10, FIRST, status="closed")
    told(made, 20, SECOND, status="closed")
    assert [send.notification.action for send in made.sent] == ["trigger", "update", "resolve"]


def test_the_list_says_what_an_alert_that_waits_is_about() -> None:
    """It was not told yet, and so has no title of its own."""
    made = AlertPlayer()
    for fingerprint in (FIRST, SECOND):
        made.take(of_record(fingerprint, pattern(fingerprint, START), START), START)
    made.take(Tick(), START)
    (alert,) = made.book.alerts.values()
    assert (alert.state, alert.title) == ("waiting", "")
    *_, title = _row(alert, made.book.members(alert.key))
    words = "Handoffs to a receiver are rejected (contract a, workflow lead)"
    assert title == f"2 causes: {words}, and 1 more"
    assert list(_row(alert, []))[-1] == FIRST, "its causes cannot be read"


LAST = "9999-12-31T23:59:59Z"
FORGED: dict[str, dict[str, dict[str, object]]] = {
    "the end of an alert that has causes": {"alert/": {"state": "ended", "ended_at": LAST}},
    "a sink that has a message, and was told none": {
        "alert/": {"sinks": {"hook": {"reached": True, "action": "trigger"}}, "state": "ended"},
        "cause/": {"alert": None},
    },
    "a message at the end of time": {
        "alert/": {
            "sinks": {
                "hook": {"number": 1, "reached": True, "action": "trigger", "loud": 1, "at": LAST},
                "gone": {"number": 1, "reached": True, "action": "trigger", "kind": "slack"},
            },
            "ended_at": LAST,
        }
    },
    "a summary at the end of time": {
        "alert/": {"kind": "summary", "sinks": {"hook": {}}},
        "sink/": {"told": [[LAST, 10**30]], "summary_at": LAST},
    },
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_an_entry_that_somebody_else_wrote_stops_nothing(
    forged: dict[str, dict[str, dict[str, object]]],
) -> None:
    made = player()
    for key, value in made.topic.items():
        for start, members in forged.items():
            if key.startswith(start):
                made.topic[key] = json.dumps(json.loads(value) | members).encode()
    version = {"of": "version", "contract": "a", "version": 1, "since": LAST}
    made.topic["version/a"] = json.dumps(version).encode()
    read_back(made)
    made.routing = routing(ONE_WEBHOOK | {"digest": {"sink": "hook", "at": "12:00"}})
    for minutes in (10, 20):
        made.take(RoutesRead(), START + minutes * MINUTE)
        told(made, minutes, SECOND, count=50)
        told(made, minutes + 5, "contract/d/rejected")
    said = "; ".join(send.notification.title for send in made.sent[1:])
    assert "contract d" in said or "causes" in said


def test_an_alert_whose_causes_are_lost_is_not_told_as_over() -> None:
    """Nobody knows whether they are: also not where the process starts anew."""
    made = player()
    for key in [key for key in made.topic if key.startswith("cause/")]:
        del made.topic[key]
    read_back(made)
    before = len(made.sent)
    made.take(RoutesRead(), START + MINUTE)
    made.take(Tick(), START + 2 * MINUTE)
    assert not [send for send in made.sent[before:] if send.notification.action == "resolve"]
    assert made.book.alerts
