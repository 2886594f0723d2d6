"""Plays months of traffic through integrity, insights and the decisions of alerts, at speed.

    python -m bench.alerts                          ninety days of invented incidents
    python -m bench.alerts permit-outputs.jsonl.gz  a log of yours, with contracts made from it

Thirty contracts of five teams. Prints how often a person of each team is called a day (ten is what
a person can stand), and each opening and end with its reason. Raises AssertionError where a cause
is in two alerts, or in none without a reason, or an alert is not resolved once its causes are over.
"""

import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from console.dry_run import DryRun
from console.lines import Line, read_lines
from processors.alerts.book import Book
from processors.alerts.decide import decide
from processors.alerts.events import Answered, Event, Note, Send, Tick, of_record
from processors.alerts.reasons import Reason
from processors.alerts.routing import Routing
from processors.contracts.registry import CONTRACTS, RECEIVERS
from processors.insights.limits import DEFAULT_LIMITS
from processors.integrity.limits import Limits
from processors.integrity.processor import integrity
from schemas import documents
from schemas.records import Pattern
from schemas.route_files import load_routes
from schemas.routes import AlertRoutes, in_use, references

ROUTES = Path(__file__).resolve().parents[1] / "alerts" / "routes.yaml"
TEAMS = ("sales", "support", "legal", "finance", "care")
BUDGET = 10  # pages a day and person
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
DAYS = 90
_PATTERNS = "handoff.patterns"
_ENDS_AFTER = timedelta(days=40)  # longer than a pattern may be quiet before it is closed
_pattern = msgspec.json.Decoder(Pattern).decode


@dataclass
class ReplayHeard:
    """What people were told in a replay. `pages` counts triggers at the paging sink a day and
    owner, `told` those at every sink."""

    patterns: int = 0
    occurrences: set[str] = field(default_factory=set)
    tick_reasons: Counter[str] = field(default_factory=Counter)
    pages: Counter[tuple[str, str]] = field(default_factory=Counter)
    rows: list[tuple[datetime, str, str, str, str]] = field(default_factory=list)
    sent: list[Send] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    homes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    days: int = 0


def default_routes() -> AlertRoutes:
    """The routes that are shipped, with all of their sinks in use."""
    routes, _ = load_routes(ROUTES)
    kept, _ = in_use(routes, frozenset(each.env for each in references(routes) if each.env))
    return kept


def heard_of(patterns: Iterator[tuple[str, Pattern | None, datetime]]) -> ReplayHeard:
    """Play patterns through the decisions, each at its moment; every sink answers at once. After
    each one the clock ticks for two minutes, then hourly."""
    routing, book, heard = Routing(default_routes()), Book(), ReplayHeard()
    clock: datetime | None = None
    first: datetime | None = None

    def take(event: Event, now: datetime) -> None:
        decision = decide(book, event, routing, now)
        heard.notes.extend(decision.notes)
        for send in decision.sends:
            note = send.notification
            heard.sent.append(send)
            answer = Answered(send.sink, note.key, note.number, "taken", "ts")
            decide(book, answer, routing, now)
            _row(heard, send, now, book)
        if isinstance(event, Tick):
            _check(book, heard)

    def until(due: datetime) -> None:
        nonlocal clock
        while clock is not None and clock + timedelta(seconds=15) < due:
            busy = any(alert.state == "waiting" for alert in book.alerts.values())
            step = timedelta(seconds=15) if busy else timedelta(hours=1)
            clock = min(clock + step, due)
            take(Tick(), clock)

    for fingerprint, pattern, now in patterns:
        first = first or now
        until(now)
        heard.patterns += 1
        if pattern is not None and not pattern.backfill and pattern.status != "closed":
            heard.occurrences.add(pattern.id)
        take(of_record(fingerprint, pattern, now), now)
        take(Tick(), now)
        clock = now
    if clock is not None and first is not None:
        heard.days = max(1, (clock - first).days)
        until(clock + timedelta(days=2))
    _forgotten(heard, book)
    return heard


def _check(book: Book, heard: ReplayHeard) -> None:
    """Each cause is in exactly one alert, or there is a reason why in none."""
    for cause in book.causes.values():
        if cause.alert is None:
            heard.tick_reasons[cause.reason] += 1
            assert cause.reason in ("inhibited", "no_route", "silenced"), cause
        else:
            assert book.alerts[cause.alert].state != "ended", cause
            heard.homes[cause.id].add(cause.alert)
    for alert in book.alerts.values():
        assert alert.causes == len(book.member_names(alert.key)), alert


def _forgotten(heard: ReplayHeard, book: Book) -> None:
    """Each occurrence was in an alert, inhibited or over before it was told; each firing ended."""
    inhibited = {n.about for n in heard.notes if n.reason is Reason.INHIBITED}
    for id_ in heard.occurrences:
        assert heard.homes[id_] or id_.rpartition("@")[0] in inhibited, f"{id_} is forgotten"
    still = set(book.alerts)
    actions: dict[tuple[str, str], list[str]] = defaultdict(list)
    for send in heard.sent:
        actions[send.sink, send.notification.key].append(send.notification.action)
    for (sink, key), told in actions.items():
        assert told[0] == "trigger", (sink, key, told)
        assert told.count("resolve") == (0 if key in still else 1), (sink, key, told)


def _row(heard: ReplayHeard, send: Send, now: datetime, book: Book) -> None:
    note = send.notification
    owner = note.labels.get("owner", "several")
    if send.sink == "pagerduty" and note.action == "trigger":
        heard.pages[f"{now:%Y-%m-%d}", owner] += 1
    if note.action in ("trigger", "resolve"):
        facts = dict(note.facts)
        why = facts.get("why now") or facts.get("over", "")
        heard.rows.append((now, send.sink, note.action, why, note.title))


# --- traffic --------------------------------------------------------------------------------------


def patterns_of(lines: Iterator[Line], tables: dict[str, dict[str, bytes]], until: datetime) -> Any:
    """What insights publishes of the lines, each pattern with its moment."""
    limits = msgspec.structs.replace(Limits(), task_ttl_ms=None, handoff_ttl_ms=None)
    dry = DryRun(integrity(limits), tables, 6, None, DEFAULT_LIMITS)
    for record in dry.run(lines, int(until.timestamp() * 1000)):
        if record.topic == _PATTERNS and record.key is not None:
            pattern = None if record.value is None else _pattern(record.value)
            now = datetime.fromtimestamp(dry.now / 1000, UTC) if pattern is None else pattern.at
            yield record.key.decode(), pattern, now


def tables_of(edges: list[tuple[str, str, str]], fields: list[str]) -> dict[str, dict[str, bytes]]:
    """Thirty contracts over edges (workflow, from, to), and their receivers, of five teams."""
    made: dict[str, dict[str, bytes]] = {CONTRACTS: {}, RECEIVERS: {}}
    for number, (workflow, from_, to) in enumerate(edges[:30]):
        team = TEAMS[number % len(TEAMS)]
        receiver = f"{team}-{number}"
        person = {"name": f"Owner of {team}", "contact": f"{team}@example.com"}
        documents_: list[dict[str, Any]] = [
            {
                "kind": "Receiver",
                "id": receiver,
                "team": team,
                "owners": [person],
            },
            {
                "kind": "HandoffContract",
                "id": f"c{number}",
                "version": 1,
                "owner": person,
                "action": "Go on.",
                "workflow": workflow,
                "from": {"team": team, "stage": from_},
                "to": {"receiver": receiver, "stage": to},
                "fields": [{"name": name, "type": "string"} for name in fields],
                "accept_within": "P1D",
            },
        ]
        for each in documents_:
            document = documents.parse(each)
            topic = RECEIVERS if each["kind"] == "Receiver" else CONTRACTS
            made[topic][documents.key(document)] = documents.to_json(document)
    return made


def log_tables(path: str) -> dict[str, dict[str, bytes]]:
    """Contracts of the thirty most travelled moves of a log, that ask for what it carries."""
    moves: Counter[tuple[str, str, str]] = Counter()
    fields: Counter[str] = Counter()
    latest: dict[str, str] = {}
    for line in read_lines(path):
        event = json.loads(line.value)
        before, stage = latest.get(event["task_id"]), event["stage"]
        if before is not None and before != stage:
            moves[event["workflow"], before, stage] += 1
            fields.update(event["context"])
        latest[event["task_id"]] = stage
    return tables_of([edge for edge, _ in moves.most_common(30)], [n for n, _ in fields.items()])


INCIDENT_FIELDS = ["intent", "budget", "deadline", "contact"]


def incident_edges() -> list[tuple[str, str, str]]:
    """Six workflows of five moves each."""
    return [(f"w{w}", f"s{s}", f"s{s + 1}") for w in range(6) for s in range(5)]


def incident_lines(seed: int, days: int = DAYS) -> Iterator[Line]:
    """A task of each contract every three hours; and now and then, for some hours, one field is
    dropped, or nobody takes the work on. Two contracts lose a field one night in three."""
    random_ = random.Random(seed)
    broken: dict[int, tuple[datetime, str]] = {}
    events: list[tuple[datetime, dict[str, Any]]] = []
    for number, (workflow, from_, to) in enumerate(incident_edges()):
        team = TEAMS[number % len(TEAMS)]
        now = BEGIN + timedelta(minutes=random_.randrange(180))
        while now < BEGIN + timedelta(days=days):
            if number not in broken and random_.random() < 0.004:
                hours = random_.choice([3, 6, 12, 48])
                what = random_.choice([*INCIDENT_FIELDS, "nobody"])
                broken[number] = now + timedelta(hours=hours), what
            what = ""
            if number in broken:
                end, what = broken[number]
                if now > end:
                    del broken[number]
                    what = ""
            if number in (3, 17) and now.hour in (2, 3, 4) and now.day % 3 == 0:
                what = "budget"
            task = f"{workflow}-{number}-{int(now.timestamp())}"
            full = {name: f"{name} {task}" for name in INCIDENT_FIELDS if name != what}
            base = {"task_id": task, "workflow": workflow, "team": team}
            sent = {"stage": from_, "tool": f"tool-{from_}", "context": full}
            handoff = {"to": f"{team}-{number}", "contract": f"c{number}"}
            events.append((now, base | sent | {"id": f"{task}-1", "handoff": handoff}))
            if what != "nobody":
                took = {"stage": to, "tool": f"tool-{to}", "context": {}}
                events.append((now + timedelta(hours=1), base | took | {"id": f"{task}-2"}))
            now += timedelta(minutes=150 + random_.randrange(60))
    events.sort(key=lambda event: (event[0], event[1]["id"]))
    for line, (at, event) in enumerate(events, 1):
        event["occurred_at"] = at.isoformat()
        value = json.dumps(event).encode()
        key = event["task_id"].encode()
        yield Line(line, "handoff.tool-outputs", key, value, int(at.timestamp() * 1000), None)


def incidents(seed: int = 1, days: int = DAYS) -> ReplayHeard:
    """Invented incidents, heard."""
    tables = tables_of(incident_edges(), INCIDENT_FIELDS)
    until = BEGIN + timedelta(days=days) + _ENDS_AFTER
    return heard_of(patterns_of(incident_lines(seed, days), tables, until))


def log(path: str, days: int = 92) -> ReplayHeard:
    """The first days of a log of yours, heard."""
    tables = log_tables(path)
    begin = next(read_lines(path)).occurred_at or 0
    end = begin + days * 86_400_000
    lines = (line for line in read_lines(path) if (line.occurred_at or 0) < end)
    until = datetime.fromtimestamp(end / 1000, UTC) + _ENDS_AFTER
    return heard_of(patterns_of(lines, tables, until))


def table(heard: ReplayHeard) -> Iterator[str]:
    """What a person reads of it."""
    owners: dict[str, list[int]] = defaultdict(list)
    for (_, owner), number in heard.pages.items():
        owners[owner].append(number)
    yield f"{heard.patterns:,} records, {len(heard.occurrences):,} causes, {heard.days} days"
    yield f"{'owner':24} {'pages':>6} {'a day':>6} {'worst day':>10}"
    for owner, numbers in sorted(owners.items()):
        total = sum(numbers)
        mean = total / max(heard.days, 1)
        over = "" if max(numbers) <= BUDGET else f"  more than {BUDGET}"
        yield f"{owner:24} {total:6} {mean:6.2f} {max(numbers):10}{over}"
    yield ""
    for at, sink, action, why, title in heard.rows:
        if sink == "slack":
            yield f"{at:%Y-%m-%d %H:%M} {action:8} {why}: {title}"


def main() -> None:
    heard = log(sys.argv[1]) if len(sys.argv) > 1 else incidents()
    for line in table(heard):
        print(line)


if __name__ == "__main__":
    main()
