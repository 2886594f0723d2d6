"""What holds for alerts whatever happens: random streams of causes, silences, people and sinks."""

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.alerts.book import Book
from processors.alerts.events import PersonSaid, SilencePut, VersionInForce
from processors.alerts.inhibition import Inhibition, Inhibitors
from processors.alerts.quiet import quiet_until
from schemas.alerts import AlertAction, AlertSilence
from schemas.matching import exactly, matches
from schemas.routes import QuietHours
from tests.alerts_core import START, AlertPlayer

ROUTES: dict[str, Any] = {
    "kind": "AlertRoutes",
    "sinks": {
        "page": {"pagerduty": {"routing_key": {"env": "K"}}},
        "am": {"alertmanager": {"url": "http://127.0.0.1:9093"}},
        "chat": {"slack": {"token": {"env": "T"}, "channel": "c"}},
    },
    "routes": [
        {"name": "e", "match": {"severity": "error"}, "sink": "page", "continue": True},
        {"name": "am", "sink": "am", "continue": True},
        {
            "name": "chat",
            "match": {"owner": ["Ana", "Dana"]},
            "sink": "chat",
            "quiet_hours": {"from": "10:20", "to": "11:00", "time_zone": "UTC"},
        },
    ],
    "digest": {"sink": "chat", "at": "12:00"},
}
CAUSES = [
    "contract/a/context_dropped/x",
    "contract/b/context_dropped/x",
    "contract/a/rejected",
    "contract/b/not_accepted",
    "receiver/eng/receiver_missing",
    "source/pd/source_silent",
    "repeat/a/00",
    *(f"contract/a/context_empty/f{number}" for number in range(25)),
]
ABOUT: dict[str, dict[str, Any]] = {
    "contract/a/context_dropped/x": {"from_": "p", "to": "q", "stages": {"p": 1}},
    "contract/b/context_dropped/x": {"from_": "q", "to": "p", "stages": {"q": 1}},
    "contract/b/not_accepted": {"receiver": "eng"},
}
STEP = st.one_of(
    st.tuples(
        st.just("told"),
        st.sampled_from(CAUSES),
        st.sampled_from(["warning", "error"]),
        st.integers(1, 200),
        st.sampled_from(["Ana", "Dana", "Bo", None]),
    ),
    st.tuples(st.just("many"), st.sampled_from(["Ana", "Bo"])),
    st.tuples(st.just("over"), st.sampled_from(CAUSES)),
    st.tuples(st.just("say"), st.integers(0, 9), st.sampled_from(["ack", "resolve", "silence"])),
    st.tuples(st.just("silence"), st.sampled_from(["a", "*"]), st.integers(1, 60)),
    st.tuples(st.just("unsilence")),
    st.tuples(st.just("version"), st.sampled_from(["a", "b"])),
    st.tuples(st.just("hang"), st.sampled_from(["page", "chat"])),
    st.tuples(st.just("wake")),
    st.tuples(st.just("wait"), st.integers(1, 3000)),
)


def run(steps: list[Any], *, forget: bool) -> AlertPlayer:
    """Play the steps, tick by tick, to the end of everything."""
    player = AlertPlayer(ROUTES, forget=forget)
    now = START
    severe: dict[str, str] = {}
    for step in steps:
        now += timedelta(seconds=7)
        match step:
            case ("told", name, severity, count, owner):
                worse = "error" if severe.get(name) == "error" else severity
                severe[name] = worse
                given = {"severity": worse, "count": count, "owner": owner}
                player.told(name, now, **given, **ABOUT.get(name, {}))
            case ("many", owner):
                for name in CAUSES[7:]:
                    player.told(name, now, owner=owner)
                    severe[name] = "error"
            case ("over", name):
                severe.pop(name, None)
                player.over(name, now)
            case ("say", number, action):
                keys = sorted(player.book.alerts)
                if keys:
                    said = AlertAction("1", keys[number % len(keys)], action, "Ana", now)
                    until = now + timedelta(minutes=9) if number % 2 else None
                    player.take(PersonSaid(said, until), now)
            case ("silence", contract, minutes):
                ends = now + timedelta(minutes=minutes)
                silence = AlertSilence("s", {"contract": [contract]}, now, ends, "Ana", "")
                player.take(SilencePut("s", silence), now)
            case ("unsilence",):
                player.take(SilencePut("s", None), now)
            case ("version", contract):
                player.take(VersionInForce(contract, 1, now - timedelta(days=6, hours=23)), now)
            case ("hang", sink):
                player.hang.add(sink)
            case ("wake",):
                for sink in ("page", "chat"):
                    player.wake(sink, now)
            case ("wait", seconds):
                for _ in range(4):
                    now += timedelta(seconds=seconds / 4)
                    player.tick(now)
                    player.check()
        player.tick(now)
        player.check()
    for sink in ("page", "chat"):
        player.wake(sink, now)
    for name in CAUSES:
        player.over(name, now)
    for _ in range(60):
        now += timedelta(hours=1)
        player.tick(now)
        player.check()
    return player


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=25))
def test_each_firing_is_followed_by_exactly_one_resolve_at_each_sink(steps: list[Any]) -> None:
    player = run(steps, forget=False)
    for place, actions in player.heard.items():
        assert actions[0] == "trigger", place
        assert actions.count("resolve") == 1, (place, actions)
        assert actions[-1] == "resolve", (place, actions)
    assert not player.book.causes
    assert not player.book.alerts, "what is over is forgotten"
    numbers: dict[tuple[str, str], list[int]] = {}
    for send in player.sent:
        note = send.notification
        numbers.setdefault((send.sink, note.key), []).append(note.number)
        assert len(note.title) <= 200
        assert note.severity == "info" or note.action != "trigger" or note.labels
    for counted in numbers.values():
        assert counted == list(range(1, len(counted) + 1))
    labels: dict[str, dict[str, str]] = {}
    for send in player.sent:
        note = send.notification
        assert labels.setdefault(note.key, note.labels) == note.labels, "they are its identity"


@settings(max_examples=30, deadline=None)
@given(st.lists(STEP, max_size=15))
def test_a_crash_between_any_two_events_changes_no_message(steps: list[Any]) -> None:
    assert run(steps, forget=True).sent == run(steps, forget=False).sent


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_what_was_under_way_is_sent_again_with_its_number(data: Any) -> None:
    player = AlertPlayer(ROUTES)
    player.hang |= {"page", "am", "chat"}
    now = START
    for name in data.draw(st.lists(st.sampled_from(CAUSES), min_size=1, max_size=6)):
        player.told(name, now)
    player.tick(now)
    player.tick(now + timedelta(minutes=1))
    sent = [(s.sink, s.notification.key, s.notification.number) for s in player.sent]
    player.crash()
    again = player.resent(now + timedelta(minutes=2))
    assert sorted((s.sink, s.notification.key, s.notification.number) for s in again) == sorted(
        sent
    )
    assert not player.tick(now + timedelta(minutes=3)), "none is under way twice"


@given(st.lists(st.sampled_from(CAUSES[:2]), max_size=4), st.booleans())
def test_two_losses_never_silence_each_other(names: list[str], later: bool) -> None:
    player = AlertPlayer(ROUTES)
    for number, name in enumerate(names):
        player.told(name, START + timedelta(seconds=later * number), **ABOUT[name])
    inhibitors = Inhibitors()
    causes = list(player.book.causes.values())
    for cause in causes:
        inhibitors.put(cause)
    inhibition = Inhibition(inhibitors, lambda _: True)
    silenced = [cause for cause in causes if inhibition.of(cause) is not None]
    assert len(silenced) < max(len(causes), 1) or not causes


@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_a_star_stands_for_anything(pattern: str, text: str) -> None:
    def fits(p: str, t: str) -> bool:
        if not p:
            return not t
        if p[0] == "*":
            return any(fits(p[1:], t[n:]) for n in range(len(t) + 1))
        return bool(t) and p[0] == t[0] and fits(p[1:], t[1:])

    assert matches(pattern, text) == fits(pattern, text)


@given(st.text("ab*\\", max_size=6), st.text("ab*\\", max_size=6))
def test_what_is_to_be_matched_exactly_fits_nothing_else(text: str, other: str) -> None:
    assert matches(exactly(text), text)
    assert matches(exactly(text), other) == (text == other)


@given(st.integers(0, 8 * 24 * 60), st.sampled_from(["UTC", "Europe/Copenhagen", "Asia/Kolkata"]))
def test_quiet_hours_end_after_they_begin(minutes: int, zone: str) -> None:
    hours = QuietHours.model_validate({"from": "22:00", "to": "07:00", "time_zone": zone})
    now = START.replace(month=3, day=26) + timedelta(minutes=minutes)  # the clocks change
    end = quiet_until(hours, now)
    if end is not None:
        assert now < end <= now + timedelta(hours=10)
        assert quiet_until(hours, end) is None


def test_a_book_that_is_read_back_is_the_same() -> None:
    player = AlertPlayer(ROUTES)
    for name in CAUSES:
        player.told(name, START, **ABOUT.get(name, {}))
    player.tick(START)
    player.tick(START + timedelta(minutes=1))
    read = Book(player.book.entries())
    assert set(map(repr, read.entries())) == set(map(repr, player.book.entries()))
    assert read.changed() == {}
