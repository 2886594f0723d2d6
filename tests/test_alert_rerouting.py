"""Routes that change while alerts are open: each is at the sinks that the routes name now."""

from datetime import timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from processors.alerts.events import PersonSaid, VersionInForce
from schemas.alerts import AlertAction
from tests.alerts_core import START, AlertPlayer, check_order

SINKS: dict[str, Any] = {
    "page": {"pagerduty": {"routing_key": {"env": "K"}}},
    "am": {"alertmanager": {"url": "http://127.0.0.1:9093"}},
    "chat": {"slack": {"token": {"env": "T"}, "channel": "c"}},
    "hook": {"webhook": {"url": "https://h.example", "secret": {"env": "S"}}},
}
CHAT_IS_A_HOOK = {**SINKS, "chat": SINKS["hook"]}
EVERYTHING = ["page", "am", "chat", "hook"]
A, B = "contract/a/rejected", "contract/b/rejected"


def routes(
    *to: str | dict[str, Any], sinks: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """Routes to these sinks; only those are in the file, unless `sinks` are given."""
    made = [
        {"name": f"r{number}", "continue": True}
        | ({"sink": each} if isinstance(each, str) else each)
        for number, each in enumerate(to)
    ]
    named = {each["sink"] for each in made}
    return {
        "kind": "AlertRoutes",
        "sinks": sinks or {name: SINKS[name] for name in SINKS if name in named},
        "routes": made,
        **more,
    }


class RouteDesk:
    """A player with a clock."""

    def __init__(self, first: dict[str, Any], *causes: str) -> None:
        self.player = AlertPlayer(first)
        self.now = START
        for cause in causes:
            self.player.told(cause, self.now)
        self.wait()

    def wait(self, minutes: float = 2) -> None:
        for _ in range(4):
            self.now += timedelta(minutes=minutes / 4)
            self.player.tick(self.now)
            self.player.check()

    def change(self, given: dict[str, Any]) -> list[tuple[str, str, str]]:
        """Start anew with these routes; what is sent then: sink, action, why."""
        before = len(self.player.sent)
        self.player.restart(given, self.now)
        self.wait()
        return self.sent(before)

    def sent(self, before: int = 0) -> list[tuple[str, str, str]]:
        found: list[tuple[str, str, str]] = []
        for send in self.player.sent[before:]:
            facts = dict(send.notification.facts)
            found.append(
                (send.sink, send.notification.action, facts.get("why now") or facts["over"])
            )
        return found

    @property
    def keys(self) -> set[str]:
        return {send.notification.key for send in self.player.sent}

    def at(self) -> set[str]:
        """The sinks at which anything fires."""
        return {sink for sink, _ in self.player.firing}


HERE = "the routes have changed, and lead here now"
ELSEWHERE = "the routes have changed, and do not lead here any more"


def test_a_sink_that_is_new_is_told_and_the_others_hear_nothing() -> None:
    desk = RouteDesk(routes("page"), A)
    assert desk.change(routes("page", "chat")) == [("chat", "trigger", HERE)]
    assert len(desk.keys) == 1
    desk.player.over(A, desk.now)
    desk.wait()
    assert desk.sent()[2:] == [("chat", "resolve", "it is over"), ("page", "resolve", "it is over")]


def test_a_sink_that_no_route_names_any_more_is_told_the_end() -> None:
    desk = RouteDesk(routes("page", "chat"), A)
    told = desk.change(routes("page", sinks=SINKS))
    assert told == [("chat", "resolve", ELSEWHERE)]
    (alert,) = desk.player.book.alerts.values()
    assert alert.sinks.keys() == {"page"}
    note = desk.player.sent[-1].notification
    assert note.ended_at is not None
    assert dict(note.facts)["lasted"] == "2026-03-02 10:00 UTC to 2026-03-02 10:02 UTC"


def test_where_no_route_is_left_the_alert_ends_and_its_cause_says_why() -> None:
    desk = RouteDesk(routes("page"), A)
    other = {"sink": "page", "match": {"workflow": "another"}}
    assert desk.change(routes(other)) == [("page", "resolve", ELSEWHERE)]
    assert desk.player.book.causes[A].reason == "no_route"
    assert not desk.player.book.alerts
    assert desk.change(routes("page")) == [("page", "trigger", "it began")]


def test_a_sink_that_is_gone_is_marked_and_told_the_end_when_it_is_back() -> None:
    desk = RouteDesk(routes("page"), A)
    assert desk.change(routes("chat")) == [("chat", "trigger", HERE)]
    desk.player.over(A, desk.now)
    desk.wait()
    (alert,) = desk.player.book.alerts.values()
    assert alert.state == "ended"
    assert alert.sinks["page"].gone
    assert alert.sinks["page"].stays_open
    assert desk.at() == {"page"}
    assert desk.change(routes("page", "chat")) == [("page", "resolve", "it is over")]
    assert not desk.player.book.alerts
    assert not desk.at()


def test_what_ended_long_ago_is_forgotten_although_its_sink_is_gone() -> None:
    desk = RouteDesk(routes("page"), A)
    desk.change(routes("chat"))
    desk.player.over(A, desk.now)
    desk.wait(60 * 24 * 7 - 5)
    assert desk.player.book.alerts
    desk.wait(10)
    assert not desk.player.book.alerts


def test_an_alertmanager_that_is_gone_ends_it_by_itself() -> None:
    desk = RouteDesk(routes("am"), A)
    desk.change(routes("chat"))
    (alert,) = desk.player.book.alerts.values()
    assert alert.sinks.keys() == {"chat"}


def test_a_sink_with_another_name_takes_what_comes_for_the_same_alert() -> None:
    """A webhook ignores a number that it has had: those of the new name go on from the old one."""
    desk = RouteDesk(routes("hook"), A)
    desk.player.told(A, desk.now, count=10)
    desk.wait()
    renamed = routes("hook-2", sinks={"hook-2": SINKS["hook"]})
    assert desk.change(renamed) == [("hook-2", "trigger", HERE)]
    desk.player.over(A, desk.now)
    desk.wait()
    assert [s.notification.number for s in desk.player.sent] == [1, 2, 3, 4]
    assert len(desk.keys) == 1


def test_a_name_that_is_a_sink_of_another_kind_now_is_two_sinks() -> None:
    desk = RouteDesk(routes("page", "chat"), A)
    assert desk.change(routes("page", "chat", sinks=CHAT_IS_A_HOOK)) == [("chat", "trigger", HERE)]
    (alert,) = desk.player.book.alerts.values()
    assert alert.sinks["chat (slack)"].gone
    assert alert.sinks["chat"].kind == "webhook"
    desk.player.over(A, desk.now)
    desk.wait()
    assert desk.sent()[-2:] == [
        ("chat", "resolve", "it is over"),
        ("page", "resolve", "it is over"),
    ]
    desk.player.firing = {("chat", alert.key)}  # in Slack
    assert desk.change(routes("page", "chat")) == [("chat", "resolve", "it is over")]
    assert desk.player.sent[-1].notification.reference == f"chat-{alert.key}"
    assert not desk.player.book.alerts


def test_most_causes_stay_and_the_others_are_told_anew() -> None:
    desk = RouteDesk(routes("page"), A, B, "contract/c/rejected")
    only_c = {"sink": "chat", "match": {"contract": "c"}}
    told = desk.change(routes(only_c | {"continue": False}, "page"))
    assert told == [("chat", "trigger", "it began")]
    assert len({c.alert for c in desk.player.book.causes.values()}) == 2
    assert desk.player.book.causes[A].alert == desk.player.book.causes[B].alert


def test_whoever_acknowledged_did_it_elsewhere() -> None:
    desk = RouteDesk(routes("page"), A)
    (key,) = desk.keys
    desk.player.take(PersonSaid(AlertAction("1", key, "ack", "Ana", desk.now)), desk.now)
    desk.wait()
    assert desk.change(routes("page", "chat")) == [
        ("chat", "trigger", HERE),
        ("chat", "acknowledge", "a person looks after it"),
    ]


def test_quiet_hours_of_the_new_route_defer() -> None:
    desk = RouteDesk(routes("page"), A)
    quiet = {"from": "10:00", "to": "11:00", "time_zone": "UTC"}
    assert desk.change(routes("page", {"sink": "chat", "quiet_hours": quiet})) == []
    before = len(desk.player.sent)
    desk.wait(60)
    assert desk.sent(before) == [("chat", "trigger", HERE)]


def test_what_waits_goes_by_the_new_routes() -> None:
    """Under the same name of a route, too."""
    desk = RouteDesk(routes("page"))
    desk.player.told(A, desk.now)
    desk.player.tick(desk.now)
    assert desk.change(routes("chat")) == [("chat", "trigger", "it began")]


def test_a_digest_moves_with_its_sink() -> None:
    desk = RouteDesk(routes("page", digest={"sink": "page", "at": "12:00"}))
    desk.player.take(VersionInForce("a", 1, desk.now), desk.now)
    desk.player.told(A, desk.now)
    desk.wait()
    moved = routes("page", sinks=SINKS, digest={"sink": "chat", "at": "12:00"})
    assert desk.change(moved) == []
    desk.wait(180)
    assert [(sink, action) for sink, action, _ in desk.sent()] == [("chat", "trigger")]
    told = desk.change(routes("page", sinks=SINKS, digest={"sink": "hook", "at": "12:00"}))
    assert told == [("chat", "resolve", ELSEWHERE), ("hook", "trigger", HERE)]
    told = desk.change(routes("page", sinks=SINKS))
    assert sorted(told) == [("hook", "resolve", ELSEWHERE), ("page", "trigger", "it began")]


def test_a_sink_that_was_told_the_end_is_told_anew_where_the_routes_lead_back() -> None:
    desk = RouteDesk(routes("page", "chat"), A)
    desk.player.hang.add("chat")
    assert desk.change(routes("page", sinks=SINKS)) == [("chat", "resolve", ELSEWHERE)]
    assert desk.change(routes("page", "chat")) == []  # the answer is not there yet
    before = len(desk.player.sent)
    desk.player.wake("chat", desk.now)
    desk.wait()
    assert desk.sent(before) == [("chat", "trigger", HERE)]
    assert desk.player.sent[-1].notification.reference is None, "it is a message of its own"


def test_an_end_that_was_under_way_is_sent_again_with_its_own_number() -> None:
    """The routes lead back meanwhile; the other sink has heard more of the alert."""
    desk = RouteDesk(routes("page", "hook"), A)
    for count in (3, 4):
        desk.player.told(A, desk.now, count=count)
        desk.wait()
    desk.player.hang.add("page")
    assert desk.change(routes("hook", sinks=SINKS)) == [("page", "resolve", ELSEWHERE)]
    assert desk.change(routes("page", "hook")) == []
    (again,) = desk.player.waiting
    assert (again.notification.action, again.notification.number) == ("resolve", 2)
    before = len(desk.player.sent)
    desk.player.wake("page", desk.now)
    desk.wait()
    assert desk.sent(before) == [("page", "trigger", HERE)]
    assert desk.player.sent[-1].notification.number > 3


def test_a_sink_that_took_its_end_is_not_told_it_twice() -> None:
    desk = RouteDesk(routes("page", "chat"), A)
    desk.player.hang.add("chat")
    desk.change(routes("page", sinks=SINKS))
    desk.change(routes("page", "chat"))
    desk.player.over(A, desk.now)  # before the sink has answered to the end
    desk.wait()
    desk.player.wake("chat", desk.now)
    desk.wait()
    assert desk.sent().count(("chat", "resolve", ELSEWHERE)) == 1
    assert desk.sent()[-1] == ("page", "resolve", "it is over")
    assert not desk.player.book.alerts


def test_an_end_that_is_under_way_goes_to_no_sink_of_another_kind() -> None:
    desk = RouteDesk(routes("page", "chat"), A)
    desk.player.hang.add("chat")
    desk.change(routes("page", sinks=SINKS))
    desk.change(routes("page", "chat"))
    assert desk.change(routes("page", "chat", sinks=CHAT_IS_A_HOOK)) == [("chat", "trigger", HERE)]
    assert [send.notification.action for send in desk.player.waiting] == ["trigger"]


def test_a_sink_is_back_although_the_one_in_its_place_was_never_told() -> None:
    """As in quiet hours."""
    desk = RouteDesk(routes("page", "chat"), A)
    quiet = {"from": "10:00", "to": "11:00", "time_zone": "UTC"}
    hook = routes("page", {"sink": "chat", "quiet_hours": quiet}, sinks=CHAT_IS_A_HOOK)
    assert desk.change(hook) == []
    assert desk.change(routes("page", "chat")) == [], "it has heard of it"
    desk.player.over(A, desk.now)
    desk.wait()
    assert desk.sent()[-2:] == [
        ("chat", "resolve", "it is over"),
        ("page", "resolve", "it is over"),
    ]
    assert not desk.player.book.alerts


def test_a_start_with_the_same_routes_changes_nothing() -> None:
    desk = RouteDesk(routes(*EVERYTHING), A, B)
    before = dict(desk.player.topic)
    desk.player.restart(routes(*EVERYTHING), desk.now)
    assert desk.player.topic == before


CAUSES = [f"contract/{name}/rejected" for name in "abcdefgh"]
ROUTE = st.one_of(
    st.sampled_from(EVERYTHING),
    st.fixed_dictionaries(
        {
            "sink": st.sampled_from(EVERYTHING),
            "match": st.sampled_from(
                [{"severity": "error"}, {"owner": "Ana"}, {"contract": ["a", "b", "c"]}]
            ),
            "continue": st.booleans(),
        }
    ),
)
ROUTES = st.builds(
    lambda each, kept: routes(*each, sinks=kept),
    st.lists(ROUTE, min_size=1, max_size=4),
    st.sampled_from([None, SINKS, CHAT_IS_A_HOOK]),
).filter(lambda made: all(r["sink"] in made["sinks"] for r in made["routes"]))
STEP = st.one_of(
    st.tuples(
        st.just("told"),
        st.sampled_from(CAUSES),
        st.sampled_from(["warning", "error"]),
        st.sampled_from(["Ana", "Dana"]),
    ),
    st.tuples(st.just("over"), st.sampled_from(CAUSES)),
    st.tuples(st.just("ack"), st.integers(0, 9)),
    st.tuples(st.just("hang"), st.sampled_from(EVERYTHING)),
    st.tuples(st.just("wake")),
    st.tuples(st.just("wait"), st.integers(1, 120)),
    st.tuples(st.just("wait"), st.integers(60, 120)),
    st.tuples(st.just("routes"), ROUTES),
    st.tuples(st.just("routes"), ROUTES),
)


class Life:
    """Random steps, and what holds at their end."""

    def __init__(self) -> None:
        self.player = AlertPlayer(routes(*EVERYTHING))
        self.now = START
        self.severe: dict[str, str] = {}

    def step(self, step: tuple[Any, ...]) -> None:
        player = self.player
        self.now += timedelta(seconds=7)
        match step:
            case ("told", name, severity, owner):
                worse = "error" if self.severe.get(name) == "error" else severity
                self.severe[name] = worse
                player.told(name, self.now, severity=worse, owner=owner)
            case ("over", name):
                self.severe.pop(name, None)
                player.over(name, self.now)
            case ("ack", number):
                keys = sorted(player.book.alerts)
                if keys:
                    said = AlertAction("1", keys[number % len(keys)], "ack", "Ana", self.now)
                    player.take(PersonSaid(said), self.now)
            case ("hang", sink):
                player.hang.add(sink)
            case ("wake",):
                self.wake()
            case ("wait", seconds):
                self.wait(seconds)
            case ("routes", given):
                player.restart(given, self.now)
        player.tick(self.now)
        player.check()

    def wake(self) -> None:
        for sink in EVERYTHING:
            self.player.wake(sink, self.now)

    def wait(self, seconds: float) -> None:
        for _ in range(4):
            self.now += timedelta(seconds=seconds / 4)
            self.player.tick(self.now)
            self.player.check()

    def rest(self) -> None:
        self.wake()
        for _ in range(5):
            self.wait(240)


def expected(player: AlertPlayer) -> set[tuple[str, str]]:
    """What the routes say: which alert fires at which sink."""
    return {
        (route.sink, cause.alert)
        for cause in player.book.causes.values()
        if cause.alert is not None
        for route in player.routing.of(cause)
    }


@settings(max_examples=150, deadline=None)
@example(  # the end at the other kind, then that at the one that came back
    [
        ("told", "contract/a/rejected", "warning", "Ana"),
        ("wait", 23),
        ("routes", routes("chat", sinks=CHAT_IS_A_HOOK)),
        ("over", "contract/a/rejected"),
    ],
    routes("page", sinks=SINKS),
)
@given(st.lists(STEP, max_size=25), ROUTES)
def test_each_open_alert_is_at_the_sinks_that_the_routes_name(
    steps: list[Any], last: dict[str, Any]
) -> None:
    life = Life()
    for step in steps:
        life.step(step)
    # An owner who changed while somebody looks after it is not looked at until they are read again.
    life.step(("routes", last))
    life.rest()
    player = life.player
    there = {place for place in player.firing if place[0] in player.routing.kinds}
    assert there >= expected(player), "no firing is lost"
    for sink, key in player.firing - expected(player):  # what else fires is known, and shown
        others = [s for s in player.book.alerts[key].sinks if s.startswith(f"{sink} (")]
        at = [
            player.book.alerts[key].sinks[name]
            for name in (sink, *others)
            if name in player.book.alerts[key].sinks
        ]
        assert any(told.gone and told.stays_open for told in at), (sink, key)
    check_order(player)
    for name in list(player.book.causes):
        player.over(name, life.now)
    life.rest()
    for back in (routes(*EVERYTHING), routes(*EVERYTHING, sinks=CHAT_IS_A_HOOK)):
        life.step(("routes", back))
        life.rest()
    assert not player.firing, "no incident stays open at a sink that came back"
    assert not player.book.alerts
