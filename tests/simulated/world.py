"""The world of one seed: contracts, receivers, and how they change while tasks are on their way."""

import json
from random import Random
from typing import Any, Final

from processors.contracts.registry import LIVENESS
from processors.insights.limits import Limits as InsightsLimits
from processors.integrity.limits import Limits
from tests.simulated.story import DAY, HOUR, MINUTE, START, TablesChange, entry

Data = dict[str, Any]

STAGES: Final = ("intake", "qualify", "nurture", "close")
RECEIVERS: Final = ("marketing", "support", "sales", "billing")
NOBODY: Final = "nobody"  # a receiver that is never registered
TOOLS: Final = ("crm", "recorder", "agent")
PEOPLE: Final = ("Dana Reyes", "Ilse Kramer", "Sam Ito")
NAMES: Final = ("topic", "score", "mood", "lead", "notes", "budget", "lead.name", "extra")
FIELDS: Final[tuple[Data, ...]] = (
    {"name": "topic"},
    {"name": "topic", "from": ["topic", "notes"], "rebuild": False, "weight": 3},
    {"name": "subject", "from": ["topic", "lead.topic"], "rebuild": {"max_age": "PT2H"}},
    {"name": "score", "type": "integer"},
    {"name": "score", "type": ["integer", "null"], "required": False},
    {"name": "mood", "translate": {"hot": "high", "cold": "low"}, "weight": 0.5},
    {"name": "mood", "from": ["mood", "notes"], "translate": {"hot": "high"}, "required": False},
    {"name": "who", "from": ["lead.name", "lead"], "type": ["string", "object"]},
    {"name": "notes", "required": False},
    {"name": "budget", "rebuild": {"pick": "unambiguous"}, "schema": {"minimum": 10}},
    {"name": "budget", "stable": True},
    {"name": "never", "required": True},
)
RULES: Final[tuple[Data, ...]] = (
    {"name": "high", "expr": "context.score > 50", "message": "the score is low"},
    {"name": "said", "expr": "has(context.topic) && size(context.topic) > 3", "message": "no"},
    {"name": "same", "expr": "context.topic != context.notes", "message": "m", "severity": "info"},
)
REPEATS: Final[tuple[Data, ...]] = (
    {"by": ["context.topic"], "threshold": 2, "within": "PT6H", "receiver": "support"},
    {"by": ["context.score"], "threshold": 3, "within": "P1D", "receiver": "billing"},
    {"by": ["context.mood", "context.lead.name"], "threshold": 2, "within": "PT1H"}
    | {"receiver": "gone"},
)
WHENS: Final = ("context.score >= 60", "has(context.mood) && context.mood == 'hot'")
HOLDS: Final[tuple[list[str], ...]] = (
    [],
    ["any"],
    ["context_dropped", "never_captured"],
    ["receiver_missing", "receiver_silent", "owner_missing"],
    ["rule_failed", "context_malformed", "untranslatable", "context_retracted"],
    ["never_captured", "contract_missing", "receiver_mismatch"],
)
ACCEPTS: Final = ("on_output", "explicit", {"tools": ["crm"]})
SHORT: Final = (None, "PT10M", "PT1H", "PT6H")
LONG: Final = (None, None, "PT30M", "PT8H", "P1D")


class SimulatedWorld:
    """The documents of one seed as they are now; `random` says what they are and become."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.workflows = ("lead", "order/eu", "care")[: random.choice((1, 1, 2, 3))]
        self.contracts: dict[str, list[Data]] = {}  # the versions of each
        self.receivers: dict[str, Data] = {}
        for number in range(random.randint(2, 7)):
            self.contracts[f"c{number}"] = [self._contract(f"c{number}", 1)]
        for id_ in RECEIVERS:
            self.receivers[id_] = self._receiver(id_, START)
        self.silent_at: list[int] = []
        self.limits = self._limits()
        self.insights = InsightsLimits(
            random.choice((HOUR, DAY)),
            random.choice((0, 1, 10_000, 2 * HOUR)),
            random.choice((1, 10_000, 3 * MINUTE)),
            (1, 2, 3, 20)[len(self.contracts) % 4],
        )

    def _limits(self) -> Limits:
        random = self.random
        return Limits(
            fields=random.choice((256, 256, 256, 4)),
            value_bytes=random.choice((64 << 10, 64 << 10, 12)),
            state_bytes=random.choice((1 << 20, 1 << 20, 1500)),
            open_handoffs=random.choice((64, 64, 2)),
            handoff_ttl_ms=random.choice((12 * HOUR, 2 * DAY, 4 * DAY)),
            task_ttl_ms=random.choice((6 * HOUR, 2 * DAY, 3 * DAY)),
            stale_liveness_ms=365 * DAY,
        )

    def moments(self, now: int) -> list[int]:
        """When the tables say something else by themselves (epoch ms): a receiver has been silent
        for too long, or somebody's last day is over."""
        return [*self.silent_at, now - (now - START) % DAY + DAY]

    def beginning(self) -> list[TablesChange]:
        """What is registered at the start; some of it comes later, or never."""
        random = self.random
        changes = [
            TablesChange((entry(versions[0]),))
            for versions in self.contracts.values()
            if random.random() < 0.9
        ]
        changes += [
            TablesChange((entry(receiver),))
            for receiver in self.receivers.values()
            if random.random() < 0.85
        ]
        return changes

    def change(self, now: int) -> TablesChange:
        """One change of the tables at `now` (epoch ms)."""
        random = self.random
        kind = random.choices(
            ("receiver", "owners", "version", "status", "liveness", "topics"), (3, 2, 2, 2, 3, 1)
        )[0]
        id_ = random.choice(RECEIVERS)
        if kind == "receiver":
            retired = random.random() < 0.3
            self.receivers[id_] |= {"status": "retired" if retired else "active"}
            return TablesChange((entry(self.receivers[id_]),))
        if kind == "owners":
            self.receivers[id_] = self._receiver(id_, now)
            return TablesChange((entry(self.receivers[id_]),))
        if kind == "liveness":
            ago = random.choice((0, 5 * MINUTE, HOUR))
            live = random.random() < 0.4
            found = {"receiver": id_, "live": live, "checked_at": now, "last_live_at": now - ago}
            self.silent_at = [now - ago + 10 * MINUTE, now - ago + 30 * MINUTE]
            return TablesChange(((LIVENESS, id_, json.dumps(found).encode()),))
        if kind == "topics":
            queues = [f"q.{name}" for name in RECEIVERS if random.random() < 0.8]
            return TablesChange((), frozenset(["handoff.packages", *queues]))
        versions = self.contracts[random.choice(sorted(self.contracts))]
        if kind == "version":
            fresh = self._contract(versions[0]["id"], len(versions) + 1)
            if random.random() < 0.7:
                kept = ("workflow", "from", "to", "when")
                fresh |= {name: versions[-1][name] for name in kept if name in versions[-1]}
            versions.append(fresh)
            return TablesChange((entry(fresh),))
        version = random.choice(versions)
        statuses = ("trial", "active", "active", "deprecated", "retired")
        version["status"] = random.choice(statuses)
        return TablesChange((entry(version),))

    def _contract(self, id_: str, version: int) -> Data:
        random = self.random
        source, other, target = random.sample(STAGES, 3)
        stage: Any = random.choice((source, source, [source, other], "*"))
        made: Data = {
            "kind": "HandoffContract",
            "id": id_,
            "version": version,
            "status": random.choices(("active", "trial", "deprecated", "draft"), (8, 2, 1, 1))[0],
            "owner": {"name": "Ilse Kramer", "contact": "ilse@example.com"},
            "action": "Go on with it.",
            "workflow": random.choice(self.workflows),
            "from": {"team": random.choice(("sales", None)), "stage": stage},
            "to": {"receiver": random.choice(RECEIVERS)},
            "fields": list(
                {f["name"]: f for f in random.sample(FIELDS, random.randint(0, 4))}.values()
            ),
            "rules": random.sample(RULES, random.choice((0, 0, 1, 2))),
            "accept": random.choice(ACCEPTS),
            "extra": random.choice(("pass", "pass", "strip")),
        }
        if random.random() < 0.8:
            made["to"]["stage"] = target
        if random.random() < 0.35:
            made["when"] = random.choice(WHENS)
        if random.random() < 0.2:
            made["repeat"] = random.choice(REPEATS)
        if random.random() < 0.7:
            made["hold_on"] = random.choice(HOLDS)
        if random.random() < 0.3:
            made["severity"] = {random.choice(("context_dropped", "not_accepted")): "warning"}
        for name, choices in (
            ("accept_within", SHORT),
            ("complete_within", LONG),
            ("release_within", SHORT),
        ):
            within = random.choice(choices)
            if within is not None:
                made[name] = within
        return made

    def _receiver(self, id_: str, now: int) -> Data:
        random = self.random
        owners: list[Data] = []
        for person in random.sample(PEOPLE, random.choice((0, 1, 1, 1, 2, 2, 3))):
            owner = {"name": person, "contact": f"{person.split()[0].lower()}@example.com"}
            if random.random() < 0.5:
                day = (now - START) // DAY + 2 + random.randint(0, 3)
                owner["until"] = f"2026-03-{min(day, 31):02}"
            owners.append(owner)
        made: Data = {"kind": "Receiver", "id": id_, "team": id_, "owners": owners}
        if random.random() < 0.5:
            made["queue"] = f"q.{id_}"
        if random.random() < 0.6:
            made["consumer_group"] = id_
        if random.random() < 0.3:
            made["checks_every"] = "PT30M"
        return made
