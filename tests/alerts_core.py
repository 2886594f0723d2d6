"""Plays timelines through the decisions of alerts; `test_alert_scenarios` tells how one is written.

Between any two events everything that is remembered may be written down and read back, as after a
crash: `forget=True`.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from processors.alerts.book import Book
from processors.alerts.decide import again, decide, firing
from processors.alerts.events import (
    Answered,
    CauseOver,
    Event,
    Note,
    PersonSaid,
    RoutesRead,
    Send,
    SilencePut,
    Tick,
    VersionInForce,
    of_record,
)
from processors.alerts.limits import DEFAULT_ALERT_LIMITS, AlertLimits
from processors.alerts.routing import Routing
from schemas.alerts import AlertAction, AlertEntry, AlertSilence, entry_key
from schemas.records import Pattern
from schemas.routes import AlertRoutes

START: Final = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)  # a Monday
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AlertEntry).decode

ONE_WEBHOOK: Final = {
    "kind": "AlertRoutes",
    "sinks": {"hook": {"webhook": {"url": "https://h.example", "secret": {"env": "S"}}}},
    "routes": [{"name": "all", "sink": "hook"}],
}


def routing(routes: dict[str, Any] | None = None) -> Routing:
    """Routes as they are written, for look-ups."""
    return Routing(AlertRoutes.model_validate(routes or ONE_WEBHOOK))


def pattern(fingerprint: str, now: datetime, **given: Any) -> Pattern:
    """A pattern; kind, contract, receiver and field come from the fingerprint."""
    named = fingerprint.removeprefix("replay/").split("/")
    about: dict[str, Any] = {"kind": named[2] if len(named) > 2 else named[-1]}
    match named[0]:
        case "contract":
            about |= {"contract": named[1], "field": named[3] if len(named) > 3 else None}
        case "receiver":
            about["receiver"] = named[1]
        case "edge":
            about |= {"kind": named[4], "from_": named[2], "to": named[3]}
        case "repeat":
            about |= {"kind": "repeat", "contract": named[1], "values": {"context.x": '"v"'}}
    seen = given.get("first_seen", now)
    defaults: dict[str, Any] = {
        "id": f"{fingerprint}@{int(seen.timestamp() * 1000)}",
        "status": "opened",
        "severity": "error",
        "workflow": "lead",
        "contract": None,
        "receiver": None,
        "from_": None,
        "to": None,
        "field": None,
        "owner": "Dana",
        "count": 1,
        "recent": 1,
        "rate": 1.0,
        "first_seen": seen,
        "last_seen": now,
        "stages": {},
        "tools": {},
        "tasks": [],
        "values": None,
        "message": "never read",
        "at": now,
        "backfill": fingerprint.startswith("replay/"),
    }
    return Pattern(**(defaults | about | {"fingerprint": fingerprint} | given))


class AlertPlayer:
    """A book, the routes and sinks that answer at once, but for those that `hang`."""

    def __init__(
        self,
        routes: dict[str, Any] | None = None,
        *,
        forget: bool = False,
        limits: AlertLimits = DEFAULT_ALERT_LIMITS,
    ) -> None:
        self.routing = routing(routes)
        self.book = Book()
        self.limits = limits
        self.forget = forget
        self.topic: dict[str, bytes] = {}
        self.hang: set[str] = set()
        self.refuse: set[str] = set()
        self.waiting: list[Send] = []
        self.sent: list[Send] = []
        # The actions of each alert at each sink: by sink, its kind (another is another sink), key.
        self.heard: dict[tuple[str, str, str], list[str]] = {}
        self.notes: list[Note] = []
        self.opened: dict[str, Pattern] = {}
        self.firing: set[tuple[str, str]] = set()  # what fires at a sink: its name, a key

    def take(self, event: Event, now: datetime) -> list[Send]:
        """One event, and what the sinks answer to what follows from it."""
        if self.forget:
            self.crash()
        decision = decide(self.book, event, self.routing, now, self.limits)
        self._write()
        self.notes += decision.notes
        self.sent += decision.sends
        for send in decision.sends:
            place = send.sink, self.routing.kinds[send.sink], send.notification.key
            self.heard.setdefault(place, []).append(send.notification.action)
            if send.sink in self.hang:
                self.waiting.append(send)
            else:
                self.answer(send, now)
        return list(decision.sends)

    def answer(self, send: Send, now: datetime) -> None:
        """The sink answers."""
        outcome = "refused" if send.sink in self.refuse else "taken"
        note = send.notification
        if outcome == "taken":
            self._took(send)
        reference = f"{send.sink}-{note.key}" if note.action in ("trigger", "resolve") else None
        event = Answered(send.sink, note.key, note.number, outcome, reference)  # type: ignore[arg-type]
        decide(self.book, event, self.routing, now, self.limits)
        self._write()

    def _took(self, send: Send) -> None:
        place = send.sink, send.notification.key
        if send.notification.action == "resolve":
            self.firing.discard(place)
        else:
            self.firing.add(place)

    def restart(self, routes: dict[str, Any], now: datetime) -> None:
        """The process starts anew with other routes. A sink that hung has taken what it was sent,
        and its answer is lost."""
        for send in self.waiting:
            self._took(send)
        self.waiting = []
        self.crash()
        self.routing = routing(routes)
        self.take(RoutesRead(), now)
        for sink in {sink for sink, _ in self.firing} | set(self.routing.kinds):
            kind = self.routing.kinds.get(sink)
            if sink == "am":  # Alertmanager forgets what is not sent to it again
                self.firing = {place for place in self.firing if place[0] != sink}
            if kind == "alertmanager":
                told = firing(self.book, self.routing, sink, now)
                self.firing |= {(sink, note.key) for note in told}
        for send in self.resent(now):
            if send.sink in self.hang:
                self.waiting.append(send)
            else:
                self.answer(send, now)

    def wake(self, sink: str, now: datetime) -> None:
        """A sink that hung answers all that it was given."""
        self.hang.discard(sink)
        for send in [each for each in self.waiting if each.sink == sink]:
            self.waiting.remove(send)
            self.answer(send, now)

    def _write(self) -> None:
        for key, entry in self.book.changed().items():
            if entry is None:
                self.topic.pop(key, None)
            else:
                assert entry_key(entry) == key
                self.topic[key] = _encode(entry)

    def crash(self) -> None:
        """All that is left is what was written down; what was under way is sent again."""
        entries = [_decode(value) for value in self.topic.values()]
        assert sorted(self.topic) == sorted(entry_key(entry) for entry in self.book.entries())
        self.book = Book(reversed(entries), self.book.silences.values())

    def resent(self, now: datetime) -> tuple[Send, ...]:
        """What is sent again after a crash."""
        return again(self.book, self.routing, now)

    def told(self, fingerprint: str, now: datetime, **given: Any) -> None:
        """A record of a pattern."""
        before = self.opened.get(fingerprint)
        if before is not None and "first_seen" not in given:
            given["first_seen"] = before.first_seen
        record = pattern(fingerprint, now, **given)
        if record.status == "closed":
            self.opened.pop(fingerprint, None)
        else:
            self.opened[fingerprint] = record
        self.take(of_record(fingerprint, record, now), now)

    def over(self, fingerprint: str, now: datetime) -> None:
        """A pattern is closed."""
        self.opened.pop(fingerprint, None)
        self.take(CauseOver(fingerprint), now)

    def tick(self, now: datetime) -> list[Send]:
        """Time has passed."""
        return self.take(Tick(), now)

    def check(self) -> None:
        """What holds after each tick: each cause is in exactly one alert that is open, or there is
        a reason why in none; each alert has a cause, or tells its end."""
        reasons = {
            "no_route",
            "silenced",
            "inhibited",
            "quieted_by_person",
        }
        for cause in self.book.causes.values():
            if cause.alert is None:
                assert cause.reason in reasons, cause
            else:
                assert self.book.alerts[cause.alert].state != "ended", cause
        for alert in self.book.alerts.values():
            members = len(self.book.member_names(alert.key))
            assert members == alert.causes, alert
            assert members or alert.state == "ended" or alert.kind == "digest", alert


def moment(text: str | int | datetime) -> datetime:
    """A moment of a story: seconds after the start, `[D+]HH:MM[:SS]`, or a whole time."""
    if isinstance(text, datetime):
        return text if text.tzinfo else text.replace(tzinfo=UTC)
    if isinstance(text, int):
        return START + timedelta(seconds=text)
    days, _, clock = text.rpartition("+")
    parts = [int(part) for part in clock.split(":")]
    day = START.replace(hour=0) + timedelta(days=int(days or 0))
    return day + timedelta(
        hours=parts[0], minutes=parts[1], seconds=parts[2] if len(parts) > 2 else 0
    )


def event_of(step: dict[str, Any], now: datetime) -> Event | None:
    """The event of a step that is not about a pattern or a sink."""
    match step:
        case {"contract_in_force": name}:
            version, since = step.get("version", 1), moment(step.get("since", now))
            return VersionInForce(name, version, since)
        case {"silence": id_, "match": match}:
            starts, ends = moment(step.get("from", now)), moment(step["until"])
            listed = {name: [v] if isinstance(v, str) else v for name, v in match.items()}
            return SilencePut(id_, AlertSilence(id_, listed, starts, ends, "Ana", "planned"))
        case {"end_silence": id_}:
            return SilencePut(id_, None)
    return None


def said(player: AlertPlayer, step: dict[str, Any], now: datetime) -> PersonSaid:
    """What a person says to the alert that tells a cause."""
    cause = player.book.causes[step["to"]]
    until = moment(step["until"]) if "until" in step else None
    action = AlertAction("1", cause.alert or "", step["say"], "Ana", now, until)
    return PersonSaid(action, until)


def play(
    story: dict[str, Any], *, forget: bool = False
) -> tuple[AlertPlayer, list[dict[str, Any]]]:
    """Play a story; what was sent, each with its moment."""
    player = AlertPlayer(story.get("routes"), forget=forget)
    found: list[dict[str, Any]] = []
    every = timedelta(seconds=story.get("tick", 10))
    clock = moment(story["timeline"][0]["at"])

    def tick(now: datetime) -> None:
        for send in player.tick(now):
            found.append(shown(send, now))
        player.check()

    for step in [*story["timeline"], {"at": story["until"]}]:
        due = moment(step["at"])
        while clock < due:
            tick(clock)
            clock += every
        clock = due
        _step(player, dict(step), due)
        tick(due)
        clock += every
    return player, found


def _step(player: AlertPlayer, step: dict[str, Any], now: datetime) -> None:
    del step["at"]
    if "pattern" in step:
        for fingerprint in _named(step.pop("pattern")):
            given = dict(step)
            if "seen" in given:
                given["first_seen"] = moment(given.pop("seen"))
            player.told(fingerprint, now, **given)
    elif "close" in step:
        for fingerprint in _named(step["close"]):
            player.over(fingerprint, now)
    elif "say" in step:
        player.take(said(player, step, now), now)
    elif "hang" in step:
        player.hang.add(step["hang"])
    elif "wake" in step:
        player.wake(step["wake"], now)
    elif "routes" in step:
        player.restart(step["routes"], now)
    elif "refuse" in step:
        player.refuse.add(step["refuse"])
    elif step:
        event = event_of(step, now)
        assert event is not None, step
        player.take(event, now)


def _named(names: str | list[str]) -> Iterable[str]:
    return [names] if isinstance(names, str) else names


def shown(send: Send, now: datetime) -> dict[str, Any]:
    """A message as a story expects it."""
    note = send.notification
    return {
        "at": now,
        "sink": send.sink,
        "action": note.action,
        "title": note.title,
        "severity": note.severity,
        "number": note.number,
        "to": note.to,
        "reference": note.reference,
        "command": note.command,
        "facts": dict(note.facts),
        "why": dict(note.facts).get("why now") or dict(note.facts).get("over"),
        "key": note.key,
        "labels": note.labels,
    }


def check_order(player: AlertPlayer) -> None:
    """Each sink hears of an alert in order: it begins, and ends once. Where the routes lead back to
    a sink that was told the end, it begins anew."""
    for place, actions in player.heard.items():
        begins = True
        for action in actions:
            assert (action == "trigger") if begins else True, (place, actions)
            begins = action == "resolve"
